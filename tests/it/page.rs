//! The bridge's page, in a real browser.

use std::fs;
use std::time::Duration;

use scraper_bridge::failure::ScrapeFailure;
use scraper_bridge::history::Failed;
use scraper_bridge::hops::{Hop, Hops};
use scraper_bridge::target::{State, Target};
use serde_json::json;
use tokio::time::Instant;

use crate::browser::Browser;
use crate::checkout::repository;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::world::{Device, World};

/// An address that nobody is at.
const NOBODY: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
/// The names in the table, from the top.
const NAMES: &str = "[...document.querySelectorAll('#fleet tbody th > a')].map(a => a.textContent).join(' ')";

/// That the table has these rows, in this order.
fn rows(names: &str) -> String {
    format!("{NAMES} == {names:?}")
}

/// That a target's row shows this state.
fn shows(target: &str, state: &str) -> String {
    format!(
        "document.getElementById('t-{target}').closest('tr').querySelector('.pill').textContent == {state:?}"
    )
}

pub async fn a_browser_shows_the_fleet_and_follows_it(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let exporters = [("app", exporter.address)];
    let folder = world.folder();
    let device = world.device_in(folder.clone(), &ssh, &exporters).await;
    let other = world.device(&exporters).await;
    let wrong = world.target("cabin", &other, "", &["app"]);
    let wrong = wrong.replace(&other.host_key, &world.key().fingerprint());
    let targets = world.target("backpack", &device, "", &["app"])
        + &world.target("attic", &other, "", &["app"])
        + &wrong
        + &world.target("dock", &other, "", &["app"]);
    let monitor = world.monitor_of("[proxy]\nlisten = \"127.0.0.1:0\"\n", &targets).await;
    for target in ["backpack", "attic", "dock"] {
        monitor.connected(target).await;
        for _ in 0..3 {
            assert_eq!(scrape(&monitor.address(target, "app")).await.status, 200);
        }
    }
    monitor.state("cabin", "refused", |state| matches!(state, State::Refused(..))).await;
    let admin = monitor.bridge.admin().to_string();
    served_strictly(&admin).await;

    let mut browser = Browser::start(&world.folder()).await;
    browser.looks(1180, 800, "light").await;
    browser.open(&format!("http://{admin}/")).await;
    // What would be gone if the page were loaded again.
    browser.value("window.mark = 1").await;
    browser.until("the worst comes first", &rows("cabin attic backpack dock")).await;
    let all = browser.value("document.body.innerText").await;
    let all = all.as_str().unwrap();
    for said in ["Tor is ready", "ssh host key mismatch", "compare target-agent hostname"] {
        assert!(all.contains(said), "{said} in: {all}");
    }

    browser.click("#sort-name").await;
    browser.until("sorted by name", &rows("attic backpack cabin dock")).await;
    browser.click("#sort-name").await;
    browser.until("sorted the other way", &rows("dock cabin backpack attic")).await;
    let sorted = "document.querySelector('[aria-sort=descending]').textContent == 'Target'";
    browser.until("and it says so", sorted).await;
    assert_eq!(browser.value("location.search").await, json!("?sort=name&order=desc"));
    browser.click("#only-trouble").await;
    browser.until("one is in trouble", &rows("cabin")).await;
    browser.click("#only-all").await;
    browser.click("#search").await;
    browser.write("c").await;
    browser.until("found by letters", &rows("dock cabin backpack attic")).await;
    browser.write("abin mismatch").await;
    browser.until("found by words", &rows("cabin")).await;
    assert_eq!(browser.value("document.activeElement.id").await, json!("search"), "the cursor stays");
    browser.value("document.getElementById('search').select()").await;
    browser.write("backpack").await;
    browser.until("found by name", &rows("backpack")).await;

    browser.until("it is up", &shows("backpack", "up")).await;
    device.stop().await;
    browser.until("it goes down", &format!("!({})", shows("backpack", "up"))).await;
    let device = world.device_in(folder, &ssh, &exporters).await;
    monitor.bridge.fleet().target("backpack").unwrap().redial().await;
    browser.until("it comes back", &shows("backpack", "up")).await;

    let good = fs::read_to_string(&monitor.file).unwrap();
    fs::write(&monitor.file, good.replace("[proxy]", "[poxy]")).unwrap();
    let says = |what: &str| format!("document.getElementById('config').textContent.includes({what:?})");
    browser.until("the mistake is told", &says("poxy")).await;
    fs::write(&monitor.file, good).unwrap();
    browser.until("and is over", &format!("!{}", says("poxy"))).await;
    assert_eq!(browser.value("window.mark").await, json!(1), "all of that without a reload");

    browser.click("#t-backpack").await;
    let bars = "document.querySelectorAll('.hops .hop-answer').length";
    browser.until("the hops of three scrapes", &format!("{bars} == 3")).await;
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.status, 200);
    browser.until("and of the next, by itself", &format!("{bars} == 4")).await;
    let ways = browser.value("document.querySelector('.ways').innerText").await;
    let port = format!("http://{}/metrics", monitor.address("backpack", "app"));
    let proxy =
        format!("curl --proxy http://{} http://app.backpack/metrics", monitor.bridge.proxy().unwrap());
    for way in [&port, &format!("http://{admin}/t/backpack/app/metrics"), &proxy] {
        assert!(ways.as_str().unwrap().contains(way.as_str()), "{way} in {ways}");
    }
    browser.click("button[data-copy=w-app-1]").await;
    let copied = "document.querySelector('button[data-copy=w-app-1]').textContent == 'Copied'";
    browser.until("it is copied", copied).await;

    let everything = browser.value("document.documentElement.outerHTML").await.to_string();
    assert!(!everything.contains(".onion") && !everything.contains(&device.onion[..16]));
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    for request in &browser.requests {
        assert!(request.starts_with(&format!("http://{admin}/")) || request == "about:blank", "{request}");
    }
}

