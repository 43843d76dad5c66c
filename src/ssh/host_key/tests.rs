use russh::keys::{Certificate, PublicKey};

use super::super::Authorities;
use super::super::keygen::Keygen;
use super::*;

const HOST: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
/// Some day in 2026, in seconds since 1970.
const NOW: u64 = 1_790_000_000;

fn authorities(key: &PublicKey) -> Vec<KeyData> {
    vec![key.key_data().clone()]
}

fn certified(authority: &PublicKey) -> ExpectedHostKey {
    ExpectedHostKey::Certified { authorities: authorities(authority), principal: HOST.into() }
}

fn known(host: KnownHost) -> ExpectedHostKey {
    ExpectedHostKey::Known { host, principal: HOST.into() }
}

fn shows(certificate: &Certificate) -> PublicKeyOrCertificate {
    certificate.clone().into()
}

#[test]
fn certificates_of_the_real_ssh_keygen() {
    use HostKeyFault::*;
    let keygen = Keygen::new();
    let authority = keygen.key("authority", "ed25519", "");
    keygen.key("other", "ecdsa", "");
    let key = keygen.key("host", "ed25519", "");
    let expected = certified(&authority);
    let for_host = ["-h", "-n", HOST];
    let cases: [(&str, &[&str], Result<(), HostKeyFault>); 9] = [
        ("authority", &[], Ok(())),
        ("authority", &["-V", "20260101:20270101"], Ok(())),
        ("authority", &["-V", "20250101:20260101"], Err(Expired)),
        ("authority", &["-V", "20270101:20280101"], Err(NotYetValid)),
        ("authority", &["-O", "critical:verify-required@example.org=x"], Err(CriticalOption)),
        ("authority", &["-n", "another.onion"], Err(OtherHost)),
        ("authority", &["-n", &format!("another.onion,{HOST}")], Ok(())),
        ("authority", &["-n", "*.onion"], Err(OtherHost)),
        ("other", &[], Err(UnlistedAuthority)),
    ];
    for (signer, options, outcome) in cases {
        let certificate = keygen.certificate(signer, "host", &[&for_host, options].concat());
        assert_eq!(expected.check(&shows(&certificate), NOW), outcome, "{signer} {options:?}");
    }
    let for_all = keygen.certificate("authority", "host", &["-h"]);
    assert_eq!(expected.check(&shows(&for_all), NOW), Err(OtherHost), "a certificate that names nobody");
    let for_users = keygen.certificate("authority", "host", &["-n", HOST]);
    assert_eq!(expected.check(&shows(&for_users), NOW), Err(NotForHosts));
    assert_eq!(expected.check(&key.clone().into(), NOW), Err(NoCertificate));
    // The last letters of the blob belong to the signature.
    let mut bytes = keygen.certificate("authority", "host", &for_host).to_bytes().expect("bytes");
    *bytes.last_mut().expect("a byte") ^= 1;
    let damaged = Certificate::from_bytes(&bytes).expect("still a certificate");
    assert_eq!(expected.check(&shows(&damaged), NOW), Err(BadSignature));
}

#[test]
fn a_pin_means_the_key_in_a_certificate() {
    let keygen = Keygen::new();
    keygen.key("authority", "ed25519", "");
    let [host, other] = ["host", "other"].map(|name| keygen.key(name, "ed25519", ""));
    let certificate = keygen.certificate("authority", "host", &["-h", "-n", "another.onion"]);
    let pin = |key: &PublicKey| {
        ExpectedHostKey::Pinned(vec![key.to_openssh().expect("line").parse().expect("pin")])
    };
    assert_eq!(pin(&host).check(&shows(&certificate), NOW), Ok(()));
    assert_eq!(pin(&host).check(&host.clone().into(), NOW), Ok(()));
    assert_eq!(pin(&other).check(&shows(&certificate), NOW), Err(HostKeyFault::Mismatch));
    assert_eq!(ExpectedHostKey::Anything.check(&host.into(), NOW), Ok(()));
}

