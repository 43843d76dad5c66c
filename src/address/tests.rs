//! What is an address, a port and a name, and what is none.

use super::*;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

fn onion_error(text: &str) -> String {
    text.parse::<OnionAddress>().expect_err(text)
}

#[test]
fn an_address_is_made_of_its_key() {
    let address: OnionAddress = ONION.parse().expect("right");
    assert_eq!(OnionAddress::of_key(address.key()), Some(address));
    assert_eq!(OnionAddress::of_key([2; 32]), None, "not a point of the curve");
}

#[test]
fn onion_address_is_folded_and_hidden() {
    let address: OnionAddress = ONION.to_uppercase().parse().expect("upper case is folded");
    assert_eq!(address.unredacted(), ONION);
    assert_eq!(format!("{address} {address:?}"), "…ryd.onion …ryd.onion");
}

#[test]
fn onion_address_mistakes_have_their_own_words() {
    assert!(onion_error("expyuzz4wqqyqhjn.onion").contains("version 2"));
    assert!(onion_error(&ONION.replacen('p', "q", 1)).contains("checksum"));
    assert!(onion_error(&format!(" {ONION}")).contains("spaces"));
    assert!(onion_error(&ONION.replace(".onion", "")).contains("ends in .onion"));
    assert!(onion_error(&ONION.replacen('p', "1", 1)).contains("letter other than"));
    assert!(onion_error(&ONION[1..]).contains("has 55"));
}

#[test]
fn an_onion_address_in_the_wrong_place_is_not_quoted() {
    for text in [ONION.to_owned(), format!("{ONION}:22"), ONION.to_uppercase()] {
        let said = text.parse::<ExporterAddress>().expect_err("wrong");
        assert!(said.contains("not an onion address") && !said.contains(&text[..16]), "{said}");
    }
}

#[test]
fn onion_addresses_are_left_out_of_texts() {
    let letters = &ONION[..ONION_LETTERS];
    for (text, shown) in [
        (format!("line 3: {ONION} is odd"), "line 3: ….onion is odd"),
        (format!("\"é{}\"", letters.to_uppercase()), "\"é…\""),
        (format!("x{letters}"), "…"),
        (letters[1..].to_owned(), &letters[1..]),
        ("a mistake at 127.0.0.1:9101\n".into(), "a mistake at 127.0.0.1:9101\n"),
        (String::new(), ""),
    ] {
        assert_eq!(without_onions(&text), shown);
    }
}

#[test]
fn exporter_addresses_are_literal_loopback() {
    for good in ["127.0.0.1:9100", "[::1]:9100", "127.3.2.1:1", "unix:/run/x.sock"] {
        let address: ExporterAddress = good.parse().expect(good);
        assert_eq!(address.to_string(), good);
    }
    for bad in [
        "localhost:9100",
        "LOCALHOST.:9100",
        "0.0.0.0:9100",
        "[::ffff:127.0.0.1]:9100",
        "127.1:9100",
        "2130706433:9100",
        "169.254.169.254:80",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1",
        "",
        "unix:run/x.sock",
        "127.0.0.1:9100/metrics",
    ] {
        assert!(bad.parse::<ExporterAddress>().is_err(), "{bad:?} was accepted");
    }
    assert!("localhost:1".parse::<ExporterAddress>().expect_err("name").contains("host name"));
}

#[test]
fn names_have_few_letters() {
    assert!("node-1_a".parse::<Name>().is_ok());
    for bad in ["", "-x", "Node", "a.b", "a b", "a/b", "ä", &"x".repeat(64)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
    }
}
