//! `ticket`: one line that pairs this device with a bridge.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use onionscrape::address::Name;
use onionscrape::files::{self, StateDirectory};
use onionscrape::lifecycle::Failure;
use onionscrape::output;
use onionscrape::ssh::UserKey;
use onionscrape::ticket::Ticket;
use onionscrape::tor::before_release;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

use crate::access::{self, BridgeFile, Guests, OpenTicket, Standing};
use crate::config::{AgentConfig, FrontConfig};
use crate::identity::Identity;

/// The longest life of a ticket: it is a key to the device for as long as it lives.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What `ticket` is told.
#[derive(Debug, Args)]
pub struct Invitation {
    /// What this device calls the bridge [default: bridge, bridge-2, …]
    #[arg(long)]
    name: Option<Name>,
    /// How long the ticket can be used, such as 30m or 2days
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Exporters that the bridge may scrape, with commas between them [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exporters: Vec<Name>,
    /// Show the ticket as a QR code, too
    #[arg(long)]
    qr: bool,
}

impl Invitation {
    /// Makes a ticket and prints it; a running agent knows of it within a second.
    ///
    /// # Errors
    /// When the name is taken, an exporter is not there, the clock shows a time before this program was made, or nothing can be written;
    /// there is no ticket then.
    pub fn run(self, config: &AgentConfig) -> Result<ExitCode, Failure> {
        let state = StateDirectory::share(&config.state_directory)?;
        if let FrontConfig::Forward(_) = config.front {
            return Err(Failure(
                "the device's own sshd decides who may log in ([ssh] forward), so there are no tickets"
                    .into(),
            ));
        }
        if self.expires.is_zero() || self.expires > LONGEST {
            let longest = humantime::format_duration(LONGEST);
            return Err(Failure(format!(
                "--expires: a ticket lives for more than no time and at most {longest}"
            )));
        }
        // To a monitor whose clock is right its time would be over.
        if let Some(fault) = before_release(SystemTime::now()) {
            return Err(Failure(format!("{fault}, and make the ticket then")));
        }
        for exporter in &self.exporters {
            if !config.exporters.iter().any(|known| known.name == *exporter) {
                let known: Vec<_> = config.exporters.iter().map(|known| known.name.as_str()).collect();
                return Err(Failure(format!(
                    "no exporter is named {exporter}; configured are: {}",
                    known.join(", ")
                )));
            }
        }
        let _alone = access::lock(&config.sources.bridges)?;
        let guests = Guests::read(&config.sources, &Guests::default());
        sweep(config, &guests)?;
        let name = match self.name {
            Some(name) => free(config, &guests, name)?,
            None => unused(config, &guests)?,
        };
        let identity = Identity::open_or_make(config)?;
        let host_key = identity.host_key.fingerprint().parse().map_err(Failure)?;
        let ticket = Ticket::new(identity.onion, host_key, SystemTime::now() + self.expires);
        let open = OpenTicket {
            key: UserKey::of(ticket.enrolment_key().public_key()),
            client_auth: ticket.client_auth.public(),
            expires: ticket.expires,
        };
        let exporters = Some(self.exporters).filter(|exporters| !exporters.is_empty());
        BridgeFile { name: name.clone(), exporters, standing: Standing::Invited(open) }
            .write(&config.sources.bridges)?;
        let text = ticket.unredacted();
        if self.qr {
            write_secret(&picture(&text)?);
        }
        write_secret(&text);
        let until = humantime::format_rfc3339_seconds(ticket.expires);
        eprintln!(
            "good for one bridge, here named {name}, until {until}; on the monitor run scraper-bridge add, and paste it there"
        );
        if StateDirectory::is_free(state.path()) {
            eprintln!("the agent is not running: start it with target-agent run before the ticket is used");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes tickets whose time was over long ago; until then a late showing can be told from a stranger.
fn sweep(config: &AgentConfig, guests: &Guests) -> Result<(), Failure> {
    let long_ago = SystemTime::now() - LONGEST;
    for file in &guests.files {
        if matches!(&file.standing, Standing::Invited(ticket) if ticket.expires < long_ago) {
            files::remove(&BridgeFile::path(&config.sources.bridges, &file.name))?;
        }
    }
    Ok(())
}

/// The name, if no bridge has it that was paired. A ticket that was not used gives way to a new one.
fn free(config: &AgentConfig, guests: &Guests, name: Name) -> Result<Name, Failure> {
    let path = BridgeFile::path(&config.sources.bridges, &name);
    if path.exists() && !guests.files.iter().any(|file| file.name == name) {
        return Err(Failure(format!(
            "{}: is there already and cannot be read; mend or remove it",
            path.display()
        )));
    }
    let paired =
        guests.files.iter().any(|file| file.name == name && matches!(file.standing, Standing::Paired { .. }));
    if paired {
        return Err(Failure(format!(
            "a bridge named {name} is paired already; choose another --name, or first run: target-agent revoke {name}"
        )));
    }
    Ok(name)
}

/// The first of `bridge`, `bridge-2` and so on that nobody has.
fn unused(config: &AgentConfig, guests: &Guests) -> Result<Name, Failure> {
    let numbered = (2..).map(|number| format!("bridge-{number}"));
    let taken = |name: &String| {
        config.sources.bridges.join(format!("{name}.toml")).exists()
            || guests.entries.iter().any(|entry| entry.name == *name)
    };
    let name = std::iter::once("bridge".to_owned()).chain(numbered).find(|name| !taken(name));
    name.unwrap_or_default().parse().map_err(Failure)
}

/// Prints a line without the copy that `outln!` makes of it.
fn write_secret(line: &str) {
    output::write(line.as_bytes());
    output::write(b"\n");
}

/// The ticket as a QR code of half blocks, in the letters for which the code is smallest.
fn picture(ticket: &str) -> Result<Zeroizing<String>, Failure> {
    let code = QrCode::new(ticket.to_ascii_uppercase())
        .map_err(|error| Failure(format!("no QR code can be made of the ticket: {error}")))?;
    // Terminals are dark more often than light; most readers take either.
    Ok(Zeroizing::new(
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build(),
    ))
}

#[cfg(test)]
mod tests {
    use onionscrape::ssh::KeyFile;
    use onionscrape::tor::ClientAuthKey;

    use super::*;

    #[test]
    fn tickets_of_long_ago_are_removed_and_no_others() {
        let folder = tempfile::tempdir().expect("folder");
        let config = AgentConfig::read(None, Some(folder.path().join("state"))).expect("defaults");
        let key = KeyFile::open_or_make(&folder.path().join("key"), "").expect("key");
        let ages = [("old", LONGEST * 2), ("late", LONGEST / 2)];
        for (name, age) in ages {
            let open = OpenTicket {
                key: UserKey::of(key.private().public_key()),
                client_auth: ClientAuthKey::generate().public(),
                expires: SystemTime::now() - age,
            };
            let name = name.parse().expect("name");
            let file = BridgeFile { name, exporters: None, standing: Standing::Invited(open) };
            file.write(&config.sources.bridges).expect("written");
        }
        sweep(&config, &Guests::read(&config.sources, &Guests::default())).expect("swept");
        let left = Guests::read(&config.sources, &Guests::default()).files;
        assert_eq!(left.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["late"]);
    }
}
