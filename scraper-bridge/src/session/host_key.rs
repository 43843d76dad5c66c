//! Whether the host that answers is the one that was meant.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use onionscrape::address::{Name, OnionAddress};
use onionscrape::files::{self, FileError};
use onionscrape::ssh::{ExpectedHostKey, HostKeyFault, HostKeyPin, KnownHosts};
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tracing::{error, info, warn};

use crate::config::{Destination, Dialled, HostTrust};
use crate::succession::{Part, Succession};

/// What became of something that a device announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced<T> {
    /// It is accepted from now on, and written down.
    Accepted(T),
    /// The device is known by files that belong to somebody else.
    NotOurs,
    /// The device has not proved that it is its own.
    Unproved,
    /// It could not be written down; the log says why.
    Lost,
}

/// What is known of a target's host key, looked up anew for each login.
pub struct HostKeys {
    target: String,
    /// As a known_hosts file or a certificate has it.
    host: String,
    port: u16,
    /// The configured address of an onion service, which may come to have others.
    onion: Option<OnionAddress>,
    trust: HostTrust,
    succession: Mutex<Succession>,
    /// Told when another address was announced.
    moved: Notify,
    /// Lines of the known_hosts file that were warned of.
    warned: Mutex<BTreeSet<usize>>,
}

impl HostKeys {
    /// What the configuration says of a target's host key, and what its device announced since.
    pub fn new(target: &Name, dialled: &Dialled, succession: Succession) -> Self {
        Self {
            target: target.to_string(),
            host: dialled.to.host(),
            port: dialled.to.port(),
            onion: match &dialled.to {
                Destination::Onion { address, .. } => Some(address.clone()),
                Destination::Tcp { .. } => None,
            },
            trust: dialled.host_key.clone(),
            succession: Mutex::new(succession),
            moved: Notify::new(),
            warned: Mutex::default(),
        }
    }

    /// The one host key of a device that is not a target yet; `name` is for the log.
    pub fn pinned(name: &str, onion: &OnionAddress, pin: HostKeyPin) -> Self {
        Self {
            target: name.to_owned(),
            host: onion.unredacted().to_owned(),
            port: 22,
            onion: Some(onion.clone()),
            trust: HostTrust::Pinned(pin),
            succession: Mutex::new(Succession::none()),
            moved: Notify::new(),
            warned: Mutex::default(),
        }
    }

