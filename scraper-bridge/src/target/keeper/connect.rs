//! From an address to a session that is logged in.

use std::sync::Arc;
use std::time::Duration;

use onionscrape::address::OnionAddress;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Keeper;
use crate::pool::Pool;
use crate::session::Session;
use crate::target::standby::Connection;
use crate::target::{DialTimes, Dialling, Trouble};

/// How long the dial of a target that was well until now has a turn: circuits that come about do so by then.
const AT_ONCE_TURN: Duration = Duration::from_secs(15);

impl Keeper {
    /// A session at one of these addresses, the last that leads to the device.
    pub(super) async fn connect(
        &self,
        dialling: &Dialling,
        mut addresses: Vec<OnionAddress>,
    ) -> Result<Connection, Trouble> {
        let mut connected = self.connect_to(dialling, addresses.pop()).await;
        while connected.is_err()
            && let Some(address) = addresses.pop()
        {
            // The likeliest address has the word on what is wrong.
            connected = self.connect_to(dialling, Some(address)).await.or(connected);
        }
        connected
    }

    /// Dials an onion address, or the host that there is instead, and logs in.
    async fn connect_to(
        &self,
        dialling: &Dialling,
        address: Option<OnionAddress>,
    ) -> Result<Connection, Trouble> {
        let target = &self.target;
        let name = target.config.name.as_str();
        let mut turn = dialling.turns.wait(self.at_once).await;
        target.metrics.connects.inc();
        let started = Instant::now();
        let dialled = {
            let mut dialled = dialling.dial.dial(address.as_ref());
            tokio::select! {
                dialled = &mut dialled => dialled,
                () = sleep(AT_ONCE_TURN), if self.at_once => {
                    // One that may be gone keeps nobody waiting who is there.
                    drop(turn.take());
                    dialled.await
                }
            }
        };
        let stream = dialled.map_err(|failure| {
            target.metrics.connect_failure(failure.stage);
            warn!(target = name, stage = failure.stage.label(), "not connected: {failure}");
            Trouble::of_dial(failure)
        })?;
        let stream_took = started.elapsed();
        drop(turn);
        // By itself, because it is large: whatever may dial would else have its room for as long as it waits.
        let login =
            Box::pin(Session::login(stream, &dialling.host_keys, &dialling.user, &dialling.key)).await;
        target.metrics.host_key_shown(login.as_ref().err().copied());
        let (session, login) = login.map_err(|failure| {
            let (stage, trouble) = Trouble::of_login(failure);
            target.metrics.connect_failure(stage);
            warn!(target = name, stage = stage.label(), "not connected: {}", trouble.what);
            trouble
        })?;
        if let Some(address) = &address {
            dialling.host_keys.reached(address);
        }
        target.metrics.connect_duration.observe(started.elapsed().as_secs_f64());
        let transport = target.config.transport.label();
        let times = DialTimes { transport, stream: stream_took, login };
        target.metrics.dialled(times);
        info!(target = name, seconds = %format_args!("{:.3}", started.elapsed().as_secs_f64()), "connected");
        Ok(Connection { pool: Arc::new(Pool::new(session, times, dialling.tls.clone())), address })
    }
}