#[test]
fn what_a_known_hosts_file_says() {
    let keygen = Keygen::new();
    let authority = keygen.key("authority", "ed25519", "");
    let [host, other] = ["host", "other"].map(|name| keygen.key(name, "ed25519", ""));
    let certificate = keygen.certificate("authority", "host", &["-h", "-n", HOST]);
    let late = keygen.certificate("authority", "host", &["-h", "-n", HOST, "-V", "20250101:20260101"]);
    let (host_data, other_data) = (host.key_data().clone(), other.key_data().clone());
    let host: PublicKeyOrCertificate = host.into();

    let only_keys = KnownHost { keys: vec![other_data.clone(), host_data.clone()], ..Default::default() };
    assert_eq!(known(only_keys.clone()).check(&host, NOW), Ok(()));
    assert_eq!(known(only_keys.clone()).check(&shows(&late), NOW), Ok(()), "it counts as its bare key");
    assert!(!known(only_keys.clone()).wants_certificate());
    let changed = KnownHost { keys: vec![other_data.clone()], ..Default::default() };
    assert_eq!(known(changed.clone()).check(&host, NOW), Err(HostKeyFault::Mismatch));
    assert_eq!(known(changed).check(&shows(&certificate), NOW), Err(HostKeyFault::Mismatch));
    for shown in [&host, &shows(&certificate)] {
        assert_eq!(known(KnownHost::default()).check(shown, NOW), Err(HostKeyFault::Unknown));
    }

    let revoked = KnownHost { revoked: vec![host_data], ..only_keys.clone() };
    assert_eq!(known(revoked.clone()).check(&host, NOW), Err(HostKeyFault::Revoked));
    assert_eq!(known(revoked).check(&shows(&certificate), NOW), Err(HostKeyFault::Revoked));

    let listed = KnownHost { authorities: authorities(&authority), ..Default::default() };
    assert!(known(listed.clone()).wants_certificate());
    assert_eq!(known(listed.clone()).check(&shows(&certificate), NOW), Ok(()));
    assert_eq!(known(listed.clone()).check(&shows(&late), NOW), Err(HostKeyFault::Expired));
    assert_eq!(known(listed.clone()).check(&host, NOW), Err(HostKeyFault::NoCertificate));
    let unlisted = KnownHost { authorities: vec![other_data], ..Default::default() };
    assert_eq!(known(unlisted).check(&shows(&certificate), NOW), Err(HostKeyFault::UnlistedAuthority));
    let revoked = KnownHost { revoked: authorities(&authority), ..listed };
    assert_eq!(known(revoked).check(&shows(&certificate), NOW), Err(HostKeyFault::Revoked));
    let both = KnownHost { authorities: authorities(&authority), ..only_keys };
    assert_eq!(known(both.clone()).check(&shows(&late), NOW), Err(HostKeyFault::Expired));
    assert_eq!(known(both).check(&host, NOW), Ok(()));
}

#[test]
fn known_kinds_are_asked_for_first() {
    let keygen = Keygen::new();
    let ecdsa = keygen.key("ecdsa", "ecdsa", "");
    let kinds = |expected: ExpectedHostKey| {
        expected.kinds().iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>()
    };
    let usual = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]
        .map(String::from);
    assert_eq!(kinds(ExpectedHostKey::Anything), usual);
    let by_pin = ExpectedHostKey::Pinned(vec![ecdsa.to_openssh().expect("line").parse().expect("pin")]);
    let by_file = known(KnownHost { keys: authorities(&ecdsa), ..Default::default() });
    for expected in [by_pin, by_file] {
        let kinds = kinds(expected);
        assert_eq!(
            (kinds.len(), kinds[0].as_str(), kinds[1].as_str()),
            (4, "ecdsa-sha2-nistp256", "ssh-ed25519")
        );
    }
}

#[test]
fn reason_phrases_are_short_and_plain() {
    use HostKeyFault::*;
    for fault in [
        Mismatch,
        Revoked,
        Unknown,
        NoCertificate,
        NotForHosts,
        UnlistedAuthority,
        BadSignature,
        NotYetValid,
        Expired,
        OtherHost,
        CriticalOption,
        Unreadable,
        Unrecorded,
    ] {
        let phrase = fault.to_string();
        assert!(phrase.len() <= 80 && phrase.is_ascii() && phrase.starts_with("ssh host "), "{phrase}");
        assert_eq!(fault.is_the_hosts(), !phrase.contains("the bridge's log"), "{phrase}");
    }
}

#[test]
fn authorities_as_they_are_written() {
    #[derive(Debug, serde::Deserialize)]
    struct File {
        ca: Authorities,
    }
    let keygen = Keygen::new();
    let [a, b] = ["a", "b"].map(|name| keygen.key(name, "ed25519", "").to_openssh().expect("line"));
    let read = |text: String| toml::from_str::<File>(&text).map(|file| file.ca.keys().len());
    assert_eq!(read(format!("ca = {a:?}")).expect("one"), 1);
    assert_eq!(read(format!("ca = [{a:?}, {b:?}]")).expect("two"), 2);
    let rsa = keygen.key("rsa", "rsa", "").to_openssh().expect("line");
    for (bad, why) in [
        ("ca = []".to_owned(), "no authority is listed"),
        ("ca = 5".to_owned(), "or a list of them"),
        ("ca = \"ssh-ed25519 AAAA\"".to_owned(), "is written as ssh-ed25519 AAAA"),
        (format!("ca = {rsa:?}"), "must be ed25519 or ECDSA"),
    ] {
        let said = read(bad).expect_err(why).to_string();
        assert!(said.contains(why), "{said}");
    }
}
