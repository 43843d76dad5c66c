//! Proving to systemd that the program gets on (`WatchdogSec=`), and not only that it is there.

use std::path::PathBuf;

use hyper::Method;
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::http::ask;

/// Proofs for each period that systemd waits: one that is late is no harm.
const PROOFS: u32 = 3;

/// Has systemd's watchdog fed until `shutdown`, if there is one; a proof that fails feeds nothing, so that
/// systemd ends the program and starts it again.
///
/// The proof is that the program answers on its control socket, as it does to its own subcommands, and that
/// its blocking work is done: for that its threads must run, its timers fire and its listeners accept.
pub fn keep_fed(socket: PathBuf, shutdown: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let pause = period / PROOFS;
    tokio::spawn(async move {
        let mut has_answered = false;
        while shutdown.run_until_cancelled(sleep(pause)).await.is_some() {
            let proof = timeout(pause, async {
                let works = spawn_blocking(|| ()).await.is_ok();
                let answers = answers(&socket).await;
                has_answered |= answers;
                // An agent may be unable to listen there, and is of use all the same.
                works && (answers || !has_answered)
            });
            if proof.await == Ok(true) {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            } else {
                warn!("this program does not get on as it should; systemd will start it again");
            }
        }
    });
}

/// Any answer will do: there is no such page.
async fn answers(socket: &PathBuf) -> bool {
    match UnixStream::connect(socket).await {
        Ok(stream) => ask(stream, Method::GET, "/watchdog").await.is_ok(),
        Err(_) => false,
    }
}
