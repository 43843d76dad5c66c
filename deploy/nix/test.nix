# A machine with both programs, without any network: they start, say that they are well, and keep who they are.
# Not run yet by anybody; see README.md.
{
  name = "onionscrape";

  nodes.machine = {
    imports = [ ./agent.nix ./bridge.nix ];
    services.onionscrape-agent = {
      enable = true;
      settings.exporter = [ { name = "node"; address = "127.0.0.1:9100"; } ];
    };
    services.onionscrape-bridge.enable = true;
  };

  testScript = ''
    def address():
        line = "runuser -u onionscrape-agent -- target-agent hostname --config.file /etc/onionscrape/agent.toml"
        return machine.succeed(line)

    machine.wait_for_unit("onionscrape-agent.service")
    machine.wait_for_unit("onionscrape-bridge.service")
    machine.wait_until_succeeds("curl --fail http://127.0.0.1:9822/-/healthy")
    before = address()
    machine.succeed("systemctl restart onionscrape-agent.service")
    machine.wait_for_unit("onionscrape-agent.service")
    assert address() == before
  '';
}
