//! The web configuration file as it stands on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_saphyr::{MessageFormatter as _, Spanned, UserMessageFormatter};
use tokio_rustls::TlsAcceptor;

use super::named::{Reader, contents, place};
use super::tls::{Tls, TlsSection};
use super::{Settings, Users, auth};
use crate::config::{Mistake, Mistakes};

/// Highest cost of a hash. One comparison takes about 4 s then.
const MAX_COST: u32 = 16;
/// The header fields that may be set, each with its only values where it has such.
const FIELDS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, deserialize_with = "given")]
    tls_server_config: Given<TlsSection>,
    http_server_config: Option<HttpSection>,
    #[serde(default, deserialize_with = "given")]
    basic_auth_users: Given<BTreeMap<String, Spanned<String>>>,
    rate_limit: Option<Spanned<IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpSection {
    /// HTTP/1.1 is all that is spoken, which every client that speaks HTTP/2 takes as well.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Spanned<String>>>,
}

/// A section that may be missing, or be there with nothing in it.
type Given<T> = Option<Spanned<Option<T>>>;

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Given<T>, D::Error> {
    Spanned::deserialize(from).map(Some)
}

/// Reads `file`; `named` is told of each file that it names before that is read.
pub(super) fn read(file: &Path, named: impl FnMut(&Path)) -> Result<Settings, Mistakes> {
    let bytes = contents(file).map_err(|what| Mistakes::of_file(file, what))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Mistakes::of_file(file, "is not UTF-8"))?;
    let parsed = serde_saphyr::from_str::<Option<File>>(text).map_err(|error| {
        let place = error.location().map(place);
        let message = UserMessageFormatter.format_message(error.without_snippet()).escape_debug().to_string();
        Mistakes::of(vec![Mistake::new(file, place.flatten(), message)])
    })?;
    let parsed = parsed.ok_or_else(|| {
        Mistakes::of_file(file, "has nothing in it; to serve everybody over plain HTTP, do not name it")
    })?;
    let mut reader = Reader::new(file, named);
    let settings = parsed.settings(&mut reader);
    reader.finish(settings)
}

impl File {
    fn settings(self, reader: &mut Reader<'_>) -> Option<Settings> {
        let tls = self.tls_server_config.map(|section| {
            let at = section.referenced;
            let Some(section) = section.value else {
                reader.note(at, "tls_server_config has nothing in it; take it out to do without TLS");
                return None;
            };
            section.configure(at, reader)
        });
        let users = self.basic_auth_users.map(|users| {
            let hashes: BTreeMap<_, _> = users
                .value
                .unwrap_or_default()
                .into_iter()
                .map(|(user, hash)| {
                    check_hash(&user, &hash, reader);
                    (user, hash.value)
                })
                .collect();
            if hashes.is_empty() {
                reader
                    .note(users.referenced, "basic_auth_users names nobody; take it out to let everybody in");
            }
            Users::new(hashes)
        });
        let headers =
            headers(self.http_server_config.unwrap_or_default().headers.unwrap_or_default(), reader);
        if let Some(limit) = self.rate_limit {
            reader.note(limit.referenced, "rate_limit is not supported; take it out");
        }
        // A section that is there and cannot be used must not pass for one that is not there.
        let tls = tls.map_or(Some(None), |tls| tls.map(Some))?;
        let users = users.map_or(Some(None), |users| users.map(Some))?;
        let mut settings = Settings { users, headers, ..Settings::default() };
        if let Some(Tls { config, asks_for_certificate, asks_for_name }) = tls {
            settings.tls = Some(TlsAcceptor::from(Arc::new(config)));
            settings.asks_for_certificate = asks_for_certificate;
            settings.asks_for_name = asks_for_name;
        }
        Some(settings)
    }
}

fn check_hash(user: &str, hash: &Spanned<String>, reader: &mut Reader<'_>) {
    if user.contains(':') {
        reader.note(hash.referenced, format!("user {user:?}: a name with a colon cannot be sent"));
    }
    match auth::cost(&hash.value) {
        None => reader.note(
            hash.referenced,
            format!("user {user:?}: not a bcrypt hash; make one with: htpasswd -nBC 10 {user:?}"),
        ),
        Some(cost) if !(4..=MAX_COST).contains(&cost) => reader.note(
            hash.referenced,
            format!("user {user:?}: the hash has a cost of {cost}; 4 to {MAX_COST} are possible"),
        ),
        Some(_) => {}
    }
}

fn headers(configured: BTreeMap<String, Spanned<String>>, reader: &mut Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        let Some((_, values)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = FIELDS.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            reader.note(
                value.referenced,
                format!("the header field {name:?} cannot be set; these can: {known}"),
            );
            continue;
        };
        let text = value.value.as_str();
        if !values.is_empty() && !values.contains(&text) {
            reader.note(value.referenced, format!("{name} can only be {}", values.join(" or ")));
        }
        match (HeaderName::try_from(&name), HeaderValue::try_from(text)) {
            _ if text.is_empty() => {}
            (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
            _ => reader.note(value.referenced, format!("{name}: a header field cannot have this value")),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What is wrong with `text`, file name cut off.
    fn mistakes(text: &str) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(text.as_bytes()).expect("write");
        let name = file.path().display().to_string();
        match read(file.path(), |_| {}) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.to_string().lines().map(|line| line.replacen(&name, "", 1)).collect(),
        }
    }

    #[test]
    fn users_and_header_fields() {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        assert_eq!(mistakes(&format!("basic_auth_users:\n  a: {hash}\n  b: '{hash}'\n")), [""; 0]);
        assert_eq!(mistakes("http_server_config:\n  headers: {X-XSS-Protection: ''}\n"), [""; 0]);
        assert_eq!(
            mistakes(
                "http_server_config:\n  headers:\n    X-Frame-Options: maybe\n    X-XSS-Protection: \"a\\nb\"\n"
            ),
            [
                ":3:22: X-Frame-Options can only be deny or sameorigin",
                ":4:23: X-XSS-Protection: a header field cannot have this value",
            ]
        );
    }

    #[test]
    fn a_hash_is_not_repeated_in_a_message() {
        for text in
            ["basic_auth_users:\n  a: s3cret\n", "basic_auth_users: [s3cret]\n", "basic_auth_users: s3cret\n"]
        {
            let said = mistakes(text);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(!said[0].contains("s3cret"), "{said:?}");
        }
    }

    #[test]
    fn nothing_is_not_a_configuration() {
        for text in ["", "\n", "# basic_auth_users:\n", "---\n", "~\n"] {
            let said = mistakes(text);
            assert_eq!(said.len(), 1, "{text:?}: {said:?}");
            assert!(said[0].contains("has nothing in it"), "{text:?}: {said:?}");
        }
    }
}
