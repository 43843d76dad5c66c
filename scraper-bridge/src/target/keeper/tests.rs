//! The owner of a session, against an agent's SSH server over streams in memory. Time is paused, so
//! it passes only when nothing else can happen.

mod inventory;
mod standby;
mod suspected;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::{KeyFile, LoginKey};
use target_agent::access::{Access, Sources};
use target_agent::admin::Pages;
use target_agent::config::SshSettings;
use target_agent::exporters::Exporters;
use target_agent::identity::Identity;
use target_agent::onion::ServiceName;
use target_agent::ssh::{Server, Services};
use target_agent::status::AgentStatus;
use tokio::io::{copy_bidirectional, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::{self, Destination, ExporterConfig, HostTrust, LoginSettings, TargetConfig, Transport};
use crate::dial::{Dial, DialFailure, Dialled, Stream};
use crate::failure::ScrapeFailure;
use crate::inventory::kept::Kept;
use crate::metrics::{Metrics, Stage};
use crate::session::HostKeys;
use crate::succession::Succession;
use crate::target::Turns;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const ELSEWHERE: &str = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion";

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Answer,
    Fail,
    Hang,
}

/// An agent in memory, how it is dialled, and what a bridge needs to log in.
struct Device {
    folder: tempfile::TempDir,
    server: Server,
    stop: CancellationToken,
    pages: Pages,
    metrics: target_agent::metrics::Metrics,
    manner: Mutex<Manner>,
    /// At any address but the configured one.
    manner_elsewhere: Mutex<Manner>,
    dials: AtomicUsize,
    /// One for each dial that was answered: cancelled, nothing goes through any more, and nobody is told.
    frozen: Mutex<Vec<CancellationToken>>,
    /// How long a dial takes.
    takes: Duration,
}

struct MemoryDial(Arc<Device>);

impl Dial for MemoryDial {
    fn stages(&self) -> &'static [Stage] {
        &[Stage::Rendezvous]
    }

    fn ready<'a>(
        &'a self,
        _: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn dial<'a>(&'a self, onion: Option<&'a OnionAddress>) -> Dialled<'a> {
        Box::pin(async move {
            self.0.dials.fetch_add(1, Ordering::Relaxed);
            let manner = if onion.is_none_or(|onion| onion.unredacted() == ONION) {
                *self.0.manner.lock().expect("lock")
            } else {
                *self.0.manner_elsewhere.lock().expect("lock")
            };
            match manner {
                Manner::Answer => {
                    let ((near, mut here), (mut there, far)) = (duplex(64 << 10), duplex(64 << 10));
                    let server = self.0.server.clone();
                    tokio::spawn(async move { server.serve(far).await });
                    let frozen = CancellationToken::new();
                    self.0.frozen.lock().expect("lock").push(frozen.clone());
                    tokio::spawn(async move {
                        let copied = copy_bidirectional(&mut here, &mut there);
                        if frozen.run_until_cancelled(copied).await.is_none() {
                            std::future::pending::<()>().await;
                        }
                    });
                    sleep(self.0.takes).await;
                    Ok(Box::new(near) as Box<dyn Stream>)
                }
                Manner::Fail => {
                    Err(DialFailure { stage: Stage::Rendezvous, closed: false, what: "nobody there".into() })
                }
                Manner::Hang => std::future::pending().await,
            }
        })
    }
}

impl Device {
    fn new(manner: Manner) -> Arc<Self> {
        Self::that_takes(Duration::ZERO, manner)
    }

    fn that_takes(takes: Duration, manner: Manner) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let metrics = target_agent::metrics::Metrics::new();
        let (_, status) = watch::channel(AgentStatus::Bootstrapping);
        let pages = Pages::new(&metrics, &[], status);
        let services = Services { exporters: Exporters::new(&[], &metrics), pages: pages.clone() };
        let authorized_keys = folder.path().join("authorized_keys");
        let access = Access::new(Sources::in_state(folder.path()));
        let settings = SshSettings { login_grace: Duration::from_secs(60) };
        let host_key = KeyFile::open_or_make(&folder.path().join("host"), "").expect("host key");
        let stop = CancellationToken::new();
        let server = Server::new(settings, &host_key, access, services, metrics.clone(), stop.clone());
        let device = Self {
            folder,
            server,
            stop,
            pages,
            metrics,
            manner: Mutex::new(manner),
            manner_elsewhere: Mutex::new(Manner::Fail),
            dials: AtomicUsize::new(0),
            frozen: Mutex::default(),
            takes,
        };
        std::fs::write(authorized_keys, device.key().public_line()).expect("write");
        Arc::new(device)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self) -> KeyFile {
        KeyFile::open_or_make(&self.path("key"), "bridge").expect("key")
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock().expect("lock") = manner;
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// Has nothing go through any session that there is.
    fn freeze(&self) {
        self.frozen.lock().expect("lock").iter().for_each(CancellationToken::cancel);
    }
}

