//! What must not work.

use hyper::{Method, Request};
use onionscrape::ssh::KeyFile;
use scraper_bridge::target::State;

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::world::World;

pub async fn unlisted_addresses_and_names(world: &World) {
    let listed = Exporter::start(Manner::Good("listed 1\n".into())).await;
    let other = Exporter::start(Manner::Good("other 1\n".into())).await;
    let device = world.device(&[("app", listed.address)]).await;
    let mut target = world.target("backpack", &device, "", &["app", "nope"]);
    for (name, address) in [("listed", listed.address), ("unlisted", other.address)] {
        target += &format!(
            "[[target.exporter]]\nname = {name:?}\nlisten = \"127.0.0.1:0\"\naddress = \"{address}\"\n"
        );
    }
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("backpack").await;
    for (exporter, status) in [("app", 200), ("listed", 200), ("unlisted", 502), ("nope", 502)] {
        let scraped = scrape(&monitor.address("backpack", exporter)).await;
        assert_eq!(scraped.status, status, "{exporter}: {scraped:?}");
        assert!(status == 200 || scraped.reason.contains("refused by the device"), "{}", scraped.reason);
    }
    assert_eq!(other.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

pub async fn a_wrong_key(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let stranger = world.folder().join("key");
    KeyFile::open_or_make(&stranger, "").unwrap();
    let target = world.target("backpack", &device, "", &["app"]);
    let target = target.replace(world.key_file().to_str().unwrap(), stranger.to_str().unwrap());
    let monitor = world.monitor_of("", &target).await;
    monitor.state("backpack", "refused", |state| matches!(state, State::Refused(..))).await;
    let scraped = scrape(&monitor.address("backpack", "app")).await;
    assert_eq!(scraped.status, 502, "{scraped:?}");
    assert!(scraped.reason.contains("does not know this bridge's key"), "{}", scraped.reason);
    assert_eq!(exporter.requests.load(std::sync::atomic::Ordering::SeqCst), 0);

    // The right key in its place is taken up by itself.
    let right = stranger.with_extension("right");
    world.key().write(&right).unwrap();
    std::fs::rename(&right, &stranger).unwrap();
    let is_up = || {
        let target = monitor.bridge.fleet().target("backpack");
        target.is_some_and(|target| target.state().borrow().pool().is_some())
    };
    world.until("the target is up with the other key", is_up).await;
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.text(), "a 1\n");
}

pub async fn a_wrong_host_key(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let target = world.target("backpack", &device, "", &["app"]);
    let target = target.replace(&device.host_key, &world.key().fingerprint());
    let monitor = world.monitor_of("", &target).await;
    monitor.state("backpack", "refused", |state| matches!(state, State::Refused(..))).await;
    let scraped = scrape(&monitor.address("backpack", "app")).await;
    assert_eq!((scraped.status, scraped.reason.as_str()), (502, "ssh host key mismatch"));
    let metrics = monitor.metrics().await;
    let failures = "target_connect_failures_total{target=\"backpack\",stage=\"host_key\"}";
    assert!(metrics.contains(&format!("{failures} 1\n")), "no storm of attempts: {metrics}");
}

pub async fn other_hosts_names_and_methods(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    for (path, host, status) in [
        ("/metrics", "evil.example", 421),
        ("/metrics", "169.254.169.254", 421),
        ("http://169.254.169.254/metrics", &address, 421),
        ("/", &address, 404),
        ("/../etc/passwd", &address, 404),
        ("/metrics/../debug", &address, 404),
    ] {
        let scraped = Scraper::connect(&address).await.get(path, &[("host", host)]).await;
        assert_eq!(scraped.status, status, "{path} {host}: {scraped:?}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::TRACE, Method::OPTIONS] {
        let request = Request::builder().method(&method).uri("/metrics").header("host", &address);
        let request = request.body(http_body_util::Empty::new()).unwrap();
        assert_eq!(Scraper::connect(&address).await.send(request).await.status, 405, "{method}");
    }
    assert_eq!(exporter.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}
