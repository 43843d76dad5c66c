//! Real networks: peers reach each other, faults do what they say, two run side by side.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use tornet::{
    CTorClient, ClientOptions, Cut, Error, HiddenService, Network, Options, Role, ServiceOptions, socks,
};

/// A server that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    addr
}

/// One exchange through the service, on circuits of its own.
fn fetch(
    client: &CTorClient,
    service: &HiddenService,
    user: &str,
    patience: Duration,
) -> std::io::Result<()> {
    let mut stream = socks::connect(client.socks, service.hostname(), 80, Some(user), patience)?;
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// Fetches until it works. Each try is isolated, so that none inherits a dead circuit.
///
/// A C tor client keeps away from an introduction point that failed for two minutes, and from all
/// three where a fault met all three; so it is given more than that.
fn fetch_eventually(client: &CTorClient, service: &HiddenService) {
    let end = Instant::now() + Duration::from_secs(240);
    for number in 0.. {
        match fetch(client, service, &format!("try{number}"), Duration::from_secs(20)) {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

fn service(network: &Network) -> HiddenService {
    let ports = vec![(80, echo())];
    network.hidden_service(&ServiceOptions { ports, ..ServiceOptions::default() }).unwrap()
}

fn start(options: &Options) -> Network {
    Network::start(options, |step| println!("{step}")).unwrap()
}

#[test]
fn a_network_lives_through_faults_beside_another() {
    let dir = tempfile::tempdir().unwrap();
    let other = thread::spawn(|| {
        let network = start(&Options::default());
        let place = network.dir().to_owned();
        let service = service(&network);
        let client = network.c_tor_client(&ClientOptions::default()).unwrap();
        fetch_eventually(&client, &service);
        (network, place)
    });
    let options = Options { dir: Some(dir.path().to_owned()), clients: 2, ..Options::default() };
    let network = start(&options);
    let (other, other_place) = other.join().unwrap();

    assert_eq!(network.nodes().len(), 9);
    assert_eq!(network.nodes().filter(|node| node.role == Role::Authority).count(), 3);
    let fragment = std::fs::read_to_string(network.fragment()).unwrap();
    for node in network.nodes() {
        assert!(fragment.contains(&node.rsa_identity) && fragment.contains(&node.or_port.to_string()));
        assert!(other.nodes().all(|its| its.or_port != node.or_port));
    }

    let mut service = service(&network);
    let one = network.c_tor_client(&ClientOptions { number: Some(1), ..ClientOptions::default() }).unwrap();
    let two = network.c_tor_client(&ClientOptions { number: Some(2), ..ClientOptions::default() }).unwrap();
    fetch_eventually(&one, &service);
    fetch_eventually(&two, &service);

    // One client is cut; the other is not.
    for (cut, patience) in [(Cut::Reset, Duration::from_secs(10)), (Cut::Blackhole, Duration::from_secs(3))] {
        let user = format!("{cut:?}");
        network.cut(1, cut).unwrap();
        assert!(fetch(&one, &service, &user, patience).is_err());
        fetch_eventually(&two, &service);
        network.restore(1).unwrap();
        fetch_eventually(&one, &service);
    }
    assert!(matches!(network.cut(3, Cut::Reset), Err(Error::Argument(_))));

    // A relay stops, goes on, dies and comes back.
    let before = network.pid("relay2").unwrap();
    network.stop("relay2").unwrap();
    network.resume("relay2").unwrap();
    network.kill("relay2").unwrap();
    assert_eq!(network.pid("relay2").unwrap(), None);
    fetch_eventually(&two, &service);
    network.restart("relay2").unwrap();
    assert_ne!(network.pid("relay2").unwrap(), before);
    let hostname = service.hostname().to_owned();
    service.restart().unwrap();
    assert_eq!(service.hostname(), hostname);
    fetch_eventually(&two, &service);
    let error = network.kill("relay99").unwrap_err().to_string();
    assert!(error.starts_with("no node is called relay99; there are auth1, "), "{error}");

    // A delay slows down: six links out and six back, at the very least.
    network.set_delay(Duration::from_millis(40));
    let mut stream = (0..5)
        .find_map(|n| {
            let user = format!("slow{n}");
            socks::connect(two.socks, service.hostname(), 80, Some(&user), Duration::from_secs(20)).ok()
        })
        .unwrap();
    let begun = Instant::now();
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(12 * 40), "{:?}", begun.elapsed());

    // The temporary directory goes, the named one stays.
    drop((one, two, service));
    let pids: Vec<u32> = network.nodes().filter_map(|node| network.pid(&node.name).unwrap()).collect();
    assert_eq!(pids.len(), 9);
    drop(network);
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    assert!(dir.path().join("arti.toml").exists());
    drop(other);
    assert!(!other_place.exists());
}

#[test]
fn what_cannot_be_started_is_said() {
    let error = |options: &Options| Network::start(options, |_| {}).unwrap_err().to_string();
    let few = error(&Options { relays: 4, ..Options::default() });
    assert_eq!(few, "4 relays asked for; 5 to 50 are possible");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let full = error(&Options { dir: Some(dir.path().to_owned()), ..Options::default() });
    assert!(full.contains("holds other things: name an empty directory"), "{full}");
    assert!(dir.path().join("thesis.tex").exists());
}
