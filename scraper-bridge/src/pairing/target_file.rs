//! The file that `add` writes: a target as it could stand in `bridge.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use onionscrape::address::{Name, OnionAddress};
use onionscrape::files::{self, FileError};
use onionscrape::ssh::HostKeyPin;

use super::pending::{self, Pending};
use crate::page::{Surroundings, fleet_recipe, scheme_and_access};

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

    /// What Prometheus will see, and how to tell it so.
    pub(super) fn shown(&self, around: &Surroundings) -> String {
        let Surroundings { admin, scheme, .. } = around;
        let mut text = format!("{} is paired; Prometheus finds it at:\n", self.name);
        for Offer { exporter, listen } in &self.offers {
            text += &match listen {
                Some(listen) => format!("  {exporter:<16} {scheme}://{listen}/metrics\n"),
                None => format!("  {exporter:<16} {scheme}://{admin}/t/{}/{exporter}/metrics\n", self.name),
            };
        }
        text += "\nfor prometheus.yml, where all devices are of one job:\n\n";
        if self.offers.iter().all(|offer| offer.listen.is_none()) {
            text.extend(fleet_recipe(around).lines().map(|line| format!("  {line}\n")));
            return text;
        }
        text += "  - job_name: onion\n";
        text += &scheme_and_access(around, "    ");
        text += "    static_configs:\n";
        for Offer { exporter, listen } in &self.offers {
            let Some(listen) = listen else { continue };
            // Exporters have metrics of the same names, `up` at least.
            let labels = format!("labels: {{instance: '{}', exporter: '{exporter}'}}", self.name);
            text += &format!("      - targets: ['{listen}']\n        {labels}\n");
        }
        text
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

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(listen: Option<SocketAddr>) -> TargetFile {
        let host_key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".parse().expect("a fingerprint");
        let onion =
            "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion".parse().expect("an address");
        let exporter = "node".parse().expect("a name");
        TargetFile {
            name: "backpack".parse().expect("a name"),
            onion,
            host_key,
            offers: vec![Offer { exporter, listen }],
        }
    }

    #[test]
    fn prometheus_is_told_of_tls_and_a_password() {
        let around =
            Surroundings { admin: "127.0.0.1:9822".into(), scheme: "https", password: true, proxy: None };
        let own = paired("127.0.0.1:9824".parse().ok()).shown(&around);
        assert!(own.contains("  node             https://127.0.0.1:9824/metrics\n"), "{own}");
        let (_, job) = own.split_once("of one job:\n\n").expect("for prometheus.yml");
        assert_eq!(
            job,
            "  - job_name: onion
    scheme: https
    # tls_config: {ca_file: bridge.crt}
    # basic_auth: {username: prometheus, password_file: bridge.password}
    static_configs:
      - targets: ['127.0.0.1:9824']
        labels: {instance: 'backpack', exporter: 'node'}
"
        );
        let by_path = paired(None).shown(&around);
        assert!(
            by_path.contains("  node             https://127.0.0.1:9822/t/backpack/node/metrics\n"),
            "{by_path}"
        );
        assert!(by_path.contains("\n      - url: https://127.0.0.1:9822/sd\n"), "{by_path}");
    }
}
