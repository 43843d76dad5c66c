//! Header fields of an exporter's own: `headers`, `basic_auth` and `authorization`, with the names that
//! Prometheus' `scrape_configs` have for them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use onionscrape::config::Section;
use onionscrape::http::is_hop_by_hop;
use toml::Spanned;

use crate::exporter::{OwnFields, Value};

/// Most fields of one exporter.
const MAX_FIELDS: usize = 32;
/// Fields that are the agent's to set, or that say what an answer is to look like, which is between the
/// filter and whoever asks.
const NOT_OWN: [&str; 6] = ["host", "content-length", "expect", "accept", "accept-encoding", "range"];

/// Reads the three keys. Whether the files are there and private is seen when they are used, since they
/// may come later than the configuration.
pub(super) fn read(section: &mut Section<'_>) -> OwnFields {
    let mut fields = read_headers(section);
    let basic = section.has("basic_auth").then(|| read_basic(section.section("basic_auth")));
    let scheme = section.has("authorization").then(|| read_authorization(section.section("authorization")));
    if basic.is_some() && scheme.is_some() {
        section.mistake_here("basic_auth and authorization are two values of one field; remove one");
    }
    fields.extend(basic.flatten().or(scheme.flatten()).map(|value| (AUTHORIZATION, value)));
    OwnFields(fields)
}

fn read_headers(section: &mut Section<'_>) -> Vec<(HeaderName, Value)> {
    if section.has("headers") && !section.has_table("headers") {
        // Taken without its value, which may be a secret.
        let place = section.spanned::<serde::de::IgnoredAny>("headers").map(|value| value.span());
        section.mistake(place.unwrap_or_default(), "headers must be a table: { \"X-Name\" = \"value\" }");
        return Vec::new();
    }
    let Some(written) = section.spanned::<BTreeMap<String, Spanned<toml::Value>>>("headers") else {
        return Vec::new();
    };
    if written.get_ref().len() > MAX_FIELDS {
        section.mistake(written.span(), format!("headers: there are more than {MAX_FIELDS}"));
    }
    let mut fields: Vec<(HeaderName, Value)> = Vec::new();
    for (text, value) in written.into_inner() {
        let place = value.span();
        let Some(name) = name(section, &text, &place) else { continue };
        if fields.iter().any(|(known, _)| *known == name) {
            section.mistake(place, format!("headers: {name} stands there twice"));
            continue;
        }
        match what(value.get_ref()) {
            Some(What::File(file)) => fields.push((name, Value::File(section.resolve(Path::new(file))))),
            Some(What::Text(text)) => match HeaderValue::from_str(text) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    fields.push((name, Value::Text(value)));
                }
                Err(_) => section.mistake(
                    place,
                    format!("headers: the value of {name} has letters that a header field cannot have"),
                ),
            },
            None => section.mistake(
                place,
                format!("headers: {name} must be a text, or a table such as {{ file = \"key\" }}"),
            ),
        }
    }
    fields
}

/// What stands behind a name in `headers`.
enum What<'a> {
    Text(&'a str),
    File(&'a str),
}

fn what(value: &toml::Value) -> Option<What<'_>> {
    match value {
        toml::Value::String(text) => Some(What::Text(text)),
        toml::Value::Table(table) if table.len() == 1 => table.get("file")?.as_str().map(What::File),
        _ => None,
    }
}

fn name(section: &Section<'_>, text: &str, place: &Range<usize>) -> Option<HeaderName> {
    let wrong = |why: &str| section.mistake(place.clone(), format!("headers: {text:?} {why}"));
    let Ok(name) = text.parse::<HeaderName>() else {
        wrong("cannot be a header field's name");
        return None;
    };
    if name == AUTHORIZATION {
        wrong("is written as basic_auth or authorization");
        return None;
    }
    if is_hop_by_hop(&name) || NOT_OWN.contains(&name.as_str()) {
        wrong("is set by the agent itself");
        return None;
    }
    Some(name)
}

fn read_basic(mut section: Section<'_>) -> Option<Value> {
    let user = section.required_spanned::<String>("username");
    if let Some(user) =
        user.as_ref().filter(|user| user.get_ref().contains(|c: char| c == ':' || c.is_control()))
    {
        section.mistake(user.span(), "username: a user's name has no colon (RFC 7617)");
    }
    let file = section.required_path("password_file");
    Some(Value::Basic(user?.into_inner(), file?))
}

fn read_authorization(mut section: Section<'_>) -> Option<Value> {
    let scheme = section.spanned::<String>("type");
    if let Some(scheme) = &scheme {
        let is_token = scheme.get_ref().parse::<HeaderName>().is_ok();
        if !is_token {
            section.mistake(scheme.span(), "type: cannot be the name of an authentication scheme");
        } else if scheme.get_ref().eq_ignore_ascii_case("basic") {
            section.mistake(scheme.span(), "type: is written as basic_auth, with username and password_file");
        }
    }
    let file = section.required_path("credentials_file");
    Some(Value::Scheme(scheme.map_or_else(|| "Bearer".to_owned(), Spanned::into_inner), file?))
}
