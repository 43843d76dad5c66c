# Both programs, with units, manual pages and completions.
{ lib, rustPlatform, installShellFiles }:
rustPlatform.buildRustPackage {
  pname = "onionscrape";
  version = (lib.importTOML ../../Cargo.toml).workspace.package.version;

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  buildType = "dist";
  cargoBuildFlags = [ "--package" "target-agent" "--package" "scraper-bridge" ];
  # They want a private Tor network, a browser and more; CI has run them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    for program in target-agent scraper-bridge; do
      mkdir man
      $out/bin/$program man --dir man
      installManPage man/*
      rm -r man
      for shell in bash zsh fish; do
        installShellCompletion --cmd $program --$shell <($out/bin/$program completions $shell)
      done
    done
    for unit in deploy/systemd/*.service; do
      install -Dm644 "$unit" "$out/lib/systemd/system/$(basename "$unit")"
      sed --in-place "s:/usr/bin/:$out/bin/:g" "$out/lib/systemd/system/$(basename "$unit")"
    done
  '';

  meta = {
    description = "Lets Prometheus scrape devices that have no reachable address, over Tor onion services and SSH";
    homepage = "https://github.com/onionscrape/onionscrape";
    license = with lib.licenses; [ mit asl20 ];
    platforms = lib.platforms.linux;
    mainProgram = "target-agent";
  };
}
