//! What a target says of the key that the bridge logs in with.

use std::path::{Path, PathBuf};

use onionscrape::config::Section;
use onionscrape::files::FileError;
use onionscrape::ssh::{KeyFile, LoginKey, PassphraseSource, SshAgentSocket};
use serde::Deserialize;

/// What the bridge logs in to a target with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSettings {
    /// The private key, or with an ssh-agent the public half of the one to use. Without an agent the
    /// default is `id_ed25519` in the state directory, which the bridge makes.
    pub key_file: Option<PathBuf>,
    /// Where the key's passphrase comes from, if it has one.
    pub passphrase: Option<PassphraseSource>,
    /// The ssh-agent that holds the key, if one does.
    pub ssh_agent: Option<SshAgentSocket>,
    /// A certificate to show instead of the bare key.
    pub certificate_file: Option<PathBuf>,
}

/// `ssh_agent = true` or `ssh_agent = "/path/to/socket"`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, or the path of an ssh-agent's socket")]
enum SshAgent {
    Switch(bool),
    Socket(PathBuf),
}

impl LoginSettings {
    /// The key to log in with; the default one is made if there is none yet.
    ///
    /// # Errors
    /// When a file cannot be used, or a named one is not there.
    pub fn key(&self, state_directory: &Path) -> Result<LoginKey, FileError> {
        let (key_file, certificate) = (self.key_file.as_deref(), self.certificate_file.as_deref());
        if let Some(socket) = &self.ssh_agent {
            return LoginKey::in_ssh_agent(socket.clone(), key_file, certificate);
        }
        let default = super::default_key_file(state_directory);
        let path = key_file.unwrap_or(&default);
        let key = if path == default && self.passphrase.is_none() {
            KeyFile::open_or_make(path, "scraper-bridge")?
        } else {
            KeyFile::unlock(path, || match &self.passphrase {
                Some(source) => source.read(path),
                None => Err(FileError::new(
                    path,
                    "has a passphrase; give it by key_passphrase_file, or use an ssh-agent",
                )),
            })?
        };
        LoginKey::in_file(key, certificate)
    }

    /// The files that [`key`](Self::key) reads.
    pub fn files(&self, state_directory: &Path) -> Vec<PathBuf> {
        let default = || self.ssh_agent.is_none().then(|| super::default_key_file(state_directory));
        let passphrase = match &self.passphrase {
            Some(PassphraseSource::File(file)) => Some(file.clone()),
            _ => None,
        };
        self.key_file.clone().or_else(default).into_iter().chain(passphrase).collect()
    }

    /// Reads the keys of a target.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let key_file = section.path("key_file");
        let passphrase_file = section.path_spanned("key_passphrase_file");
        let passphrase_env = section.spanned::<String>("key_passphrase_env");
        let ssh_agent = section.spanned::<SshAgent>("ssh_agent");
        let certificate_file = section.path("certificate_file");

        let ssh_agent = ssh_agent.and_then(|agent| {
            let span = agent.span();
            match agent.into_inner() {
                SshAgent::Switch(false) => None,
                SshAgent::Switch(true) => Some(SshAgentSocket::Environment),
                SshAgent::Socket(path) if path.is_absolute() => Some(SshAgentSocket::Path(path)),
                SshAgent::Socket(_) => {
                    section.mistake(span, "ssh_agent: a socket's path begins with /");
                    None
                }
            }
        });
        let sources = [
            passphrase_file.as_ref().map(|file| ("key_passphrase_file", file.span())),
            passphrase_env.as_ref().map(|name| ("key_passphrase_env", name.span())),
        ];
        for (key, span) in sources.iter().flatten() {
            if ssh_agent.is_some() {
                section.mistake(span.clone(), format!("{key}: a key in an ssh-agent is unlocked there"));
            } else if key_file.is_none() {
                section.mistake(span.clone(), format!("{key}: name the key with key_file as well"));
            }
        }
        if let [Some(_), Some((key, span))] = &sources {
            section.mistake(span.clone(), format!("{key}: key_passphrase_file says it already; keep one"));
        }
        if let Some(name) = passphrase_env.as_ref().filter(|name| !is_variable(name.get_ref())) {
            section.mistake(name.span(), "key_passphrase_env: is the name of an environment variable");
        }
        let passphrase = match (passphrase_file, passphrase_env) {
            (Some(file), _) => Some(PassphraseSource::File(file.into_inner())),
            (None, Some(name)) => Some(PassphraseSource::Variable(name.into_inner())),
            (None, None) => None,
        };
        Self { key_file, passphrase, ssh_agent, certificate_file }
    }
}

/// What can name an environment variable (POSIX, "Environment Variable Definition"). A passphrase
/// written here by mistake hardly ever can, and is not repeated in the message.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
