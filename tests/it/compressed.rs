//! Answers that are small on their way, and as they were when they arrive.

use std::fmt::Write as _;

use onionscrape::compression::{Dictionary, StreamEncoder, encode};

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraped, Scraper, scrape};
use crate::world::{Monitor, World};

/// A page of some 30 kB; a few of its numbers are others each time.
fn page(number: usize) -> String {
    let mut text = String::from("# HELP app_requests_total Requests\n# TYPE app_requests_total counter\n");
    for n in 0..600 {
        let value = 1000 + n * 7 + if (n + number).is_multiple_of(25) { number } else { 0 };
        writeln!(text, "app_requests_total{{path=\"/api/{n}\",code=\"200\"}} {value}").unwrap();
    }
    text
}

/// What the bridge has counted for the target: bytes that came in a coding, and what came of them.
async fn counted(monitor: &Monitor, target: &str, coding: &str) -> (usize, usize) {
    let metrics = monitor.metrics().await;
    let of = |name: &str| {
        let series =
            format!("onionscrape_scrape_{name}_bytes_total{{target=\"{target}\",coding=\"{coding}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("{series} is missing")).parse().unwrap()
    };
    (of("compressed"), of("uncompressed"))
}

fn whole(scraped: &Scraped) -> &str {
    assert_eq!((scraped.status, scraped.complete), (200, true), "{scraped:?}");
    assert_eq!(scraped.header("content-encoding"), None);
    assert_eq!(scraped.header("use-as-dictionary"), None);
    scraped.text()
}

pub async fn bodies_are_a_direct_scrapes(world: &World) {
    let exporter = Exporter::start(Manner::Changing(page)).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app", "agent"])]).await;
    monitor.connected("backpack").await;
    let mut scraper = Scraper::connect(&monitor.address("backpack", "app")).await;
    let direct = Scraper::connect(&exporter.address.to_string()).await.get("/metrics", &[]).await;
    for number in 1..=20 {
        let scraped = scraper.get("/metrics", &[("accept-encoding", "gzip")]).await;
        assert_eq!(whole(&scraped), page(number));
        for field in ["content-type", "content-length"] {
            assert_eq!(scraped.header(field), direct.header(field));
        }
    }
    let size = page(1).len();
    let (came, was) = counted(&monitor, "backpack", "zstd").await;
    assert_eq!(was, size, "only the first has nothing before it");
    let (came_later, was_later) = counted(&monitor, "backpack", "dcz").await;
    assert_eq!(was_later, 19 * size);
    assert!(came_later / 19 < came / 5 && came < size / 3, "{came_later} for 19 and {came} of {size}");
    // The agent has counted the same.
    let agent = scrape(&monitor.address("backpack", "agent")).await;
    let line = format!(
        "onionscrape_exporter_compressed_bytes_total{{exporter=\"app\",coding=\"dcz\"}} {came_later}\n"
    );
    assert!(agent.text().contains(&line), "{line} in {}", agent.text());
}

pub async fn a_real_exporters(world: &World) {
    let device = world.device(&[("node", world.node_exporter())]).await;
    let monitor = world.monitor(&[("backpack", &device, &["node", "host"])]).await;
    monitor.connected("backpack").await;
    for name in ["node", "host"] {
        let before = counted(&monitor, "backpack", "dcz").await;
        let mut scraper = Scraper::connect(&monitor.address("backpack", name)).await;
        for _ in 0..6 {
            assert!(whole(&scraper.get("/metrics", &[]).await).contains("\nnode_load1 "), "{name}");
        }
        let (came, was) = counted(&monitor, "backpack", "dcz").await;
        let (came, was) = (came - before.0, was - before.1);
        println!("{name}: {} bytes of {} for each", came / 5, was / 5);
        assert!(came * 15 < was, "{name}: {came} of {was}");
    }
}

pub async fn two_bridges_and_many_at_once(world: &World) {
    let exporter = Exporter::start(Manner::Changing(page)).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let targets: [(_, _, &[&str]); 1] = [("backpack", &device, &["app"])];
    let monitors = [world.monitor(&targets).await, world.monitor(&targets).await];
    for monitor in &monitors {
        monitor.connected("backpack").await;
    }
    for round in 0..5 {
        for (number, monitor) in monitors.iter().enumerate() {
            let scraped = scrape(&monitor.address("backpack", "app")).await;
            assert_eq!(whole(&scraped), page(round * 2 + number));
        }
    }
    for monitor in &monitors {
        let size = page(1).len();
        assert_eq!(counted(monitor, "backpack", "zstd").await.1, size);
        assert_eq!(counted(monitor, "backpack", "dcz").await.1, 4 * size);
    }
    // Which of them gets which page is not known, but each gets one of its own, and whole.
    let addresses = monitors.each_ref().map(|monitor| monitor.address("backpack", "app"));
    let scrapes = (0..30).map(|n| {
        let address = addresses[n % 2].clone();
        tokio::spawn(async move { whole(&scrape(&address).await).to_owned() })
    });
    let mut bodies = Vec::new();
    for scraped in scrapes.collect::<Vec<_>>() {
        bodies.push(scraped.await.unwrap());
    }
    let mut expected: Vec<_> = (10..40).map(page).collect();
    expected.sort();
    bodies.sort();
    assert!(bodies == expected, "a page is not what the exporter sent");
    for monitor in &monitors {
        let fallbacks = "onionscrape_scrape_compression_fallbacks_total{target=\"backpack\"} 0\n";
        assert!(monitor.metrics().await.contains(fallbacks));
    }
}

pub async fn a_restart_of_either_side(world: &World) {
    let exporter = Exporter::start(Manner::Changing(page)).await;
    let (folder, ssh) = (world.folder(), format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line()));
    let exporters = [("app", exporter.address)];
    let start = || world.device_in(folder.clone(), &ssh, &exporters);
    let device = start().await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    for number in 0..3 {
        assert_eq!(whole(&scrape(&address).await), page(number));
    }
    let size = page(1).len();
    assert_eq!(counted(&monitor, "backpack", "zstd").await.1, size);

    device.stop().await;
    monitor.state("backpack", "given up", |state| state.pool().is_none()).await;
    let device = start().await;
    monitor.connected("backpack").await;
    for number in 3..6 {
        assert_eq!(whole(&scrape(&address).await), page(number));
    }
    // The agent knew nothing of what the bridge had, and said so by not using it.
    assert_eq!(counted(&monitor, "backpack", "zstd").await.1, 2 * size);
    assert_eq!(counted(&monitor, "backpack", "dcz").await.1, 4 * size);

    monitor.stop().await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    for number in 6..9 {
        assert_eq!(whole(&scrape(&monitor.address("backpack", "app")).await), page(number));
    }
    assert_eq!(counted(&monitor, "backpack", "zstd").await.1, size);
    assert_eq!(counted(&monitor, "backpack", "dcz").await.1, 2 * size);
}

