use super::*;

fn config(folder: &Path) -> AgentConfig {
    let state = folder.join("state");
    onionscrape::files::private_directory(&state).expect("state directory");
    AgentConfig::read(None, Some(state)).expect("defaults")
}

#[test]
fn the_identity_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let made = Identity::open_or_make(&config).expect("made");
    let read = Identity::open_or_make(&config).expect("read");
    assert_eq!(made.onion, read.onion);
    assert_eq!(made.host_key.public_line(), read.host_key.public_line());
    assert!(
        onion::key_path(&config.tor, made.service).is_file(),
        "the key is where a broken one is looked for"
    );
    let json: serde_json::Value = serde_json::from_str(&made.json(&config.front)).expect("JSON");
    assert_eq!(json["hostname"], made.onion.unredacted());
    assert_eq!(json["host_key_fingerprint"], made.host_key.fingerprint());
    let forward = FrontConfig::Forward("127.0.0.1:22".parse().expect("address"));
    let json: serde_json::Value = serde_json::from_str(&made.json(&forward)).expect("JSON");
    assert!(json["host_key"].is_null());
}

#[test]
fn a_broken_onion_key_is_named_and_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let made = Identity::open_or_make(&config).expect("made");
    let path = onion::key_path(&config.tor, made.service);
    let whole = std::fs::read(&path).expect("key");
    for broken in [&whole[..whole.len() / 2], b"", b"garbage\n"] {
        std::fs::write(&path, broken).expect("write");
        let failure = Identity::open_or_make(&config).expect_err("broken").to_string();
        assert!(failure.starts_with(&path.display().to_string()), "{failure}");
        assert_eq!(failure.lines().count(), 1, "{failure}");
        assert_eq!(std::fs::read(&path).expect("key"), broken, "the file is kept as it is");
    }
}

#[test]
fn a_broken_host_key_is_named_and_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    Identity::open_or_make(&config).expect("made");
    let path = config.state_directory.join("ssh_host_ed25519_key");
    let whole = std::fs::read(&path).expect("key");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
    let failure = Identity::open_or_make(&config).expect_err("broken").to_string();
    assert!(failure.starts_with(&path.display().to_string()) && failure.lines().count() == 1, "{failure}");
    assert_eq!(std::fs::read(&path).expect("key").len(), whole.len() / 2, "the file is kept as it is");
}
