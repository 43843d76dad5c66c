use std::time::Duration;

use onionscrape::tor::ClientAuthKey;

use super::*;
use crate::access::{AuthorizedKey, BridgeFile, OpenTicket};
use crate::config::AgentConfig;
use crate::identity::{self, Identity};
use crate::onion;

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

fn rotation(next: &str, known: &[&str]) -> Rotation {
    let known = known.iter().map(|key| fingerprint(key)).collect();
    Rotation { next: next.to_owned(), until: SystemTime::now() + Duration::from_secs(60), known }
}

fn fingerprint(line: &str) -> String {
    let key: AuthorizedKey = AuthorizedKey::parse(line.trim()).expect("key");
    key.key.fingerprint()
}

#[test]
fn all_who_may_come_in_are_waited_for() {
    let folder = tempfile::tempdir().expect("folder");
    let now = SystemTime::now();
    let ssh = config(folder.path()).front;
    let forward = FrontConfig::Forward("127.0.0.1:22".parse().expect("address"));
    let two = guests(folder.path(), &format!("{HOME}{AWAY}{OVER}"));
    assert!(two.problems.is_empty(), "{:?}", two.problems);
    assert!(!rotation("x", &[]).is_known_to_all(&ssh, &two, now));
    assert!(!rotation("x", &[HOME]).is_known_to_all(&ssh, &two, now));
    assert_eq!(rotation("x", &[HOME]).waits_for(&two, now), ["away"]);
    assert!(rotation("x", &[HOME, AWAY]).is_known_to_all(&ssh, &two, now));

    // Two keys may have one name, and a name can be given to another key.
    let namesakes = guests(folder.path(), &format!("{HOME}{}", AWAY.replace("away", "home")));
    assert_eq!(rotation("x", &[HOME]).waits_for(&namesakes, now), ["home"]);

    let nobody = guests(folder.path(), "");
    assert!(rotation("x", &[]).is_known_to_all(&ssh, &nobody, now), "there is nobody to wait for");
    assert!(!rotation("x", &[]).is_known_to_all(&forward, &nobody, now), "an sshd's users are not known");
    let unreadable = guests(folder.path(), "ssh-ed25519 AAAA broken\n");
    assert!(!rotation("x", &[]).is_known_to_all(&ssh, &unreadable, now), "the line may be a bridge");
}

#[test]
fn a_ticket_is_waited_for_as_long_as_it_can_be_used() {
    let folder = tempfile::tempdir().expect("folder");
    let sources = crate::access::Sources::in_state(folder.path());
    let now = SystemTime::now();
    let invite = |expires| {
        let ticket = OpenTicket {
            key: AuthorizedKey::parse(HOME.trim()).expect("key").key,
            client_auth: ClientAuthKey::generate().public(),
            expires,
        };
        let standing = Standing::Invited(ticket);
        let file = BridgeFile { name: "home".parse().expect("name"), exporters: None, standing };
        file.write(&sources.bridges).expect("written");
        Guests::read(&sources, &Guests::default())
    };
    let open = invite(now + Duration::from_secs(60));
    assert_eq!(rotation("x", &[]).waits_for(&open, now), ["the ticket of home"]);
    let over = invite(now - Duration::from_secs(60));
    assert!(rotation("x", &[]).waits_for(&over, now).is_empty());
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    assert_eq!(Rotation::read(state, Part::Onion).expect("nothing"), None);
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let written = Rotation { until, ..rotation("SHA256:a+b/c", &[HOME, AWAY]) };
    written.write(state, Part::Onion).expect("written");
    assert_eq!(Rotation::read(state, Part::Onion).expect("read"), Some(written));
    assert_eq!(Rotation::read(state, Part::HostKey).expect("nothing"), None);
    files::replace_private(&Part::Onion.file(state), b"until = \"soon\"\nnext = \"x\"\n").expect("written");
    let failure = Rotation::read(state, Part::Onion).expect_err("damaged").to_string();
    assert!(failure.contains("onion.toml:1:9: until: \"soon\" is not a time"), "{failure}");
}

fn begin(config: &AgentConfig, part: Part) -> String {
    let next = next::make(config, part).expect("made");
    rotation(&next, &[]).write(&config.state_directory, part).expect("begun");
    next
}