pub async fn what_cannot_be_read_is_asked_for_again(world: &World) {
    // One that is no frame at all, and one that is right against a body that the bridge never had.
    let unknown = Dictionary::new(page(7).into()).unwrap();
    let answers = [
        coded("dcz", page(2).as_bytes()),
        coded("dcz", &encode(page(2).as_bytes(), Some(&unknown)).unwrap()),
    ];
    let all = answers.map(|answer| Manner::Codes(answer, page(1)));
    let [garbled, unknown] = all.map(Exporter::start);
    let (garbled, unknown) = (garbled.await, unknown.await);
    let device = world.device(&[("garbled", garbled.address), ("unknown", unknown.address)]).await;
    let names = ["garbled", "unknown"];
    let monitor = world.monitor(&[("backpack", &device, &names)]).await;
    monitor.connected("backpack").await;
    for _ in 0..3 {
        for name in names {
            assert_eq!(whole(&scrape(&monitor.address("backpack", name)).await), page(1), "{name}");
        }
    }
    let metrics = monitor.metrics().await;
    for line in [
        "onionscrape_scrape_compression_fallbacks_total{target=\"backpack\"} 6\n",
        "onionscrape_scrape_requests_total{target=\"backpack\"} 6\n",
        "onionscrape_scrape_failures_total{target=\"backpack\",reason=\"bad_response\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is missing in:\n{metrics}");
    }
}

