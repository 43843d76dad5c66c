use std::time::Duration;

use onionscrape::address::OnionAddress;

use super::*;
use crate::identity::Identity;

fn config(folder: &Path) -> AgentConfig {
    let state = folder.join("state");
    files::private_directory(&state).expect("state directory");
    AgentConfig::read(None, Some(state)).expect("defaults")
}

fn guests(folder: &Path, keys: &str) -> Guests {
    let sources = crate::access::Sources::in_state(folder);
    std::fs::write(&sources.authorized_keys, keys).expect("write");
    Guests::read(&sources, &Guests::default())
}

const HOME: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ home\n";
const AWAY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl away\n";
const OVER: &str = "expiry-time=\"20200101\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFbLkTYhXVPxmGvUnP7B1sJAzNf7LGkBWHx4CqG1ZfwR over\n";

#[test]
fn it_is_due_when_everybody_has_it_or_at_its_date() {
    let folder = tempfile::tempdir().expect("folder");
    let now = SystemTime::now();
    let rotation = |known: &[&str]| Rotation {
        until: now + Duration::from_secs(60),
        known: known.iter().map(|name| (*name).to_owned()).collect(),
    };
    let ssh = config(folder.path()).front;
    let forward = FrontConfig::Forward("127.0.0.1:22".parse().expect("address"));
    let two = guests(folder.path(), &format!("{HOME}{AWAY}{OVER}"));
    assert!(two.problems.is_empty(), "{:?}", two.problems);
    assert!(!rotation(&[]).is_due(&ssh, &two, now));
    assert!(!rotation(&["home"]).is_due(&ssh, &two, now));
    assert_eq!(rotation(&["home"]).waits_for(&two, now).collect::<Vec<_>>(), ["away"]);
    assert!(rotation(&["home", "away"]).is_due(&ssh, &two, now));
    assert!(rotation(&[]).is_due(&ssh, &two, now + Duration::from_secs(60)));

    let nobody = guests(folder.path(), "");
    assert!(rotation(&[]).is_due(&ssh, &nobody, now), "there is nobody to wait for");
    assert!(!rotation(&[]).is_due(&forward, &nobody, now), "an sshd's users are not known");
    assert!(rotation(&[]).is_due(&forward, &nobody, now + Duration::from_secs(60)));
    let unreadable = guests(folder.path(), "ssh-ed25519 AAAA broken\n");
    assert!(!rotation(&[]).is_due(&ssh, &unreadable, now), "the line may be a bridge");
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    assert_eq!(Rotation::read(state, Part::Onion).expect("nothing"), None);
    let rotation = Rotation {
        until: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        known: ["line 1 of \"x\"\\".to_owned(), "home".to_owned()].into(),
    };
    rotation.write(state, Part::Onion).expect("written");
    assert_eq!(Rotation::read(state, Part::Onion).expect("read"), Some(rotation));
    assert_eq!(Rotation::read(state, Part::HostKey).expect("nothing"), None);
    files::replace_private(&Part::Onion.file(state), b"until = \"soon\"\n").expect("written");
    let failure = Rotation::read(state, Part::Onion).expect_err("damaged").to_string();
    assert!(failure.contains("onion.toml:1:9: until: \"soon\" is not a time"), "{failure}");
}

#[test]
fn the_new_one_takes_the_old_ones_place_and_no_other() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    let first = Identity::open_or_make(&config).expect("made");
    assert_eq!((first.next(Part::HostKey), first.next(Part::Onion)), (None, None));

    let mut before = first.clone();
    for round in 0..3 {
        for part in Part::ALL {
            let rotation = Rotation { until: SystemTime::now(), known: BTreeSet::new() };
            rotation.write(state, part).expect("begun");
            let under_way = Identity::open_or_make(&config).expect("read");
            assert_eq!(under_way.current(part), before.current(part), "the old one counts until the end");
            let next = under_way.next(part).expect("one is to come");
            assert_ne!(next, before.current(part));
            assert_eq!(Identity::open_or_make(&config).expect("read"), under_way, "it is made once");
            finish(&config, part).expect("finished");
            let after = Identity::open_or_make(&config).expect("read");
            assert_eq!(after.current(part), next, "round {round}");
            assert_eq!(after.next(part), None);
            let other = if part == Part::Onion { Part::HostKey } else { Part::Onion };
            assert_eq!(after.current(other), before.current(other));
            before = after;
        }
    }
    let old = onion::key_path(&config.tor, first.service);
    assert!(!old.exists(), "whoever finds the old key could be the old address");
    let onion: OnionAddress = identity::onion_address(&config).expect("address");
    assert_eq!(onion, before.onion);
}

/// What was told to a bridge stays the one to come, though the rotation broke off.
#[test]
fn a_rotation_that_broke_off_goes_on_with_the_same_key() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    let rotation = Rotation { until: SystemTime::now(), known: BTreeSet::new() };
    for part in Part::ALL {
        rotation.write(state, part).expect("begun");
        let told = Identity::open_or_make(&config).expect("read").next(part);
        files::remove(&part.file(state)).expect("removed");
        assert_eq!(Identity::open_or_make(&config).expect("read").next(part), None);
        rotation.write(state, part).expect("begun again");
        assert_eq!(Identity::open_or_make(&config).expect("read").next(part), told);
    }
}
