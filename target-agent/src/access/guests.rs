//! All who may come in, as they stand at one moment.

use std::path::Path;
use std::time::SystemTime;

use onionscrape::files;
use onionscrape::ssh::UserKey;
use onionscrape::tor::ClientAuthPublicKey;
use tracing::warn;

use super::file::{BridgeFile, OpenTicket, Standing};
use super::line::{Authority, AuthorizedKey};
use super::permits::Permits;
use super::{Sources, files_in};

/// All who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guests {
    /// Keys that may log in.
    pub entries: Vec<Entry>,
    /// Bridges that have a file, paired or invited.
    pub files: Vec<BridgeFile>,
    /// Keys that may read the descriptor, besides those in [`files`](Self::files), by name.
    pub clients: Vec<(String, ClientAuthPublicKey)>,
    /// True if somebody was invited once to read the descriptor, so that strangers must not.
    pub closed: bool,
    /// What is wrong in the files, a line each.
    pub problems: Vec<String>,
}

/// A key that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people call it: its comment, its place in a file, or the bridge's name.
    pub name: String,
    /// The key, or the certificate authority's.
    pub key: UserKey,
    /// Which channels it may open.
    pub permits: Permits,
    /// The end of its life.
    pub expires: Option<SystemTime>,
    /// Set for a key that signs certificates and does not log in itself.
    pub authority: Option<Authority>,
}

/// What a key without a comment is called: its line in the file at `path`, counted from 1.
pub fn line_name(path: &Path, number: usize) -> String {
    format!("line {number} of {}", path.file_name().unwrap_or_default().to_string_lossy())
}

/// What a key that was shown is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It may open these channels, under this name.
    As(String, Permits),
    /// It belongs to the ticket of this name, and may enrol.
    Invited(String),
    /// It belongs to a ticket that was used by the bridge of this name.
    TicketUsed(String),
    /// It belongs to a ticket of this name whose time is over.
    TicketExpired(String),
    /// Nothing.
    No,
}

impl Guests {
    /// Reads all files. What cannot be read of a bridge's or a client's file stays
    /// as it was `before`, so that a slip of the pen shuts nobody out.
    pub fn read(sources: &Sources, before: &Self) -> Self {
        let mut guests = Self { closed: sources.closed.exists(), ..Self::default() };
        for (index, key) in sources.inline.iter().enumerate() {
            guests.add(key.clone(), || format!("key {} of the configuration", index + 1));
        }
        guests.read_authorized_keys(&sources.authorized_keys);
        match files_in(&sources.bridges, "toml") {
            Ok(paths) => paths.iter().for_each(|path| guests.read_bridge(path, before)),
            Err(error) => {
                guests.problems.push(format!("{}: cannot be read: {error}", sources.bridges.display()));
                before.files.iter().cloned().for_each(|file| guests.add_file(file));
            }
        }
        match files_in(&sources.authorized_clients, "auth") {
            Ok(paths) => paths.iter().for_each(|path| guests.read_client(path, before)),
            Err(error) => {
                guests
                    .problems
                    .push(format!("{}: cannot be read: {error}", sources.authorized_clients.display()));
                guests.clients.clone_from(&before.clients);
            }
        }
        guests
    }

    fn read_bridge(&mut self, path: &Path, before: &Self) {
        match BridgeFile::read(path) {
            Ok(Some(file)) => self.add_file(file),
            Ok(None) => {}
            Err(problems) => {
                self.problems.extend(problems.lines().map(str::to_owned));
                let is_it =
                    |file: &&BridgeFile| path.file_stem().is_some_and(|stem| stem == file.name.as_str());
                if let Some(file) = before.files.iter().find(is_it) {
                    self.add_file(file.clone());
                }
            }
        }
    }

