//! The file that `add` writes: a target as it could stand in `bridge.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use onionscrape::address::{Name, OnionAddress};
use onionscrape::files::{self, FileError};
use onionscrape::ssh::HostKeyPin;

use super::pending::{self, Pending};

/// What stands at its head.
const HEAD: &str = "# Written by `scraper-bridge add`, and yours to change; `scraper-bridge remove` removes it with its keys.\n";

/// A target and where its exporters are to be offered.
pub(super) struct TargetFile {
    pub(super) name: Name,
    pub(super) onion: OnionAddress,
    pub(super) host_key: HostKeyPin,
    pub(super) offers: Vec<Offer>,
}

/// One exporter and the port of its own, if it is to have one.
pub(super) struct Offer {
    pub(super) exporter: Name,
    pub(super) listen: Option<SocketAddr>,
}

impl TargetFile {
    /// Writes the keys and then the file, and forgets the pairing: in this order, so that wherever
    /// it breaks off, there is either the whole target or a pairing to go on with.
    pub(super) fn write(&self, folder: &Path, pending: Pending) -> Result<(), FileError> {
        if !folder.is_dir() {
            files::private_directory(folder)?;
        }
        let kept = pending.folder();
        pending.finish(&folder.join(self.key()), &folder.join(self.client_auth()))?;
        files::create_private(&Self::path(folder, &self.name), self.text().as_bytes())?;
        pending::discard(&kept)
    }

    /// Removes the files of the target of this name; true if there was one. The target goes first,
    /// so that none is left without its keys.
    pub(super) fn remove(folder: &Path, name: &Name) -> Result<bool, FileError> {
        let path = Self::path(folder, name);
        if let Some(text) = files::read_trusted(&path)?
            && (text.matches("[[target]]").count() != 1 || !text.contains(&format!("name = \"{name}\"\n")))
        {
            return Err(FileError::new(&path, "has other targets than this one; remove it there by hand"));
        }
        let mut was_there = files::remove(&path)?;
        for key in [format!("{name}.key"), format!("{name}.auth_private")] {
            was_there |= files::remove(&folder.join(key))?;
        }
        Ok(was_there)
    }

    /// Prints what Prometheus will see, and how to tell it so; `admin` is where the bridge itself listens.
    pub(super) fn show(&self, admin: SocketAddr) {
        println!("{} is paired; Prometheus finds it at:", self.name);
        for Offer { exporter, listen } in &self.offers {
            match listen {
                Some(listen) => println!("  {exporter:<16} http://{listen}/metrics"),
                None => println!("  {exporter:<16} http://{admin}/t/{}/{exporter}/metrics", self.name),
            }
        }
        println!("\nfor prometheus.yml, where all devices are of one job:\n");
        println!("  - job_name: onion\n    scrape_timeout: 10s");
        if self.offers.iter().all(|offer| offer.listen.is_none()) {
            println!("    http_sd_configs:\n      - url: http://{admin}/sd?via=path");
            return;
        }
        println!("    static_configs:");
        for Offer { exporter, listen } in &self.offers {
            let Some(listen) = listen else { continue };
            // Exporters have metrics of the same names, `up` at least.
            let labels = format!("labels: {{instance: '{}', exporter: '{exporter}'}}", self.name);
            println!("      - targets: ['{listen}']\n        {labels}");
        }
    }

    /// Where the file of the target of this name is.
    pub(super) fn path(folder: &Path, name: &Name) -> PathBuf {
        folder.join(format!("{name}.toml"))
    }

    fn key(&self) -> String {
        format!("{}.key", self.name)
    }

    fn client_auth(&self) -> String {
        format!("{}.auth_private", self.name)
    }

    /// The file's text. All values are of alphabets without quotation marks.
    fn text(&self) -> String {
        let mut text = format!(
            "{HEAD}[[target]]\nname = \"{}\"\naddress = \"{}\"\nhost_key = \"{}\"\nkey_file = \"{}\"\nclient_auth_file = \"{}\"\n",
            self.name,
            self.onion.unredacted(),
            self.host_key,
            self.key(),
            self.client_auth(),
        );
        for Offer { exporter, listen } in &self.offers {
            text += &format!("\n[[target.exporter]]\nname = \"{exporter}\"\n");
            if let Some(listen) = listen {
                text += &format!("listen = \"{listen}\"\n");
            }
        }
        text
    }
}
