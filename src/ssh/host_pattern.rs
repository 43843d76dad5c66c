//! Whether a host's name is meant by the first field of a known_hosts line.

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::HostPatterns;
use sha1::Sha1;

/// True if the field means `name`, which is in lower case, with `[name]:port` written out.
///
/// One pattern of a list must match, and none that begins with `!` may (ssh_config(5), "PATTERNS"). A
/// hashed name is the HMAC-SHA1 of the whole name, with the salt as key.
pub(super) fn matches(hosts: &HostPatterns, name: &str) -> bool {
    match hosts {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(name).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let mut matched = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(excluded) if is_like(excluded, name) => return false,
                    Some(_) => {}
                    None => matched |= is_like(pattern, name),
                }
            }
            matched
        }
    }
}

/// True if `text` is what `pattern` says, `*` being any letters or none, and `?` any one letter.
///
/// Only the last `*` is ever gone back to, so a pattern costs at most its length times the text's.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, t));
            }
            Some(letter) if *letter == b'?' || letter.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                p = after;
                t = taken + 1;
                star = Some((after, t));
            }
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("abc.onion", "abc.onion"),
            ("ABC.Onion", "abc.onion"),
            ("*.onion", "abc.onion"),
            ("*", ""),
            ("a?c*", "abc.onion"),
            ("*b*n*n", "abc.onion"),
            ("[*.onion]:22*", "[abc.onion]:2222"),
        ] {
            assert!(is_like(pattern, text), "{pattern} is not like {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("*.onion", "onion"),
            ("abc", "abcd"),
            ("abcd", "abc"),
            ("*.onion", "[abc.onion]:2222"),
        ] {
            assert!(!is_like(pattern, text), "{pattern} is like {text}");
        }
        assert!(!is_like(&"*a".repeat(2_000), &"a".repeat(1_999)), "and it ends");
    }

    #[test]
    fn lists_with_exceptions() {
        let means = |field: &str, name| matches(&field.parse().expect("field"), name);
        assert!(means("a.onion,b.onion", "b.onion"));
        assert!(means("*.onion,!b.onion", "a.onion"));
        assert!(!means("*.onion,!b.onion", "b.onion"));
        assert!(!means("!b.onion,*.onion", "b.onion"));
        assert!(!means("!b.onion", "a.onion"), "an exception alone means nobody");
    }
}
