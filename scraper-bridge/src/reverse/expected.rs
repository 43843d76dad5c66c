//! Which devices may come, and where their sessions go.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onionscrape::ssh::UserKey;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::config::{ExporterConfig, Way};
use crate::session::Session;

/// How long a target may take to take a session.
const TAKING: Duration = Duration::from_secs(5);

/// A device that came.
pub struct Arrived {
    /// The session in which it did.
    pub session: Session,
    /// From its first byte to the first port that it forwards.
    pub took: Duration,
}

/// The devices that may come, by their keys; clones are the same list.
#[derive(Clone, Default)]
pub struct Expected(Arc<Mutex<HashMap<String, Place>>>);

/// What one key is good for.
struct Place {
    ports: Arc<BTreeSet<u16>>,
    arrivals: mpsc::Sender<Arrived>,
}

/// The sessions of one target, as its device comes. While there is a clone of it the device is let in.
#[derive(Clone)]
pub struct Arrivals(Arc<Door>);

struct Door {
    expected: Expected,
    key: String,
    sender: mpsc::Sender<Arrived>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Arrived>>,
}

impl Expected {
    /// Lets in the device with this key, for these exporters' ports. One key is one target's.
    pub fn expect(&self, key: &UserKey, exporters: &[ExporterConfig]) -> Arrivals {
        let ports = exporters.iter().filter_map(|exporter| match exporter.way {
            Way::Forwarded(port) => Some(port),
            Way::Name | Way::Address(_) => None,
        });
        let (sender, receiver) = mpsc::channel(1);
        let place = Place { ports: Arc::new(ports.collect()), arrivals: sender.clone() };
        let key = key.to_string();
        self.locked().insert(key.clone(), place);
        let receiver = tokio::sync::Mutex::new(receiver);
        Arrivals(Arc::new(Door { expected: self.clone(), key, sender, receiver }))
    }

    /// The ports that the device with this key may forward; `None` if it may not come at all.
    pub(super) fn ports(&self, key: &UserKey) -> Option<Arc<BTreeSet<u16>>> {
        self.locked().get(&key.to_string()).map(|place| place.ports.clone())
    }

    /// Gives a session to the target of this key; it takes the place of the one before. False if
    /// nobody wants it any more.
    pub(super) async fn arrived(&self, key: &UserKey, arrived: Arrived) -> bool {
        let Some(arrivals) = self.locked().get(&key.to_string()).map(|place| place.arrivals.clone()) else {
            return false;
        };
        timeout(TAKING, arrivals.send(arrived)).await.is_ok_and(|sent| sent.is_ok())
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals {
    /// The next session; none is lost if this is given up.
    pub async fn next(&self) -> Arrived {
        match self.0.receiver.lock().await.recv().await {
            Some(arrived) => arrived,
            // Never, since there is a sender here.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut expected = self.expected.locked();
        // The key may be another target's by now.
        if expected.get(&self.key).is_some_and(|place| place.arrivals.same_channel(&self.sender)) {
            expected.remove(&self.key);
        }
    }
}
