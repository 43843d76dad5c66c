use std::time::UNIX_EPOCH;

use onionscrape::ssh::KeyFile;
use onionscrape::tor::ClientAuthKey;

use super::*;

struct Rig {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let sources = Sources::in_state(folder.path());
        Self { sources, folder }
    }

    fn key(&self, name: &str) -> UserKey {
        let key = KeyFile::open_or_make(&self.folder.path().join(name), "").expect("key");
        UserKey::of(key.private().public_key())
    }

    fn invite(&self, name: &str, ticket: &UserKey, expires: SystemTime) -> ClientAuthPublicKey {
        let client_auth = ClientAuthKey::generate().public();
        let ticket = OpenTicket { key: ticket.clone(), client_auth: client_auth.clone(), expires };
        let exporters = Some(vec!["node".parse().expect("name")]);
        let file =
            BridgeFile { name: name.parse().expect("name"), exporters, standing: Standing::Invited(ticket) };
        file.write(&self.sources.bridges).expect("written");
        client_auth
    }
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

fn admits(access: &Access, key: &UserKey) -> Admitted {
    access.now().admits(key, SystemTime::now())
}

#[test]
fn a_file_of_keys_is_read_again_when_it_changes() {
    let rig = Rig::new();
    let access = Access::new(rig.sources.clone());
    let (one, two) = (rig.key("one"), rig.key("two"));
    assert_eq!(admits(&access, &one), Admitted::No);
    let guests = access.guests();
    let text = format!("# keys\n{one} home\nfrom=\"x\" {two}\n\n{two}\n");
    std::fs::write(&rig.sources.authorized_keys, text).expect("write");
    assert_eq!(admits(&access, &one), Admitted::As("home".into(), Permits::All));
    assert_eq!(admits(&access, &two), Admitted::As("line 5 of authorized_keys".into(), Permits::All));
    assert!(guests.has_changed().expect("alive"));
    let problems = &access.now().problems;
    let place = format!("{}:3: from has no meaning", rig.sources.authorized_keys.display());
    assert!(problems.len() == 1 && problems[0].starts_with(&place), "{problems:?}");
    std::fs::remove_file(&rig.sources.authorized_keys).expect("remove");
    assert_eq!(admits(&access, &one), Admitted::No);
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_for_a_moment_is_read_again() {
    let rig = Rig::new();
    // Nobody can list this, not even root.
    std::fs::write(&rig.sources.bridges, "").expect("write");
    let access = Access::new(rig.sources.clone());
    std::fs::remove_file(&rig.sources.bridges).expect("remove");
    assert!(access.now().problems[0].contains("cannot be read"), "{:?}", access.now().problems);
    let guests = access.guests();
    tokio::time::advance(AGAIN).await;
    assert_eq!(access.now().problems, [""; 0], "though no file has changed");
    assert!(guests.has_changed().expect("alive"));
}

#[test]
fn a_file_that_others_can_write_lets_nobody_in() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new();
    let key = rig.key("one");
    std::fs::write(&rig.sources.authorized_keys, format!("{key}\n")).expect("write");
    let loose = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&rig.sources.authorized_keys, loose).expect("chmod");
    let access = Access::new(rig.sources.clone());
    assert_eq!(admits(&access, &key), Admitted::No);
    assert!(access.now().problems[0].contains("chmod go-w"), "{:?}", access.now().problems);
}

