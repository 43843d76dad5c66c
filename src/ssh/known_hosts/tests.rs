use super::super::keygen::Keygen;
use super::*;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const OTHER: &str = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion";

fn line(key: &PublicKey) -> String {
    PublicKey::new(key.key_data().clone(), "").to_openssh().expect("encoded").trim().to_owned()
}

#[test]
fn names_that_the_real_ssh_keygen_hashed_are_found() {
    let keygen = Keygen::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| keygen.key(name, "ed25519", ""));
    let [a_line, b_line, c_line] = [&a, &b, &c].map(line);
    let plain = format!("{ONION} {a_line}\n[{ONION}]:2222 {b_line}\n{OTHER} {c_line} with a comment\n");
    let path = keygen.write("known_hosts", &plain);
    let expected = |hosts: &KnownHosts| {
        assert_eq!(hosts.bad_lines(), []);
        assert_eq!(hosts.host(ONION, 22).keys, [a.key_data().clone()]);
        assert_eq!(hosts.host(ONION, 2222).keys, [b.key_data().clone()]);
        assert_eq!(hosts.host(ONION, 2223).keys, [a.key_data().clone()], "the bare name is for all ports");
        assert_eq!(hosts.host(OTHER, 22).keys, [c.key_data().clone()]);
        assert_eq!(hosts.host("nobody.onion", 22), KnownHost::default());
    };
    expected(&KnownHosts::read(&path).expect("readable"));
    keygen.run(&["-H", "-f", "known_hosts"]);
    let hashed = keygen.read("known_hosts");
    assert!(hashed.starts_with("|1|") && !hashed.contains("onion"), "{hashed}");
    expected(&KnownHosts::read(&path).expect("readable"));
}

#[test]
fn lists_wildcards_markers_and_several_keys() {
    let keygen = Keygen::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| keygen.key(name, "ed25519", ""));
    let ecdsa = keygen.key("e", "ecdsa", "");
    let text = format!(
        "# a comment\n\n\
         first.onion,{ONION} {}\n\
         \t{} {}\n\
         *.onion,!{OTHER} {}\n\
         @revoked * {}\n\
         @cert-authority\t*.onion\t{}\n",
        line(&a),
        ONION.to_uppercase(),
        line(&ecdsa),
        line(&b),
        line(&c),
        line(&c),
    );
    let hosts = KnownHosts::parse(&text);
    assert_eq!(hosts.bad_lines(), []);
    let host = hosts.host(ONION, 22);
    assert_eq!(host.keys, [&a, &ecdsa, &b].map(|key| key.key_data().clone()));
    assert_eq!(host.authorities, [c.key_data().clone()]);
    assert_eq!(host.revoked, [c.key_data().clone()]);
    assert_eq!(hosts.host(OTHER, 22).keys, []);
    assert_eq!(hosts.host("first.onion", 22).keys, [&a, &b].map(|key| key.key_data().clone()));
}

#[test]
fn bad_lines_are_told_of_and_match_nothing() {
    let keygen = Keygen::new();
    let key = keygen.key("a", "ed25519", "");
    let (good, blob) = (line(&key), line(&key).split(' ').nth(1).expect("blob").to_owned());
    keygen.key("authority", "ed25519", "");
    keygen.certificate("authority", "a", &["-h", "-n", ONION]);
    let certificate = keygen.read("a-cert.pub");
    let bad = [
        format!("@trusted {ONION} {good}"),
        ONION.to_owned(),
        format!("{ONION} ssh-ed25519"),
        format!("{ONION} ssh-ed25519 {}", &blob[..40]),
        format!("{ONION} ssh-rsa {blob}"),
        format!("{ONION} 1024 37 1234567"),
        format!("|1|damaged {good}"),
        format!("{ONION} {}", certificate.trim()),
    ];
    let hosts = KnownHosts::parse(&bad.join("\n"));
    let numbers: Vec<_> = hosts.bad_lines().iter().map(|line| line.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(hosts.host(ONION, 22), KnownHost::default());
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let keygen = Keygen::new();
    let missing = KnownHosts::read(&keygen.path("missing")).expect_err("missing").to_string();
    assert!(missing.contains("missing: cannot be read: No such file"), "{missing}");
    assert!(KnownHosts::read(&keygen.path("")).expect_err("folder").to_string().contains("is not a file"));
    let binary = keygen.path("binary");
    std::fs::write(&binary, b"\xff\xfe").expect("written");
    assert!(KnownHosts::read(&binary).is_err());
    assert_eq!(KnownHosts::read(&keygen.write("empty", "")).expect("empty").host(ONION, 22).keys, []);
}
