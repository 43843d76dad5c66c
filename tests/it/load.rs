//! Many scrapes at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::world::World;

pub async fn twenty_at_once(world: &World) {
    let exporter = Exporter::start(Manner::Slow(Duration::from_millis(200), "a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    let scrapes: Vec<_> = (0..20)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { scrape(&address).await })
        })
        .collect();
    for scraped in scrapes {
        let scraped = scraped.await.unwrap();
        assert_eq!((scraped.status, scraped.text()), (200, "a 1\n"));
    }
    assert_eq!(exporter.requests.load(Ordering::SeqCst), 20);
}

pub async fn targets_are_never_mixed_up(world: &World) {
    let mut parts = Vec::new();
    for name in ["left", "right"] {
        // Bodies of different and uneven lengths, so that a shift would show.
        let body = format!("who{{is=\"{name}\"}} 1\n").repeat(if name == "left" { 997 } else { 1511 });
        let exporter = Exporter::start(Manner::Good(body.clone())).await;
        let device = world.device(&[("app", exporter.address)]).await;
        parts.push((name, body, exporter, device));
    }
    let targets: Vec<(&str, &_, &[&str])> =
        parts.iter().map(|(name, _, _, device)| (*name, device, &["app"][..])).collect();
    let monitor = world.monitor(&targets).await;
    let mut scrapes = Vec::new();
    for (name, body, ..) in &parts {
        monitor.connected(name).await;
        let (address, body) = (monitor.address(name, "app"), body.clone());
        for _ in 0..8 {
            let (address, body) = (address.clone(), body.clone());
            scrapes.push(tokio::spawn(async move {
                for _ in 0..10 {
                    let scraped = scrape(&address).await;
                    assert_eq!(scraped.status, 200, "{}", scraped.reason);
                    assert!(scraped.body == body, "the body is this target's, whole");
                }
            }));
        }
    }
    for scrape in scrapes {
        scrape.await.unwrap();
    }
}

pub async fn a_scraper_that_goes_away_leaves_nothing(world: &World) {
    let exporter = Exporter::start(Manner::SaysAndHangs(b"HTTP/1.1 200 OK\r\n\r\na 1\n".to_vec())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    for _ in 0..3 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let before = exporter.requests.load(Ordering::SeqCst);
        world.until("the exporter is asked", || exporter.requests.load(Ordering::SeqCst) > before).await;
    }
    // Well before the 10 s after which each scrape would have ended by itself.
    let began = std::time::Instant::now();
    world.until("the exporter is let go", || exporter.open.load(Ordering::SeqCst) == 0).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let metrics = monitor.metrics().await;
    assert!(metrics.contains("onionscrape_scrape_requests_in_flight 0\n"), "{metrics}");
}
