use std::time::{Duration, Instant};

use super::*;
use crate::overview::{BucketOverview, ScrapeOverview};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn around() -> Surroundings {
    let proxy = "127.0.0.1:9823".parse().ok();
    Surroundings { admin: "127.0.0.1:9822".into(), scheme: "http", password: false, proxy }
}

fn at(ago: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(ago)).to_string()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn overview(targets: Vec<TargetOverview>) -> Overview {
    let bridge = BridgeOverview {
        version: "1.2.3".into(),
        tor_ready: true,
        tor: "Tor is ready".into(),
        config_refused_at: None,
        config_mistakes: Vec::new(),
    };
    Overview { bridge, targets }
}

/// A target with six hours behind it, whose scrapes took so long, and so many of 20 failed.
fn target(name: &str, state: &str, milliseconds: f64, failures: u32) -> TargetOverview {
    let took = milliseconds / 1000.0;
    let scrape = |number: u64| ScrapeOverview {
        at: at((24 - number) * 15),
        seconds: took,
        hops: vec![
            ("session".into(), 0.0),
            ("channel".into(), took / 10.0),
            ("answer".into(), took / 2.0),
            ("body".into(), took / 4.0),
        ],
        failure: None,
    };
    let bucket = |number: u64| BucketOverview {
        parts_ago: number as usize,
        // When the first scrape of it ended: somewhere in it.
        began: at(number * 300 + number * 120 % 300),
        scrapes: 20,
        failures,
        p50_seconds: (failures < 20).then_some(took * (1.0 + (number % 7) as f64 / 10.0)),
        max_seconds: (failures < 20).then_some(took * 3.0),
    };
    let up = state == "up";
    TargetOverview {
        name: name.into(),
        state: state.into(),
        up,
        since: at(4000),
        why: (!up).then(|| "onion not found: the device is off or offline".into()),
        remedy: (!up).then(|| "switch the device on".into()),
        next_dial: None,
        last_good_scrape: Some(at(12)),
        standby: None,
        latency_p50_seconds: Some(took),
        latency_p95_seconds: Some(took * 2.0),
        exporters: vec![ExporterOverview {
            name: "node".into(),
            listen: Some("127.0.0.1:9101".into()),
            path: format!("/t/{name}/node/metrics"),
            proxy: format!("node.{name}"),
            failure: None,
            remedy: None,
            scrapes: (0..24).map(scrape).collect(),
        }],
        history: (0..72).rev().map(bucket).collect(),
    }
}

fn fleet() -> Overview {
    overview(vec![
        target("attic", "up", 90.0, 0),
        target("backpack", "waiting", 140.0, 5),
        target("cellar", "up", 60.0, 1),
        target("dock", "refused", 200.0, 20),
    ])
}

