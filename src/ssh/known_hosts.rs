//! An OpenSSH known_hosts file: which keys and authorities a host is known by (sshd(8), "SSH_KNOWN_HOSTS
//! FILE FORMAT").

use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{HostPatterns, Marker};
use russh::keys::ssh_key::public::KeyData;

use super::host_pattern;
use crate::files::{self, FileError};

/// SSH's own port, which is left out of a host's name.
const SSH_PORT: u16 = 22;

/// A file that was read whole.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
    bad_lines: Vec<BadLine>,
}

/// A line that cannot be used, and so matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a file says of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHost {
    /// The keys it may show.
    pub keys: Vec<KeyData>,
    /// The authorities (`@cert-authority`) whose certificates it may show.
    pub authorities: Vec<KeyData>,
    /// The keys that are refused (`@revoked`), whatever else the file says.
    pub revoked: Vec<KeyData>,
}

#[derive(Clone, Debug)]
struct Line {
    marker: Option<Marker>,
    hosts: HostPatterns,
    key: KeyData,
}

impl KnownHosts {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it is not there or cannot be read; lines that make no sense are in
    /// [`bad_lines`](Self::bad_lines) instead.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        files::read_public(path).map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Line::parse(line) {
                Ok(line) => all.lines.push(line),
                Err(what) => all.bad_lines.push(BadLine { number: index + 1, what }),
            }
        }
        all
    }

    /// The lines that match nothing because they make no sense, in the order of the file.
    pub fn bad_lines(&self) -> &[BadLine] {
        &self.bad_lines
    }

    /// What is known of the host `name`, in lower case, at `port`.
    ///
    /// As with ssh(1), lines for `[name]:port` decide if the port is not 22 and there are any;
    /// otherwise those for the bare name do. Revoked keys count under both.
    pub fn host(&self, name: &str, port: u16) -> KnownHost {
        let mut host = KnownHost::default();
        if port != SSH_PORT {
            self.add(&mut host, &format!("[{name}]:{port}"), true);
        }
        let settled = !host.keys.is_empty() || !host.authorities.is_empty();
        self.add(&mut host, name, !settled);
        host
    }

    fn add(&self, host: &mut KnownHost, name: &str, good: bool) {
        for line in self.lines.iter().filter(|line| host_pattern::matches(&line.hosts, name)) {
            match line.marker {
                Some(Marker::Revoked) => host.revoked.push(line.key.clone()),
                Some(Marker::CertAuthority) if good => host.authorities.push(line.key.clone()),
                None if good => host.keys.push(line.key.clone()),
                _ => {}
            }
        }
    }
}

impl Line {
    /// Fields are `[marker] names kind key [comment]`, parted by spaces or tabs.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut fields = line.split_ascii_whitespace().peekable();
        let marker = match fields.next_if(|field| field.starts_with('@')) {
            Some(field) => {
                let known = field.parse();
                Some(known.map_err(|_| "the marker is neither @cert-authority nor @revoked")?)
            }
            None => None,
        };
        let (Some(hosts), Some(kind), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
            return Err("is cut short: a line has names, a kind of key and the key");
        };
        let hosts = hosts.parse().map_err(|_| "the hashed name is damaged")?;
        let key = PublicKey::from_openssh(&format!("{kind} {key}"))
            .map_err(|_| "the key is damaged or of an unknown kind")?;
        if key.key_data().is_certificate() {
            return Err("a certificate cannot stand here; give its authority with @cert-authority");
        }
        Ok(Self { marker, hosts, key: key.key_data().clone() })
    }
}

#[cfg(test)]
mod tests;
