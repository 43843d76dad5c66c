use std::path::{Path, PathBuf};

use onionscrape::metrics::{classic_text, registry};
use tokio::sync::watch;

use super::*;
use crate::config::ExporterConfig;
use crate::status::AgentStatus;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ home";
const APP: &str = "[[exporter]]\nname = \"app\"\naddress = \"127.0.0.1:1\"\n";

struct Rig {
    folder: tempfile::TempDir,
    exporters: Exporters,
    access: Access,
    metrics: Metrics,
    reloader: Reloader,
}

impl Rig {
    /// An agent that runs with this configuration.
    fn new(text: &str) -> Self {
        Self::after(text, text)
    }

    /// The same, but the file says something else by the time it runs.
    fn after(text: &str, by_then: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(file(folder.path()), text).expect("written");
        let config = AgentConfig::read(Some(&file(folder.path())), None).expect("right");
        if by_then != text {
            std::fs::write(file(folder.path()), by_then).expect("written");
        }
        let metrics = Metrics::new();
        let exporters = Exporters::new(&config.exporters, &metrics);
        let (_, status) = watch::channel(AgentStatus::Bootstrapping);
        let pages = Pages::new(&metrics, &config.exporters, status);
        let access = Access::new(config.sources.clone());
        let (exporters, metrics) = (exporters, metrics);
        let reached =
            Reached { exporters: exporters.clone(), pages, access: access.clone(), metrics: metrics.clone() };
        Self { folder, exporters, access, metrics, reloader: Reloader::new(config, reached) }
    }

    fn write(&self, text: &str) {
        std::fs::write(file(self.folder.path()), text).expect("written");
    }

    fn is_successful(&self) -> bool {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        text.contains("\nonionscrape_config_last_reload_successful 1\n")
    }

    fn guests(&self) -> usize {
        self.access.now().entries.len()
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("agent.toml")
}

#[tokio::test(start_paused = true)]
async fn a_change_is_taken_up_and_a_mistake_changes_nothing() {
    let rig = Rig::new("state_dir = \"state\"\n");
    let stop = CancellationToken::new();
    tokio::spawn(rig.reloader.clone().follow(stop.clone()));
    assert!(rig.is_successful() && rig.exporters.named("node").is_some() && rig.guests() == 0);

    rig.write(&format!("state_dir = \"state\"\n[ssh]\nkeys = [{KEY:?}]\n{APP}"));
    tokio::time::sleep(LOOK * 3).await;
    assert!(rig.exporters.named("app").is_some() && rig.exporters.named("node").is_none());
    assert_eq!(rig.guests(), 1, "a key was added");

    rig.write(&format!("{APP}{APP}[ssh]\nkeys = []\nlogin_grace = \"0s\"\n"));
    tokio::time::sleep(LOOK * 3).await;
    assert!(!rig.is_successful());
    assert!(rig.exporters.named("app").is_some() && rig.guests() == 1, "everything is as it was");
    let mistakes = rig.reloader.reload().await.expect_err("still wrong").0;
    assert!(mistakes.lines().count() == 2 && mistakes.contains("agent.toml:5:8: "), "{mistakes}");

    rig.write("state_dir = \"state\"\n");
    tokio::time::sleep(LOOK * 3).await;
    assert!(rig.is_successful() && rig.exporters.named("node").is_some() && rig.guests() == 0);
    stop.cancel();
}

#[tokio::test]
async fn an_exporter_that_has_not_changed_stays_as_it_is() {
    let rig = Rig::new(APP);
    let before = rig.exporters.named("host").expect("built in");
    rig.exporters.named("app").expect("listed").config();
    rig.write(&format!("{APP}labels = {{ site = \"harbour\" }}\n"));
    rig.reloader.reload().await.expect("right");
    let app = rig.exporters.named("app").expect("listed");
    assert_eq!(app.config().labels["site"], "harbour");
    let after = rig.exporters.named("host").expect("built in");
    assert!(std::ptr::eq::<ExporterConfig>(before.config(), after.config()), "not even made anew");
}

#[tokio::test]
async fn what_needs_a_restart_is_left_and_named() {
    let rig = Rig::new("state_dir = \"state\"\n");
    let before = AgentConfig::read(Some(&file(rig.folder.path())), None).expect("right");
    let text = "state_dir = \"elsewhere\"\n[onion]\nrestricted_discovery = \"on\"\n[ssh]\nlogin_grace = \"30s\"\n\
                [admin]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n[tor]\ncache_dir = \"cache\"\n";
    rig.write(text);
    let (now, moved) = before.origin.read_again(&before.state_directory).expect("right");
    assert!(moved && now.state_directory == before.state_directory);
    assert_eq!(now.sources.bridges, before.sources.bridges, "nothing of it lies elsewhere");
    assert_eq!(fixed(&before, &now), ["[tor]", "[onion]", "[ssh] forward or login_grace", "[admin]"]);
    assert_eq!(fixed(&now, &now), [""; 0]);
    assert_eq!(waiting(&before, &before, &now), fixed(&before, &now));
    assert_eq!(waiting(&before, &now, &now), [""; 0], "it was told of before");
    assert_eq!(waiting(&before, &now, &before), [""; 0], "it was taken back");
    rig.reloader.reload().await.expect("the rest is taken up");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_waits() {
    let rig = Rig::new(APP);
    let stop = CancellationToken::new();
    tokio::spawn(rig.reloader.clone().follow(stop.clone()));
    tokio::time::sleep(LOOK / 2).await;
    for part in 1..6 {
        // An editor that writes in place: each part is right.
        rig.write(&"#".repeat(part));
        tokio::time::sleep(LOOK).await;
        assert!(rig.exporters.named("app").is_some(), "taken up too early");
    }
    rig.write("");
    tokio::time::sleep(LOOK * 2).await;
    assert!(rig.exporters.named("app").is_none(), "it rests");
    rig.write(APP);
    rig.reloader.reload().await.expect("right");
    assert!(rig.exporters.named("app").is_some(), "whoever asks need not wait");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_for_a_moment_is_read_again() {
    let rig = Rig::new(APP);
    rig.write("[");
    rig.reloader.reload().await.expect_err("wrong");
    rig.write("");
    // As if the file had been like this all the time, and only the reading had failed.
    rig.reloader.0.known.lock().await.stamp = rig.reloader.0.origin.stamp();
    let stop = CancellationToken::new();
    tokio::spawn(rig.reloader.clone().follow(stop.clone()));
    tokio::time::sleep(RETRY / 2).await;
    assert!(rig.exporters.named("app").is_some(), "not at once");
    tokio::time::sleep(RETRY).await;
    assert!(rig.exporters.named("app").is_none() && rig.is_successful());
    stop.cancel();
}

#[tokio::test]
async fn a_change_before_the_first_look_is_seen() {
    let rig = Rig::after(APP, "state_dir = \"state\"\n");
    let known = rig.reloader.0.known.lock().await;
    assert_ne!(known.stamp, rig.reloader.0.origin.stamp());
}

#[tokio::test]
async fn the_other_front_locks_nobody_out_before_the_restart() {
    let with_key = format!("[ssh]\nkeys = [{KEY:?}]\n");
    let rig = Rig::new(&with_key);
    assert_eq!(rig.guests(), 1);
    rig.write("[ssh]\nforward = \"127.0.0.1:22\"\n");
    rig.reloader.reload().await.expect("right");
    assert_eq!(rig.guests(), 1, "the front that runs has the guests that it had");
    rig.write(APP);
    rig.reloader.reload().await.expect("right");
    assert_eq!(rig.guests(), 0, "taken away from the front that runs");
}