    /// What the host may show now.
    ///
    /// # Errors
    /// When a file that says so cannot be read; then nothing may be shown.
    pub(super) fn expected(&self) -> Result<ExpectedHostKey, HostKeyFault> {
        let principal = |given: &Option<String>| given.clone().unwrap_or_else(|| self.host.clone());
        match &self.trust {
            HostTrust::Pinned(pin) => self.accepted(pin),
            HostTrust::Certified { authorities, principal: given } => Ok(ExpectedHostKey::Certified {
                authorities: authorities.keys().to_vec(),
                principal: principal(given),
            }),
            HostTrust::KnownHosts { file, principal: given } => {
                let known = self.readable(KnownHosts::read(file))?;
                self.warn_of_bad_lines(file, &known);
                let host = known.host(&self.host, self.port);
                Ok(ExpectedHostKey::Known { host, principal: principal(given) })
            }
            HostTrust::FirstUse { record } => Ok(match self.readable(recorded(record))? {
                Some(pin) => self.accepted(&pin)?,
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
        let key = shown.public_key();
        if let (HostTrust::FirstUse { record }, ExpectedHostKey::Anything) = (&self.trust, expected) {
            return self.record(record, &key);
        }
        if let Some(pin) = self.pin() {
            let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
            self.succeeded(Part::HostKey, &pin.to_string(), &fingerprint);
        }
        Ok(())
    }

    /// Onion addresses at which the device may be, the likeliest last: what the configuration names,
    /// the one that is in use, and the latest. Whichever answers must show the device's host key. A
    /// device that is no onion service has none.
    pub fn addresses(&self) -> Vec<OnionAddress> {
        let Some(onion) = &self.onion else { return Vec::new() };
        let accepted = self.succession().accepted(Part::Onion, onion.unredacted());
        let accepted: Vec<OnionAddress> =
            accepted.unwrap_or_default().iter().filter_map(|address| address.parse().ok()).collect();
        let mut addresses = vec![onion.clone()];
        for address in accepted.first().into_iter().chain(accepted.last()) {
            addresses.retain(|known| known != address);
            addresses.push(address.clone());
        }
        addresses
    }

    /// Completes when another address was announced after this call.
    pub fn address_changed(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Notes that a session came about at this address.
    pub fn reached(&self, address: &OnionAddress) {
        if let Some(onion) = &self.onion {
            self.succeeded(Part::Onion, onion.unredacted(), address.unredacted());
        }
    }

    /// Takes what a device says first in a session for all that is to come.
    pub fn settle(&self, next_key: Option<&HostKeyPin>, next_onion: Option<&OnionAddress>) {
        let Some(pin) = self.pin() else { return };
        let next_key = next_key.map(ToString::to_string);
        let mut succession = self.succession();
        let key = succession.settle(Part::HostKey, &pin.to_string(), next_key.as_deref());
        let onion = self.onion.as_ref().map(|onion| {
            succession.settle(Part::Onion, onion.unredacted(), next_onion.map(OnionAddress::unredacted))
        });
        for fault in [Some(key), onion].into_iter().flatten().filter_map(Result::err) {
            warn!(target = self.target, "what was announced before still counts: {fault}");
        }
    }

    /// Writes down a host key, `ssh-ed25519 AAAA…`, that the device announced and proved to have.
    pub fn announced(&self, line: &str, proof: &str) -> Announced<HostKeyPin> {
        let Some(configured) = self.pin().map(|pin| pin.to_string()) else { return Announced::NotOurs };
        let Ok(accepted) = self.succession().accepted(Part::HostKey, &configured) else {
            return Announced::Lost;
        };
        // The proof is over the key that the device shows now, which is one of these.
        let Some(next) = accepted.iter().find_map(|current| HostKeyPin::of_next(line, proof, current)) else {
            return Announced::Unproved;
        };
        match self.succession().announced(Part::HostKey, &configured, &next.to_string()) {
            Ok(_) => Announced::Accepted(next),
            Err(fault) => self.lost(&fault),
        }
    }

    /// Writes down an address that the device announced. What answers there must show its host key.
    pub fn address_announced(&self, next: &OnionAddress) -> Announced<()> {
        // A device that is reached otherwise may have any.
        let Some(onion) = &self.onion else { return Announced::Accepted(()) };
        if self.pin().is_none() {
            return Announced::NotOurs;
        }
        match self.succession().announced(Part::Onion, onion.unredacted(), next.unredacted()) {
            Ok(true) => {
                info!(target = self.target, "the device will have another onion address; trying it");
                self.moved.notify_waiters();
                Announced::Accepted(())
            }
            Ok(false) => Announced::Accepted(()),
            Err(fault) => self.lost(&fault),
        }
    }

    /// The one key that the device is known by, if it is; then nothing depends on its address.
    fn pin(&self) -> Option<HostKeyPin> {
        match &self.trust {
            HostTrust::Pinned(pin) => Some(pin.clone()),
            HostTrust::FirstUse { record } => recorded(record).ok().flatten(),
            HostTrust::KnownHosts { .. } | HostTrust::Certified { .. } => None,
        }
    }

    /// The pin, or what the device announced in its place.
    fn accepted(&self, pin: &HostKeyPin) -> Result<ExpectedHostKey, HostKeyFault> {
        let configured = pin.to_string();
        let accepted = self.readable(self.succession().accepted(Part::HostKey, &configured))?;
        let announced = |one: &String| if *one == configured { Some(pin.clone()) } else { one.parse().ok() };
        Ok(ExpectedHostKey::Pinned(accepted.iter().filter_map(announced).collect()))
    }

    fn lost<T>(&self, fault: &FileError) -> Announced<T> {
        warn!(target = self.target, "what the device announced is lost: {fault}");
        Announced::Lost
    }

    fn succeeded(&self, part: Part, configured: &str, shown: &str) {
        match self.succession().shown(part, configured, shown) {
            Ok(false) => {}
            Ok(true) => {
                let what = match part {
                    Part::HostKey => "host key",
                    Part::Onion => "onion address",
                };
                info!(target = self.target, "the device has another {what} now; no other before it counts");
            }
            Err(fault) => warn!(target = self.target, "the one before still counts: {fault}"),
        }
    }

    fn succession(&self) -> MutexGuard<'_, Succession> {
        self.succession.lock().unwrap_or_else(PoisonError::into_inner)
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
