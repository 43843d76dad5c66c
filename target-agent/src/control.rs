//! What a running agent tells the program's other commands, over a socket in the state directory that
//! nobody else may open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::doctor::{Findings, page_of};
use onionscrape::http::{Answer, Body, Listener, SocketAccess, page, serve};
use onionscrape::tor::{ClientAuthKey, Tor};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::access::Access;
use crate::config::AgentConfig;
use crate::doctor::{Agent, examine};
use crate::exporters::Exporters;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::overview::Overview;
use crate::status::AgentStatus;

/// The socket of an agent with this state directory.
pub fn socket(state_directory: &Path) -> PathBuf {
    state_directory.join("control.sock")
}

/// What a running agent is made of, as far as it is told of.
pub struct Parts {
    /// What it was told.
    pub config: AgentConfig,
    /// The Tor client.
    pub tor: Tor,
    /// What the device is known by at this moment.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// The agent's own way to read the descriptor.
    pub own_key: ClientAuthKey,
    /// Who may come in.
    pub access: Access,
    /// What can be scraped by name.
    pub exporters: Exporters,
    /// What is counted.
    pub metrics: Metrics,
    /// How the agent is.
    pub status: watch::Receiver<AgentStatus>,
}

/// Answers on the socket; clones are the same.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Since when the agent is in the state that it is in.
    since: Mutex<SystemTime>,
    /// One doctor at a time: each dials.
    doctors: Arc<Semaphore>,
}

impl Control {
    /// Tells of these.
    pub fn new(parts: Parts) -> Self {
        let doctors = Arc::new(Semaphore::new(1));
        Self(Arc::new(Inner { parts, since: Mutex::new(SystemTime::now()), doctors }))
    }

    /// Listens until `shutdown`. An agent that cannot be asked is of use all the same, so what is in the
    /// way is only warned of.
    pub fn serve(self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let path = socket(&self.0.parts.config.state_directory);
        match Listener::unix(&path, SocketAccess::PRIVATE) {
            Ok(listener) => {
                tasks.spawn(self.clone().follow(shutdown.clone()));
                let handler = move |request| self.clone().answer(request);
                tasks.spawn(serve(listener, handler, shutdown.clone()));
            }
            Err(error) => warn!("{error}; target-agent status and doctor cannot ask this agent"),
        }
    }

    /// Notes when the agent's state changes.
    async fn follow(self, shutdown: CancellationToken) {
        let mut status = self.0.parts.status.clone();
        let mut label = status.borrow_and_update().label();
        while let Some(Ok(())) = shutdown.run_until_cancelled(status.changed()).await {
            let now = status.borrow_and_update().label();
            if now != label {
                label = now;
                *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
            }
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => self.overview().await,
            (&Method::POST, "/doctor") => self.doctor(),
            _ => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
        }
    }

    async fn overview(self) -> Response<Body> {
        // It looks at files, and the agent has one thread only.
        let looked = tokio::task::spawn_blocking(move || {
            let since = *self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
            // Strings and numbers can always be written as JSON.
            serde_json::to_string(&Overview::of(&self.0.parts, since)).unwrap_or_default()
        });
        page("application/json", looked.await.unwrap_or_default())
    }

    fn doctor(self) -> Response<Body> {
        let Ok(place) = self.0.doctors.clone().try_acquire_owned() else {
            return Answer::new(StatusCode::CONFLICT, "another doctor is at work; try again later").into();
        };
        let parts = &self.0.parts;
        let (tor, access) = (parts.tor.clone(), parts.access.clone());
        let (front, exporters) = (parts.config.front.clone(), parts.exporters.now());
        let agent = Agent {
            identity: parts.identity.borrow().clone(),
            own_key: parts.own_key.clone(),
            status: parts.status.clone(),
        };
        page_of(Findings::from(|findings| async move {
            let _place = place;
            examine(&tor, Some(agent), &front, &access.now(), &exporters, &findings).await;
        }))
    }
}
