//! `bridges`, the list of who may come in, and `revoke`, which takes one from it.

use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use onionscrape::files::{self, StateDirectory};
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use serde::{Deserialize, Serialize};

use crate::access::{self, AuthorizedKey, BridgeFile, Guests, Sources, Standing, line_name};
use crate::config::AgentConfig;

/// One who may come in, as people and scripts see it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// What people call it.
    pub name: String,
    /// `paired`, `key`, `authority`, `ticket`, `ticket expired` or `client`.
    pub standing: String,
    /// `None` for a client that may only read the descriptor.
    pub fingerprint: Option<String>,
    /// What it may scrape.
    pub exporters: String,
    /// The end of its life, as RFC 3339 has it.
    pub expires: Option<String>,
    /// When it was here last, to the hour, as RFC 3339 has it.
    pub last_seen: Option<String>,
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
        outln!("{}", serde_json::to_string(&rows).unwrap_or_default());
    } else if rows.is_empty() {
        outln!("nobody may come in; run: target-agent ticket");
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
                row.standing,
                or(row.fingerprint, "-"),
                row.exporters,
                or(row.expires, "-"),
                or(row.last_seen, "never"),
            ]);
        }
        for line in table.lines() {
            outln!("{}", line.trim());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All who may come in.
pub fn rows(guests: &Guests, sources: &Sources) -> Vec<Row> {
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
            }
            .to_owned(),
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
                standing: if over { "ticket expired" } else { "ticket" }.to_owned(),
                fingerprint: Some(ticket.key.fingerprint()),
                exporters: file.permits().shown(),
                expires: Some(time(ticket.expires)),
                last_seen: None,
            });
        }
    }
    let client = |name: &String| Row {
        name: name.clone(),
        standing: "client".to_owned(),
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
        outln!("{name} was taken from {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `authorized_keys` anew without the lines whose key goes by `name`; true if there were any.
fn remove_lines(sources: &Sources, name: &str) -> Result<bool, Failure> {
    let path = &sources.authorized_keys;
    let Some(text) = files::read_trusted(path)? else { return Ok(false) };
    let is_its = |(index, line): &(usize, &str)| {
        AuthorizedKey::parse(line.trim()).is_ok_and(|key| match key.comment {
            Some(comment) => comment == name,
            None => line_name(path, index + 1) == name,
        })
    };
    let lines = text.split_inclusive('\n').enumerate();
    let kept: String = lines.filter(|line| !is_its(line)).map(|(_, line)| line).collect();
    if kept.len() == text.len() {
        return Ok(false);
    }
    // A link stays one: whoever owns the file put it where it is.
    let file = path.canonicalize().unwrap_or_else(|_| path.clone());
    files::replace_private(&file, kept.as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_removed_by_comment_or_by_place() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let folder = tempfile::tempdir().expect("folder");
        let sources = Sources::in_state(folder.path());
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, format!("# keys\n{KEY}\n{KEY} home\nbroken\n")).expect("write");
        std::os::unix::fs::symlink(&elsewhere, &sources.authorized_keys).expect("link");
        let text = || std::fs::read_to_string(&elsewhere).expect("read");
        assert!(!remove_lines(&sources, "line 3 of authorized_keys").expect("read"), "it has a name");
        assert!(!remove_lines(&sources, "line 4 of authorized_keys").expect("read"), "it is no key");
        assert!(remove_lines(&sources, "line 2 of authorized_keys").expect("written"));
        assert_eq!(text(), format!("# keys\n{KEY} home\nbroken\n"));
        assert!(remove_lines(&sources, "home").expect("written"));
        assert_eq!(text(), "# keys\nbroken\n");
        assert!(sources.authorized_keys.is_symlink());
    }
}
