# The NixOS module of one of the two programs; they differ in names only.
#
# The unit itself is deploy/systemd/onionscrape-NAME.service, which the package brings with the paths of the
# Nix store in it. So every line that hardens it is the same one as on Debian.
{ name, program, summary }:
{ config, lib, pkgs, ... }:
let
  service = "onionscrape-${name}";
  cfg = config.services.${service};
  format = pkgs.formats.toml { };
  # What a string of Nix names must not be in the store: everybody may read that.
  secret = lib.types.addCheck lib.types.str (
    path: lib.hasPrefix "/" path && !lib.hasPrefix builtins.storeDir path
  ) // { description = "absolute path, as a string, outside of the Nix store"; };
in
{
  options.services.${service} = {
    enable = lib.mkEnableOption summary;

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "the flake's own package";
      description = "The package that brings ${program} and its unit.";
    };

    settings = lib.mkOption {
      inherit (format) type;
      default = { };
      description = ''
        What /etc/onionscrape/${name}.toml says; the README explains every key. It is in the Nix store, which
        everybody may read: name files where there is a secret, and give them by `credentials`.
      '';
    };

    credentials = lib.mkOption {
      type = lib.types.attrsOf secret;
      default = { };
      example = { "app.password" = "/run/secrets/app"; };
      description = ''
        Files that systemd reads as root and gives to the service alone, by name. The service finds them in
        /run/credentials/${service}.service, so settings name them as
        "/run/credentials/${service}.service/app.password".
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.${service}.settings = {
      version = lib.mkDefault 1;
      # The unit's StateDirectory=.
      state_dir = lib.mkDefault "/var/lib/${service}";
    };

    environment.etc."onionscrape/${name}.toml".source = format.generate "onionscrape-${name}.toml" cfg.settings;
    # For its other commands: tickets, doctor, status.
    environment.systemPackages = [ cfg.package ];

    users.users.${service} = {
      isSystemUser = true;
      group = service;
      description = summary;
    };
    users.groups.${service} = { };

    systemd.packages = [ cfg.package ];
    systemd.services.${service} = {
      wantedBy = [ "multi-user.target" ];
      # Some settings count after a restart only, and whoever switches wants all of them.
      restartTriggers = [ config.environment.etc."onionscrape/${name}.toml".source ];
      serviceConfig = lib.mkIf (cfg.credentials != { }) {
        LoadCredential = lib.mapAttrsToList (id: path: "${id}:${path}") cfg.credentials;
      };
    };
  };
}
