use std::fs;
use std::path::Path;

use super::*;

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
    fs::write(file, text).expect("write");
}

/// The samples of a page by these collectors on a machine with these files.
async fn samples(files: &[(&str, &str)], collectors: &[Collector]) -> Vec<String> {
    let root = tempfile::tempdir().expect("folder");
    for (path, text) in files {
        write(root.path(), path, text);
    }
    page(root.path(), collectors).await
}

async fn page(root: &Path, collectors: &[Collector]) -> Vec<String> {
    let host = Host::under(root.into(), &collectors.iter().copied().collect());
    let text = host.page(Instant::now() + Duration::from_secs(60)).await;
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_duration_seconds{"));
    samples.map(|line| line.strip_prefix("node_").expect("node_exporter's prefix").to_owned()).collect()
}

/// A pipe whose readers hang until this is dropped.
struct Hanging(PathBuf);

impl Hanging {
    fn make(path: PathBuf) -> Self {
        use rustix::fs::{CWD, FileType, mknodat};
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).expect("pipe");
        Self(path)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        use rustix::fs::{Mode, OFlags, open};
        let _ = open(&self.0, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        let _ = fs::remove_file(&self.0);
    }
}

fn success(collector: &str) -> String {
    format!("scrape_collector_success{{collector=\"{collector}\"}} 1")
}

#[tokio::test]
async fn processors_keep_their_numbers_when_some_are_off() {
    let stat = "cpu  3 0 0 0\ncpu0 100 200 300 400 500 600 700 800 900 1000\ncpu2 1 2 3 4\nctxt 5\nbtime 6\n\
                processes 7\nprocs_running 8\nprocs_blocked 9\n";
    let samples = samples(&[("proc/stat", stat)], &[Collector::Cpu, Collector::Stat]).await;
    let expected = [
        "cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 10",
        "cpu_guest_seconds_total{cpu=\"0\",mode=\"user\"} 9",
        "cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 4",
        "cpu_seconds_total{cpu=\"0\",mode=\"iowait\"} 5",
        "cpu_seconds_total{cpu=\"0\",mode=\"irq\"} 6",
        "cpu_seconds_total{cpu=\"0\",mode=\"nice\"} 2",
        "cpu_seconds_total{cpu=\"0\",mode=\"softirq\"} 7",
        "cpu_seconds_total{cpu=\"0\",mode=\"steal\"} 8",
        "cpu_seconds_total{cpu=\"0\",mode=\"system\"} 3",
        "cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1",
        "cpu_seconds_total{cpu=\"2\",mode=\"idle\"} 0.04",
        "cpu_seconds_total{cpu=\"2\",mode=\"nice\"} 0.02",
        "cpu_seconds_total{cpu=\"2\",mode=\"system\"} 0.03",
        "cpu_seconds_total{cpu=\"2\",mode=\"user\"} 0.01",
        "boot_time_seconds 6",
        "context_switches_total 5",
        "forks_total 7",
        "procs_running 8",
        "procs_blocked 9",
        &success("cpu"),
        &success("stat"),
    ];
    assert_eq!(samples, expected);
}

#[tokio::test]
async fn sensors_and_batteries() {
    let files = [
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ("sys/class/thermal/thermal_zone1/type", "off\n"),
        ("sys/class/thermal/cooling_device0/type", "fan\n"),
        ("sys/class/hwmon/hwmon0/name", "acpitz-virtual\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "-5000\n"),
        ("sys/class/hwmon/hwmon0/temp1_label", "out\"side\n"),
        ("sys/class/hwmon/hwmon0/temp2_input", "no number\n"),
        ("sys/class/hwmon/hwmon0/fan1_input", "900\n"),
        ("sys/class/power_supply/BAT0/capacity", "81\n"),
        ("sys/class/power_supply/BAT0/energy_now", "36580000\n"),
        ("sys/class/power_supply/BAT0/type", "Battery\n"),
        ("sys/class/power_supply/BAT0/power_supply", "not its name\n"),
    ];
    let collectors = [Collector::ThermalZone, Collector::Hwmon, Collector::Powersupplyclass];
    let expected = [
        "thermal_zone_temp{type=\"cpu-thermal\",zone=\"0\"} 48.312",
        "hwmon_chip_names{chip=\"acpitz_virtual\",chip_name=\"acpitz_virtual\"} 1",
        "hwmon_sensor_label{chip=\"acpitz_virtual\",label=\"out\\\"side\",sensor=\"temp1\"} 1",
        "hwmon_temp_celsius{chip=\"acpitz_virtual\",sensor=\"temp1\"} -5",
        "power_supply_capacity{power_supply=\"BAT0\"} 81",
        "power_supply_energy_watthour{power_supply=\"BAT0\"} 36.58",
        "power_supply_info{power_supply=\"BAT0\",type=\"Battery\"} 1",
        &success("thermal_zone"),
        &success("hwmon"),
        &success("powersupplyclass"),
    ];
    assert_eq!(samples(&files, &collectors).await, expected);
    let nothing: Vec<_> = collectors.iter().map(|collector| success(collector.name())).collect();
    assert_eq!(samples(&[], &collectors).await, nothing, "hardware that is not there is no failure");
}

#[tokio::test]
async fn the_distribution_is_read_as_the_shell_would() {
    let text = "# ID=no\nID=debian\nNAME=\"A \\\"quoted\\\" \\$name\"\nVERSION='1 (x)'\nVERSION_ID=0\nVERSION_ID=12\n";
    let samples = samples(&[("etc/os-release", text)], &[Collector::Os]).await;
    let info = "os_info{build_id=\"\",id=\"debian\",id_like=\"\",image_id=\"\",image_version=\"\",\
                name=\"A \\\"quoted\\\" $name\",pretty_name=\"\",variant=\"\",variant_id=\"\",\
                version=\"1 (x)\",version_codename=\"\",version_id=\"12\"} 1";
    assert_eq!(samples, [info, &success("os")]);
}

#[tokio::test]
async fn a_collector_that_fails_or_hangs_takes_no_other_with_it() {
    let root = tempfile::tempdir().expect("folder");
    write(root.path(), "proc/meminfo", "MemTotal: 3 kB\nHugePages_Total: 2\nActive(anon): 1 kB\nbroken\n");
    let hanging = Hanging::make(root.path().join("proc/loadavg"));
    let collectors = [Collector::Loadavg, Collector::Meminfo, Collector::Time].into();
    let host = Host::under(root.path().into(), &collectors);
    for _ in 0..3 {
        let text = host.page(Instant::now() + Duration::from_secs(1)).await;
        for line in [
            "node_memory_MemTotal_bytes 3072\n",
            "node_memory_HugePages_Total 2\n",
            "node_memory_Active_anon_bytes 1024\n",
            "node_scrape_collector_success{collector=\"loadavg\"} 0\n",
            "node_scrape_collector_success{collector=\"meminfo\"} 0\n",
            "node_scrape_collector_success{collector=\"time\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("node_load"), "{text}");
    }
    // Whoever hangs goes on, and finds nothing; the next one finds a file.
    drop(hanging);
    write(root.path(), "proc/loadavg", "0.91 1.5 2 3/4 5\n");
    let loads = ["node_load1 0.91\n", "node_load5 1.5\n", "node_load15 2\n"];
    loop {
        let text = host.page(Instant::now() + Duration::from_secs(60)).await;
        if text.contains("node_scrape_collector_success{collector=\"loadavg\"} 1\n") {
            assert!(loads.iter().all(|load| text.contains(load)), "{text}");
            break;
        }
        tokio::task::yield_now().await;
    }
}
