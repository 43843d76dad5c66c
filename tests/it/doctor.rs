//! `doctor` of both programs, and `target-agent status`: each hop on a real way, and each that breaks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use onionscrape::ssh::KeyFile;
use serde_json::Value;

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::reverse::{Router, known_hosts, reverse};
use crate::transports::{an_sshd, at};
use crate::world::{Device, World, run};

/// The hops from this machine to a scrape, as they are called and in their order.
const HOPS: [&str; 12] = [
    "configuration",
    "bridge",
    "clock",
    "tor",
    "descriptor",
    "rendezvous",
    "stream",
    "ssh key exchange",
    "host key",
    "authorisation",
    "channel to app",
    "exporter app",
];

/// What a doctor found, as it prints it for scripts.
pub struct Examined(Value, Output);

impl Examined {
    pub fn by(program: &str, arguments: &[&str], file: &Path) -> Self {
        let file = file.to_str().unwrap();
        let output = run(program, &[&["doctor", "--json", "--config.file", file], arguments].concat());
        let json = serde_json::from_slice(&output.stdout);
        Self(json.unwrap_or_else(|error| panic!("{error}: {output:?}")), output)
    }

    fn findings(&self) -> &[Value] {
        self.0["findings"].as_array().unwrap()
    }

    fn hops(&self) -> Vec<&str> {
        self.findings().iter().map(|finding| finding["hop"].as_str().unwrap()).collect()
    }

