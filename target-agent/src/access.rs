//! Who may come in, and where to: keys from the configuration and from `authorized_keys`, bridges
//! that came by a ticket, and clients that may read the descriptor.
//!
//! In reading order:
//! - [`permits`]: which channels a key may open;
//! - [`line`]: one line of `authorized_keys`;
//! - [`file`]: one bridge's file;
//! - [`guests`]: all of them, as they stand at one moment;
//! - `seen`: when they were here last.

pub mod file;
pub mod guests;
pub mod line;
pub mod permits;
mod seen;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use onionscrape::address::Name;
use onionscrape::files::{self, FileError, Stamp};
use onionscrape::ssh::UserKey;
use onionscrape::tor::ClientAuthPublicKey;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use file::{BridgeFile, OpenTicket, Standing};
pub use guests::{Admitted, Entry, Guests, line_name};
pub use line::{Authority, AuthorizedKey};
pub use permits::{NAME_PORT, Permits};

/// How often files are looked at. Together with the time to end a session it stays below 5 s.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a reading that found something wrong the same files are read again: what was wrong may have been so
/// for a moment, for want of a file descriptor say.
const AGAIN: Duration = Duration::from_secs(10);

/// Where it is written down who may come in.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Keys that stand in the configuration itself.
    pub inline: Vec<AuthorizedKey>,
    /// A file of keys; it may be missing.
    pub authorized_keys: PathBuf,
    /// A folder with a file for each bridge, `NAME.toml`; it may be missing.
    pub bridges: PathBuf,
    /// A folder with a file for each client that may read the descriptor, `NAME.auth`, as C tor has
    /// it; it may be missing.
    pub authorized_clients: PathBuf,
    /// A folder with an empty file for each that logged in; the file's time is when it was last seen.
    pub seen: PathBuf,
    /// A file that is there once somebody was invited to read the descriptor. From then on it stays
    /// closed to strangers, whatever becomes of those who were invited.
    pub closed: PathBuf,
}

impl Sources {
    /// Where they are in a state directory unless configured otherwise.
    pub fn in_state(state_directory: &Path) -> Self {
        Self {
            inline: Vec::new(),
            authorized_keys: state_directory.join("authorized_keys"),
            bridges: state_directory.join("bridges"),
            authorized_clients: state_directory.join("authorized_clients"),
            seen: state_directory.join("seen"),
            closed: state_directory.join("closed_to_strangers"),
        }
    }

    /// The file whose time is when `name` was last seen.
    pub fn seen_file(&self, name: &str) -> PathBuf {
        let letter = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        self.seen.join(name.chars().map(letter).collect::<String>())
    }
}

/// Who may come in, kept up with the files; clones are the same.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    sources: Mutex<Arc<Sources>>,
    guests: watch::Sender<Arc<Guests>>,
    read: Mutex<Reading>,
    /// Held while a ticket is taken, so that it is taken once.
    taking: Mutex<()>,
}

/// The last reading of the files.
struct Reading {
    at: Instant,
    /// What they looked like.
    stamps: Vec<Stamp>,
    /// The next moment at which somebody's time is over.
    next: Option<SystemTime>,
    /// Whether something was wrong.
    has_problems: bool,
}

impl Reading {
    /// Whose time was not over at `now`, which was before the reading, is waited for.
    fn of(guests: &Guests, stamps: Vec<Stamp>, now: SystemTime) -> Self {
        let next = guests.next_expiry(now);
        Self { at: Instant::now(), stamps, next, has_problems: !guests.problems.is_empty() }
    }
}

/// Why a ticket was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was used, has expired, or was withdrawn.
    NotValid,
    /// The key handed over may come in already, as this one.
    KeyInUse(String),
    /// The bridge's file cannot be written.
    Disk(String),
}

impl Access {
    /// Reads everything once. Mistakes are warned of and let nobody in.
    pub fn new(sources: Sources) -> Self {
        let (stamps, now) = (stamps(&sources), SystemTime::now());
        let guests = Guests::read(&sources, &Guests::default());
        guests.warn_of_new_problems(&[]);
        note_if_closed(&sources, &guests);
        let read = Mutex::new(Reading::of(&guests, stamps, now));
        let (guests, _) = watch::channel(Arc::new(guests));
        let sources = Mutex::new(Arc::new(sources));
        Self(Arc::new(Inner { sources, guests, read, taking: Mutex::default() }))
    }

