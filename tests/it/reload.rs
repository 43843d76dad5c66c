//! A configuration that changes while an agent runs.

use std::fs;
use std::time::Instant;

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraped, scrape};
use crate::world::{Monitor, World};

/// Scrapes until the answer is so.
async fn scraped(monitor: &Monitor, exporter: &str, what: &str, wanted: impl Fn(&Scraped) -> bool) {
    let (address, began) = (monitor.address("backpack", exporter), Instant::now());
    loop {
        let answer = scrape(&address).await;
        if wanted(&answer) {
            return;
        }
        assert!(began.elapsed().as_secs() < 90, "{exporter} is not {what} in time: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

pub async fn an_exporter_comes_and_goes_on_a_live_agent(world: &World) {
    const LOADED: &str = "onionscrape_config_last_reload_successful";
    let first = Exporter::start(Manner::Good("a 1\n".into())).await;
    let second = Exporter::start(Manner::Good("b 1\n".into())).await;
    let folder = world.folder();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let device = world.device_in(folder.clone(), &ssh, &[("app", first.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app", "fresh", "agent"])]).await;
    monitor.connected("backpack").await;
    scraped(&monitor, "app", "there", |answer| answer.text() == "a 1\n").await;
    let absent = scrape(&monitor.address("backpack", "fresh")).await;
    assert_eq!(absent.reason, "refused by the device: no channel to exporter fresh");

    // It comes, and the bridge hears of it by itself.
    world.agent_file(&folder, &ssh, &[("app", first.address), ("fresh", second.address)]);
    scraped(&monitor, "fresh", "there", |answer| answer.text() == "b 1\n").await;
    let target = monitor.bridge.fleet().target("backpack").unwrap();
    let tells_of = |name: &str| {
        let inventory = target.inventory();
        inventory.is_some_and(|all| all.exporters.iter().any(|item| item.name.as_str() == name))
    };
    world.until("the inventory has it", || tells_of("fresh")).await;

    // A mistake changes nothing, and is told of.
    let file = folder.join("agent.toml");
    let right = fs::read_to_string(&file).unwrap();
    fs::write(&file, right.replace("[ssh]", "[shh]")).unwrap();
    let refused = format!("\n{LOADED} 0\n");
    scraped(&monitor, "agent", "in the know", |answer| answer.text().contains(&refused)).await;
    for name in ["app", "fresh"] {
        assert_eq!(scrape(&monitor.address("backpack", name)).await.status, 200, "{name}");
    }

    // It goes.
    world.agent_file(&folder, &ssh, &[("fresh", second.address)]);
    scraped(&monitor, "app", "gone", |answer| answer.status >= 400).await;
    scraped(&monitor, "fresh", "there", |answer| answer.text() == "b 1\n").await;
    let loaded = format!("\n{LOADED} 1\n");
    scraped(&monitor, "agent", "in the know", |answer| answer.text().contains(&loaded)).await;
    world.until("the inventory has it no more", || !tells_of("app")).await;

    let metrics = monitor.metrics().await;
    assert!(metrics.contains("\nonionscrape_target_connects_total{target=\"backpack\"} 1\n"), "{metrics}");
}
