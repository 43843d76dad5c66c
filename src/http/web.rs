//! The web configuration file: TLS, users and header fields of a program's public listeners, in the
//! format of Prometheus' exporter-toolkit.
//!
//! The file and what it names are read again when they change. A listener never gets less protection
//! in this way than it had at the start: what cannot be read, or would take a protection away, is
//! warned of, and what was read before stays in force.

mod auth;
mod choices;
mod client;
mod file;
mod named;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Mistakes;
use crate::files::Stamp;
use auth::Users;

/// Least time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What a program's public listeners ask of those who connect, as the web configuration file now says.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    /// `None` for plain HTTP that everybody may use.
    file: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    settings: Arc<Settings>,
    seen: Vec<Stamp>,
    looked: Instant,
    /// What is wrong with the files as they are now.
    complaint: Option<String>,
}

/// What the file said at one time.
#[derive(Default)]
pub(super) struct Settings {
    tls: Option<TlsAcceptor>,
    /// True if nobody gets in without a client certificate that was verified.
    asks_for_certificate: bool,
    /// True if nobody gets in whose certificate has not one of some names.
    asks_for_name: bool,
    users: Option<Users>,
    headers: HeaderMap,
    replaced: CancellationToken,
}

impl Web {
    /// Plain HTTP for everybody.
    pub fn plain() -> Self {
        Self::new(None, Settings::default(), Vec::new())
    }

    /// What `file` asks for. Relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// Every mistake in it and in the files that it names.
    pub fn open(file: &Path) -> Result<Self, Mistakes> {
        let (settings, seen) = read(file)?;
        Ok(Self::new(Some(file.to_owned()), settings, seen))
    }

    fn new(file: Option<PathBuf>, settings: Settings, seen: Vec<Stamp>) -> Self {
        let settings = Arc::new(settings);
        let state = State { settings, seen, looked: Instant::now(), complaint: None };
        Self(Arc::new(Inner { file, state: Mutex::new(state) }))
    }

    /// `https` if TLS is asked for, `http` if not.
    pub fn scheme(&self) -> &'static str {
        if self.current().tls.is_some() { "https" } else { "http" }
    }

    /// True if a password is asked for.
    pub fn asks_for_password(&self) -> bool {
        self.current().users.is_some()
    }

    /// What is in force now. Looks at the files if nobody has done so within the last second.
    pub(super) fn current(&self) -> Arc<Settings> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.0.file
            && state.looked.elapsed() >= LOOK
        {
            state.looked = Instant::now();
            state.look(file);
        }
        Arc::clone(&state.settings)
    }
}

impl State {
    fn look(&mut self, file: &Path) {
        // What could not be read is tried again each time: it may have named files that were not there.
        if self.complaint.is_none() && self.seen.iter().all(Stamp::still_holds) {
            return;
        }
        let complaint = match read(file) {
            Err(mistakes) => mistakes.to_string().replace('\n', "; "),
            Ok((settings, seen)) => match settings.takes_away(&self.settings) {
                Some(what) => format!("{}: {what} would end; restart to have it so", file.display()),
                None => {
                    info!(file = %file.display(), "web configuration read again");
                    std::mem::replace(&mut self.settings, Arc::new(settings)).replaced.cancel();
                    self.seen = seen;
                    self.complaint = None;
                    return;
                }
            },
        };
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(error = %complaint, "the web configuration was changed and is not used; what was read before stays");
            self.complaint = Some(complaint);
        }
    }
}

/// Reads the file and what it names, with their stamps from before: what changes meanwhile is read again.
fn read(file: &Path) -> Result<(Settings, Vec<Stamp>), Mistakes> {
    let mut seen = vec![Stamp::take(file)];
    let settings = file::read(file, |named| seen.push(Stamp::take(named)))?;
    Ok((settings, seen))
}

impl Settings {
    /// What encrypts connections, if anything does.
    pub(super) fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Who may ask; `None` for everybody.
    pub(super) fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    /// Adds the configured header fields to an answer's.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }

    /// Ends when other settings have taken the place of these.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// The protection that `before` gave and these settings do not.
    fn takes_away(&self, before: &Self) -> Option<&'static str> {
        let kinds = [
            ("TLS", before.tls.is_some(), self.tls.is_some()),
            ("the need for a client certificate", before.asks_for_certificate, self.asks_for_certificate),
            ("the need for a name in the client certificate", before.asks_for_name, self.asks_for_name),
            ("the need for a password", before.users.is_some(), self.users.is_some()),
        ];
        kinds.into_iter().find_map(|(what, before, now)| (before && !now).then_some(what))
    }
}
