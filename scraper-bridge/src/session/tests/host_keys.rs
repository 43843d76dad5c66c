//! Who is let on.

use super::*;

fn refused(fault: HostKeyFault) -> Result<(), LoginFailure> {
    Err(LoginFailure::HostKey(fault))
}

#[tokio::test]
async fn a_pin_holds_for_a_bare_key_and_picks_its_kind() {
    let mut rig = Rig::new();
    rig.key("ecdsa", "ecdsa", "");
    assert_eq!(rig.login(&format!("host_key = {:?}", rig.line("host"))).await, Ok(()));
    assert_eq!(
        rig.login(&format!("host_key = {:?}", rig.line("user"))).await,
        refused(HostKeyFault::Mismatch)
    );
    rig.shown = vec!["host", "ecdsa"];
    assert_eq!(rig.login(&format!("host_key = {:?}", rig.line("ecdsa"))).await, Ok(()));
}

#[tokio::test]
async fn known_hosts_files_are_read_anew_and_never_fall_open() {
    let mut rig = Rig::new();
    let login = "known_hosts = \"known\"";
    assert_eq!(rig.login(login).await, refused(HostKeyFault::Unreadable));
    rig.write("known", "");
    assert_eq!(rig.login(login).await, refused(HostKeyFault::Unknown));
    rig.write("known", &format!("garbage\n*.onion {}\n", rig.line("host")));
    assert_eq!(rig.login(login).await, Ok(()));
    rig.write("known", &format!("{ONION} {}\n", rig.line("user")));
    assert_eq!(rig.login(login).await, refused(HostKeyFault::Mismatch));
    rig.write("known", &format!("@revoked * {0}\n{ONION} {0}\n", rig.line("host")));
    assert_eq!(rig.login(login).await, refused(HostKeyFault::Revoked));
    // A host with several keys is asked for the one that is known.
    rig.key("ecdsa", "ecdsa", "");
    rig.shown = vec!["host", "ecdsa"];
    rig.write("known", &format!("{ONION} {}\n", rig.line("ecdsa")));
    assert_eq!(rig.login(login).await, Ok(()));
    rig.write("known", &format!("[{ONION}]:2222 {}\n{ONION} {}\n", rig.line("host"), rig.line("user")));
    assert_eq!(rig.login(&format!("port = 2222\n{login}")).await, Ok(()));
    assert_eq!(rig.login(login).await, refused(HostKeyFault::Mismatch));
}

#[tokio::test]
async fn host_certificates() {
    let rig = Rig::new();
    let by_ca = format!("host_ca = {:?}", rig.line("authority"));
    assert_eq!(rig.login(&by_ca).await, refused(HostKeyFault::NoCertificate));
    rig.keygen(&["-q", "-s", "authority", "-I", "host", "-h", "-n", ONION, "host.pub"]);
    assert_eq!(rig.login(&by_ca).await, Ok(()));
    rig.write("known", &format!("@cert-authority *.onion {}\n", rig.line("authority")));
    assert_eq!(rig.login("known_hosts = \"known\"").await, Ok(()));
    assert_eq!(rig.login(&format!("host_key = {:?}", rig.line("host"))).await, Ok(()));
    let other = format!("host_ca = {:?}", rig.line("user"));
    assert_eq!(rig.login(&other).await, refused(HostKeyFault::UnlistedAuthority));
    let named = format!("{by_ca}\nhost_principal = \"backpack.example\"");
    assert_eq!(rig.login(&named).await, refused(HostKeyFault::OtherHost));
    rig.keygen(&["-q", "-s", "authority", "-I", "host", "-h", "-n", "backpack.example", "host.pub"]);
    assert_eq!(rig.login(&named).await, Ok(()));
    rig.keygen(&["-q", "-s", "authority", "-I", "host", "-h", "-n", ONION, "-V", "-2d:-1d", "host.pub"]);
    assert_eq!(rig.login(&by_ca).await, refused(HostKeyFault::Expired));
    assert_eq!(rig.login("known_hosts = \"known\"").await, refused(HostKeyFault::Expired));
}

#[tokio::test]
async fn the_first_key_is_recorded_and_never_replaced() {
    let mut rig = Rig::new();
    let first_use = "trust_on_first_use = true";
    let record = rig.path("state/known_host_keys/a");
    fs::create_dir(rig.path("state")).expect("made");
    // A key that cannot be recorded is not trusted.
    rig.write("state/known_host_keys", "in the way");
    assert_eq!(rig.login(first_use).await, refused(HostKeyFault::Unreadable));
    fs::remove_file(rig.path("state/known_host_keys")).expect("removed");
    assert_eq!(rig.login(first_use).await, Ok(()));
    let recorded = fs::read_to_string(&record).expect("recorded");
    assert_eq!(recorded, format!("{}\n", rig.line("host")));
    assert_eq!(record.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(rig.login(first_use).await, Ok(()));
    rig.key("another", "ed25519", "");
    rig.shown = vec!["another"];
    assert_eq!(rig.login(first_use).await, refused(HostKeyFault::Mismatch));
    assert_eq!(fs::read_to_string(&record).expect("still there"), recorded);
    rig.write("state/known_host_keys/a", "damaged");
    assert_eq!(rig.login(first_use).await, refused(HostKeyFault::Unreadable));
}
