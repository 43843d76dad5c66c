//! How a bridge proves who it is: by a key of its own, or by one that an ssh-agent holds; with or
//! without a certificate.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PublicKey};

use super::{KeyFile, Passphrase, UserKey};
use crate::files::{self, FileError};

/// What a bridge logs in to a target with.
#[derive(Clone, Debug)]
pub enum LoginKey {
    /// A private key that was read from its file.
    File {
        /// The key.
        key: KeyFile,
        /// What to show instead of the bare key.
        certificate: Option<CertificateFile>,
    },
    /// A key that an ssh-agent holds.
    SshAgent {
        /// Where the ssh-agent listens.
        socket: SshAgentSocket,
        /// The one key to use; any that it has if there is none.
        only: Option<PublicKey>,
        /// What to show instead of the bare key.
        certificate: Option<CertificateFile>,
    },
}

/// Where an ssh-agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshAgentSocket {
    /// Where the environment variable `SSH_AUTH_SOCK` says.
    Environment,
    /// At this path.
    Path(PathBuf),
}

impl SshAgentSocket {
    /// The socket's path; `None` if the environment does not name one.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Environment => {
                std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(Into::into)
            }
            Self::Path(path) => Some(path.clone()),
        }
    }
}

/// Where the passphrase of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// The first line of a private file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl PassphraseSource {
    /// The passphrase for the key at `key_file`.
    ///
    /// # Errors
    /// When the file or variable is not there, or cannot be used.
    pub fn read(&self, key_file: &Path) -> Result<Passphrase, FileError> {
        match self {
            Self::File(path) => {
                let text = files::read_private(path)?.ok_or_else(|| FileError::new(path, "no such file"))?;
                Ok(Passphrase::new(text.lines().next().unwrap_or_default().to_owned()))
            }
            Self::Variable(name) => std::env::var(name).map(Passphrase::new).map_err(|_| {
                let what =
                    format!("needs the passphrase in the environment variable {name}, which is not set");
                FileError::new(key_file, what)
            }),
        }
    }
}

/// A user's certificate in a file, `…-cert.pub`. It is read anew for each login, since
/// certificates are often good for some hours only.
#[derive(Clone, Debug)]
pub struct CertificateFile {
    path: PathBuf,
    /// The key that it must be for, if that is known.
    key: Option<PublicKey>,
}

impl CertificateFile {
    /// Takes the certificate at `path`, which must be for `key` if that is known.
    ///
    /// # Errors
    /// When it cannot be read now, or is not a user's certificate for that key.
    pub fn open(path: &Path, key: Option<&PublicKey>) -> Result<Self, FileError> {
        let file = Self { path: path.to_owned(), key: key.cloned() };
        file.read().map(|_| file)
    }

    /// The certificate as it is in the file now.
    ///
    /// # Errors
    /// When it cannot be read, or is not a user's certificate for the right key.
    pub fn read(&self) -> Result<Certificate, FileError> {
        let fault = |what: &str| FileError::new(&self.path, what);
        let text = files::read_public(&self.path)?;
        let certificate = Certificate::from_openssh(text.trim())
            .map_err(|_| fault("is not an OpenSSH certificate; ssh-keygen -s makes one"))?;
        if certificate.cert_type() != CertType::User {
            return Err(fault("is a certificate for hosts; make one without ssh-keygen's -h"));
        }
        if self.key.as_ref().is_some_and(|key| key.key_data() != certificate.public_key()) {
            return Err(fault("is a certificate for another key than the one to log in with"));
        }
        Ok(certificate)
    }
}

impl LoginKey {
    /// A key that an ssh-agent holds: the one whose public half is in the file `public`, or any.
    ///
    /// The agent itself is asked only at login.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn in_ssh_agent(
        socket: SshAgentSocket,
        public: Option<&Path>,
        certificate: Option<&Path>,
    ) -> Result<Self, FileError> {
        let only = public.map(read_public_key).transpose()?;
        let certificate = certificate.map(|path| CertificateFile::open(path, only.as_ref())).transpose()?;
        Ok(Self::SshAgent { socket, only, certificate })
    }

    /// A key that was read from its file, with a certificate for it.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn in_file(key: KeyFile, certificate: Option<&Path>) -> Result<Self, FileError> {
        let public = key.private().public_key();
        let certificate = certificate.map(|path| CertificateFile::open(path, Some(public))).transpose()?;
        Ok(Self::File { key, certificate })
    }

    /// The fingerprint of its public half, `SHA256:…`; `None` if the ssh-agent may choose the key.
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::File { key, .. } => Some(key.fingerprint()),
            Self::SshAgent { only, .. } => only.as_ref().map(|key| UserKey::of(key).fingerprint()),
        }
    }
}

fn read_public_key(path: &Path) -> Result<PublicKey, FileError> {
    let text = files::read_public(path)?;
    PublicKey::from_openssh(text.trim()).map_err(|_| {
        FileError::new(path, "is not a public key; with ssh_agent, key_file is the .pub file of a key")
    })
}

#[cfg(test)]
mod tests;
