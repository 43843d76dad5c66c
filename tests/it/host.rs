//! The built-in exporter beside the real node_exporter, and the way of its metrics to Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use target_agent::host::{Collector, Host};
use tornet::process::{self, Process};

use crate::http::{Scraper, scrape};
use crate::world::World;

/// What node_exporter leaves out by itself; Debian's leaves out more.
const NODE_EXPORTER: [&str; 2] = [
    "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
    "--collector.netdev.device-exclude=^$",
];

/// Sensors and a battery, which the machine that runs the tests need not have.
const HARDWARE: [(&str, &str); 24] = [
    ("devices/platform/coretemp.0/hwmon/hwmon0/name", "coretemp"),
    ("devices/platform/coretemp.0/hwmon/hwmon0/temp1_input", "48000"),
    ("devices/platform/coretemp.0/hwmon/hwmon0/temp1_label", "Package id 0"),
    ("devices/platform/coretemp.0/hwmon/hwmon0/temp2_input", "-1500"),
    ("devices/virtual/hwmon/hwmon1/name", "cpu_thermal"),
    ("devices/virtual/hwmon/hwmon1/temp1_input", "51121"),
    ("class/thermal/thermal_zone0/type", "cpu-thermal"),
    ("class/thermal/thermal_zone0/temp", "51121"),
    ("class/thermal/thermal_zone0/policy", "step_wise"),
    ("class/power_supply/AC/online", "1"),
    ("class/power_supply/AC/type", "Mains"),
    ("class/power_supply/BAT0/capacity", "81"),
    ("class/power_supply/BAT0/capacity_level", "Normal"),
    ("class/power_supply/BAT0/charge_full", "4000000"),
    ("class/power_supply/BAT0/charge_now", "3240000"),
    ("class/power_supply/BAT0/current_now", "1234000"),
    ("class/power_supply/BAT0/cycle_count", "7"),
    ("class/power_supply/BAT0/energy_now", "36580000"),
    ("class/power_supply/BAT0/energy_full", "45070000"),
    ("class/power_supply/BAT0/model_name", "LNV-45N1"),
    ("class/power_supply/BAT0/present", "1"),
    ("class/power_supply/BAT0/status", "Discharging"),
    ("class/power_supply/BAT0/temp", "312"),
    ("class/power_supply/BAT0/voltage_now", "12229000"),
];

/// One family: its type, its help, and its samples by labels.
type Family = (String, String, BTreeMap<BTreeSet<String>, f64>);

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            families.entry(name.to_owned()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split("\",");
            let labels = labels.map(|label| label.trim_end_matches('"').to_owned()).collect();
            let name = name.strip_suffix("_sum").or(name.strip_suffix("_count")).unwrap_or(name);
            let family = families.entry(name.to_owned()).or_default();
            family.2.insert(labels, value.parse().unwrap());
        }
    }
    families
}

/// What promtool says about metrics that it can read.
fn complaints(text: &str) -> BTreeSet<String> {
    let mut command = Command::new(process::find("promtool").unwrap());
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // 3 is for names that it would have chosen otherwise.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    said.lines().map(str::to_owned).collect()
}

fn machine(root: &Path) {
    for (path, text) in HARDWARE {
        let file = root.join("sys").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{text}\n")).unwrap();
    }
    let hwmon = root.join("sys/class/hwmon");
    fs::create_dir_all(&hwmon).unwrap();
    symlink("../../devices/platform/coretemp.0/hwmon/hwmon0", hwmon.join("hwmon0")).unwrap();
    symlink("../../devices/virtual/hwmon/hwmon1", hwmon.join("hwmon1")).unwrap();
    symlink("../..", root.join("sys/devices/platform/coretemp.0/hwmon/hwmon0/device")).unwrap();
    for folder in ["proc", "etc"] {
        symlink(Path::new("/").join(folder), root.join(folder)).unwrap();
    }
}

/// node_exporter on the same machine, and its page.
async fn node_exporter(root: &Path) -> (Process, String) {
    let address = tornet::ports::reserve().unwrap().addr();
    let mut command = Command::new(process::find("prometheus-node-exporter").unwrap());
    command.args(NODE_EXPORTER).arg(format!("--web.listen-address={address}"));
    command.arg(format!("--path.sysfs={}", root.join("sys").display()));
    let process = process::spawn(&command, &root.join("node_exporter.log")).unwrap();
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", process.log_tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = scrape(&address.to_string()).await.text().to_owned();
    (process, text)
}

