//! A file about one bridge, `bridges/NAME.toml` in the state directory.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onionscrape::address::Name;
use onionscrape::config::{self, Moment, Section};
use onionscrape::files::{self, FileError};
use onionscrape::ssh::UserKey;
use onionscrape::tor::ClientAuthPublicKey;

use super::permits::Permits;

/// What stands at the head of a file that a program wrote.
const HEAD: &str =
    "# A bridge that may come in. `target-agent bridges` lists them, `target-agent revoke` removes one.\n";

/// What is known of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeFile {
    /// Its name, which is the file's.
    pub name: Name,
    /// The exporters it may scrape; `None` for all.
    pub exporters: Option<Vec<Name>>,
    /// How it stands with the bridge.
    pub standing: Standing,
}

/// How it stands with a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was handed a ticket.
    Invited(OpenTicket),
    /// It may come in.
    Paired {
        /// What it logs in with.
        key: UserKey,
        /// What it reads the descriptor with.
        client_auth: Option<ClientAuthPublicKey>,
        /// The enrolment key of the ticket that it came by, to know that ticket again.
        ticket_used: Option<UserKey>,
    },
}

/// What the device keeps of a ticket: nothing that is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTicket {
    /// The public half of the key to enrol with.
    pub key: UserKey,
    /// The public half of the key to read the descriptor with.
    pub client_auth: ClientAuthPublicKey,
    /// The end of its life.
    pub expires: SystemTime,
}

impl BridgeFile {
    /// Where the file about `name` is.
    pub fn path(folder: &Path, name: &Name) -> PathBuf {
        folder.join(format!("{name}.toml"))
    }

    /// Reads the file at `path`; `None` if it is gone.
    ///
    /// # Errors
    /// Every mistake in it, one line each; a name that cannot be one; a file others can write.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name: Name = stem.parse().map_err(|error| format!("{}: {error}", path.display()))?;
        // This also refuses what others could have written.
        if files::read_trusted(path).map_err(|error| error.to_string())?.is_none() {
            return Ok(None);
        }
        config::read(path, |top| Self::build(top, name)).map(Some).map_err(|mistakes| mistakes.to_string())
    }

    fn build(top: &mut Section<'_>, name: Name) -> Option<Self> {
        let exporters = top.optional("exporters");
        let has_key = top.has("key");
        let key = top.spanned::<UserKey>("key");
        let client_auth = top.optional("client_auth");
        let ticket_used = top.optional("ticket_used");
        let invited = top.has("ticket");
        let mut ticket = top.section("ticket");
        let standing = if invited {
            if let Some(key) = &key {
                ticket.mistake(key.span(), "key: a bridge is either paired or has a [ticket], not both");
            }
            let key = ticket.required("key");
            let client_auth = ticket.required("client_auth");
            let expires = ticket.required::<Moment>("expires");
            Standing::Invited(OpenTicket { key: key?, client_auth: client_auth?, expires: expires?.0 })
        } else {
            if !has_key {
                ticket.mistake_here("the file needs the key \"key\", or a [ticket]");
            }
            Standing::Paired { key: key?.into_inner(), client_auth, ticket_used }
        };
        Some(Self { name, exporters, standing })
    }

    /// Writes the file, in the place of the one that may be there.
    ///
    /// # Errors
    /// When it cannot be written; nothing has changed then.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        files::private_directory(folder)?;
        files::replace_private(&Self::path(folder, &self.name), self.text().as_bytes())
    }

    /// The file's text. All values are of alphabets without quotation marks.
    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        if let Some(exporters) = &self.exporters {
            let names: Vec<_> = exporters.iter().map(|name| format!("\"{name}\"")).collect();
            text += &format!("exporters = [{}]\n", names.join(", "));
        }
        match &self.standing {
            Standing::Invited(OpenTicket { key, client_auth, expires }) => {
                let expires = humantime::format_rfc3339_seconds(*expires);
                text += &format!(
                    "\n[ticket]\nkey = \"{key}\"\nclient_auth = \"{client_auth}\"\nexpires = \"{expires}\"\n"
                );
            }
            Standing::Paired { key, client_auth, ticket_used } => {
                text += &format!("key = \"{key}\"\n");
                if let Some(client_auth) = client_auth {
                    text += &format!("client_auth = \"{client_auth}\"\n");
                }
                if let Some(ticket) = ticket_used {
                    text += &format!("ticket_used = \"{ticket}\"\n");
                }
            }
        }
        text
    }

    /// Which channels the bridge may open.
    pub fn permits(&self) -> Permits {
        self.exporters.as_ref().map_or(Permits::All, |names| Permits::of_exporters(names.iter()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use onionscrape::tor::ClientAuthKey;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        let bridges = folder.path().join("bridges");
        let key: UserKey = KEY.parse().expect("key");
        let client_auth = ClientAuthKey::generate().public();
        let expires = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let invited =
            Standing::Invited(OpenTicket { key: key.clone(), client_auth: client_auth.clone(), expires });
        let paired = Standing::Paired {
            key: key.clone(),
            client_auth: Some(client_auth),
            ticket_used: Some(key.clone()),
        };
        let bare = Standing::Paired { key, client_auth: None, ticket_used: None };
        for standing in [invited, paired, bare] {
            for exporters in [None, Some(vec!["node".parse().expect("name"), "app".parse().expect("name")])] {
                let file =
                    BridgeFile { name: "home".parse().expect("name"), exporters, standing: standing.clone() };
                file.write(&bridges).expect("written");
                let read = BridgeFile::read(&bridges.join("home.toml")).expect("read");
                assert_eq!(read, Some(file));
            }
        }
        assert_eq!(BridgeFile::read(&bridges.join("gone.toml")), Ok(None));
    }

    #[test]
    fn mistakes_have_their_place() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("home.toml");
        let error = |text: &str| {
            std::fs::write(&path, text).expect("write");
            BridgeFile::read(&path).expect_err(text).replace(&path.display().to_string(), "home.toml")
        };
        assert!(error("").contains("needs the key \"key\""));
        assert!(
            error("key = \"ssh-rsa AAAA\"\n").starts_with("home.toml:1:7: key: a key of the kind ssh-rsa")
        );
        assert!(error(&format!("key = \"{KEY}\"\n[ticket]\n")).contains("not both"));
        assert!(
            error("[ticket]\nexpires = \"soon\"\n")
                .contains("home.toml:2:11: expires: \"soon\" is not a time")
        );
        assert!(error(&format!("key = \"{KEY}\"\nclient_auth = \"x\"\n")).contains("descriptor:x25519:"));
        assert!(
            error(&format!("key = \"{KEY}\"\nexporter = [\"a\"]\n")).contains("did you mean \"exporters\"?")
        );
        let bad = folder.path().join("Ho me.toml");
        assert!(BridgeFile::read(&bad).expect_err("name").contains("a name has only"));
    }
}
