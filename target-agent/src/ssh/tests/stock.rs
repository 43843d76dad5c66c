//! The `ssh` that everybody has.

use super::*;

/// Runs the installed `ssh` against the server with `arguments` and `input`; its exit code and output.
async fn stock_ssh(rig: &Rig, arguments: &[&str], input: &'static [u8]) -> (Option<i32>, String) {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port().to_string();
    let server = rig.server.clone();
    tokio::spawn(async move { server.serve(listener.accept().await.expect("accept").0).await });
    let key = rig.authorized_keys.with_file_name("id");
    let text = rig.key.to_openssh(russh::keys::ssh_key::LineEnding::LF).expect("key");
    let _ = onionscrape::files::create_private(&key, text.as_bytes());
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    command.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-p", &port, "-i"]).arg(key);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut ssh = command.spawn().expect("ssh is installed");
        let mut stdin = ssh.stdin.take().expect("stdin");
        let _ = stdin.write_all(input);
        drop(stdin);
        let mut output = String::new();
        let _ = ssh.stdout.take().expect("stdout").read_to_string(&mut output);
        let _ = ssh.stderr.take().expect("stderr").read_to_string(&mut output);
        (ssh.wait().expect("ended").code(), output)
    });
    timeout(Duration::from_secs(20), run).await.expect("in time").expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_client_gets_both_kinds_of_channel_and_nothing_else() {
    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let rig = Rig::new().await;
    let address = format!("127.0.0.1:{}", rig.quick.port());
    for to in [address.as_str(), "quick:80"] {
        let (_, output) = stock_ssh(&rig, &["-W", to, "x@127.0.0.1"], REQUEST).await;
        println!("{to}: {output}");
        assert!(output.contains("200 OK") && output.contains("up 1"), "{to}: {output}");
    }
    for arguments in [
        &["-W", "localhost:22", "x@127.0.0.1"][..],
        &["x@127.0.0.1", "id"],
        &["-s", "x@127.0.0.1", "sftp"],
        &["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1", "x@127.0.0.1"],
    ] {
        let (code, output) = stock_ssh(&rig, arguments, b"").await;
        assert_ne!(code, Some(0), "{arguments:?}: {output}");
        println!("{arguments:?}: {code:?} {output}");
    }
}
