//! Logins over streams in memory: who is let on, and with what the bridge logs in. Keys,
//! certificates and the ssh-agent are OpenSSH's own.

mod host_keys;
mod hostile;
mod logins;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use onionscrape::config;
use russh::keys::{Certificate, PrivateKey};
use russh::server::{self, Auth, VerifiedPublicKey};
use tokio::io::duplex;

use super::*;
use crate::config::{BridgeConfig, Dialled};
use crate::succession::Succession;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// A folder with keys in it, and a host that answers with some of them.
struct Rig {
    folder: tempfile::TempDir,
    /// Names of the host's keys; each with its certificate, if there is one.
    shown: Vec<&'static str>,
    /// The keys and the serial numbers of the certificates that were shown with a right signature.
    tried: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let rig = Self { folder, shown: vec!["host"], tried: Arc::default() };
        for name in ["host", "user", "authority"] {
            rig.key(name, "ed25519", "");
        }
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keygen(&self, arguments: &[&str]) {
        run(Command::new("ssh-keygen").args(arguments).current_dir(self.folder.path()));
    }

    fn key(&self, name: &str, kind: &str, passphrase: &str) {
        self.keygen(&["-q", "-t", kind, "-N", passphrase, "-C", name, "-f", name]);
    }

    /// `ssh-ed25519 AAAA…`, without the comment.
    fn line(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.pub"))).expect("public key");
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).expect("chmod");
    }

    /// The only target of a configuration file in the folder, with these keys.
    fn target(&self, keys: &str) -> Dialled {
        let address =
            if keys.contains("address = ") { String::new() } else { format!("address = {ONION:?}\n") };
        let text = format!(
            "state_dir = {:?}\n[[target]]\nname = \"a\"\n{address}{keys}\n\
             [[target.exporter]]\nname = \"node\"\nlisten = \"127.0.0.1:0\"\n",
            self.path("state"),
        );
        self.write("bridge.toml", &text);
        let config = BridgeConfig::read(Some(&self.path("bridge.toml")), None);
        let mut config = config.unwrap_or_else(|mistakes: config::Mistakes| unreachable!("{mistakes}"));
        config.targets.remove(0).transport.dialled().expect("one that is dialled").clone()
    }

    async fn login(&self, keys: &str) -> Result<(), LoginFailure> {
        let with_key = format!("{keys}\nkey_file = \"user\"");
        self.login_by(if keys.contains("key_file") || keys.contains("ssh_agent") { keys } else { &with_key })
            .await
    }

    async fn login_by(&self, keys: &str) -> Result<(), LoginFailure> {
        let target = self.target(keys);
        let key = target.key(&self.path("state")).expect("a key to log in with");
        let (near, far) = duplex(64 << 10);
        let server = tokio::spawn(server::run_stream(self.server(), far, Door { tried: self.tried.clone() }));
        let succession = Succession::open(self.path("succession.toml"));
        let host_keys = Arc::new(HostKeys::new(&"a".parse().expect("name"), &target, succession));
        let login = Session::login(near, &host_keys, &target.user, &key).await;
        server.abort();
        login.map(drop)
    }

    fn server(&self) -> Arc<server::Config> {
        let read = |name: &str| fs::read_to_string(self.path(name)).ok();
        let keys = self.shown.iter().filter_map(|name| PrivateKey::from_openssh(read(name)?).ok());
        let certificate =
            |name: &&str| Certificate::from_openssh(read(&format!("{name}-cert.pub"))?.trim()).ok();
        Arc::new(server::Config {
            keys: keys.collect(),
            certificates: self.shown.iter().filter_map(certificate).collect(),
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        })
    }

    fn tried(&self) -> Vec<String> {
        std::mem::take(&mut self.tried.lock().expect("lock"))
    }
}

/// Lets in every key, and every certificate for a user named "scrape".
struct Door {
    tried: Arc<Mutex<Vec<String>>>,
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.tried.lock().expect("lock").push(key.public_key.to_openssh().expect("line"));
        Ok(Auth::Accept)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        shown: &Certificate,
    ) -> Result<Auth, russh::Error> {
        self.tried.lock().expect("lock").push(format!("certificate {}", shown.serial()));
        Ok(if shown.valid_principals().iter().any(|named| named == user) {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("OpenSSH is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
