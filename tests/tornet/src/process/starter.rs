use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::Error;

/// The full path of `program`.
///
/// # Errors
///
/// [`Error::Missing`], with the name of Debian's package where it is known.
pub fn find(program: &str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::Missing { program: program.to_owned(), remedy: remedy(program) })
}

fn remedy(program: &str) -> String {
    let package = match Path::new(program).file_name().and_then(|name| name.to_str()) {
        Some("tor" | "tor-gencert") => "tor",
        Some("sshd") => "openssh-server",
        Some("ssh" | "ssh-keygen") => "openssh-client",
        Some("setpriv") => "util-linux",
        Some("socat") => "socat",
        Some("prometheus" | "promtool") => "prometheus",
        Some("prometheus-node-exporter") => "prometheus-node-exporter",
        _ => return "install it or put its directory into PATH".to_owned(),
    };
    format!("apt-get install {package}")
}

/// Run by `sh` with the owner's process id and a command: becomes the command if the owner lives. One that
/// had died before `setpriv` asked for the signal would never be followed.
const IF_OWNED: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// The same command as one that ends with its owner and leads a process group.
pub(super) fn wrap(command: &Command) -> Result<Command, Error> {
    let program = find(&command.get_program().to_string_lossy())?;
    let mut wrapped = Command::new(find("setpriv")?);
    wrapped.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", IF_OWNED]);
    wrapped.arg(std::process::id().to_string()).arg(program).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped.process_group(0);
    Ok(wrapped)
}

/// What the starting thread is asked: a command, and where to send the child.
pub(super) type Job = (Command, SyncSender<std::io::Result<Child>>);

/// Has the one thread start a command.
pub(super) fn start(command: Command) -> std::io::Result<Child> {
    let gone = || std::io::Error::other("this program is ending");
    let (reply, answer) = sync_channel(1);
    let jobs = spawner().clone().ok_or_else(gone)?;
    jobs.send((command, reply)).map_err(|_| gone())?;
    drop(jobs);
    answer.recv().map_err(|_| gone())?
}

/// The way to the thread that starts children; empty when all were ended.
pub(super) fn spawner() -> MutexGuard<'static, Option<Sender<Job>>> {
    static SPAWNER: OnceLock<Mutex<Option<Sender<Job>>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel();
        let thread = thread::Builder::new().name("children".to_owned()).spawn(move || serve(&jobs));
        Mutex::new(thread.is_ok().then_some(sender))
    });
    spawner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(jobs: &Receiver<Job>) {
    for (mut command, reply) in jobs {
        if let Err(lost) = reply.send(command.spawn())
            && let Ok(mut child) = lost.0
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_missing_program_comes_with_what_to_do() {
        let missing = find("tor-gencert-of-nobody").unwrap_err().to_string();
        assert_eq!(missing, "tor-gencert-of-nobody not found: install it or put its directory into PATH");
        assert_eq!(remedy("/usr/sbin/sshd"), "apt-get install openssh-server");
    }
}
