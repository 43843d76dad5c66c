//! Whether the host that answers is the one that was meant.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use onionscrape::address::OnionAddress;
use onionscrape::files::{self, FileError};
use onionscrape::ssh::{ExpectedHostKey, HostKeyFault, HostKeyPin, KnownHosts};
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use tracing::{error, warn};

use crate::config::{HostTrust, TargetConfig};

/// What is known of a target's host key, looked up anew for each login.
pub struct HostKeys {
    target: String,
    onion: OnionAddress,
    port: u16,
    trust: HostTrust,
    /// Lines of the known_hosts file that were warned of.
    warned: Mutex<BTreeSet<usize>>,
}

impl HostKeys {
    /// What the configuration says of a target's host key.
    pub fn new(config: &TargetConfig) -> Self {
        Self {
            target: config.name.to_string(),
            onion: config.onion.clone(),
            port: config.port,
            trust: config.host_key.clone(),
            warned: Mutex::default(),
        }
    }

    /// The one host key of a device that is not a target yet; `name` is for the log.
    pub fn pinned(name: &str, onion: &OnionAddress, pin: HostKeyPin) -> Self {
        let (target, onion, trust) = (name.to_owned(), onion.clone(), HostTrust::Pinned(pin));
        Self { target, onion, port: 22, trust, warned: Mutex::default() }
    }

    /// What the host may show now.
    ///
    /// # Errors
    /// When a file that says so cannot be read; then nothing may be shown.
    pub(super) fn expected(&self) -> Result<ExpectedHostKey, HostKeyFault> {
        let principal =
            |given: &Option<String>| given.clone().unwrap_or_else(|| self.onion.unredacted().to_owned());
        match &self.trust {
            HostTrust::Pinned(pin) => Ok(ExpectedHostKey::Pinned(pin.clone())),
            HostTrust::Certified { authorities, principal: given } => Ok(ExpectedHostKey::Certified {
                authorities: authorities.keys().to_vec(),
                principal: principal(given),
            }),
            HostTrust::KnownHosts { file, principal: given } => {
                let known = self.readable(KnownHosts::read(file))?;
                self.warn_of_bad_lines(file, &known);
                let host = known.host(self.onion.unredacted(), self.port);
                Ok(ExpectedHostKey::Known { host, principal: principal(given) })
            }
            HostTrust::FirstUse { record } => Ok(match self.readable(recorded(record))? {
                Some(pin) => ExpectedHostKey::Pinned(pin),
                None => ExpectedHostKey::Anything,
            }),
        }
    }

    /// Whether the host may show this, and from now on nothing else if it is the first it shows.
    ///
    /// # Errors
    /// Says what is wrong with it, or that it could not be recorded.
    pub(super) fn check(
        &self,
        expected: &ExpectedHostKey,
        shown: &PublicKeyOrCertificate,
    ) -> Result<(), HostKeyFault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let checked = expected.check(shown, now.as_secs());
        if let (HostTrust::FirstUse { record }, Err(HostKeyFault::Mismatch)) = (&self.trust, checked) {
            let record = record.display();
            warn!(
                target = self.target,
                "another host key than at first; if the device was set up anew, remove {record}"
            );
        }
        checked?;
        match (&self.trust, expected) {
            (HostTrust::FirstUse { record }, ExpectedHostKey::Anything) => {
                self.record(record, &shown.public_key())
            }
            _ => Ok(()),
        }
    }

    fn record(&self, path: &Path, key: &PublicKey) -> Result<(), HostKeyFault> {
        let written = write_record(path, key);
        // Whatever is there now is the pin, even if somebody else wrote it a moment ago.
        match recorded(path) {
            Ok(Some(pin)) if pin.is(key) => {
                let fingerprint = key.fingerprint(HashAlg::Sha256);
                warn!(target = self.target, %fingerprint, "host key trusted on first use; compare it with the device's");
                Ok(())
            }
            Ok(Some(_)) => Err(HostKeyFault::Mismatch),
            read => {
                let why = written.err().or(read.err()).map(|fault| fault.to_string()).unwrap_or_default();
                error!(target = self.target, "the first host key cannot be recorded: {why}");
                Err(HostKeyFault::Unrecorded)
            }
        }
    }

    fn readable<T>(&self, read: Result<T, FileError>) -> Result<T, HostKeyFault> {
        read.map_err(|fault| {
            error!(target = self.target, "the device's host key is not known: {fault}");
            HostKeyFault::Unreadable
        })
    }

    fn warn_of_bad_lines(&self, file: &Path, known: &KnownHosts) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for line in known.bad_lines() {
            if warned.insert(line.number) {
                let place = format_args!("{}:{}", file.display(), line.number);
                warn!(target = self.target, "{place}: {}; the line is left out", line.what);
            }
        }
    }
}

/// The key that was recorded at `path`, if one was.
fn recorded(path: &Path) -> Result<Option<HostKeyPin>, FileError> {
    let Some(text) = files::read_private(path)? else { return Ok(None) };
    let damaged =
        |_| FileError::new(path, "is not a host key; remove it to trust the next one that is shown");
    text.parse().map(Some).map_err(damaged)
}

fn write_record(path: &Path, key: &PublicKey) -> Result<(), FileError> {
    let unusable = |fault| FileError::new(path, format!("the key cannot be written down: {fault}"));
    let line = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(unusable)?;
    if let Some(folder) = path.parent() {
        files::private_directory(folder)?;
        // The folder itself must outlive a power cut, too.
        folder.parent().map(files::sync_directory).transpose()?;
    }
    files::create_private(path, format!("{}\n", line.trim_end()).as_bytes())
}
