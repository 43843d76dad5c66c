//! Whether the system lets the bridge open as many files and connections as its targets need.

use onionscrape::lifecycle::raise_descriptor_limit;
use tracing::warn;

use crate::config::BridgeConfig;

/// Tor's connections and files, the bridge's own pages, and what else there is besides targets.
const OWN: u64 = 200;
/// What one exporter takes: a port, and a connection from each Prometheus of a pair.
const PER_EXPORTER: u64 = 3;
/// Exporters that a target is reckoned with if it tells itself which ones it has.
const TOLD: usize = 2;

/// Has the system allow what it may, and warns if that may be too little for these targets.
pub fn reckon_with(config: &BridgeConfig) {
    if let Some(shortage) = shortage(config, raise_descriptor_limit()) {
        warn!("{shortage}");
    }
}

/// What to say if `limit` descriptors (`None`: any number) may be too few for these targets.
fn shortage(config: &BridgeConfig, limit: Option<u64>) -> Option<String> {
    let needed = config.targets.iter().fold(OWN, |sum, target| {
        let exporters = if target.exporters.is_empty() { TOLD } else { target.exporters.len() } as u64;
        let sessions = 1 + u64::from(target.standby);
        sum + sessions + exporters * PER_EXPORTER
    });
    let limit = limit.filter(|limit| *limit < needed)?;
    let targets = config.targets.len();
    Some(format!(
        "{targets} targets may need {needed} file descriptors, and the system allows {limit}; raise the hard limit \
         (LimitNOFILE= of the unit, or ulimit -Hn)"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::config::Source;

    #[test]
    fn only_a_limit_that_is_too_low_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bridge.toml");
        let target = |number: usize| {
            format!(
                "[[target]]\nname = \"d{number}\"\naddress = \"ssh://127.0.0.1:{number}\"\ntrust_on_first_use = true\n\
                 [[target.exporter]]\nname = \"a\"\n[[target.exporter]]\nname = \"b\"\n"
            )
        };
        let text: String = (1..=100).map(target).collect();
        std::fs::write(&file, format!("state_dir = {:?}\n{text}", folder.path())).unwrap();
        let source =
            Source { file: Some(file), state_directory: None, web_config_file: None, lifecycle: false };
        let config = source.read().unwrap();
        assert_eq!(shortage(&config, None), None);
        assert_eq!(shortage(&config, Some(900)), None);
        let said = shortage(&config, Some(899)).unwrap();
        assert!(
            said.starts_with("100 targets may need 900 file descriptors, and the system allows 899;"),
            "{said}"
        );
    }
}
