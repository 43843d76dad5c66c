use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::super::keygen::Keygen;
use super::*;

fn private(keygen: &Keygen, name: &str, text: &str) -> PathBuf {
    let path = keygen.write(name, text);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
    path
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only() {
    let keygen = Keygen::new();
    for kind in ["ed25519", "ecdsa"] {
        let public = keygen.key(kind, kind, "open sesame");
        let path = keygen.path(kind);
        let unlock = |text: &str| {
            let file = private(&keygen, "passphrase", text);
            KeyFile::unlock(&path, || PassphraseSource::File(file).read(&path))
        };
        let key = unlock("open sesame\nanother line\n").expect("unlocked");
        assert_eq!(key.private().public_key().key_data(), public.key_data());
        let said = unlock("open barley").expect_err("wrong").to_string();
        assert!(said.contains("is locked with another passphrase") && !said.contains("barley"), "{said}");
        assert!(KeyFile::open(&path).expect_err("locked").to_string().contains("has a passphrase"));
    }
    keygen.key("plain", "ed25519", "");
    KeyFile::unlock(&keygen.path("plain"), || unreachable!("there is nothing to unlock")).expect("read");
}

#[test]
fn passphrases_that_cannot_be_had() {
    let keygen = Keygen::new();
    let key = keygen.path("key");
    let file = private(&keygen, "passphrase", "secret");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("chmod");
    let said = PassphraseSource::File(file).read(&key).expect_err("loose").to_string();
    assert!(said.contains("chmod 600") && !said.contains("secret"), "{said}");
    let missing = PassphraseSource::File(keygen.path("missing")).read(&key).expect_err("missing");
    assert!(missing.to_string().contains("no such file"));
    let unset = PassphraseSource::Variable("ONIONSCRAPE_TEST_UNSET".into()).read(&key).expect_err("unset");
    assert!(unset.to_string().contains("ONIONSCRAPE_TEST_UNSET, which is not set"), "{unset}");
    let set = PassphraseSource::Variable("PATH".into()).read(&key).expect("set");
    assert_eq!(Some(set.as_str()), std::env::var("PATH").ok().as_deref());
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_a_remedy() {
    let keygen = Keygen::new();
    keygen.key("rsa", "rsa", "");
    let said = KeyFile::unlock(&keygen.path("rsa"), || unreachable!()).expect_err("rsa").to_string();
    assert!(said.contains("make an ed25519 key"), "{said}");
}

#[test]
fn certificates_are_for_users_and_for_the_key() {
    let keygen = Keygen::new();
    keygen.key("authority", "ed25519", "");
    keygen.key("key", "ed25519", "");
    keygen.key("other", "ed25519", "");
    let key = || KeyFile::open(&keygen.path("key")).expect("key");
    let path = keygen.path("key-cert.pub");
    let refused = |why: &str| {
        let said = LoginKey::in_file(key(), Some(&path)).expect_err(why).to_string();
        assert!(said.contains(why), "{said}");
    };
    refused("cannot be read: No such file");
    keygen.certificate("authority", "key", &["-h", "-n", "scrape"]);
    refused("is a certificate for hosts");
    keygen.certificate("authority", "key", &["-n", "scrape"]);
    let LoginKey::File { certificate: Some(file), .. } =
        LoginKey::in_file(key(), Some(&path)).expect("right")
    else {
        unreachable!("it is a file's key with a certificate")
    };
    let first = file.read().expect("read").serial();
    keygen.certificate("authority", "key", &["-n", "scrape", "-z", "7"]);
    assert_eq!((first, file.read().expect("read").serial()), (0, 7), "it is read anew");
    let other = KeyFile::open(&keygen.path("other")).expect("other");
    let said = LoginKey::in_file(other, Some(&path)).expect_err("another key's").to_string();
    assert!(said.contains("for another key"), "{said}");
    keygen.write("key-cert.pub", "garbage");
    refused("is not an OpenSSH certificate");
}

#[test]
fn the_key_in_an_ssh_agent_is_named_by_its_public_half() {
    let keygen = Keygen::new();
    keygen.key("key", "ed25519", "");
    let open = |name: &str| {
        let path = keygen.path(name);
        LoginKey::in_ssh_agent(SshAgentSocket::Environment, Some(&path), None)
    };
    assert!(matches!(open("key.pub"), Ok(LoginKey::SshAgent { only: Some(_), .. })));
    let said = open("key").expect_err("the private key").to_string();
    assert!(said.contains("is the .pub file"), "{said}");
    let nothing = LoginKey::in_ssh_agent(SshAgentSocket::Environment, None, None);
    assert!(matches!(nothing, Ok(LoginKey::SshAgent { only: None, .. })));
}