/// Targets that share what targets of one bridge share.
struct Rig {
    metrics: Metrics,
    turns: Arc<Turns>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Rig {
    fn new(at_once: usize) -> Self {
        Self {
            metrics: Metrics::default(),
            turns: Arc::new(Turns::new(at_once)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }

    fn target(&self, name: &str, device: &Arc<Device>) -> Arc<Target> {
        self.target_with_host_key(name, device, "host")
    }

    fn target_with_host_key(&self, name: &str, device: &Arc<Device>, host_key: &str) -> Arc<Target> {
        self.start(name, device, host_key, false)
    }

    fn target_with_standby(&self, name: &str, device: &Arc<Device>) -> Arc<Target> {
        self.start(name, device, "host", true)
    }

    fn start(&self, name: &str, device: &Arc<Device>, host_key: &str, standby: bool) -> Arc<Target> {
        let host_key = KeyFile::open_or_make(&device.path(host_key), "").expect("host key");
        let dialled = config::Dialled {
            to: Destination::Onion {
                address: ONION.parse().expect("onion"),
                port: 22,
                client_auth_file: None,
            },
            host_key: HostTrust::Pinned(host_key.fingerprint().parse().expect("pin")),
            user: "scrape".into(),
            login: LoginSettings {
                key_file: Some(device.path("key")),
                passphrase: None,
                ssh_agent: None,
                certificate_file: None,
            },
        };
        let name = name.parse().expect("name");
        let succession = Succession::open(device.path("succession/target.toml"));
        let reach = Reach::Dialled(Arc::new(Dialling {
            user: dialled.user.clone(),
            key: LoginKey::in_file(device.key(), None).expect("key"),
            host_keys: Arc::new(HostKeys::new(&name, &dialled, succession)),
            dial: Arc::new(MemoryDial(device.clone())),
            tls: Arc::new([None]),
            turns: self.turns.clone(),
            inventory: Arc::new(Kept::none()),
        }));
        let config = TargetConfig {
            name,
            transport: Transport::Dialled(dialled),
            labels: Default::default(),
            schedule: None,
            standby,
            exporters: vec![ExporterConfig {
                name: "agent".parse().expect("name"),
                listen: crate::config::Listen::Nowhere,
                way: Way::Name,
                tls: None,
                path: "/metrics".into(),
            }],
        };
        let shutdown = self.shutdown.clone();
        Target::start(config, reach, &self.metrics, &self.tasks, shutdown)
    }

    fn metric(&self, series: &str) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| unreachable!("no series {series} in {text}")).to_owned()
    }
}

async fn up(target: &Target) {
    let mut state = target.state();
    let up = state.wait_for(|state| state.pool().is_some());
    timeout(Duration::from_secs(600), up).await.expect("up in time").expect("still kept");
}

/// Waits for another session than that of `pool`.
async fn replaced(target: &Target, pool: &Arc<Pool>) {
    let mut state = target.state();
    let fresh = |state: &State| state.pool().is_some_and(|now| !Arc::ptr_eq(now, pool));
    state.wait_for(fresh).await.expect("kept");
}

#[tokio::test(start_paused = true)]
async fn one_dial_serves_everybody_who_waits() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move { target.pool().await.map(|_| ()) })
        })
        .collect();
    for scrape in waiting {
        scrape.await.expect("no panic").expect("a pool");
    }
    assert_eq!(device.dials(), 1);
    assert_eq!(rig.metric("onionscrape_target_connects_total{target=\"a\"}"), "1");
    assert_eq!(rig.metric("onionscrape_target_connected{target=\"a\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_bad_target_costs_the_others_nothing() {
    let rig = Rig::new(3);
    let (failing, mismatched) = (Device::new(Manner::Fail), Device::new(Manner::Answer));
    let hanging: Vec<_> = (0..2).map(|_| Device::new(Manner::Hang)).collect();
    for (index, device) in hanging.iter().enumerate() {
        rig.target(&format!("hanging{index}"), device);
    }
    let failing_target = rig.target("failing", &failing);
    let mismatched_target = rig.target_with_host_key("mismatched", &mismatched, "another_host");
    let good = Device::new(Manner::Answer);
    let target = rig.target("good", &good);
    up(&target).await;
    // An hour with bad neighbours: the good one keeps its session, and they keep theirs to themselves.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(target.pool().await.is_ok());
    assert_eq!(good.dials(), 1);
    assert!(hanging.iter().all(|device| device.dials() == 1));
    assert!(matches!(failing_target.pool().await, Err(ScrapeFailure::NotConnected(_))));
    assert!(matches!(mismatched_target.pool().await, Err(ScrapeFailure::Denied(_))));
    // A pause is half a minute to a minute where a person is needed, so an hour has 60 to 130 dials; else
    // it is 5 to 10 s for the first 20 min.
    assert!((60..=130).contains(&mismatched.dials()), "{} dials", mismatched.dials());
    assert!((160..=340).contains(&failing.dials()), "{} dials", failing.dials());
    let failures =
        "onionscrape_target_connect_failures_total{target=\"mismatched\",stage=\"host_key\"}".to_owned();
    assert_eq!(rig.metric(&failures), mismatched.dials().to_string());
    // Lost with its device, it is dialled anew and does not stand in line behind the hanging ones.
    let third = rig.target("third", &Device::new(Manner::Hang));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(&*third.state().borrow(), State::Dialling(_)));
    target.redial().await;
    up(&target).await;
    assert_eq!(good.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_is_dialled_anew_at_once_only_if_it_was_of_use() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    up(&target).await;
    // Of use: half a minute of life.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let lost_at = Instant::now();
    let pool = target.pool().await.map_err(|_| ()).expect("up");
    pool.session().give_up();
    pool.session().ended().await;
    replaced(&target, &pool).await;
    assert!(lost_at.elapsed() < pauses::FIRST, "no pause: {:?}", lost_at.elapsed());
    assert_eq!(device.dials(), 2);
    // Of none: a device that takes everybody in and throws them out again is not hammered.
    device.stop.cancel();
    device.set(Manner::Answer);
    let before = device.dials();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = device.dials() - before;
    assert!((160..=340).contains(&dials), "{dials} dials in an hour");
}

#[tokio::test(start_paused = true)]
async fn redial_cuts_the_pause_short_and_a_scrape_never_dials() {
    let device = Device::new(Manner::Fail);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let dials = device.dials();
    for _ in 0..100 {
        assert!(target.pool().await.is_err());
    }
    assert_eq!(device.dials(), dials, "scrapes do not dial");
    device.set(Manner::Answer);
    let asked = Instant::now();
    target.redial().await;
    up(&target).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(device.dials(), dials + 1);
    rig.shutdown.cancel();
    rig.tasks.close();
    timeout(Duration::from_secs(5), rig.tasks.wait()).await.expect("the keeper ends with the bridge");
}

#[tokio::test(start_paused = true)]
async fn a_device_from_which_nothing_comes_is_given_up_in_time() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    up(&target).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(device.dials(), 1, "a quiet session is no dead one");
    device.set(Manner::Fail);
    device.freeze();
    let silent_since = Instant::now();
    let mut state = target.state();
    state.wait_for(|state| state.pool().is_none()).await.expect("kept");
    assert!(silent_since.elapsed() <= Duration::from_secs(20), "{:?}", silent_since.elapsed());
    assert_eq!(rig.metric("onionscrape_ssh_keepalive_failures_total{target=\"a\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn another_network_ends_every_pause() {
    let device = Device::new(Manner::Fail);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    tokio::time::sleep(Duration::from_secs(600)).await;
    device.set(Manner::Answer);
    let looked = Instant::now();
    target.look();
    up(&target).await;
    assert!(looked.elapsed() < Duration::from_secs(1), "{:?}", looked.elapsed());
    // While it is dialled, too: the dial that fails says nothing of the new network.
    let device = Device::new(Manner::Hang);
    let target = rig.target("b", &device);
    tokio::time::sleep(Duration::from_secs(5)).await;
    target.look();
    assert_eq!(device.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_that_are_lost_together_come_back_without_a_stampede() {
    const AT_ONCE: usize = 16;
    let rig = Rig::new(AT_ONCE);
    let devices: Vec<_> =
        (0..200).map(|_| Device::that_takes(Duration::from_secs(3), Manner::Answer)).collect();
    let targets: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(number, device)| rig.target(&format!("t{number}"), device))
        .collect();
    let dials = || devices.iter().map(|device| device.dials()).sum::<usize>();
    for target in &targets {
        up(target).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = dials();
    devices.iter().step_by(20).for_each(|device| device.set(Manner::Hang));
    let lost = Instant::now();
    for target in &targets {
        target.pool().await.map_err(|_| ()).expect("up").session().give_up();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(dials() - before <= AT_ONCE, "{} dials at once", dials() - before);
    for target in targets.iter().enumerate().filter(|(number, _)| number % 20 != 0).map(|(_, target)| target)
    {
        up(target).await;
    }
    assert!(lost.elapsed() <= Duration::from_secs(180), "{:?}", lost.elapsed());
}

impl Device {
    /// Sessions that the device has.
    fn sessions(&self) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix("onionscrape_ssh_sessions "));
        line.expect("counted").to_owned()
    }

    /// Announces that it will be elsewhere.
    fn announce_elsewhere(&self) {
        let onion: OnionAddress = ELSEWHERE.parse().expect("onion");
        let identity = Identity {
            service: ServiceName::first(),
            onion: ONION.parse().expect("onion"),
            host_key: KeyFile::open_or_make(&self.path("host"), "").expect("host key"),
            next_onion: Some(onion.clone()),
            next_host_key: None,
        };
        self.pages.announce(&identity);
        self.pages.can_be_reached(&onion);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_kept_any_more_leaves_no_session() {
    let rig = Rig::new(1);
    let device = Device::new(Manner::Answer);
    let target = rig.target("a", &device);
    let pool = timeout(Duration::from_secs(60), target.pool()).await.expect("in time").expect("up");
    // Its inventory is being followed by now.
    sleep(Duration::from_secs(60)).await;
    assert!(target.inventory().is_some());
    assert_eq!(device.sessions(), "1");
    rig.shutdown.cancel();
    drop((pool, target));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(device.sessions(), "0");
}

#[tokio::test(start_paused = true)]
async fn it_moves_to_an_announced_address_beside_the_session_that_is_up() {
    let rig = Rig::new(1);
    let device = Device::new(Manner::Answer);
    device.announce_elsewhere();
    let target = rig.target("a", &device);
    let pool = timeout(Duration::from_secs(60), target.pool()).await.expect("in time").expect("up");
    // The new address is tried at once, and then every ten minutes; scrapes have the old one meanwhile.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(device.dials(), 2);
    assert!(Arc::ptr_eq(&pool, &target.pool().await.expect("up")), "nobody noticed");
    sleep(Duration::from_secs(500)).await;
    assert_eq!(device.dials(), 2);
    *device.manner_elsewhere.lock().expect("lock") = Manner::Answer;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(device.dials(), 3);
    let moved = target.pool().await.expect("up");
    assert!(!Arc::ptr_eq(&pool, &moved), "this is the session at the new address");
    assert_eq!(device.sessions(), "2", "a scrape under way may finish in the old one");
    drop(pool);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(device.sessions(), "1");

    // The old address is over: what is there does not count any more.
    device.set(Manner::Hang);
    target.redial().await;
    timeout(Duration::from_secs(60), target.pool()).await.expect("not the old one").expect("up");
    assert_eq!(device.dials(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_scrapes_shares_the_channels_that_are_open() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    futures::future::join_all((0..300).map(|_| standby::scraped(&target))).await;
    let text = classic_text(&registry("0", |own| device.metrics.register(own)));
    let opened: f64 = text
        .lines()
        .filter(|line| line.starts_with("onionscrape_ssh_channel_opens_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((1.0..=16.0).contains(&opened), "{opened} channels for 300 scrapes");
}
