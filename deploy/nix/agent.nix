# services.onionscrape-agent: on the device.
import ./service.nix {
  name = "agent";
  program = "target-agent";
  summary = "Prometheus exporters of this device as an onion service that speaks SSH";
}
