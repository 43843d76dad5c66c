//! Exporters that speak TLS, asked by the bridge or by the agent.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tornet::process::{self, Process};

use crate::http::{Scraped, scrape};
use crate::world::{World, run};

/// A node_exporter with a certificate of its own for `exporter.example`, in `exporter.crt`.
pub fn start(folder: &Path) -> (SocketAddr, Process) {
    certify(folder);
    let web = folder.join("web.yml");
    fs::write(&web, "tls_server_config: {cert_file: exporter.crt, key_file: exporter.key}\n").unwrap();
    let address = tornet::ports::reserve().unwrap().addr();
    let mut command = Command::new(process::find("prometheus-node-exporter").unwrap());
    command
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--web.config.file={}", web.display()));
    (address, process::spawn(&command, &folder.join("node_exporter.log")).unwrap())
}

/// A new certificate, which node_exporter shows from the next connection on.
fn certify(folder: &Path) {
    let certified = rcgen::generate_simple_self_signed(["exporter.example".to_owned()]).unwrap();
    fs::write(folder.join("exporter.crt"), certified.cert.pem()).unwrap();
    fs::write(folder.join("exporter.key"), certified.signing_key.serialize_pem()).unwrap();
}

/// Answers whoever connects as a server does that speaks plain HTTP and takes a handshake for a request.
/// (A real one may wait for the end of a line in it.)
pub async fn plain(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(answer.as_bytes()).await;
                while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

fn is_failure(answered: &Scraped, reason: &str) {
    assert_eq!((answered.status, answered.reason.as_str()), (502, reason));
    assert!(reason.len() <= 80);
}

pub async fn exporters_with_tls(world: &World) {
    let folder = world.folder();
    let (address, _exporter) = start(&folder);
    world.until("the exporter listens", || std::net::TcpStream::connect(address).is_ok()).await;
    let plain = plain("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let ca = folder.join("ca.pem");
    fs::copy(folder.join("exporter.crt"), &ca).unwrap();
    let secure = |name: &str, of: SocketAddr, keys: &str| {
        format!(
            "name = {name:?}\naddress = \"{of}\"\ntls = true\nserver_name = \"exporter.example\"\n{keys}\n"
        )
    };
    let (by_ca, by_nothing) = (format!("ca_file = {ca:?}"), "insecure_skip_verify = true");

    // The agent speaks TLS with some; to the others the bridge asks for a channel and speaks it itself.
    let exporters: String = [
        secure("good", address, &by_ca),
        secure("skips", address, by_nothing),
        secure("system", address, ""),
        secure("plain", plain, by_nothing),
    ]
    .map(|keys| format!("[[exporter]]\n{keys}"))
    .concat();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n{exporters}", world.key().public_line());
    let device = world.device_with(&ssh, &[("raw", address), ("raw-plain", plain)]).await;
    let of_target = |keys: String| format!("[[target.exporter]]\nlisten = \"127.0.0.1:0\"\n{keys}");
    let inside = [
        secure("inside-good", address, &by_ca),
        secure("inside-skips", address, by_nothing),
        secure("inside-system", address, ""),
        secure("inside-plain", plain, by_nothing),
        secure("inside-other", address, &by_ca).replace("exporter.example", "other.example"),
    ]
    .map(of_target)
    .concat();
    let targets = world.target("backpack", &device, "", &["good", "skips", "system", "plain"]) + &inside;
    let monitor = world.monitor_of("", &targets).await;
    monitor.connected("backpack").await;
    let ask = async |name: &str| scrape(&monitor.address("backpack", name)).await;

    for name in ["good", "skips", "inside-good", "inside-skips"] {
        let answered = ask(name).await;
        assert_eq!(answered.status, 200, "{name}: {answered:?}");
        assert!(answered.text().contains("\nnode_load1 "), "{name}");
    }
    const UNKNOWN: &str = "certificate of an unknown authority, see ca_file";
    is_failure(&ask("system").await, &format!("exporter system: {UNKNOWN}"));
    is_failure(&ask("inside-system").await, &format!("exporter inside-system: {UNKNOWN}"));
    is_failure(&ask("plain").await, "exporter plain: does not speak TLS");
    is_failure(&ask("inside-plain").await, "exporter inside-plain: does not speak TLS");
    is_failure(&ask("inside-other").await, "exporter inside-other: certificate is not for server_name");
    let metrics = monitor.metrics().await;
    let counted = "onionscrape_scrape_failures_total{target=\"backpack\",reason=\"tls\"} 5\n";
    assert!(metrics.contains(counted), "{metrics}");

    // Another certificate: refused until the file of authorities has it.
    certify(&folder);
    monitor.bridge.fleet().target("backpack").unwrap().redial().await;
    monitor.connected("backpack").await;
    is_failure(&ask("inside-good").await, &format!("exporter inside-good: {UNKNOWN}"));
    is_failure(&ask("good").await, &format!("exporter good: {UNKNOWN}"));
    fs::copy(folder.join("exporter.crt"), &ca).unwrap();
    // Whether the bridge has seen it by itself or is told to, it counts after this.
    monitor.bridge.reloader().reload().await.unwrap();
    monitor.connected("backpack").await;
    for name in ["inside-good", "good"] {
        assert_eq!(ask(name).await.status, 200, "{name}");
    }
    // A file with a mistake changes nothing but is told.
    fs::write(&ca, "garbage").unwrap();
    let why = monitor.bridge.reloader().reload().await.unwrap_err();
    assert_eq!(why.0, format!("{}: has no certificate in PEM", ca.display()));
    assert_eq!(ask("inside-good").await.status, 200, "what was before holds");

    let checked = run("scraper-bridge", &["check", "--config.file", monitor.file.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("has no certificate in PEM"), "{checked:?}");
    fs::copy(folder.join("exporter.crt"), &ca).unwrap();
    let checked = run("scraper-bridge", &["check", "--config.file", monitor.file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let warning = "warning: target backpack, exporter inside-skips has insecure_skip_verify";
    assert!(checked.status.success() && said.contains(warning), "{checked:?}");
}
