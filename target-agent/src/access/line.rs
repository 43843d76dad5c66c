//! One line of an `authorized_keys` file (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use onionscrape::ssh::UserKey;
use serde::Deserialize;

use super::permits::Permits;

/// Longest part of a key's comment that is kept.
const MAX_COMMENT: usize = 64;

/// A key that may log in, with what stands before and after it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AuthorizedKey {
    /// The key, or the certificate authority's.
    pub key: UserKey,
    /// What follows it: a name for people.
    pub comment: Option<String>,
    /// Which channels it may open.
    pub permits: Permits,
    /// The end of its life.
    pub expires: Option<SystemTime>,
    /// For `cert-authority`: the key signs certificates and does not log in itself.
    pub authority: Option<Authority>,
}

/// What a certificate authority's certificates are good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Names of which a certificate must have one; if there are none here, it must have the name
    /// that the user logs in under.
    pub principals: Vec<String>,
}

impl TryFrom<String> for AuthorizedKey {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        Self::parse(&line)
    }
}

impl AuthorizedKey {
    /// Reads a line that is neither empty nor a comment.
    ///
    /// # Errors
    /// Names what is not understood; an option is never ignored.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        let (options, rest) = if UserKey::is_kind(first) { ("", line) } else { split_options(line)? };
        let key: UserKey = rest.parse().map_err(|error: String| {
            if options.is_empty() || UserKey::is_kind(rest) {
                error
            } else {
                format!("after the options there is no key that is taken: {error}")
            }
        })?;
        let comment = rest.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let comment: String = comment.chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect();
        let mut read = Self {
            key,
            comment: Some(comment).filter(|comment| !comment.is_empty()),
            permits: Permits::All,
            expires: None,
            authority: None,
        };
        let mut principals = None;
        for option in split_at_commas(options) {
            match read.option(option)? {
                Some(names) if principals.is_none() => principals = Some(names),
                Some(_) => return Err("principals stands there twice".into()),
                None => {}
            }
        }
        match (&mut read.authority, principals) {
            (Some(authority), Some(names)) => authority.principals = names,
            (None, Some(_)) => return Err("principals has a meaning only beside cert-authority".into()),
            (_, None) => {}
        }
        Ok(read)
    }

    /// Takes one option in; the names, if it is `principals`.
    fn option(&mut self, option: &str) -> Result<Option<Vec<String>>, String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(name, value)?)),
            None => (option, None),
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            // What these take away, the agent gives to nobody.
            ("restrict" | "no-pty" | "no-agent-forwarding" | "no-x11-forwarding" | "no-user-rc", None) => {}
            // What this gives back after restrict is what the agent is for.
            ("port-forwarding", None) => {}
            ("no-port-forwarding", None) => {
                return Err(
                    "no-port-forwarding leaves the key nothing that it could do here; remove the key".into(),
                );
            }
            ("permitopen", Some(value)) => self.permits.add(value.parse()?),
            ("expiry-time", Some(value)) => {
                let until = expiry(&value)?;
                self.expires = Some(self.expires.map_or(until, |other| other.min(until)));
            }
            ("cert-authority", None) => self.authority = Some(Authority::default()),
            ("principals", Some(value)) => {
                let names: Vec<_> =
                    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                if names.is_empty() {
                    return Err("principals needs a name".into());
                }
                return Ok(Some(names));
            }
            ("from", _) => {
                return Err(
                    "from has no meaning behind an onion service, where every peer looks the same; remove it"
                        .into(),
                );
            }
            (
                "command" | "environment" | "permitlisten" | "tunnel" | "pty" | "agent-forwarding"
                | "x11-forwarding" | "user-rc",
                _,
            ) => {
                return Err(format!("{name} is for what the agent does for nobody; remove it"));
            }
            ("permitopen" | "expiry-time" | "principals", None) => {
                return Err(format!("{name} needs a value, as in {name}=\"…\""));
            }
            ("restrict" | "port-forwarding" | "cert-authority" | "no-pty", Some(_)) => {
                return Err(format!("{name} takes no value"));
            }
            _ => return Err(format!("the option {name:?} is not understood")),
        }
        Ok(None)
    }
}

/// The options and what follows them: everything up to the first blank outside quotation marks.
fn split_options(line: &str) -> Result<(&str, &str), String> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&line[..at], line[at..].trim_start())),
            _ => {}
        }
    }
    Err(if quoted { "a quotation mark is not closed".into() } else { "there is no key in the line".into() })
}

fn split_at_commas(options: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    options
        .split(|c: char| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => return c == ',' && !quoted,
            }
            false
        })
        .filter(|option| !option.is_empty())
        .collect()
}

/// The value between quotation marks, with `\"` for one inside.
fn unquoted(name: &str, value: &str) -> Result<String, String> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner
        .map(|inner| inner.replace("\\\"", "\""))
        .ok_or_else(|| format!("{name}: the value must stand between quotation marks"))
}

/// `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]`; without the Z in the system's time zone.
fn expiry(text: &str) -> Result<SystemTime, String> {
    let wrong =
        || format!("expiry-time=\"{text}\" is not of the form YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let full = format!("{digits:0<14}");
    let time = DateTime::strptime("%Y%m%d%H%M%S", &full).map_err(|_| wrong())?;
    let seconds = time.to_zoned(zone).map_err(|_| wrong())?.timestamp().as_second();
    // A time before 1970 is over in any case.
    Ok(UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