#[test]
fn a_ticket_is_taken_once_and_knows_itself_again() {
    let rig = Rig::new();
    let ticket = rig.key("ticket");
    rig.invite("home", &ticket, in_an_hour());
    let access = Access::new(rig.sources.clone());
    assert_eq!(admits(&access, &ticket), Admitted::Invited("home".into()));
    assert!(!access.now().has_clients(), "an invitation alone closes nothing");
    let (own, client_auth) = (rig.key("own"), ClientAuthKey::generate().public());
    let name = access.take_ticket(&ticket, own.clone(), client_auth.clone()).expect("taken");
    assert_eq!(name.as_str(), "home");
    assert_eq!(admits(&access, &ticket), Admitted::TicketUsed("home".into()));
    let Admitted::As(name, permits) = admits(&access, &own) else { unreachable!("the bridge may come in") };
    assert_eq!(name, "home");
    assert!(permits.allows("node", 80) && permits.allows("agent", 80) && !permits.allows("app", 80));
    assert_eq!(
        access.now().readers(SystemTime::now()),
        std::slice::from_ref(&client_auth),
        "the ticket's key reads no more"
    );
    assert!(access.now().has_clients());
    let again = access.take_ticket(&ticket, rig.key("thief"), client_auth);
    assert_eq!(again, Err(Refused::NotValid));
    // It is on disk: another start knows it too.
    let restarted = Access::new(rig.sources.clone());
    assert_eq!(admits(&restarted, &own), admits(&access, &own));
}

#[test]
fn many_who_take_one_ticket_at_once_are_one() {
    let rig = Rig::new();
    let ticket = rig.key("ticket");
    rig.invite("home", &ticket, in_an_hour());
    let access = Access::new(rig.sources.clone());
    let keys: Vec<_> = (0..8).map(|number| rig.key(&format!("key{number}"))).collect();
    let taken = std::thread::scope(|scope| {
        let takers: Vec<_> = keys
            .iter()
            .map(|key| {
                scope.spawn(|| {
                    access.take_ticket(&ticket, key.clone(), ClientAuthKey::generate().public()).is_ok()
                })
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().expect("no panic")).filter(|taken| *taken).count()
    });
    assert_eq!(taken, 1);
}

/// Whoever revokes a bridge while its ticket is being taken finds it revoked afterwards.
#[test]
fn a_ticket_waits_for_its_turn_and_then_looks() {
    let rig = Rig::new();
    let ticket = rig.key("ticket");
    rig.invite("home", &ticket, in_an_hour());
    let access = Access::new(rig.sources.clone());
    let key = rig.key("own");
    let turn = lock(&rig.sources.bridges).expect("nobody else has it");
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| access.take_ticket(&ticket, key, ClientAuthKey::generate().public()));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!taking.is_finished(), "another process has the turn");
        std::fs::remove_file(rig.sources.bridges.join("home.toml")).expect("revoked");
        drop(turn);
        assert_eq!(taking.join().expect("no panic"), Err(Refused::NotValid));
    });
    assert!(!rig.sources.bridges.join("home.toml").exists());
}

#[test]
fn an_expired_ticket_and_a_key_in_use() {
    let rig = Rig::new();
    let (late, ticket, own) = (rig.key("late"), rig.key("ticket"), rig.key("own"));
    rig.invite("late", &late, UNIX_EPOCH + Duration::from_secs(1));
    let client_auth = rig.invite("home", &ticket, in_an_hour());
    std::fs::write(&rig.sources.authorized_keys, format!("{own} operator\n")).expect("write");
    let access = Access::new(rig.sources.clone());
    assert_eq!(admits(&access, &late), Admitted::TicketExpired("late".into()));
    assert_eq!(access.take_ticket(&late, rig.key("other"), client_auth.clone()), Err(Refused::NotValid));
    assert_eq!(
        access.take_ticket(&ticket, own, client_auth.clone()),
        Err(Refused::KeyInUse("operator".into()))
    );
    assert_eq!(admits(&access, &ticket), Admitted::Invited("home".into()), "it can be tried again");
    assert_eq!(access.now().readers(SystemTime::now()), [client_auth]);
}

#[test]
fn a_disk_that_cannot_be_written_leaves_the_ticket_as_it_was() {
    let rig = Rig::new();
    let ticket = rig.key("ticket");
    rig.invite("home", &ticket, in_an_hour());
    let access = Access::new(rig.sources.clone());
    // Others may enter the folder, so nothing is written to it.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&rig.sources.bridges, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let refused = access.take_ticket(&ticket, rig.key("own"), ClientAuthKey::generate().public());
    assert!(matches!(refused, Err(Refused::Disk(_))), "{refused:?}");
    assert_eq!(admits(&access, &ticket), Admitted::Invited("home".into()));
}