    fn read_client(&mut self, path: &Path, before: &Self) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = files::read_trusted(path).map_err(|error| error.to_string());
        let key = read.and_then(|text| {
            let wrong = |error| format!("{}: {error}", path.display());
            text.map(|text| text.parse().map_err(wrong)).transpose()
        });
        match key {
            Ok(Some(key)) => self.clients.push((name, key)),
            Ok(None) => {}
            Err(problem) => {
                self.problems.push(problem);
                self.clients.extend(before.clients.iter().find(|(known, _)| *known == name).cloned());
            }
        }
    }

    fn read_authorized_keys(&mut self, path: &Path) {
        let text = match files::read_trusted(path) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => return self.problems.push(error.to_string()),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match AuthorizedKey::parse(line) {
                Ok(key) => self.add(key, || line_name(path, number + 1)),
                Err(problem) => {
                    self.problems.push(format!("{}:{}: {problem}", path.display(), number + 1));
                }
            }
        }
    }

    fn add(&mut self, line: AuthorizedKey, place: impl Fn() -> String) {
        let AuthorizedKey { key, comment, permits, expires, authority } = line;
        self.entries.push(Entry { name: comment.unwrap_or_else(place), key, permits, expires, authority });
    }

    fn add_file(&mut self, file: BridgeFile) {
        if let Standing::Paired { key, .. } = &file.standing {
            let (name, key, permits) = (file.name.to_string(), key.clone(), file.permits());
            self.entries.push(Entry { name, key, permits, expires: None, authority: None });
        }
        self.files.push(file);
    }

    /// What `key` is good for at `now`. The first entry with it counts, as in OpenSSH.
    pub fn admits(&self, key: &UserKey, now: SystemTime) -> Admitted {
        let valid = |entry: &&Entry| {
            entry.key == *key
                && entry.authority.is_none()
                && entry.expires.is_none_or(|expires| now < expires)
        };
        if let Some(entry) = self.entries.iter().find(valid) {
            return Admitted::As(entry.name.clone(), entry.permits.clone());
        }
        for file in &self.files {
            let name = file.name.to_string();
            match &file.standing {
                Standing::Invited(ticket) if ticket.key == *key => {
                    return if now < ticket.expires {
                        Admitted::Invited(name)
                    } else {
                        Admitted::TicketExpired(name)
                    };
                }
                Standing::Paired { ticket_used: Some(used), .. } if used == key => {
                    return Admitted::TicketUsed(name);
                }
                _ => {}
            }
        }
        Admitted::No
    }

    /// Certificate authorities whose time is not over at `now`.
    pub fn authorities(&self, now: SystemTime) -> impl Iterator<Item = (&Entry, &Authority)> {
        self.entries
            .iter()
            .filter(move |entry| entry.expires.is_none_or(|expires| now < expires))
            .filter_map(|entry| Some((entry, entry.authority.as_ref()?)))
    }

    /// The file of the bridge that was handed the ticket with this enrolment key, if that is valid.
    pub(super) fn invited(&self, ticket: &UserKey, now: SystemTime) -> Option<&BridgeFile> {
        self.files.iter().find(|file| {
            matches!(&file.standing, Standing::Invited(open) if open.key == *ticket && now < open.expires)
        })
    }

    /// Who holds one of these keys already, whatever for.
    pub(super) fn holder(&self, key: &UserKey, client_auth: &ClientAuthPublicKey) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.key == *key).map(|entry| entry.name.clone());
        let holds = |file: &&BridgeFile| match &file.standing {
            Standing::Invited(ticket) => ticket.key == *key || ticket.client_auth == *client_auth,
            Standing::Paired { client_auth: known, ticket_used, .. } => {
                ticket_used.as_ref() == Some(key) || known.as_ref() == Some(client_auth)
            }
        };
        let file = || self.files.iter().find(holds).map(|file| file.name.to_string());
        let client =
            || self.clients.iter().find(|(_, known)| known == client_auth).map(|(name, _)| name.clone());
        entry.or_else(file).or_else(client)
    }

    /// True if somebody was invited to read the descriptor and has a key to do so: a bridge that is
    /// paired, or a client with a file of C tor's kind.
    pub fn has_clients(&self) -> bool {
        let paired =
            |file: &BridgeFile| matches!(file.standing, Standing::Paired { client_auth: Some(_), .. });
        !self.clients.is_empty() || self.files.iter().any(paired)
    }

    /// Everybody who may read a descriptor that is closed to others, at `now`.
    pub fn readers(&self, now: SystemTime) -> Vec<ClientAuthPublicKey> {
        let of_file = |file: &BridgeFile| match &file.standing {
            Standing::Invited(OpenTicket { client_auth, expires, .. }) => {
                (now < *expires).then(|| client_auth.clone())
            }
            Standing::Paired { client_auth, .. } => client_auth.clone(),
        };
        let others = self.clients.iter().map(|(_, key)| key.clone());
        self.files.iter().filter_map(of_file).chain(others).collect()
    }

    /// The next moment after `now` at which somebody's time is over.
    pub(super) fn next_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        let tickets = self.files.iter().filter_map(|file| match &file.standing {
            Standing::Invited(ticket) => Some(ticket.expires),
            Standing::Paired { .. } => None,
        });
        let keys = self.entries.iter().filter_map(|entry| entry.expires);
        keys.chain(tickets).filter(|expires| now < *expires).min()
    }

    pub(super) fn warn_of_new_problems(&self, known: &[String]) {
        for problem in self.problems.iter().filter(|problem| !known.contains(problem)) {
            warn!("{problem}");
        }
    }
}