/// What a browser is told of how to treat the page.
async fn served_strictly(admin: &str) {
    let mut asker = Scraper::connect(admin).await;
    let page = asker.get("/", &[]).await;
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    for name in ["style.css", "page.js", "icon.svg"] {
        let mut paths = page.text().split('"').filter(|part| part.ends_with(name));
        let asset = asker.get(paths.next().unwrap(), &[]).await;
        assert_eq!(asset.status, 200, "{name}");
        assert!(asset.header("cache-control").unwrap().contains("immutable"), "{name}");
    }
    for nowhere in ["/target/nobody", "/target/", "/assets/0/page.js", "/assets/../targets"] {
        assert_eq!(asker.get(nowhere, &[]).await.status, 404, "{nowhere}");
    }
}

/// Pictures of the page into `target/screenshots`, for people to look at.
pub async fn pictures_are_taken(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".repeat(2000))).await;
    let device = world.device(&[("node", exporter.address)]).await;
    let good = ["attic", "backpack", "beehive", "greenhouse", "router", "sailboat", "workshop"];
    let off = Device::nowhere(NOBODY, &device.host_key);
    let wrong = world.target("cabin", &device, "", &["node"]);
    let mut targets = wrong.replace(&device.host_key, &world.key().fingerprint());
    targets += &world.target("van", &off, "", &["node"]);
    for name in good {
        targets += &world.target(name, &device, "", &["node"]);
    }
    let monitor = world.monitor_of("[proxy]\nlisten = \"127.0.0.1:0\"\n", &targets).await;
    for (number, name) in good.into_iter().enumerate() {
        monitor.connected(name).await;
        hours(&monitor.bridge.fleet().target(name).unwrap(), number as u32 + 1);
        for _ in 0..2 {
            assert_eq!(scrape(&monitor.address(name, "node")).await.status, 200);
        }
    }
    hours(&monitor.bridge.fleet().target("van").unwrap(), 20);
    monitor.state("cabin", "refused", |state| matches!(state, State::Refused(..))).await;
    monitor.state("van", "waiting", |state| matches!(state, State::Waiting(..))).await;
    let mut browser = Browser::start(&world.folder()).await;
    let folder = repository("target/screenshots");
    fs::create_dir_all(&folder).unwrap();
    for (page, path) in [("fleet", "/"), ("target", "/target/backpack")] {
        browser.open(&format!("http://{}{path}", monitor.bridge.admin())).await;
        for (size, width, height) in [("wide", 1180, 640), ("tablet", 800, 640), ("phone", 390, 844)] {
            for scheme in ["light", "dark"] {
                browser.looks(width, height, scheme).await;
                let no_wider = format!("document.documentElement.scrollWidth <= {width}");
                browser.until("nothing sticks out", &no_wider).await;
                let picture = browser.picture().await;
                assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000);
                fs::write(folder.join(format!("{page}-{size}-{scheme}.png")), picture).unwrap();
            }
        }
    }
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// Six hours of scrapes, made up, since nobody can wait for them; number 20 was switched off on the way.
fn hours(target: &Target, number: u32) {
    let mut random = number.wrapping_mul(2_654_435_761);
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(random >> 8) / f64::from(1 << 24)
    };
    let now = Instant::now();
    let mut slow = 0.0;
    for minute in (1..360).rev() {
        slow = f64::max(0.0, slow * 0.97 + (next() - 0.52) * 0.05);
        let off = number == 20 && minute < 95;
        let failed = off || next() < 0.002 * f64::from(number);
        let mut hops = Hops::default();
        for (hop, share) in [(Hop::Session, 0.0), (Hop::Channel, 0.01), (Hop::Answer, 0.75), (Hop::Body, 0.2)]
        {
            if failed && hop != Hop::Session {
                break;
            }
            let seconds = share * (0.09 + 0.01 * f64::from(number) + slow) * (0.8 + 0.6 * next() * next());
            hops.add(hop, Duration::from_secs_f64(seconds));
        }
        let why = ScrapeFailure::NotConnected("onion not found: the device is off or offline".into());
        let failed = failed.then(|| Failed::new(&why, "node"));
        let ended = now.checked_sub(Duration::from_secs(minute * 60)).unwrap();
        target.history.add(0, ended, hops, failed);
    }
}
