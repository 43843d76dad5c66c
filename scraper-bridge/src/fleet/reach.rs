//! How there comes to be a session with a target.

use std::path::Path;
use std::sync::Arc;

use onionscrape::lifecycle::Failure;
use onionscrape::ssh::LoginKey;
use onionscrape::tls::TlsClient;
use onionscrape::tor::{ClientAuthKey, TorOnDemand};

use crate::config::{Destination, TargetConfig, Transport};
use crate::dial::{Dial, OnionDial, TcpDial};
use crate::inventory::kept;
use crate::reverse::Expected;
use crate::session::HostKeys;
use crate::succession::Succession;
use crate::target::{Dialling, Reach, Turns};

/// What is read from files to get to a target.
pub struct Secrets {
    /// Where the bridge dials it: what it logs in with, and what it reads an onion service's descriptor
    /// with.
    login: Option<(LoginKey, Option<ClientAuthKey>)>,
    tls: Vec<Option<TlsClient>>,
}

impl Secrets {
    /// Those of a target.
    ///
    /// # Errors
    /// When a key or a file of authorities cannot be used.
    pub fn read(config: &TargetConfig, state_directory: &Path) -> Result<Self, Failure> {
        let login = match config.transport.dialled() {
            Some(dialled) => Some((dialled.key(state_directory)?, dialled.to.client_auth()?)),
            None => None,
        };
        Ok(Self { login, tls: config.tls()? })
    }
}

/// How there comes to be a session with a target, by these secrets; starts Tor if it is needed.
///
/// # Errors
/// When Tor cannot start.
pub async fn reach(
    config: &TargetConfig,
    Secrets { login, tls }: Secrets,
    tor: &TorOnDemand,
    expected: &Expected,
    state_directory: &Path,
    turns: &Arc<Turns>,
) -> Result<Reach, Failure> {
    let tls = tls.into();
    let (dialled, (key, client_auth)) = match (&config.transport, login) {
        (Transport::Reverse(reverse), _) => {
            let arrivals = expected.expect(&reverse.authorized_key, &config.exporters);
            return Ok(Reach::Reverse(arrivals, tls));
        }
        (Transport::Dialled(dialled), Some(login)) => (dialled, login),
        (Transport::Dialled(_), None) => {
            return Err(Failure(format!("target {}: no key to log in with", config.name)));
        }
    };
    let dial: Arc<dyn Dial> = match &dialled.to {
        Destination::Onion { address, port, .. } => {
            Arc::new(OnionDial::new(tor.get().await?, address.clone(), *port, client_auth))
        }
        Destination::Tcp { address, proxy } => Arc::new(TcpDial::new(address.clone(), proxy.clone())),
    };
    let succession = Succession::open(Succession::path(state_directory, &config.name));
    let host_keys = Arc::new(HostKeys::new(&config.name, dialled, succession));
    let inventory = kept::Kept::new(state_directory, &config.name, &dialled.to.host());
    let (user, turns, inventory) = (dialled.user.clone(), turns.clone(), Arc::new(inventory));
    Ok(Reach::Dialled(Arc::new(Dialling { user, key, host_keys, dial, tls, turns, inventory })))
}