pub async fn a_long_one_that_cannot_be_read_breaks_off(world: &World) {
    // An exporter whose own coding an agent passes on stands for an agent that is wrong.
    let long: String = (0..20).map(page).collect();
    let right = encode(long.as_bytes(), None).unwrap();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    // This one does not say how long it is, and that one does.
    let mut encoder = StreamEncoder::new().unwrap();
    let bomb = [encoder.push(&vec![b'a'; 4 << 20]).unwrap(), encoder.finish().unwrap()].concat();
    let long_one = encode(&vec![b'a'; 4 << 20], None).unwrap();
    let start = |frame: &[u8]| Exporter::start(Manner::Codes(coded("zstd", frame), String::new()));
    let all = [start(&right).await, start(&wrong).await, start(&bomb).await, start(&long_one).await];
    let names = ["right", "wrong", "bomb", "long"];
    let exporters: Vec<_> = names.into_iter().zip(all.iter().map(|exporter| exporter.address)).collect();
    let device = world.device(&exporters).await;
    let targets: [(_, _, &[&str]); 1] = [("backpack", &device, &names)];
    let monitor = world.monitor_with("[scrape]\nmax_body = \"1MiB\"\n", &targets).await;
    monitor.connected("backpack").await;
    assert_eq!(whole(&scrape(&monitor.address("backpack", "right")).await), long);
    let scraped = scrape(&monitor.address("backpack", "wrong")).await;
    assert!(scraped.status == 200 && !scraped.complete, "{}", scraped.status);
    let scraped = scrape(&monitor.address("backpack", "bomb")).await;
    assert!(!scraped.complete && scraped.body.len() <= 1 << 20, "{} bytes", scraped.body.len());
    let scraped = scrape(&monitor.address("backpack", "long")).await;
    assert!(scraped.status == 502 && scraped.reason.contains("max_body"), "{scraped:?}");
    let metrics = monitor.metrics().await;
    for (reason, times) in [("too_large", 2), ("bad_response", 1)] {
        let line =
            format!("onionscrape_scrape_failures_total{{target=\"backpack\",reason=\"{reason}\"}} {times}\n");
        assert!(metrics.contains(&line), "{line:?} is missing in:\n{metrics}");
    }
}

/// An answer with this body in a coding that it may have or not.
fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Encoding: {coding}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub async fn it_can_be_switched_off(world: &World) {
    const OFF: &str = "[compression]\nenabled = false\n";
    let node = world.node_exporter();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let (on, off) = (
        world.device(&[("node", node)]).await,
        world.device_with(&format!("{ssh}{OFF}"), &[("node", node)]).await,
    );
    for (more, device) in [(OFF, &on), ("", &off)] {
        let monitor = world.monitor_with(more, &[("backpack", device, &["node"])]).await;
        monitor.connected("backpack").await;
        let mut scraper = Scraper::connect(&monitor.address("backpack", "node")).await;
        for _ in 0..2 {
            let scraped = scraper.get("/metrics", &[("accept-encoding", "gzip")]).await;
            assert_eq!((scraped.status, scraped.header("content-encoding")), (200, Some("gzip")));
            assert!(
                scraped.body.starts_with(&[0x1f, 0x8b]),
                "compressed by the exporter, not touched on the way"
            );
        }
        for coding in ["zstd", "dcz"] {
            assert_eq!(counted(&monitor, "backpack", coding).await, (0, 0));
        }
    }
}