    pub fn hop(&self, name: &str) -> &Value {
        let found = self.findings().iter().find(|finding| finding["hop"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    /// The way works until `hop`, which does not, for this reason and with this remedy.
    #[track_caller]
    fn stops_at(&self, hop: &str, why: &str, remedy: &str) {
        assert_eq!((self.1.status.code(), &self.0["well"]), (Some(1), &false.into()), "{}", self.0);
        let at = HOPS.iter().position(|known| *known == hop).unwrap();
        let hops = self.hops();
        assert_eq!(hops[..=at], HOPS[..=at], "{}", self.0);
        // Only the sum is left.
        assert_eq!(hops[at + 1..], ["target"], "{}", self.0);
        for known in &HOPS[..at] {
            assert_ne!(self.hop(known)["outcome"], "failed", "{}", self.0);
        }
        let failed = self.hop(hop);
        assert_eq!(failed["outcome"], "failed", "{}", self.0);
        assert!(failed["found"].as_str().unwrap().contains(why), "{failed}");
        assert!(failed["remedy"].as_str().unwrap().contains(remedy), "{failed}");
    }
}

pub async fn the_bridges_stops_where_the_way_does(world: &World) {
    let exporter = Exporter::start(Manner::Good("# TYPE a gauge\na 1\na{b=\"c\"} 2\n".into())).await;
    let nobody = tornet::ports::reserve().unwrap().addr();
    let device = world.device(&[("app", exporter.address), ("down", nobody)]).await;
    let stranger = world.folder().join("key");
    KeyFile::open_or_make(&stranger, "").unwrap();
    let named = |name: &str| world.target(name, &device, "", &["app"]);
    let targets = [
        named("well"),
        world.target("half", &device, "", &["down", "app"]),
        named("wrong").replace(&device.host_key, &world.key().fingerprint()),
        named("unknown").replace(world.key_file().to_str().unwrap(), stranger.to_str().unwrap()),
        named("off").replace(&device.onion, &never_published(world)),
    ];
    let monitor = world.monitor_of("", &targets.concat()).await;
    for name in ["well", "half"] {
        monitor.connected(name).await;
    }
    let pool = |name: &str| {
        let state = monitor.bridge.fleet().target(name).unwrap().state();
        let pool = state.borrow().pool().map(Arc::clone);
        pool.unwrap_or_else(|| panic!("{name} is not up"))
    };
    let kept = pool("well");
    let examined = |name: &str| Examined::by("scraper-bridge", &[name], &monitor.file);

    let well = examined("well");
    assert_eq!((well.1.status.code(), &well.0["well"]), (Some(0), &true.into()), "{}", well.0);
    assert_eq!(well.hops(), [&HOPS[..], &["kept session", "target"]].concat(), "{}", well.0);
    assert_eq!(well.hop("bridge")["found"], "one is running, and looks for itself");
    assert!(well.hop("exporter app")["found"].as_str().unwrap().starts_with("samples: 2, "), "{}", well.0);
    for hop in ["stream", "ssh key exchange", "authorisation", "channel to app", "exporter app", "target"] {
        assert!(well.hop(hop)["seconds"].as_f64().unwrap() > 0.0, "{hop}: {}", well.0);
    }
    assert!(well.hop("kept session")["found"].as_str().unwrap().starts_with("up for "), "{}", well.0);

    let half = examined("half");
    assert_eq!(half.1.status.code(), Some(1), "{}", half.0);
    assert_eq!(half.hop("exporter down")["found"], "exporter down refused the connection");
    assert!(half.hop("exporter down")["remedy"].as_str().unwrap().contains("target-agent doctor"));
    // One exporter that is down keeps nobody from the others.
    assert_eq!(half.hop("exporter app")["outcome"], "passed", "{}", half.0);

    examined("wrong").stops_at("host key", "ssh host key mismatch", "compare target-agent hostname --json");
    examined("unknown").stops_at("authorisation", "does not know this bridge's key", "target-agent bridges");
    examined("off").stops_at("descriptor", "the device is off or offline", "switch the device on");

    // The session that is kept knows nothing of all this, and nothing was counted.
    assert!(Arc::ptr_eq(&kept, &pool("well")), "the session is another one");
    let metrics = monitor.metrics().await;
    for line in [
        "onionscrape_target_connects_total{target=\"well\"} 1\n",
        "onionscrape_scrape_requests_total{target=\"well\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is missing in:\n{metrics}");
    }
    drop(kept);
    assert_eq!(scrape(&monitor.address("well", "app")).await.status, 200);

    // All at once, for a person.
    let file = monitor.file.clone();
    let all = run("scraper-bridge", &["doctor", "--config.file", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&all.stdout).into_owned();
    assert_eq!(all.status.code(), Some(1), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains(".onion"), "{text}");
    let table = &text[text.find("TARGET ").expect("a table")..];
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("well ").contains(" ok ") && row("well ").ends_with("all well"), "{text}");
    for (name, hop) in [
        ("half", "exporter down"),
        ("wrong", "host key"),
        ("unknown", "authorisation"),
        ("off", "descriptor"),
    ] {
        assert!(row(name).contains("FAILED") && row(name).contains(hop), "{text}");
    }
    assert!(text.contains("        switch the device on"), "the remedy is below: {text}");

    // And without a running bridge.
    drop(monitor);
    let lock = fs::File::open(file.with_file_name("bridge").join("lock")).unwrap();
    world.until("the bridge has let go of its state", || lock.try_lock().is_ok()).await;
    drop(lock);
    let well = Examined::by("scraper-bridge", &["well"], &file);
    assert_eq!(well.hops(), [&HOPS[..], &["target"]].concat(), "{}", well.0);
    assert_eq!((well.1.status.code(), &well.hop("bridge")["outcome"]), (Some(0), &"skipped".into()));
    Examined::by("scraper-bridge", &["wrong"], &file).stops_at("host key", "mismatch", "compare");

    let none = run("scraper-bridge", &["doctor", "nobody", "--config.file", file.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("configured are: well, half"), "{none:?}");
    fs::write(&file, "proxi = 1\n").unwrap();
    let broken = Examined::by("scraper-bridge", &[], &file);
    assert_eq!((broken.1.status.code(), broken.hops()), (Some(1), vec!["configuration"]));
    assert!(
        broken.hop("configuration")["found"].as_str().unwrap().contains("bridge.toml:1:1"),
        "{}",
        broken.0
    );
}

pub async fn the_bridges_on_other_ways(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let sshd = an_sshd();
    let pinned = format!("host_key = {:?}", sshd.host_key_public);
    let other = format!("host_key = {:?}", world.key().public_line());
    let closed = tornet::ports::reserve().unwrap().addr();
    let port = sshd.addr.port().to_string();
    let at = |name: &str, host: &str, more: &str| at(name, host, &sshd, more, exporter.address);
    let router = Router::new(world);
    let (reverse, listen) = reverse();
    let targets = [
        at("well", "127.0.0.1", &pinned),
        at("off", "127.0.0.1", &pinned).replace(&port, &closed.port().to_string()),
        at("proxied", "127.0.0.1", &format!("{pinned}\nproxy = \"socks5://{closed}\"")),
        at("other", "127.0.0.1", &other),
        router.target("router", &[("app", 20001)]),
    ];
    let monitor = world.monitor_of(&reverse, &targets.concat()).await;
    monitor.connected("well").await;
    let examined = |name: &str| Examined::by("scraper-bridge", &[name], &monitor.file);

    let well = examined("well");
    assert_eq!(well.1.status.code(), Some(0), "{}", well.0);
    let hops: Vec<_> = well.hops().into_iter().skip_while(|hop| *hop != "connection").collect();
    let expected =
        ["connection", "ssh key exchange", "host key", "authorisation", "channel to app", "exporter app"];
    assert_eq!(hops, [&expected[..], &["kept session", "target"]].concat(), "{}", well.0);
    assert!(!well.hops().contains(&"descriptor"), "{}", well.0);
    for (name, hop, why, remedy) in [
        ("off", "connection", "connection refused", "look at its sshd"),
        ("proxied", "proxy", "no way to the proxy", "the target's proxy"),
        ("other", "host key", "ssh host key mismatch", "ssh_host_*_key.pub"),
        ("router", "arrival", "the device has not connected", "-R 20001:localhost:PORT_OF_APP"),
    ] {
        let found = examined(name);
        assert_eq!(found.1.status.code(), Some(1), "{name}: {}", found.0);
        let failed: Vec<_> = found.findings().iter().filter(|one| one["outcome"] == "failed").collect();
        assert_eq!((&failed[0]["hop"], failed.len()), (&hop.into(), 2), "{name}: {}", found.0);
        for (key, part) in [("found", why), ("remedy", remedy)] {
            assert!(failed[0][key].as_str().unwrap().contains(part), "{name}: {}", failed[0]);
        }
    }

    let _ssh = router.forward(&known_hosts(&monitor.file), listen, 20001, exporter.address);
    monitor.connected("router").await;
    let came = examined("router");
    assert_eq!(came.1.status.code(), Some(0), "{}", came.0);
    let hops: Vec<_> = came.hops().into_iter().skip_while(|hop| *hop != "arrival").collect();
    assert_eq!(hops, ["arrival", "channel to app", "exporter app", "kept session", "target"], "{}", came.0);
    // It is the session that is kept, and it is still there.
    assert_eq!(scrape(&monitor.address("router", "app")).await.text(), "a 1\n");
    assert!(monitor.bridge.tor().started().is_none(), "Tor was started");
}

pub async fn the_agents_and_its_status(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let nobody = tornet::ports::reserve().unwrap().addr();
    let folder = world.folder();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let exporters = [("app", exporter.address), ("down", nobody)];
    let device = world.device_in(folder.clone(), &ssh, &exporters).await;
    let file = folder.join("agent.toml");
    let monitor = world.monitor(&[("backpack", &device, &["app", "down"])]).await;
    monitor.connected("backpack").await;
    for exporter in ["app", "down"] {
        scrape(&monitor.address("backpack", exporter)).await;
    }
    let socket = folder.join("agent/control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let status = |more: &[&str]| {
        run("target-agent", &[&["status", "--config.file", file.to_str().unwrap()], more].concat())
    };
    let shown = status(&[]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("state ").contains("reachable for "), "{text}");
    assert!(line("sessions ").ends_with(" 1") && line("tor ").contains("Tor is ready"), "{text}");
    assert!(line("monitor ").contains(" ago "), "{text}");
    assert!(line("app ").contains(" ago ") && line("app ").ends_with(" good"), "{text}");
    assert!(line("down ").ends_with(" refused the connection"), "{text}");
    assert!(line("host ").contains(" never "), "{text}");
    let json: Value = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    assert_eq!((&json["state"], &json["sessions"]), (&"reachable".into(), &1.into()));
    assert_eq!((&json["clock"], &json["rotations"]), (&Value::Null, &Value::Array(vec![])));

    let examined = Examined::by("target-agent", &[], &file);
    let hops = [
        "configuration",
        "state directory",
        "agent",
        "clock",
        "tor",
        "publication",
        "self-dial",
        "ssh",
        "authorised keys",
        "exporter app",
        "exporter down",
        "exporter host",
    ];
    assert_eq!(examined.hops(), hops, "{}", examined.0);
    assert_eq!(examined.1.status.code(), Some(1), "{}", examined.0);
    for hop in hops.into_iter().filter(|hop| *hop != "exporter down") {
        assert_eq!(examined.hop(hop)["outcome"], "passed", "{}", examined.0);
    }
    assert_eq!(examined.hop("ssh")["found"], "answers with this device's host key");
    assert!(examined.hop("exporter app")["found"].as_str().unwrap().starts_with("samples: 1, "));
    assert!(examined.hop("exporter down")["remedy"].as_str().unwrap().contains("start the exporter"));
    let printed = run("target-agent", &["doctor", "--config.file", file.to_str().unwrap()]);
    let text = [text.as_bytes(), &printed.stdout, examined.0.to_string().as_bytes()].concat();
    assert!(!String::from_utf8_lossy(&text).contains(&device.onion[..20]), "only hostname names the address");

    // Without an agent it goes on as far as it can, and publishes nothing.
    stopped(world, device, &folder).await;
    let gone = status(&[]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no agent is running on"), "{gone:?}");
    let examined = Examined::by("target-agent", &[], &file);
    let hops: Vec<_> =
        hops.into_iter().filter(|hop| !["publication", "self-dial", "ssh"].contains(hop)).collect();
    assert_eq!(examined.hops(), hops, "{}", examined.0);
    assert!(examined.hop("agent")["remedy"].as_str().unwrap().contains("target-agent run"), "{}", examined.0);
    for hop in ["tor", "authorised keys", "exporter app"] {
        assert_eq!(examined.hop(hop)["outcome"], "passed", "{}", examined.0);
    }
    // A key that others can read stops everything, and stays as it is.
    let key = folder.join("agent/ssh_host_ed25519_key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let loose = Examined::by("target-agent", &[], &file);
    assert_eq!(loose.hops(), ["configuration", "state directory"], "{}", loose.0);
    assert!(loose.hop("state directory")["found"].as_str().unwrap().contains("chmod 600"), "{}", loose.0);
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o644);
}

async fn stopped(world: &World, device: Device, folder: &Path) {
    device.stop().await;
    let lock = fs::File::open(folder.join("agent/lock")).unwrap();
    world.until("the agent has let go of its state", || lock.try_lock().is_ok()).await;
}

/// An onion address that nobody has published.
fn never_published(world: &World) -> String {
    let state = world.folder().join("agent");
    let printed = run("target-agent", &["hostname", "--state-dir", state.to_str().unwrap()]);
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}
