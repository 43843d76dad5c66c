{
  description = "Prometheus scrapes of devices that have no reachable address";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      each = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" "armv7l-linux" ];
    in
    {
      packages = each (system: rec {
        onionscrape = nixpkgs.legacyPackages.${system}.callPackage ./package.nix { };
        default = onionscrape;
      });

      nixosModules = {
        agent = ./agent.nix;
        bridge = ./bridge.nix;
        default.imports = [ ./agent.nix ./bridge.nix ];
      };

      # Not run yet by anybody; see README.md.
      checks = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: {
        starts = nixpkgs.legacyPackages.${system}.testers.runNixOSTest ./test.nix;
      });
    };
}