pub async fn it_says_what_node_exporter_says(world: &World) {
    let root = world.folder();
    machine(&root);
    let (_process, theirs) = node_exporter(&root).await;
    let host = Host::under(root, &Collector::ALL.into());
    let ours = host.page(tokio::time::Instant::now() + Duration::from_secs(60)).await;
    let (more, less) = (complaints(&ours), complaints(&theirs));
    assert!(more.is_subset(&less), "{:?}", more.difference(&less));

    let (ours, theirs) = (families(&ours), families(&theirs));
    assert!(ours.len() > 100, "{} families", ours.len());
    for (name, (kind, help, samples)) in &ours {
        let there = theirs.get(name).unwrap_or_else(|| panic!("node_exporter has no {name}"));
        assert_eq!((kind, help), (&there.0, &there.1), "{name}");
        assert!(!samples.is_empty(), "{name}");
        for (labels, value) in samples {
            let same =
                there.2.get(labels).unwrap_or_else(|| panic!("node_exporter has no {name} {labels:?}"));
            // What does not move is the same number.
            let still =
                ["node_hwmon", "node_thermal", "node_power_supply", "node_uname", "node_os", "node_boot"];
            if still.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("_size_bytes") {
                assert_eq!(value, same, "{name} {labels:?}");
            }
        }
    }
    let complete = &ours["node_scrape_collector_success"].2;
    assert_eq!(complete.len(), Collector::ALL.len());
    assert!(complete.values().all(|success| *success == 1.0), "{complete:?}");
    for name in
        ["node_hwmon_temp_celsius", "node_thermal_zone_temp", "node_power_supply_info", "node_os_info"]
    {
        assert_eq!(ours[name].2.len(), theirs[name].2.len(), "{name}");
    }
    let of = |families: &BTreeMap<String, Family>, prefix: &str| {
        let names = families.keys().filter(|name| name.starts_with(prefix));
        names.cloned().collect::<BTreeSet<_>>()
    };
    for prefix in ["node_memory", "node_load", "node_power_supply", "node_hwmon_temp_", "node_cpu_"] {
        assert_eq!(of(&ours, prefix), of(&theirs, prefix), "all of them");
    }
}

pub async fn a_bare_device_is_scraped_and_a_filter_holds(world: &World) {
    let exporter = world.node_exporter();
    let key = world.key().public_line();
    let permitted = "restrict,permitopen=\"host:80\",permitopen=\"node:80\",permitopen=\"agent:80\"";
    let permitted = format!("{permitted},permitopen=\"{exporter}\" {key}");
    let filter = "drop = [\"node_disk_.*\", \"go_gc_duration_seconds\"]\nkeep = [\"(node|go)_.*\"]";
    let more = format!(
        "[ssh]\nkeys = [{permitted:?}]\n[host]\ndrop = \"node_network_.*\"\n\
         [[exporter]]\nname = \"node\"\naddress = \"{exporter}\"\n{filter}\n"
    );
    let device = world.device_with(&more, &[]).await;
    let mut targets = world.target("backpack", &device, "", &["host", "node", "agent"]);
    targets += &format!(
        "[[target.exporter]]\nname = \"direct\"\nlisten = \"127.0.0.1:0\"\naddress = \"{exporter}\"\n"
    );
    let monitor = world.monitor_of("", &targets).await;
    monitor.connected("backpack").await;

    let host = scrape(&monitor.address("backpack", "host")).await;
    assert_eq!((host.status, host.complete), (200, true), "{host:?}");
    assert_eq!(host.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let host = families(host.text());
    assert!(host.contains_key("node_load1") && host.contains_key("node_memory_MemTotal_bytes"), "{host:?}");
    assert!(!host.keys().any(|name| name.starts_with("node_network_")), "{host:?}");

    let mut through = Scraper::connect(&monitor.address("backpack", "node")).await;
    let mut direct = Scraper::connect(&exporter.to_string()).await;
    let dropped = |name: &str| {
        name.starts_with("node_disk_")
            || name.contains("go_gc_duration_seconds")
            || !(name.starts_with("go_") || name.starts_with("node_"))
    };
    for accept in ["text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"] {
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        let answer = through.get("/metrics", &headers).await;
        assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
        assert!(answer.header("content-encoding").is_none());
        let direct = direct.get("/metrics", &headers[..1]).await;
        assert_eq!(answer.header("content-type"), direct.header("content-type"));
        let (kept, all) = (answer.text(), direct.text());
        assert_eq!(kept.ends_with("# EOF\n"), all.ends_with("# EOF\n"));
        let names = |text: &str| -> BTreeSet<_> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            lines.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
        };
        let expected: BTreeSet<_> = names(all).into_iter().filter(|name| !dropped(name)).collect();
        assert!(expected.len() > 100 && expected.len() < names(all).len(), "{expected:?}");
        assert_eq!(names(kept), expected);
        let stray = kept.lines().find(|line| !line.starts_with('#') && dropped(line));
        assert_eq!(stray, None);
    }
    // By its address there would be no filter.
    let direct = scrape(&monitor.address("backpack", "direct")).await;
    assert_eq!(direct.status, 502, "{direct:?}");
    let own = scrape(&monitor.address("backpack", "agent")).await;
    let count = |exporter: &str| {
        let name = format!("onionscrape_exporter_dropped_samples_total{{exporter={exporter:?}}} ");
        let line = own.text().lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert!(count("host") > 0 && count("node") > 0, "{}", own.text());
}
