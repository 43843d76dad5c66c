use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn read(options: &str) -> AuthorizedKey {
    AuthorizedKey::parse(&format!("{options} {KEY} me"))
        .unwrap_or_else(|error| unreachable!("{options}: {error}"))
}

fn error(options: &str) -> String {
    AuthorizedKey::parse(&format!("{options} {KEY}")).expect_err(options)
}

#[test]
fn a_plain_line() {
    let line =
        AuthorizedKey::parse(&format!("  {}\tprometheus at home ", KEY.replace(' ', "\t"))).expect("read");
    assert_eq!(line.key.to_string(), KEY);
    assert_eq!(line.comment.as_deref(), Some("prometheus at home"));
    assert_eq!((line.permits, line.expires, line.authority), (Permits::All, None, None));
}

#[test]
fn options_that_are_understood() {
    assert_eq!(read("restrict").permits, Permits::All);
    assert_eq!(read("no-pty,no-agent-forwarding,NO-X11-FORWARDING,port-forwarding").permits, Permits::All);
    let line = read(r#"restrict,permitopen="127.0.0.1:9100",permitopen="node:80""#);
    assert!(line.permits.allows("127.0.0.1", 9100) && line.permits.allows("node", 80));
    assert!(!line.permits.allows("127.0.0.1", 9101) && !line.permits.allows("app", 80));
    let line = read(r#"cert-authority,principals="scrape,prom, x""#);
    let names: Vec<_> = line.authority.expect("authority").principals;
    assert_eq!(names, ["scrape", "prom", " x"]);
    assert_eq!(read("cert-authority").authority, Some(Authority::default()));
    assert_eq!(read("cert-authority").comment.as_deref(), Some("me"));
}

#[test]
fn expiry_times() {
    let at = |text: &str| {
        let expires = read(&format!("expiry-time=\"{text}\"")).expires.expect("time");
        expires.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    };
    assert_eq!(at("20260102Z"), 1_767_312_000);
    assert_eq!(at("202601020304Z"), 1_767_323_040);
    assert_eq!(at("20260102030405Z"), 1_767_323_045);
    // Without a Z it is local time, which differs from UTC by less than a day.
    assert!(at("20260102").abs_diff(1_767_312_000) <= 14 * 3600);
    // The earlier one counts.
    let line = read(r#"expiry-time="20260102Z",expiry-time="20250102Z""#);
    assert_eq!(line.expires, Some(UNIX_EPOCH + Duration::from_secs(1_735_776_000)));
    for bad in
        ["", "2026", "20261301Z", "20260230Z", "2026010203Z", "tomorrow", "20260102z0", "202601022500Z"]
    {
        assert!(error(&format!("expiry-time=\"{bad}\"")).contains("YYYYMMDD"), "{bad}");
    }
}

#[test]
fn nothing_is_ignored() {
    for (options, said) in [
        (r#"from="10.0.0.0/8""#, "from has no meaning"),
        (r#"command="/bin/sh -c \"x\"""#, "command is for what"),
        (r#"permitlisten="8080""#, "permitlisten is for what"),
        ("pty", "pty is for what"),
        ("no-port-forwarding", "nothing that it could do"),
        ("no-touch-required", "\"no-touch-required\" is not understood"),
        ("Restrict,frobnicate", "\"frobnicate\" is not understood"),
        ("permitopen", "needs a value"),
        (r#"permitopen="127.0.0.1""#, "is not HOST:PORT"),
        ("permitopen=node:80", "between quotation marks"),
        (r#"restrict="yes""#, "takes no value"),
        (r#"principals="a""#, "only beside cert-authority"),
        (r#"cert-authority,principals="""#, "needs a name"),
        (r#"cert-authority,principals="a",principals="b""#, "twice"),
        (r#"permitopen="node:80"#, "not closed"),
    ] {
        let error = error(options);
        assert!(error.contains(said), "{options}: {error}");
    }
    assert!(AuthorizedKey::parse("restrict").expect_err("no key").contains("no key"));
    assert!(AuthorizedKey::parse("restrict ssh-rsa AAAA").expect_err("rsa").contains("ssh-rsa is not taken"));
    assert!(AuthorizedKey::parse("hello world").expect_err("words").contains("no key that is taken"));
}

#[test]
fn quotation_marks_hide_blanks_commas_and_number_signs() {
    let line = read(r#"cert-authority,principals="a b,c # d\",e""#);
    assert_eq!(line.authority.expect("authority").principals, ["a b", "c # d\"", "e"]);
}
