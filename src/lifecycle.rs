//! How a program starts, tells of itself, and stops.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Why a program ends with exit code 1: one line a mistake, made for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// A failure with the words of `error`.
    pub fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::config::Mistakes> for Failure {
    fn from(mistakes: crate::config::Mistakes) -> Self {
        Self::of(mistakes)
    }
}

impl From<crate::files::FileError> for Failure {
    fn from(error: crate::files::FileError) -> Self {
        Self::of(error)
    }
}

impl From<crate::tor::TorError> for Failure {
    fn from(error: crate::tor::TorError) -> Self {
        Self::of(error)
    }
}

/// Keeps secrets in the process: no core dumps, no tracing by other programs of the same user, and
/// a panic tells where it was but not what it was about, since that may be a key.
pub fn guard_secrets(program: &'static str) {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A system that refuses either is no worse off than without.
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        // Where that cannot be written either, another panic would abort the process.
        let _ = writeln!(io::stderr(), "{program}: an error of the program itself{place}; please report it");
    }));
}

/// Lets the process open as many files and connections as it may have (`ulimit -Hn`); the usual limit of 1024
/// is for programs that use select(2). Returns how many those are, `None` where the system sets no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum;
    }
    current
}

/// The exit code for a program's end, after its failure was printed to standard error.
pub fn exit_code(program: &str, ended: Result<ExitCode, Failure>) -> ExitCode {
    match ended {
        Ok(code) => code,
        Err(failure) => {
            for line in failure.0.lines() {
                eprintln!("{program}: {line}");
            }
            ExitCode::from(1)
        }
    }
}

/// A token that is cancelled by SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// When the system has no more room for signal handlers.
pub fn shutdown_on_signals() -> Result<CancellationToken, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                std::process::exit(1);
            }
            info!("stopping");
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            shutdown.cancel();
        }
    });
    Ok(token)
}

/// True once systemd was told that the program is ready.
static READY: AtomicBool = AtomicBool::new(false);

/// Tells systemd, if it started the program, that it is ready: its configuration holds and its listeners
/// are bound. Tor is not waited for, or a boot without a network would hang.
pub fn notify_ready() {
    READY.store(true, Ordering::Relaxed);
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells systemd, if it started the program, that it reads its configuration again, until the guard is
/// dropped. A program that is not ready yet says nothing: the end of it would make it ready.
pub fn reloading() -> Reloading {
    if READY.load(Ordering::Relaxed)
        && let Ok(now) = NotifyState::monotonic_usec_now()
    {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    Reloading
}

/// Tells systemd when the configuration was read again.
pub struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        if READY.load(Ordering::Relaxed) {
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
    }
}

/// What comes as SIGHUP, which would end the process otherwise.
pub struct Hangups(Signal);

impl Hangups {
    /// Takes them in from now on; needs a tokio runtime.
    ///
    /// # Errors
    /// When the system has no more room for signal handlers.
    pub fn listen() -> Result<Self, Failure> {
        signal(SignalKind::hangup()).map(Self).map_err(no_signals)
    }

    /// Acts at each, one after the other; once for all that came before this.
    pub fn each<F: Future<Output = ()> + Send>(mut self, mut act: impl FnMut() -> F + Send + 'static) {
        tokio::spawn(async move {
            while self.0.recv().await.is_some() {
                act().await;
            }
        });
    }
}

fn no_signals(error: io::Error) -> Failure {
    Failure(format!("signals cannot be received: {error}"))
}

/// Tells systemd, if it started the program, its state in one line.
pub fn notify_status(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn the_limit_of_descriptors_is_what_it_may_be() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Other tests run meanwhile, so it is lowered by little.
        let low = Rlimit { current: Some(maximum.map_or(1 << 20, |most| most - 1)), maximum };
        assert!(setrlimit(Resource::Nofile, low).is_ok());
        assert_eq!(raise_descriptor_limit(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
