//! `targets`: the list of what is configured, for people and for programs that set bridges up.

use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use serde::{Deserialize, Serialize};

use crate::config::{BridgeConfig, TargetConfig, Transport};

/// One target, as people and scripts see it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `onion`, `tcp` or `reverse`.
    pub transport: String,
    /// The fingerprint of the key that one logs in to the other with; the device lists the same one.
    /// `None` where an ssh-agent chooses it, or it cannot be read.
    pub fingerprint: Option<String>,
    /// What can be scraped there.
    pub exporters: Vec<String>,
}

/// Prints which targets are configured, whether or not a bridge runs.
///
/// # Errors
/// When the state directory cannot be used.
pub fn list(config: &BridgeConfig, json: bool) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    let rows: Vec<_> = config.targets.iter().map(|target| row(config, target)).collect();
    if json {
        // Strings and nothing can always be written as JSON.
        outln!("{}", serde_json::to_string(&rows).unwrap_or_default());
    } else if rows.is_empty() {
        outln!("no target is configured; run: scraper-bridge add");
    } else {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["TARGET", "TRANSPORT", "KEY", "EXPORTERS"]);
        for Row { name, transport, fingerprint, exporters } in rows {
            let fingerprint = fingerprint.unwrap_or_else(|| "-".to_owned());
            table.add_row([name, transport, fingerprint, exporters.join(", ")]);
        }
        for line in table.lines() {
            outln!("{}", line.trim());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(config: &BridgeConfig, target: &TargetConfig) -> Row {
    let name = target.name.to_string();
    let fingerprint = match &target.transport {
        Transport::Dialled(dialled) => dialled.key(&config.state_directory).map_or_else(
            |error| {
                eprintln!("scraper-bridge: target {name}: {error}");
                None
            },
            |key| key.fingerprint(),
        ),
        Transport::Reverse(reverse) => Some(reverse.authorized_key.fingerprint()),
    };
    let exporters = target.exporters.iter().map(|exporter| exporter.name.to_string()).collect();
    Row { name, transport: target.transport.label().to_owned(), fingerprint, exporters }
}

#[cfg(test)]
mod tests {
    use onionscrape::ssh::{KeyFile, UserKey};

    use super::*;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn each_target_has_the_key_that_is_logged_in_with() {
        let folder = tempfile::tempdir().expect("folder");
        let key = KeyFile::open_or_make(&folder.path().join("own.key"), "").expect("key");
        let host_key = format!("host_key = \"{}\"", key.fingerprint());
        let exporter = "[[target.exporter]]\nname = \"node\"\n";
        let onion = |name: &str, key_file: &str| {
            format!(
                "[[target]]\nname = \"{name}\"\naddress = \"{ONION}\"\n{host_key}\nkey_file = \"{key_file}\"\n{exporter}"
            )
        };
        let reverse = format!(
            "[[target]]\nname = \"comes\"\ntransport = \"reverse\"\nauthorized_key = \"{PUBLIC}\"\n{exporter}port = 9100\n"
        );
        let text = [
            "[reverse]\nlisten = \"127.0.0.1:2222\"\n",
            &onion("own", "own.key"),
            &onion("gone", "gone.key"),
            &reverse,
        ];
        let file = folder.path().join("bridge.toml");
        std::fs::write(&file, text.concat()).expect("written");
        let config = BridgeConfig::read(Some(&file), Some(folder.path().join("state"))).expect("read");
        let rows: Vec<_> = config.targets.iter().map(|target| row(&config, target)).collect();
        let shown: Vec<_> = rows.iter().map(|row| (&*row.name, &*row.transport, &row.fingerprint)).collect();
        let public: UserKey = PUBLIC.parse().expect("key");
        assert_eq!(
            shown,
            [
                ("own", "onion", &Some(key.fingerprint())),
                ("gone", "onion", &None),
                ("comes", "reverse", &Some(public.fingerprint())),
            ]
        );
        assert_eq!(rows[0].exporters, ["node"]);
    }
}
