//! OpenSSH's `sshd` on loopback with throwaway keys.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{Error, ports, wait};

/// A running `sshd`. Dropping it ends it and removes its keys; sessions that are
/// open end when their connections do.
#[derive(Debug)]
pub struct Sshd {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its host key as `ssh-ed25519 AAAA…`.
    pub host_key_public: String,
    /// Whom to log in as: the user who runs this program.
    pub user: String,
    /// The private key that logs in, an OpenSSH file without passphrase.
    pub user_key: PathBuf,
    process: Process,
    wrapper: Vec<OsString>,
    dir: TempDir,
}

/// Starts `sshd` with throwaway Ed25519 keys and waits until it answers.
///
/// `extra` are further lines of its configuration; where one repeats a keyword
/// that is set here, it wins. As root, `/run/sshd` is made if it is missing.
///
/// # Errors
///
/// [`Error::Missing`] if OpenSSH is not installed, [`Error::Ended`] if a line is
/// wrong, [`Error::Late`] after 10 s.
pub fn start(extra: &[&str]) -> Result<Sshd, Error> {
    start_within(&[], extra)
}

/// The same, run by a program that takes a command, such as nsenter with its options. The calling
/// thread has to be where that takes sshd: it looks whether sshd answers.
///
/// # Errors
///
/// As [`start`].
pub fn start_within(wrapper: &[OsString], extra: &[&str]) -> Result<Sshd, Error> {
    let dir = tempfile::Builder::new()
        .prefix("tornet-sshd-")
        .tempdir()
        .map_err(Error::system("make a temporary directory"))?;
    let path = dir.path();
    let host_key = path.join("host_key");
    let user_key = path.join("user_key");
    let host_key_public = make_key(&host_key)?;
    let authorized = path.join("authorized_keys");
    write(&authorized, &format!("{}\n", make_key(&user_key)?))?;
    let user = process::run(Command::new("id").arg("-un"), "")?.trim().to_owned();
    if user == "root" {
        let needed = Path::new("/run/sshd");
        fs::create_dir_all(needed).map_err(Error::file("make", needed))?;
    }
    let reserved = ports::reserve()?;
    let addr = reserved.addr();
    // The first mention of a keyword counts, so `extra` comes first.
    let text = format!(
        "{extra}\nListenAddress {addr}\nHostKey {host}\nAuthorizedKeysFile {authorized}\nPidFile {pid}\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n",
        extra = extra.join("\n"),
        host = quoted(&host_key),
        authorized = quoted(&authorized),
        pid = quoted(&path.join("pid")),
    );
    let config = path.join("sshd_config");
    write(&config, &text)?;
    reserved.release();
    let process = run(wrapper, path)?;
    wait::until("the start of sshd", Duration::from_secs(10), Duration::from_millis(20), |_| {
        process.check("sshd")?;
        Ok(greets(addr).then_some(()))
    })?;
    Ok(Sshd { addr, host_key_public, user, user_key, process, wrapper: wrapper.to_vec(), dir })
}

impl Sshd {
    /// Its process, with its log; also for killing and stopping it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it and starts it again with the same keys; does not wait until it answers. Sessions that
    /// are open end when their connections do.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it cannot be started.
    pub fn relaunch(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = run(&self.wrapper, self.dir.path())?;
        Ok(())
    }
}

/// Starts what a folder has the configuration of. It wants to be called by its full name.
fn run(wrapper: &[OsString], dir: &Path) -> Result<Process, Error> {
    let sshd = process::find("sshd")?.into_os_string();
    let mut words = wrapper.iter().chain([&sshd]);
    let mut command = Command::new(words.next().unwrap_or(&sshd));
    command.args(words).args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
    process::spawn(&command, &dir.join("log"))
}

/// Makes a key pair and returns the public key without its comment.
fn make_key(path: &Path) -> Result<String, Error> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f"]).arg(path);
    process::run(&keygen, "")?;
    let public = path.with_extension("pub");
    let text = fs::read_to_string(&public).map_err(Error::file("read", &public))?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn greets(addr: SocketAddr) -> bool {
    let patience = Duration::from_secs(5);
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, patience) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_stock_ssh_logs_in_and_extra_lines_count() {
        let sshd = start(&["Banner /etc/hostname", "MaxSessions 3"]).unwrap();
        let known = tempfile::NamedTempFile::new().unwrap();
        let line = format!("[127.0.0.1]:{} {}\n", sshd.addr.port(), sshd.host_key_public);
        fs::write(known.path(), line).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.path().display()));
        ssh.arg("-i").arg(&sshd.user_key).args(["-l", &sshd.user, "-p", &sshd.addr.port().to_string()]);
        ssh.args(["127.0.0.1", "echo", "hello"]);
        assert_eq!(process::run(&ssh, "").unwrap(), "hello\n");
        assert!(!start(&["NoSuchKeyword yes"]).unwrap_err().to_string().is_empty());
    }
}
