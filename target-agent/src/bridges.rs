//! `bridges`, the list of who may come in, and `revoke`, which takes one from it.

use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use onionscrape::files::{self, StateDirectory};
use onionscrape::lifecycle::Failure;
use serde::Serialize;

use crate::access::{self, AuthorizedKey, BridgeFile, Guests, Sources, Standing};
use crate::config::AgentConfig;

/// One who may come in, as people and scripts see it.
#[derive(Serialize)]
struct Row {
    name: String,
    /// `paired`, `key`, `authority`, `ticket`, `ticket expired` or `client`.
    standing: &'static str,
    /// `None` for a client that may only read the descriptor.
    fingerprint: Option<String>,
    exporters: String,
    /// The end of its life, as RFC 3339 has it.
    expires: Option<String>,
    /// As RFC 3339 has it.
    last_seen: Option<String>,
}

/// Prints who may come in.
///
/// # Errors
/// When the state directory cannot be used.
pub fn list(config: &AgentConfig, json: bool) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    let guests = Guests::read(&config.sources, &Guests::default());
    for problem in &guests.problems {
        eprintln!("target-agent: {problem}");
    }
    let rows = rows(&guests, &config.sources);
    if json {
        // Strings and nothing can always be written as JSON.
        println!("{}", serde_json::to_string(&rows).unwrap_or_default());
    } else if rows.is_empty() {
        println!("nobody may come in; run: target-agent ticket");
    } else {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "NAME",
            "STANDING",
            "KEY",
            "EXPORTERS",
            "EXPIRES",
            "LAST SEEN",
        ]);
        for row in rows {
            let or = |text: Option<String>, other: &str| text.unwrap_or_else(|| other.to_owned());
            table.add_row([
                row.name,
                row.standing.to_owned(),
                or(row.fingerprint, "-"),
                row.exporters,
                or(row.expires, "-"),
                or(row.last_seen, "never"),
            ]);
        }
        for line in table.lines() {
            println!("{}", line.trim());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(guests: &Guests, sources: &Sources) -> Vec<Row> {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let seen =
        |name: &str| sources.seen_file(name).metadata().and_then(|meta| meta.modified()).ok().map(time);
    let is_file = |name: &str| guests.files.iter().any(|file| file.name.as_str() == name);
    let mut rows: Vec<_> = guests
        .entries
        .iter()
        .map(|entry| Row {
            standing: match (&entry.authority, is_file(&entry.name)) {
                (Some(_), _) => "authority",
                (None, true) => "paired",
                (None, false) => "key",
            },
            fingerprint: Some(entry.key.fingerprint()),
            exporters: entry.permits.shown(),
            expires: entry.expires.map(time),
            last_seen: seen(&entry.name),
            name: entry.name.clone(),
        })
        .collect();
    for file in &guests.files {
        if let Standing::Invited(ticket) = &file.standing {
            let over = ticket.expires <= SystemTime::now();
            rows.push(Row {
                name: file.name.to_string(),
                standing: if over { "ticket expired" } else { "ticket" },
                fingerprint: Some(ticket.key.fingerprint()),
                exporters: file.permits().shown(),
                expires: Some(time(ticket.expires)),
                last_seen: None,
            });
        }
    }
    let client = |name: &String| Row {
        name: name.clone(),
        standing: "client",
        fingerprint: None,
        exporters: "-".into(),
        expires: None,
        last_seen: None,
    };
    rows.extend(guests.clients.iter().map(|(name, _)| client(name)));
    rows
}

/// Takes away whatever lets `name` in: its file, its lines in `authorized_keys`, its client's file.
/// A running agent ends its sessions within seconds.
///
/// # Errors
/// When nobody has that name, it stands in the configuration, or a file cannot be written.
pub fn revoke(config: &AgentConfig, name: &str) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    let sources = &config.sources;
    let _alone = access::lock(&sources.bridges)?;
    if sources.inline.iter().any(|key| key.comment.as_deref() == Some(name)) {
        return Err(Failure(format!("{name} stands in the configuration file, under keys; remove it there")));
    }
    let mut taken = Vec::new();
    if let Ok(parsed) = name.parse() {
        let file = BridgeFile::path(&sources.bridges, &parsed);
        if files::remove(&file)? {
            taken.push(file);
        }
        let client = sources.authorized_clients.join(format!("{parsed}.auth"));
        if files::remove(&client)? {
            taken.push(client);
        }
    }
    if remove_lines(sources, name)? {
        taken.push(sources.authorized_keys.clone());
    }
    if taken.is_empty() {
        let guests = Guests::read(sources, &Guests::default());
        let known: Vec<_> = rows(&guests, sources).into_iter().map(|row| row.name).collect();
        let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
        return Err(Failure(format!("nobody named {name:?} may come in; those who may are: {known}")));
    }
    let _ = files::remove(&sources.seen_file(name));
    for path in taken {
        println!("{name} was taken from {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `authorized_keys` anew without the lines whose comment is `name`; true if there were any.
fn remove_lines(sources: &Sources, name: &str) -> Result<bool, Failure> {
    let path = &sources.authorized_keys;
    let Some(text) = files::read_trusted(path)? else { return Ok(false) };
    let is_its =
        |line: &&str| AuthorizedKey::parse(line).is_ok_and(|key| key.comment.as_deref() == Some(name));
    let kept: String = text.split_inclusive('\n').filter(|line| !is_its(line)).collect();
    if kept.len() == text.len() {
        return Ok(false);
    }
    files::replace_private(path, kept.as_bytes())?;
    Ok(true)
}
