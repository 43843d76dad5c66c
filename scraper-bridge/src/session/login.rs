//! Logging in: with a key of the bridge's own, or with one that an ssh-agent holds.

use std::sync::Arc;
use std::time::Duration;

use onionscrape::ssh::{CertificateFile, LoginKey, SshAgentSocket};
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::time::timeout;
use tracing::{debug, error};

use super::LoginFailure;
use super::ssh_agent::{SshAgent, SshAgentFault};

/// Authentication with one key takes three round trips: the service, whether the key would do, and the signature.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// Logs in as `user`; takes 20 s for each key that is tried at most.
///
/// # Errors
/// Says whether the far end refused, or something is missing on this side.
pub(super) async fn authenticate<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    key: &LoginKey,
) -> Result<(), LoginFailure> {
    let let_in = match key {
        LoginKey::File { key, certificate } => {
            let certificate = read(certificate.as_ref())?;
            let attempt = with_own_key(handle, user, key.private().clone(), certificate);
            match timeout(ATTEMPT_LIMIT, attempt).await {
                Ok(Ok(result)) => answered(&result)?,
                Ok(Err(error)) => {
                    debug!(%error, "authentication failed");
                    return Err(LoginFailure::Authentication);
                }
                Err(_) => return Err(LoginFailure::Authentication),
            }
        }
        LoginKey::SshAgent { socket, only, certificate } => {
            let certificate = read(certificate.as_ref())?;
            with_ssh_agent(handle, user, socket, only.as_ref(), certificate).await?
        }
    };
    if let_in { Ok(()) } else { Err(LoginFailure::Denied) }
}

/// True if we were let in, false if we were refused. Russh says of a session that broke off that it
/// was refused with no method left; that a host says so itself comes to the same.
fn answered(result: &AuthResult) -> Result<bool, LoginFailure> {
    match result {
        AuthResult::Success => Ok(true),
        AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
            debug!("the session broke off in the middle of authentication");
            Err(LoginFailure::Authentication)
        }
        AuthResult::Failure { .. } => Ok(false),
    }
}

async fn with_own_key<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    key: Arc<PrivateKey>,
    certificate: Option<Certificate>,
) -> Result<AuthResult, russh::Error> {
    match certificate {
        Some(certificate) => handle.authenticate_openssh_cert(user, key, certificate).await,
        None => handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, None)).await,
    }
}

async fn with_ssh_agent<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    socket: &SshAgentSocket,
    only: Option<&PublicKey>,
    certificate: Option<Certificate>,
) -> Result<bool, LoginFailure> {
    let Some(path) = socket.path() else {
        error!("ssh_agent = true, but the environment variable SSH_AUTH_SOCK is not set");
        return Err(LoginFailure::SshAgent);
    };
    let unusable = |fault: SshAgentFault| {
        error!("the ssh-agent at {}: {fault}", path.display());
        LoginFailure::SshAgent
    };
    let certified = certificate.as_ref().map(|certificate| PublicKey::from(certificate.public_key().clone()));
    let mut agent = SshAgent::connect(&path).await.map_err(unusable)?;
    let mut identities = agent.identities(only.or(certified.as_ref())).await.map_err(unusable)?;
    if certificate.is_some() {
        identities.retain(|identity| matches!(identity, AgentIdentity::PublicKey { .. }));
    }
    if identities.is_empty() {
        error!("the ssh-agent at {} does not hold the key to log in with", path.display());
        return Err(LoginFailure::SshAgent);
    }
    let mut unwilling = 0;
    for identity in &identities {
        let attempt = with_identity(handle, user, &mut agent, identity, certificate.as_ref());
        match timeout(ATTEMPT_LIMIT, attempt).await {
            Ok(Ok(result)) => {
                if answered(&result)? {
                    return Ok(true);
                }
            }
            Ok(Err(SshAgentFault::Unwilling)) => unwilling += 1,
            Ok(Err(fault @ SshAgentFault::Silent(_))) => return Err(unusable(fault)),
            Ok(Err(SshAgentFault::SessionEnded(_))) | Err(_) => return Err(LoginFailure::Authentication),
        }
    }
    if unwilling == identities.len() { Err(unusable(SshAgentFault::Unwilling)) } else { Ok(false) }
}

async fn with_identity<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    agent: &mut SshAgent,
    identity: &AgentIdentity,
    certificate: Option<&Certificate>,
) -> Result<AuthResult, SshAgentFault> {
    agent.sign_with(identity.clone());
    match (certificate, identity) {
        (Some(certificate), _) | (None, AgentIdentity::Certificate { certificate, .. }) => {
            handle.authenticate_certificate_with(user, certificate.clone(), None, agent).await
        }
        (None, AgentIdentity::PublicKey { key, .. }) => {
            handle.authenticate_publickey_with(user, key.clone(), None, agent).await
        }
    }
}

fn read(file: Option<&CertificateFile>) -> Result<Option<Certificate>, LoginFailure> {
    file.map(CertificateFile::read).transpose().map_err(|fault| {
        error!("no certificate to log in with: {fault}");
        LoginFailure::Certificate
    })
}
