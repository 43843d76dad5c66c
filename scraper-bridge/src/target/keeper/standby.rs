//! The second session: kept beside the first, and put into its place when that is lost.

use tokio::time::sleep;
use tracing::{info, warn};

use super::Keeper;
use super::pauses::{self, Pauses};
use crate::target::Dialling;
use crate::target::standby::Connection;

impl Keeper {
    /// Keeps a second session there for as long as it is polled, if the target is to have one. It is over
    /// circuits of its own, since every dial is.
    pub(super) async fn stand_by(&self, dialling: Option<&Dialling>) {
        let Some(dialling) = dialling.filter(|_| self.target.config.standby) else {
            return std::future::pending().await;
        };
        let name = self.target.config.name.as_str();
        let mut pauses = Pauses::begin();
        let mut ways = self.target.ways.subscribe();
        loop {
            ways.mark_unchanged();
            if let Some(pool) = self.target.standby.pool() {
                let _there = self.target.metrics.stands_by();
                loop {
                    tokio::select! {
                        () = pool.session().ended() => break,
                        () = pool.session().silence() => break,
                        Ok(()) = ways.changed() => if !pool.session().answers().await { break },
                    }
                }
                pool.session().cut();
                warn!(target = name, "the session that stands by is lost");
                self.target.standby.take();
            }
            dialling.dial.ready(&|_| ()).await;
            match self.connect(dialling, dialling.host_keys.addresses()).await {
                Ok(connection) => {
                    pauses = Pauses::begin();
                    self.warm(&connection.pool);
                    self.target.standby.put(connection);
                    info!(target = name, "a second session stands by");
                }
                Err(trouble) if trouble.refused => sleep(pauses::after_refusal()).await,
                Err(_) => tokio::select! {
                    () = sleep(pauses.next()) => {}
                    Ok(()) = ways.changed() => pauses = Pauses::begin(),
                },
            }
        }
    }

    /// Asks the second session for a sign of life along with the first, so that it is known which of them lives.
    pub(super) fn ask_the_other(&self) {
        if let Some(pool) = self.target.standby.pool() {
            tokio::spawn(async move { pool.session().answers().await });
        }
    }

    /// The second session, to be the first from now on unless it is as dead: if it `was_asked` it had the time to
    /// answer. Else whether it is alive is found out while scrapes use it and the next one is dialled.
    pub(super) fn stands_in(&self, was_asked: bool) -> Option<Connection> {
        let connection = self.target.standby.take()?;
        let session = connection.pool.session();
        if session.is_over() || was_asked && session.is_quiet() {
            session.cut();
            return None;
        }
        info!(target = self.target.config.name.as_str(), "the session that stood by takes the other's place");
        self.target.doubt();
        Some(connection)
    }
}
