//! What the bridge logs in with.

use std::path::Path;
use std::process::Child;

use super::*;

/// A real ssh-agent; it ends when dropped.
struct RealSshAgent {
    child: Child,
    socket: PathBuf,
}

impl RealSshAgent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("ssh-agent.sock");
        let mut command = Command::new("ssh-agent");
        let child =
            command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().expect("ssh-agent");
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, socket }
    }

    fn add(&self, key: &Path) {
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket));
    }
}

impl Drop for RealSshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn locked_keys_and_user_certificates() {
    let rig = Rig::new();
    let host = format!("host_key = {:?}\n", rig.line("host"));
    rig.key("locked", "ed25519", "open sesame");
    rig.write("passphrase", "open sesame\n");
    let locked = format!("{host}key_file = \"locked\"\n");
    assert_eq!(rig.login_by(&format!("{locked}key_passphrase_file = \"passphrase\"")).await, Ok(()));
    rig.write("passphrase", "open barley\n");
    let target = rig.target(&format!("{locked}key_passphrase_file = \"passphrase\""));
    assert!(target.key(&rig.path("state")).expect_err("wrong").to_string().contains("another passphrase"));
    let said = rig.target(&locked).key(&rig.path("state")).expect_err("none").to_string();
    assert!(said.contains("key_passphrase_file"), "{said}");

    let certified = format!("{host}key_file = \"user\"\ncertificate_file = \"user-cert.pub\"");
    rig.keygen(&["-q", "-s", "authority", "-I", "user", "-n", "scrape", "-z", "5", "user.pub"]);
    rig.tried();
    assert_eq!(rig.login_by(&certified).await, Ok(()));
    assert_eq!(rig.tried(), ["certificate 5"]);
    rig.keygen(&["-q", "-s", "authority", "-I", "user", "-n", "somebody", "user.pub"]);
    assert_eq!(rig.login_by(&certified).await, Err(LoginFailure::Denied));
}

#[tokio::test]
async fn a_real_ssh_agent_signs() {
    let rig = Rig::new();
    let host = format!("host_key = {:?}\n", rig.line("host"));
    let agent = RealSshAgent::start(rig.folder.path());
    let by_agent = format!("{host}ssh_agent = {:?}\n", agent.socket);
    assert_eq!(rig.login(&by_agent).await, Err(LoginFailure::SshAgent), "it has no key");
    rig.key("rsa", "rsa", "");
    rig.key("ecdsa", "ecdsa", "");
    for name in ["rsa", "ecdsa", "user"] {
        agent.add(&rig.path(name));
    }
    rig.tried();
    assert_eq!(rig.login(&by_agent).await, Ok(()));
    assert_eq!(rig.tried(), [rig.line("ecdsa")], "the first that can be used");
    assert_eq!(rig.login(&format!("{by_agent}key_file = \"user.pub\"")).await, Ok(()));
    assert_eq!(rig.tried(), [rig.line("user")]);
    rig.key("elsewhere", "ed25519", "");
    let elsewhere = format!("{by_agent}key_file = \"elsewhere.pub\"");
    assert_eq!(rig.login(&elsewhere).await, Err(LoginFailure::SshAgent));
    // The agent knows the key, but not the certificate, which is in a file.
    rig.keygen(&["-q", "-s", "authority", "-I", "user", "-n", "scrape", "-z", "6", "user.pub"]);
    let certified = format!("{by_agent}certificate_file = \"user-cert.pub\"");
    assert_eq!(rig.login(&certified).await, Ok(()));
    assert_eq!(rig.tried(), ["certificate 6"]);
    drop(agent);
    assert_eq!(rig.login(&by_agent).await, Err(LoginFailure::SshAgent), "nobody answers");
}

#[tokio::test(start_paused = true)]
async fn an_ssh_agent_that_does_not_answer_is_not_waited_for() {
    let rig = Rig::new();
    let socket = rig.path("silent.sock");
    let _silent = tokio::net::UnixListener::bind(&socket).expect("bound");
    let keys = format!("host_key = {:?}\nssh_agent = {socket:?}\n", rig.line("host"));
    let started = Instant::now();
    assert_eq!(rig.login(&keys).await, Err(LoginFailure::SshAgent));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