fn order(query: &str) -> Vec<String> {
    let page = render_fleet(&fleet(), query, &around(), now());
    let links = page.split("href=\"/target/").skip(1);
    links.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_is_sorted_and_searched_by_its_address() {
    assert_eq!(order(""), ["dock", "backpack", "attic", "cellar"], "the worst first");
    assert_eq!(order("order=desc"), ["attic", "cellar", "backpack", "dock"]);
    assert_eq!(order("sort=name"), ["attic", "backpack", "cellar", "dock"]);
    assert_eq!(order("sort=p50"), ["cellar", "attic", "backpack", "dock"]);
    assert_eq!(order("sort=success&order=desc"), ["attic", "cellar", "backpack", "dock"]);
    assert_eq!(order("only=trouble&sort=name"), ["backpack", "dock"]);
    assert_eq!(order("only=up&sort=name&order=desc"), ["cellar", "attic"]);
    assert_eq!(order("q=ATT"), ["attic"]);
    assert_eq!(order("q=off+onion"), ["dock", "backpack"]);
    assert_eq!(order("q=nothing"), Vec::<String>::new());
    assert_eq!(order("sort=%00&only=x&order=&q"), ["dock", "backpack", "attic", "cellar"]);

    let page = render_fleet(&fleet(), "sort=p50&q=a", &around(), now());
    assert!(page.contains("aria-sort=\"ascending\" class=\"number\"><a id=\"sort-p50\""), "{page}");
    assert!(page.contains("href=\"/?sort=p50&#38;order=desc&#38;q=a\""), "the other way round");
    assert_eq!(page.matches("aria-sort=\"none\"").count(), 6);
}

#[test]
fn what_others_wrote_is_text_and_nothing_else() {
    let evil = "<script>alert(1)</script><img src=x onerror=\"a\">'";
    let mut all = fleet();
    let attic = &mut all.targets[0];
    attic.exporters[0].failure = Some(evil.into());
    attic.exporters[0].remedy = Some("look".into());
    attic.exporters[0].scrapes[23].failure = Some(evil.into());
    attic.why = Some(evil.into());
    all.bridge.config_mistakes = vec![evil.into()];
    let around = Surroundings { admin: "\"><script>".into(), ..around() };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", evil).finish();
    for page in [
        render_fleet(&all, "", &around, now()),
        render_fleet(&all, &query, &around, now()),
        render_target(&all.bridge, &all.targets[0], &around, now()),
    ] {
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
        assert!(page.contains("&#60;script&#62;"), "{page}");
        assert_eq!(page.matches("<script ").count(), 1, "our own");
        for inline in [" style=\"", "<style", " onclick", "javascript:"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }
}

#[test]
fn a_target_says_what_is_wrong_and_how_to_scrape_it() {
    let mut all = fleet();
    all.targets[1].exporters[0].failure = Some("timed out opening a channel".into());
    let page = render_target(&all.bridge, &all.targets[1], &around(), now());
    for said in [
        "onion not found: the device is off or offline",
        "What to do: switch the device on",
        "360 of 1440 scrapes failed",
        "answer <b>70 ms</b>",
        "http://127.0.0.1:9101/metrics<",
        "http://127.0.0.1:9822/t/backpack/node/metrics<",
        "http://127.0.0.1:9822/probe?target=backpack&#38;module=node<",
        "curl --proxy http://127.0.0.1:9823 http://node.backpack/metrics<",
        "instance: &#39;backpack&#39;\n        exporter: &#39;node&#39;\n",
        "not in these numbers",
    ] {
        assert!(page.contains(said), "{said} in:\n{page}");
    }
    assert_eq!(page.matches("class=\"hop-answer\"").count(), 24);
    assert_eq!(page.matches("class=\"longest\"").count(), 72, "each five minutes have their place");
}

#[test]
fn what_is_copied_works_where_it_is_pasted() {
    let mut one = target("backpack", "up", 1.0, 0);
    one.exporters[0].listen = Some("unix:/run/a b's/node.sock".into());
    let around = Surroundings { scheme: "https", password: true, ..around() };
    let texts: Vec<_> = recipes(&one, &one.exporters[0], &around).into_iter().map(|one| one.text).collect();
    assert_eq!(texts[0], r"curl --unix-socket '/run/a b'\''s/node.sock' http://localhost/metrics");
    one.exporters[0].listen = Some("unix:/run/node.sock".into());
    let plain = &recipes(&one, &one.exporters[0], &around)[0].text;
    assert_eq!(plain, "curl --unix-socket /run/node.sock http://localhost/metrics");
    assert_eq!(
        fleet_recipe(&around),
        "- job_name: onion\n  \
           # tls_config: {ca_file: bridge.crt}\n  \
           # basic_auth: {username: prometheus, password_file: bridge.password}\n  \
           http_sd_configs:\n    \
             - url: https://127.0.0.1:9822/sd\n      \
               # tls_config: {ca_file: bridge.crt}\n      \
               # basic_auth: {username: prometheus, password_file: bridge.password}\n"
    );
    let job = recipe::job(&one, &one.exporters[0], &around);
    assert!(job.contains("  scheme: https\n  # tls_config: "), "{job}");
}

#[test]
fn the_first_minutes_have_pages_too() {
    let page = render_fleet(&overview(Vec::new()), "", &around(), now());
    assert!(page.contains("No target is configured yet") && !page.contains("<table"), "{page}");
    let mut fresh = target("new", "connecting", 1.0, 0);
    (fresh.history, fresh.latency_p50_seconds, fresh.last_good_scrape) = (Vec::new(), None, None);
    fresh.exporters[0].scrapes.clear();
    let all = overview(vec![fresh]);
    let page = render_target(&all.bridge, &all.targets[0], &around(), now());
    assert_eq!(page.matches("Nobody has scraped it yet").count(), 2);
    assert!(render_fleet(&all, "", &around(), now()).contains("never"));
}

#[test]
fn a_thousand_targets_are_a_page() {
    let all = overview((0..1000).map(|n| target(&format!("device-{n}"), "up", 90.0, n % 3)).collect());
    let started = Instant::now();
    let page = render_fleet(&all, "", &around(), now());
    println!("{} bytes in {:?}", page.len(), started.elapsed());
    assert_eq!(page.matches("href=\"/target/").count(), 1000);
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
}
