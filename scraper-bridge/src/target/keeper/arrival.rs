//! A target whose device comes by itself.

use std::sync::Arc;

use onionscrape::tls::TlsClient;
use tracing::info;

use super::{Held, Keeper};
use crate::metrics::Stage;
use crate::pool::Pool;
use crate::reverse::{Arrivals, Arrived};
use crate::session::LoginTimes;
use crate::target::{DialTimes, State, Trouble};

impl Keeper {
    /// Keeps the session in which the device came last, for as long as it is polled.
    pub(super) async fn receive(self, arrivals: Arrivals, tls: Arc<[Option<TlsClient>]>) {
        let name = self.target.config.name.as_str();
        let (mut next, mut old) = (None, None::<Arc<Pool>>);
        loop {
            let arrived = match next.take() {
                Some(arrived) => arrived,
                None => self.wait_for(&arrivals).await,
            };
            let Arrived { session, took } = arrived;
            self.target.metrics.connects.inc();
            self.target.metrics.connect_duration.observe(took.as_secs_f64());
            info!(target = name, seconds = %format_args!("{:.3}", took.as_secs_f64()), "the device connected");
            let times = DialTimes { transport: "reverse", stream: took, login: LoginTimes::default() };
            let pool = Arc::new(Pool::new(session, times, tls.clone()));
            if let Some(old) = old.take() {
                // It is dead and does not know yet, most likely. What still goes through it is asked for
                // in this one.
                self.tell(State::Up(pool.clone()));
                old.session().cut();
            }
            match self.hold(&pool, None, arrivals.next()).await {
                Held::Replaced(arrived) => (next, old) = (Some(arrived), Some(pool)),
                Held::Lost(_) | Held::Unanswered | Held::Asked => {
                    self.tell(State::Waiting(not_here(), None));
                    pool.session().close().await;
                }
            }
        }
    }

    async fn wait_for(&self, arrivals: &Arrivals) -> Arrived {
        self.tell(State::Waiting(not_here(), None));
        loop {
            tokio::select! {
                arrived = arrivals.next() => return arrived,
                // There is nothing to dial.
                () = self.target.redial.notified() => {}
            }
        }
    }
}

fn not_here() -> Trouble {
    Trouble {
        stage: Some(Stage::Arrival),
        what: "the device has not connected".into(),
        refused: false,
        closed: false,
    }
}
