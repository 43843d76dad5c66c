//! Proving to systemd that the program gets on (`WatchdogSec=`), and not only that it is there.

use std::path::{Path, PathBuf};

use hyper::Method;
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::http::ask;

/// Proofs for each period that systemd waits, each in its third: one that fails is no harm yet.
const PROOFS: u32 = 3;

/// Has systemd's watchdog fed until `shutdown`, if there is one; a proof that fails feeds nothing, so that
/// after two in a row, or three, systemd ends the program and starts it again.
///
/// The proof is that the program answers on its control socket, as it does to its own subcommands, and that
/// its blocking work is done: for that its threads must run, its timers fire and its listeners accept.
pub fn keep_fed(socket: PathBuf, shutdown: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let pause = period / PROOFS;
    tokio::spawn(async move {
        let mut turns = interval_at(Instant::now() + pause, pause);
        let mut has_answered = false;
        while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
            if timeout(pause, gets_on(&socket, &mut has_answered)).await == Ok(true) {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            } else {
                warn!("this program does not get on as it should; if that lasts, systemd starts it again");
            }
        }
    });
}

/// An agent may be unable to listen at `socket`, and is of use all the same; but one that has answered there
/// must go on to.
async fn gets_on(socket: &Path, has_answered: &mut bool) -> bool {
    let works = spawn_blocking(|| ()).await.is_ok();
    let answers = answers(socket).await;
    *has_answered |= answers;
    works && (answers || !*has_answered)
}

/// Any answer will do: there is no such page.
async fn answers(socket: &Path) -> bool {
    match UnixStream::connect(socket).await {
        Ok(stream) => ask(stream, Method::GET, "/watchdog").await.is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn who_answered_once_must_go_on_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let mut has_answered = false;
        assert!(gets_on(&socket, &mut has_answered).await, "one that never could listen is of use");

        let listener = UnixListener::bind(&socket).expect("a socket");
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        });
        assert!(gets_on(&socket, &mut has_answered).await);
        assert!(has_answered);

        served.await.expect("it served");
        assert!(!gets_on(&socket, &mut has_answered).await, "nobody listens any more");
    }
}