    /// Goes by these sources from now on.
    pub fn follow(&self, sources: Sources) {
        *self.0.sources.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
        // No files look like none at all, so everything is read anew.
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).stamps.clear();
        self.look();
    }

    fn sources(&self) -> Arc<Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who may come in, and every change of it.
    pub fn guests(&self) -> watch::Receiver<Arc<Guests>> {
        self.0.guests.subscribe()
    }

    /// Who may come in now, after a look at the files.
    pub fn now(&self) -> Arc<Guests> {
        self.look();
        self.0.guests.borrow().clone()
    }

    /// Looks at the files every second until `shutdown`, so that a change counts at once.
    pub async fn keep_up(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.look();
        }
    }

    /// Says so if nobody can come in, which is most likely a step that was forgotten.
    pub fn warn_if_none(&self) {
        if self.0.guests.borrow().entries.is_empty() {
            warn!(
                "nobody can log in yet: run target-agent ticket, or put a bridge's key into {}",
                self.sources().authorized_keys.display()
            );
        }
    }

    /// Takes the ticket with this enrolment key and lets its bridge in with keys of its own. It waits
    /// for the disk.
    ///
    /// # Errors
    /// Says why not; nothing has changed then.
    pub fn take_ticket(
        &self,
        ticket: &UserKey,
        key: UserKey,
        client_auth: ClientAuthPublicKey,
    ) -> Result<Name, Refused> {
        let _one_at_a_time = self.0.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = self.sources();
        let _alone = lock(&sources.bridges).map_err(|error| Refused::Disk(error.to_string()))?;
        let guests = self.now();
        let file = guests.invited(ticket, SystemTime::now()).ok_or(Refused::NotValid)?.clone();
        if let Some(name) = guests.holder(&key, &client_auth) {
            return Err(Refused::KeyInUse(name));
        }
        let standing =
            Standing::Paired { key, client_auth: Some(client_auth), ticket_used: Some(ticket.clone()) };
        let paired = BridgeFile { standing, ..file };
        paired.write(&sources.bridges).map_err(|error: FileError| Refused::Disk(error.to_string()))?;
        self.look();
        Ok(paired.name)
    }

    /// Notes that `name` is here at this moment. It is for people to look at, so a disk that cannot
    /// be written changes nothing else.
    pub fn seen(&self, name: &str) {
        let sources = self.sources();
        if let Err(error) = seen::note(&sources.seen, &sources.seen_file(name)) {
            debug!(%error, "when a bridge was last seen could not be noted");
        }
    }

    /// Reads the files again if one changed, somebody's time is over, or something was wrong a while ago.
    fn look(&self) {
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Only now, so that whoever waited for the lock does not go by older ones.
        let sources = self.sources();
        let (stamps, now) = (stamps(&sources), SystemTime::now());
        let over = read.next.is_some_and(|next| now >= next);
        let again = read.has_problems && read.at.elapsed() >= AGAIN;
        if read.stamps == stamps && !over && !again {
            return;
        }
        let before = self.0.guests.borrow().clone();
        let guests = Guests::read(&sources, &before);
        *read = Reading::of(&guests, stamps, now);
        let changed = *before != guests;
        if changed {
            guests.warn_of_new_problems(&before.problems);
            note_if_closed(&sources, &guests);
        }
        if changed || over {
            self.0.guests.send_replace(Arc::new(guests));
        }
    }
}

/// Keeps other processes from changing the bridges' files while it is held.
///
/// # Errors
/// When the folder cannot be made, or its lock file cannot be opened.
pub fn lock(bridges: &Path) -> Result<std::fs::File, FileError> {
    files::private_directory(bridges)?;
    files::alone(&bridges.join(".lock"))
}

/// Notes for good that the descriptor is closed to strangers, as soon as it is.
fn note_if_closed(sources: &Sources, guests: &Guests) {
    if guests.has_clients()
        && !sources.closed.exists()
        && let Err(error) = files::replace_private(&sources.closed, b"")
    {
        warn!("{error}; if those who were invited are gone one day, strangers can find this device");
    }
}

/// What all files look like at this moment.
fn stamps(sources: &Sources) -> Vec<Stamp> {
    let mut paths = vec![sources.authorized_keys.clone(), sources.closed.clone()];
    paths.extend(files_in(&sources.bridges, "toml").unwrap_or_default());
    paths.extend(files_in(&sources.authorized_clients, "auth").unwrap_or_default());
    paths.iter().map(|path| Stamp::take(path)).collect()
}

/// The files with this extension, sorted; none where there is no such folder.
fn files_in(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|of| of == extension)).collect();
    paths.sort();
    paths.truncate(MAX_GUESTS);
    Ok(paths)
}

/// Most files of one kind that are looked at. Tor allows for 160 clients of a restricted service.
const MAX_GUESTS: usize = 1000;

#[cfg(test)]
mod tests;