#[test]
fn what_was_closed_to_strangers_stays_so() {
    let rig = Rig::new();
    let ticket = rig.key("ticket");
    rig.invite("home", &ticket, in_an_hour());
    let access = Access::new(rig.sources.clone());
    assert!(!access.now().closed);
    let own = rig.key("own");
    access.take_ticket(&ticket, own.clone(), ClientAuthKey::generate().public()).expect("taken");
    let file = rig.sources.bridges.join("home.toml");
    // A slip of the pen shuts nobody out: what the file said before holds.
    std::fs::write(&file, "key = \"ssh-ed").expect("write");
    assert!(matches!(admits(&access, &own), Admitted::As(..)));
    assert!(access.now().has_clients() && access.now().problems.len() == 1, "{:?}", access.now().problems);
    // After a start with such a file, or none, nobody can come in, and it is not open for that.
    assert!(Access::new(rig.sources.clone()).now().closed);
    std::fs::remove_file(&file).expect("remove");
    assert_eq!(admits(&access, &own), Admitted::No);
    assert!(access.now().closed && Access::new(rig.sources.clone()).now().closed);
}

#[test]
fn a_tickets_own_keys_are_not_taken_for_a_bridges() {
    let rig = Rig::new();
    let (ticket, other) = (rig.key("ticket"), rig.key("other"));
    let client_auth = rig.invite("home", &ticket, in_an_hour());
    rig.invite("second", &other, in_an_hour());
    let access = Access::new(rig.sources.clone());
    let fresh = || ClientAuthKey::generate().public();
    for (key, client_auth) in [(ticket.clone(), fresh()), (other, fresh()), (rig.key("own"), client_auth)] {
        let refused = access.take_ticket(&ticket, key, client_auth);
        assert!(matches!(refused, Err(Refused::KeyInUse(_))), "{refused:?}");
    }
}

#[test]
fn clients_are_read_as_c_tor_has_them() {
    let rig = Rig::new();
    let key = ClientAuthKey::generate().public();
    std::fs::create_dir(&rig.sources.authorized_clients).expect("folder");
    std::fs::write(rig.sources.authorized_clients.join("alice.auth"), format!("{key}\n")).expect("write");
    std::fs::write(rig.sources.authorized_clients.join("bob.auth"), "descriptor:x25519:AAAA\n")
        .expect("write");
    std::fs::write(rig.sources.authorized_clients.join("readme"), "hello").expect("write");
    let guests = Access::new(rig.sources.clone()).now();
    assert!(guests.has_clients());
    assert_eq!(guests.readers(SystemTime::now()), [key]);
    assert!(guests.problems.len() == 1 && guests.problems[0].contains("bob.auth"), "{:?}", guests.problems);
}

#[tokio::test]
async fn an_expiry_is_told_when_it_comes() {
    let rig = Rig::new();
    let key = rig.key("one");
    // OpenSSH's form has no fractions, so this is over within two seconds of now.
    let soon = SystemTime::now() + Duration::from_secs(2);
    let text = humantime::format_rfc3339_seconds(soon).to_string().replace(['-', ':', 'T'], "");
    std::fs::write(&rig.sources.authorized_keys, format!("expiry-time=\"{text}\" {key} me\n"))
        .expect("write");
    let access = Access::new(rig.sources.clone());
    assert_eq!(admits(&access, &key), Admitted::As("me".into(), Permits::All));
    let mut guests = access.guests();
    let shutdown = CancellationToken::new();
    tokio::spawn(access.clone().keep_up(shutdown.clone()));
    tokio::time::timeout(Duration::from_secs(60), guests.changed()).await.expect("told").expect("alive");
    assert_eq!(admits(&access, &key), Admitted::No);
    shutdown.cancel();
}
