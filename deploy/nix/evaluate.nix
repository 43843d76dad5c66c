# Evaluates both modules with nixpkgs' lib and nothing else of it, and says what came of them. By hand:
#
#     nix-instantiate --eval --strict --json deploy/nix/evaluate.nix --arg lib 'import /path/to/nixpkgs/lib'
{ lib }:
let
  # As much of NixOS as the modules write to.
  nixos =
    { lib, ... }:
    {
      options = lib.genAttrs [ "environment" "users" "systemd" ] (
        _: lib.mkOption { type = (lib.types.attrsOf lib.types.anything); }
      );
    };
  pkgs = {
    # The same type as that of nixpkgs, by what it takes.
    formats.toml = _: {
      type = lib.types.attrsOf lib.types.anything;
      generate = name: value: { inherit name value; };
    };
    callPackage = _: _: { type = "derivation"; name = "onionscrape"; };
  };
  evaluate =
    settings:
    (lib.evalModules {
      modules = [ nixos ./agent.nix ./bridge.nix { _module.args = { inherit pkgs; }; } settings ];
    }).config;

  config = evaluate {
    services.onionscrape-agent = {
      enable = true;
      settings.exporter = [
        {
          name = "app";
          address = "127.0.0.1:9800";
          basic_auth.username = "prometheus";
          basic_auth.password_file = "/run/credentials/onionscrape-agent.service/app.password";
        }
      ];
      credentials."app.password" = "/run/secrets/app";
    };
    services.onionscrape-bridge.enable = true;
  };
  accepts =
    path:
    let
      agent = (evaluate { services.onionscrape-agent.credentials.it = path; }).services.onionscrape-agent;
    in
    (builtins.tryEval (builtins.deepSeq agent.credentials true)).success;
in
assert accepts "/run/secrets/app";
# A secret that everybody may read, and one that is nowhere.
assert !(accepts "${builtins.storeDir}/secret");
assert !(accepts "secrets/app");
assert (evaluate { }).services.onionscrape-agent.enable == false;
{
  files = lib.mapAttrs (_: file: file.source.value) config.environment.etc;
  users = lib.mapAttrs (_: user: user.group) config.users.users;
  groups = lib.attrNames config.users.groups;
  services = lib.mapAttrs (_: service: {
    inherit (service) wantedBy;
    restarts = map (file: file.name) service.restartTriggers;
    credentials = service.serviceConfig.LoadCredential or [ ];
  }) config.systemd.services;
  packages = map (package: package.name) config.systemd.packages;
}
