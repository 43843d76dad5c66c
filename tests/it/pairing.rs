//! From nothing to a scrape with one copied line, and who is kept out.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use onionscrape::ssh::KeyFile;
use onionscrape::ticket::Ticket;
use onionscrape::tor::ClientAuthKey;
use scraper_bridge::config::{BridgeConfig, Listen};
use scraper_bridge::target::State;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tornet::{ClientOptions, process, socks};

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::monitoring::promtool;
use crate::paired::{Device, add, bridge, text};
use crate::world::{World, run};

pub async fn one_copied_line_pairs(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let other = Exporter::start(Manner::Good("b 1\n".into())).await;
    let device = Device::start(world, &[("app", exporter.address), ("other", other.address)]).await;
    device.reachable(world).await;
    let folder = world.folder();
    let file = world.bridge_file(&folder, "", "");
    let running = bridge(&file).await;
    let ticket = device.ticket(&["--name", "home", "--exporters", "app"]);

    // A running bridge takes the target up without a restart, and its first scrape works.
    let added = add(&file, &format!("{ticket}\n"), &["--name", "backpack", "--with-agent"]);
    let (out, said) = (text(&added.stdout), text(&added.stderr));
    assert!(added.status.success(), "{said}");
    assert!(said.contains("the running bridge has taken it up"), "{said}");
    let places =
        out.split_whitespace().filter_map(|word| word.strip_prefix("http://")?.strip_suffix("/metrics"));
    let [address, own] = places.collect::<Vec<_>>()[..] else { panic!("where Prometheus finds it: {out}") };
    let mut state = running.bridge.fleet().target("backpack").expect("taken up").state();
    let up = state.wait_for(|state| state.pool().is_some());
    tokio::time::timeout(Duration::from_secs(90), up).await.expect("connected").unwrap();
    assert_eq!(scrape(address).await.text(), "a 1\n");
    assert!(scrape(own).await.text().contains("\nonionscrape_agent_state{"), "the agent's own metrics");
    let (_, config) = out.split_once("of one job:\n\n").expect("for prometheus.yml");
    for (exporter, place) in [("app", address), ("agent", own)] {
        let labels = format!("labels: {{instance: 'backpack', exporter: '{exporter}'}}");
        assert!(config.contains(&format!("- targets: ['{place}']\n        {labels}\n")), "{config}");
    }
    let prometheus = folder.join("prometheus.yml");
    fs::write(&prometheus, format!("scrape_configs:\n{config}")).unwrap();
    promtool(&["check", "config", prometheus.to_str().unwrap()]);
    assert!(!out.contains("other"), "only what the ticket was for: {out}");
    let target = fs::read_to_string(folder.join("bridge/targets.d/backpack.toml")).unwrap();
    assert!(target.contains(&device.onion()) && !target.contains("other"), "{target}");
    assert_eq!(
        fs::read_dir(folder.join("bridge/pending")).unwrap().count(),
        0,
        "nothing is left of the pairing"
    );

    // The ticket is worth nothing now: not to enrol, and not to find the device.
    let parsed: Ticket = ticket.parse().unwrap();
    for (key, why) in [
        (Some(&parsed.client_auth), "onion closed: this bridge's key for it is not accepted"),
        (None, "onion closed to strangers: this bridge has no key for it"),
    ] {
        assert_eq!(find(&device, world, key).await, Err(why.to_owned()));
    }
    let again = add(&file, &ticket, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("the device is here already, as backpack"),
        "{}",
        text(&again.stderr)
    );

    // The device knows the bridge by name, and when it was here.
    let listed = text(&device.agent(&["bridges"]).stdout);
    let line = listed.lines().find(|line| line.starts_with("home")).expect("listed");
    assert!(
        line.contains("paired") && line.contains("SHA256:") && line.contains("app") && line.contains("20"),
        "{listed}"
    );
    assert!(!line.contains("never"), "{listed}");

    // Both sides list the same key, so that a program can tell that they are paired.
    let file_argument = file.to_str().unwrap();
    let targets = run("scraper-bridge", &["targets", "--json", "--config.file", file_argument]);
    let targets: Vec<scraper_bridge::targets::Row> = serde_json::from_slice(&targets.stdout).unwrap();
    let bridges: Vec<target_agent::bridges::Row> =
        serde_json::from_slice(&device.agent(&["bridges", "--json"]).stdout).unwrap();
    assert_eq!(targets[0].name, "backpack");
    assert_eq!(targets[0].fingerprint, bridges[0].fingerprint);
    assert_eq!(targets[0].exporters, ["app", "agent"]);

    // Revoked, its session ends within 5 s and no new one comes about.
    let before = device.metric("onionscrape_ssh_sessions").await;
    assert!(before >= 1.0);
    let revoked = device.agent(&["revoke", "home"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let since = Instant::now();
    while device.metric("onionscrape_ssh_sessions").await > 0.0 {
        assert!(since.elapsed() < Duration::from_secs(5), "the session goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = state.wait_for(|state| matches!(state, State::Waiting(..) | State::Refused(..)));
    tokio::time::timeout(Duration::from_secs(90), refused).await.expect("kept out").unwrap();
    // Whether it cannot be found any more, or answers no more, is a matter of moments.
    let answer = scrape(address).await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    let unknown = device.agent(&["revoke", "home"]);
    assert!(text(&unknown.stderr).contains("nobody named \"home\" may come in"), "{}", text(&unknown.stderr));

    // Forgotten, nothing of it is left on the monitor.
    let removed = run("scraper-bridge", &["remove", "backpack", "--config.file", file_argument]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(fs::read_dir(folder.join("bridge/targets.d")).unwrap().count(), 0);
    assert!(running.bridge.fleet().target("backpack").is_none());
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "its port is free again");
    let metrics = scrape(&running.bridge.admin().to_string()).await.text().to_owned();
    assert!(!metrics.contains("backpack"), "{metrics}");
}

/// Dials the device over Tor with this key to its descriptor; the reason if it cannot be found.
async fn find(device: &Device, world: &World, key: Option<&ClientAuthKey>) -> Result<(), String> {
    use onionscrape::tor::{Bootstrap, Connector, Tor, TorSettings};
    let folder = world.folder();
    let file = folder.join("tor.toml");
    fs::write(&file, world.tor_section()).unwrap();
    let settings: TorSettings =
        onionscrape::config::read(&file, |top| TorSettings::read(top.section("tor"), &folder)).unwrap();
    let onion = device.onion().parse().unwrap();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let tor = Tor::start(&settings, stop).await.unwrap();
    tor.bootstrap().wait_for(Bootstrap::is_done).await.unwrap();
    let connector = Connector::new(&tor, &onion, key).unwrap();
    let dialled = tokio::time::timeout(Duration::from_secs(60), Box::pin(connector.dial(22))).await.unwrap();
    dialled.map(drop).map_err(|error| error.to_string())
}

pub async fn a_ticket_works_once_and_until_it_expires(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = Device::start(world, &[("app", exporter.address)]).await;
    // A ticket made before the agent is reachable, even before it runs, is as good.
    let (first, short) = (device.ticket(&[]), device.ticket(&["--expires", "1s", "--name", "late"]));
    device.reachable(world).await;
    let file = |_: &str| world.bridge_file(&world.folder(), "", "");

    // Without a port of its own, it is found by its path.
    let one = file("one");
    let added = add(&one, &first, &["--no-listen"]);
    assert!(added.status.success(), "{}\n{}", text(&added.stderr), device.process.log_text());
    assert!(text(&added.stderr).contains("no bridge is running"), "{}", text(&added.stderr));
    let config = BridgeConfig::read(Some(&one), None).unwrap();
    let [target] = config.targets.as_slice() else { panic!("{:?}", config.targets) };
    assert!(target.exporters.iter().all(|exporter| exporter.listen == Listen::Nowhere), "{target:?}");
    let path = format!("http://{}/t/{}/app/metrics\n", config.admin, target.name);
    assert!(text(&added.stdout).contains(&path), "{}", text(&added.stdout));

    // Used a second time, by somebody else: refused, and counted.
    let second = add(&file("two"), &first, &[]);
    let said = text(&second.stderr);
    assert_eq!((second.status.code(), second.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("used already"), "{said}");

    // Its time is over: said by the monitor, without a dial.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = add(&file("three"), &short, &[]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("the ticket expired at 20"), "{}", text(&late.stderr));

    // Cut short, mistyped, of another version, or no ticket: one exact line each.
    let end = first.len() - 1;
    let swapped = if first.ends_with('a') { "b" } else { "a" };
    for (wrong, line) in [
        (first[..end].to_owned(), "the ticket is cut short: it has 223 letters after onionscrape1-, not 224"),
        (format!("{}{swapped}", &first[..end]), "the ticket is mistyped: its checksum does not fit"),
        (
            first.replacen("onionscrape1", "onionscrape9", 1),
            "the ticket is of version 9, this program knows version 1 only; use a release that fits the other end's",
        ),
        ("hello".into(), "this is not a ticket: a ticket begins with onionscrape1-"),
    ] {
        let refused = add(&file("wrong"), &wrong, &[]);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(text(&refused.stderr), format!("scraper-bridge: {line}\n"));
    }
    let taken = device.metric("onionscrape_tickets_total{outcome=\"taken\"}").await;
    assert_eq!(taken, 1.0);
    let qr = device.agent(&["ticket", "--qr"]);
    assert!(text(&qr.stdout).lines().count() > 25, "a picture and the line:\n{}", text(&qr.stdout));
}

pub async fn a_pairing_that_broke_off_goes_on(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let mut device = Device::start(world, &[("app", exporter.address)]).await;
    device.reachable(world).await;
    let ticket = device.ticket(&["--name", "home"]);
    let folder = world.folder();
    let file = world.bridge_file(&folder, "", "");
    let pending = folder.join("bridge/pending");

    // Broken off before the device heard of it: the device is off, and somebody has no patience.
    device.process.kill();
    let mut command = Command::new(program("scraper-bridge"));
    command.args(["add", &ticket, "--config.file"]).arg(&file);
    let adding = process::spawn(&command, &folder.join("add.log")).unwrap();
    let begun = || fs::read_dir(&pending).is_ok_and(|entries| entries.count() == 1);
    world.until("the pairing was begun", begun).await;
    world.until("the device was dialled", || adding.log_text().contains("dialling the device")).await;
    adding.kill();
    assert!(!folder.join("bridge/targets.d").exists());

    // Broken off after the device wrote it down: as if its answer was lost.
    device.process = Device::run(&device.folder, &device.file);
    let kept = fs::read_dir(&pending).unwrap().next().unwrap().unwrap().path();
    let parsed: Ticket = ticket.parse().unwrap();
    let own = KeyFile::open(&kept.join("id_ed25519")).unwrap();
    let client_auth = ClientAuthKey::open(&kept.join("client.auth_private"), &parsed.onion).unwrap();
    let bridges = device.folder.join("agent/bridges/home.toml");
    let invited = fs::read_to_string(&bridges).unwrap();
    assert!(invited.contains("[ticket]"));
    let line = own.public_line();
    let key = line.rsplit_once(' ').unwrap().0;
    fs::write(&bridges, format!("key = {key:?}\nclient_auth = \"{}\"\n", client_auth.public())).unwrap();

    let added = add(&file, &ticket, &["--name", "backpack"]);
    let said = text(&added.stderr);
    assert!(added.status.success(), "{said}");
    assert!(said.contains("was tried before"), "{said}");
    assert!(folder.join("bridge/targets.d/backpack.toml").exists());
    assert!(!kept.exists());
}

pub async fn a_stock_tor_client_is_invited_with_c_tors_files(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let folder = world.folder();
    let clients = folder.join("agent/authorized_clients");
    fs::create_dir_all(&clients).unwrap();
    fs::set_permissions(folder.join("agent"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let key = ClientAuthKey::generate();
    fs::write(clients.join("alice.auth"), format!("{}\n", key.public())).unwrap();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let device = world.device_in(folder, &ssh, &[("app", exporter.address)]).await;
    let auth = world.folder();
    let private = auth.join("device.auth_private");
    fs::write(&private, key.private_line(&device.onion.parse().unwrap()).as_bytes()).unwrap();
    fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(&auth, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();

    let network = world.network();
    let (invited, stranger) = block_in_place(|| {
        let invited = ClientOptions { onion_auth_dir: Some(auth.clone()), ..Default::default() };
        (network.c_tor_client(&invited).unwrap(), network.c_tor_client(&ClientOptions::default()).unwrap())
    });
    // The stock way in, whole: ssh through C tor.
    let (local, ssh) =
        block_in_place(|| crate::stock::forward(world, &device.onion, invited.socks, "app:80"));
    assert_eq!(crate::stock::scrape_when_up(local, &ssh, "/metrics").await.text(), "a 1\n");
    let patience = Duration::from_secs(20);
    let refused = block_in_place(|| socks::connect(stranger.socks, &device.onion, 22, None, patience));
    assert!(refused.is_err(), "a stranger found the device");

    // A bridge whose target names such a file finds it, too; one without does not, and says why.
    let with = world.target("with", &device, &format!("client_auth_file = {private:?}"), &["app"]);
    let without = world.target("without", &device, "", &["app"]);
    let monitor = world.monitor_of("", &format!("{with}{without}")).await;
    monitor.connected("with").await;
    assert_eq!(scrape(&monitor.address("with", "app")).await.text(), "a 1\n");
    let refused =
        |state: &State| matches!(state, State::Waiting(why, _) if why.what.contains("closed to strangers"));
    monitor.state("without", "refused", refused).await;
    let answer = Scraper::connect(&monitor.address("without", "app")).await.get("/metrics", &[]).await;
    assert_eq!(
        (answer.status, answer.reason.as_str()),
        (503, "onion closed to strangers: this bridge has no key for it")
    );
}
