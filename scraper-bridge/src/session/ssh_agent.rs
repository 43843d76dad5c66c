//! Keys that an ssh-agent holds (draft-miller-ssh-agent): which there are, and their signatures.

use std::path::Path;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{self, Algorithm, Certificate, HashAlg, PublicKey};
use russh::{SendError, Signer};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an ssh-agent may take for one answer; it may have to ask a person.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Keys that are tried at most; an `sshd` gives up on a client after six.
const MAX_KEYS: usize = 5;

/// A connection to an ssh-agent. It signs with one of the agent's keys, whatever is shown.
pub(super) struct SshAgent {
    client: AgentClient<UnixStream>,
    signer: Option<AgentIdentity>,
}

/// Why an ssh-agent was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum SshAgentFault {
    #[error("does not answer: {0}")]
    Silent(String),
    #[error("would not sign with the key; is its device plugged in, or a question waiting for a person?")]
    Unwilling,
    /// Not the agent's fault.
    #[error("the session ended")]
    SessionEnded(#[from] SendError),
}

impl SshAgent {
    /// Connects to the agent that listens at `path`.
    ///
    /// # Errors
    /// When nobody answers there within 10 s.
    pub(super) async fn connect(path: &Path) -> Result<Self, SshAgentFault> {
        let client = answer(AgentClient::connect_uds(path)).await?;
        Ok(Self { client, signer: None })
    }

    /// What to log in with, in the agent's order, five at most: ed25519, ECDSA and security keys,
    /// and users' certificates for them; only those for `key`, if there is one.
    ///
    /// # Errors
    /// When the agent does not answer within 10 s.
    pub(super) async fn identities(
        &mut self,
        key: Option<&PublicKey>,
    ) -> Result<Vec<AgentIdentity>, SshAgentFault> {
        let mut identities = answer(self.client.request_identities()).await?;
        identities.retain(|identity| is_usable(identity, key));
        identities.truncate(MAX_KEYS);
        Ok(identities)
    }

    /// Has further signatures made with this one.
    pub(super) fn sign_with(&mut self, identity: AgentIdentity) {
        self.signer = Some(identity);
    }
}

fn is_usable(identity: &AgentIdentity, wanted: Option<&PublicKey>) -> bool {
    let key = identity.public_key();
    let kind = matches!(
        key.algorithm(),
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    );
    let for_hosts = |certificate: &Certificate| certificate.cert_type() == CertType::Host;
    kind && wanted.is_none_or(|wanted| wanted.key_data() == key.key_data())
        && !matches!(identity, AgentIdentity::Certificate { certificate, .. } if for_hosts(certificate))
}

impl Signer for SshAgent {
    type Error = SshAgentFault;

    async fn auth_sign(
        &mut self,
        shown: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, SshAgentFault> {
        // An agent looks its keys up by what it was given: it may know a key, but not a certificate
        // that came from a file.
        let signer = self.signer.clone().unwrap_or_else(|| shown.clone());
        let signing = self.client.sign_request(&signer, hash, data);
        match timeout(ANSWER_LIMIT, signing).await {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(keys::Error::AgentFailure)) => Err(SshAgentFault::Unwilling),
            Ok(Err(error)) => Err(SshAgentFault::Silent(error.to_string())),
            Err(_) => Err(SshAgentFault::Silent("it takes longer than 10 s".into())),
        }
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, keys::Error>>) -> Result<T, SshAgentFault> {
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(SshAgentFault::Silent(error.to_string())),
        Err(_) => Err(SshAgentFault::Silent("it takes longer than 10 s".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(line: &str) -> AgentIdentity {
        PublicKey::from_openssh(line).expect("key").into()
    }

    #[test]
    fn security_keys_are_usable_and_old_kinds_are_not() {
        let security_key = identity(
            "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAILM+rvN+ot98qgEN796jTiQfZfG1K\
             aT0PtFDJ/XFSqtiAAAABHNzaDo=",
        );
        assert!(is_usable(&security_key, None));
        let key =
            identity("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti");
        assert!(is_usable(&key, None));
        assert!(is_usable(&key, Some(&key.public_key())));
        assert!(!is_usable(&security_key, Some(&key.public_key())), "another key was asked for");
        let rsa = identity("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAACQCxAAAAAAAAAQ==");
        assert!(!is_usable(&rsa, None));
    }
}
