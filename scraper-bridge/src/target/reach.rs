//! How there comes to be a session with a target.

use std::sync::Arc;
use std::time::Duration;

use onionscrape::ssh::LoginKey;
use onionscrape::tls::TlsClient;

use super::Turns;
use crate::dial::Dial;
use crate::inventory::kept::Kept;
use crate::reverse::Arrivals;
use crate::session::{HostKeys, LoginTimes};

/// How there comes to be a session with a target; clones are the same way.
#[derive(Clone)]
pub enum Reach {
    /// The bridge dials it and logs in.
    Dialled(Arc<Dialling>),
    /// It comes by itself; with what TLS is spoken with to each exporter, if it is.
    Reverse(Arrivals, Arc<[Option<TlsClient>]>),
}

impl Reach {
    /// How the bridge dials the target, if it does.
    pub fn dialling(&self) -> Option<&Dialling> {
        match self {
            Self::Dialled(dialling) => Some(dialling),
            Self::Reverse(..) => None,
        }
    }
}

/// How a target is dialled and logged in to.
pub struct Dialling {
    /// Whom the bridge logs in as.
    pub user: String,
    /// What the bridge logs in with.
    pub key: LoginKey,
    /// What the device may show.
    pub host_keys: Arc<HostKeys>,
    /// How its address is dialled.
    pub dial: Arc<dyn Dial>,
    /// What TLS is spoken with to each exporter, if it is.
    pub tls: Arc<[Option<TlsClient>]>,
    /// Bounds how many targets are dialled at once.
    pub turns: Arc<Turns>,
    /// Where its inventory is kept; read at the start.
    pub inventory: Arc<Kept>,
}

/// How long each step to a session took.
#[derive(Clone, Copy, Debug, Default)]
pub struct DialTimes {
    /// What the byte stream goes through: `onion`, `tcp` or `reverse`.
    pub transport: &'static str,
    /// From nothing to a byte stream.
    pub stream: Duration,
    /// SSH's steps.
    pub login: LoginTimes,
}