#[test]
fn the_new_one_takes_the_old_ones_place_and_no_other() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let first = Identity::open_or_make(&config).expect("made");
    assert_eq!((first.next(Part::HostKey), first.next(Part::Onion)), (None, None));

    let mut before = first.clone();
    for round in 0..3 {
        for part in Part::ALL {
            let next = begin(&config, part);
            let under_way = Identity::open_or_make(&config).expect("read");
            assert_eq!(under_way.current(part), before.current(part), "the old one counts until the end");
            assert_eq!(under_way.next(part).as_ref(), Some(&next));
            next::promote(&config, part).expect("promoted");
            let after = Identity::open_or_make(&config).expect("read");
            assert_eq!(after.current(part), next, "round {round}");
            assert_eq!(after.next(part), None);
            assert!(!part.file(&config.state_directory).exists());
            let other = if part == Part::Onion { Part::HostKey } else { Part::Onion };
            assert_eq!(after.current(other), before.current(other));
            before = after;
        }
    }
    let old = onion::key_path(&config.tor, first.service);
    assert!(!old.exists(), "whoever finds the old key could be the old address");
    assert_eq!(identity::onion_address(&config).expect("address"), before.onion);
}

/// Of the two writes of the end only the first may have happened, whatever stopped it.
#[test]
fn an_end_that_broke_off_has_taken_place() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    let first = Identity::open_or_make(&config).expect("made");
    for part in Part::ALL {
        let next = begin(&config, part);
        let file = std::fs::read(part.file(state)).expect("there");
        next::promote(&config, part).expect("promoted");
        files::replace_private(&part.file(state), &file).expect("not removed");
        let after = Identity::open_or_make(&config).expect("read");
        assert_eq!((after.current(part), after.next(part)), (next, None));
        assert!(after.check_rotation(&config, part).is_ok());
        next::sweep(&config, part).expect("swept");
        assert!(!part.file(state).exists());
    }
    assert!(!onion::key_path(&config.tor, first.service).exists());
}

/// A key that was told to bridges is never replaced by one that was not.
#[test]
fn a_lost_key_to_come_stops_the_rotation_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path());
    let state = &config.state_directory;
    let first = Identity::open_or_make(&config).expect("made");
    for part in Part::ALL {
        begin(&config, part);
        let key = match part {
            Part::HostKey => folder.path().join("state/rotation").join(identity::HOST_KEY),
            Part::Onion => onion::key_path(&config.tor, first.service.next()),
        };
        std::fs::remove_file(&key).expect("lost");
        let identity = Identity::open_or_make(&config).expect("who it is stays known");
        assert_eq!((identity.current(part), identity.next(part)), (first.current(part), None));
        let why = identity.check_rotation(&config, part).expect_err("lost").to_string();
        assert!(why.contains(key.to_str().expect("path")), "{why}");
        assert!(next::promote(&config, part).is_err(), "nor at its date");
        assert!(!key.exists(), "no other is made in its place");
        next::make(&config, part).expect("another one");
        let why = identity.check_rotation(&config, part).expect_err("another").to_string();
        assert!(why.contains("is another key than"), "{why}");
        assert!(next::promote(&config, part).is_err());
        assert_eq!(Identity::open_or_make(&config).expect("read").current(part), first.current(part));
        files::remove(&part.file(state)).expect("given up");
        assert!(identity.check_rotation(&config, part).is_ok());
    }
    files::replace_private(&Part::Onion.file(state), b"garbage").expect("written");
    assert_eq!(Identity::open_or_make(&config).expect("who it is stays known"), first);
}

#[test]
fn an_address_is_not_forgotten_with_the_number_of_its_service() {
    for rotations in 1..=3 {
        let folder = tempfile::tempdir().expect("folder");
        let config = config(folder.path());
        Identity::open_or_make(&config).expect("made");
        for _ in 0..rotations {
            begin(&config, Part::Onion);
            next::promote(&config, Part::Onion).expect("promoted");
        }
        std::fs::remove_file(config.state_directory.join("onion_service")).expect("lost");
        let why = identity::onion_address(&config).expect_err("no new one is made").to_string();
        assert!(why.contains("onion_service: is gone"), "{why}");
    }
}
