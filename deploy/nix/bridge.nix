# services.onionscrape-bridge: beside Prometheus.
import ./service.nix {
  name = "bridge";
  program = "scraper-bridge";
  summary = "devices behind onion services as local HTTP endpoints for Prometheus";
}
