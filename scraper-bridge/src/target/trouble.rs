//! What keeps a session from coming about.

use crate::dial::DialFailure;
use crate::failure::ScrapeFailure;
use crate::metrics::Stage;
use crate::session::LoginFailure;

/// What keeps a session from coming about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The step that failed; `None` if a session was lost.
    pub stage: Option<Stage>,
    /// What a person should know.
    pub what: String,
    /// True if a person has to act.
    pub refused: bool,
    /// True if the device is there, and closed to this bridge.
    pub closed: bool,
}

impl Trouble {
    /// That no step failed, and there is no session all the same.
    pub fn of_nothing(what: impl Into<String>) -> Self {
        Self { stage: None, what: what.into(), refused: false, closed: false }
    }

    /// That Tor is not ready.
    pub fn of_bootstrap(what: String) -> Self {
        Self { stage: Some(Stage::Bootstrap), ..Self::of_nothing(what) }
    }

    /// That the target cannot be dialled.
    pub fn of_dial(failure: DialFailure) -> Self {
        Self { stage: Some(failure.stage), closed: failure.closed, ..Self::of_nothing(failure.what) }
    }

    /// That there is no logging in.
    pub fn of_login(failure: LoginFailure) -> (Stage, Self) {
        let (stage, what, refused) = match failure {
            LoginFailure::KeyExchange => (Stage::SshKex, "ssh key exchange failed".to_owned(), false),
            LoginFailure::Authentication => (Stage::Auth, "ssh login broke off".to_owned(), false),
            LoginFailure::HostKey(fault) => (Stage::HostKey, fault.to_string(), true),
            LoginFailure::SshAgent => {
                (Stage::Auth, "no key from the ssh-agent, see the bridge's log".to_owned(), true)
            }
            LoginFailure::Certificate => {
                (Stage::Auth, "no certificate to log in with, see the bridge's log".to_owned(), true)
            }
            LoginFailure::Denied => (
                Stage::Auth,
                "ssh login refused: the device does not know this bridge's key".to_owned(),
                true,
            ),
        };
        (stage, Self { stage: Some(stage), refused, ..Self::of_nothing(what) })
    }

    /// For a scrape that is asked for meanwhile.
    pub(super) fn failure(&self) -> ScrapeFailure {
        let what = self.what.clone();
        if self.refused { ScrapeFailure::Denied(what) } else { ScrapeFailure::NotConnected(what) }
    }
}
