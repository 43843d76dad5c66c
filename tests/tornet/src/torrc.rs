use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::node::{Role, Running};

/// Seconds between votes. The first vote uses the same grid, moved by an offset.
///
/// Rare votes keep the shared random value still for hours; with frequent ones
/// services and clients disagree about the hash ring now and then.
pub(crate) const VOTING_INTERVAL: u64 = 600;

/// Votes in which a shared random value is made (srv-spec).
pub(crate) const SHARED_RANDOM_ROUNDS: u64 = 24;

/// Seconds that votes take to be exchanged, and then signatures. 2 is tor's minimum.
pub(crate) const VOTE_DELAY: u64 = 2;

/// A path or other text as a torrc value.
fn quoted(value: &Path) -> String {
    let text = value.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What every tor on the network has to know: the authorities.
pub(crate) fn common(authorities: &[&Running]) -> String {
    let mut text = String::from(
        "TestingTorNetwork 1\nAssumeReachable 1\nShutdownWaitLength 0\n\
         PathsNeededToBuildCircuits 0.67\nTestingDirAuthVoteGuard *\nTestingDirAuthVoteExit *\n\
         TestingDirAuthVoteHSDir *\nV3AuthNIntervalsValid 2\n",
    );
    for authority in authorities {
        let node = &authority.node;
        let _ = writeln!(
            text,
            "DirAuthority {} orport={} no-v2 v3ident={} {} {}",
            node.name,
            node.or_port.port(),
            authority.v3.as_deref().unwrap_or_default(),
            node.dir_port,
            node.rsa_identity,
        );
    }
    text
}

/// The torrc of an authority or relay. `voting_offset` says where in the voting
/// grid the votes fall: at Unix times that leave this remainder modulo
/// [`VOTING_INTERVAL`] a consensus becomes valid.
pub(crate) fn node(running: &Running, common: &str, bandwidths: &Path, voting_offset: u64) -> String {
    let node = &running.node;
    let mut text = common.to_owned();
    let _ = write!(
        text,
        "DataDirectory {data}\nLog notice stdout\nNickname {name}\nAddress {address}\n\
         OutboundBindAddress {address}\nORPort {public} NoListen\nORPort {real} NoAdvertise\n\
         DirPort {dir}\nSocksPort 0\n\
         ServerDNSDetectHijacking 0\nServerDNSTestAddresses\nExitRelay 1\nExitPolicy accept *:*\nExitPolicyRejectPrivate 0\n\
         NumCPUs 1\n",
        data = quoted(&running.data()),
        name = node.name,
        address = node.or_port.ip(),
        public = node.or_port,
        real = running.real_or_port,
        dir = node.dir_port,
    );
    if node.role == Role::Authority {
        let _ = write!(
            text,
            "AuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\nContactInfo nobody@example.com\n\
             TestingV3AuthInitialVotingInterval {VOTING_INTERVAL}\n\
             TestingV3AuthInitialVoteDelay {VOTE_DELAY}\nTestingV3AuthInitialDistDelay {VOTE_DELAY}\n\
             V3AuthVotingInterval {VOTING_INTERVAL}\nV3AuthVoteDelay {VOTE_DELAY}\n\
             V3AuthDistDelay {VOTE_DELAY}\nTestingV3AuthVotingStartOffset {voting_offset}\n\
             TestingMinExitFlagThreshold 0\nTestingAuthDirTimeToLearnReachability 0\n\
             AuthDirMaxServersPerAddr 0\nV3BandwidthsFile {file}\n\
             ConsensusParams cbtmintimeout=5000 cbtinitialtimeout=10000 hsdir_interval={hsdir}\n",
            file = quoted(bandwidths),
            // C tor's time period on a testing network is 24 voting intervals; in minutes.
            hsdir = VOTING_INTERVAL * SHARED_RANDOM_ROUNDS / 60,
        );
    }
    text
}

/// The torrc of a client, or of a service when `socks` is `None`.
pub(crate) fn peer(common: &str, data: &Path, socks: Option<SocketAddr>, gate: Option<SocketAddr>) -> String {
    let mut text = common.to_owned();
    // The service's lines about descriptors are on level info.
    let _ = write!(text, "DataDirectory {}\nLog [rend]info notice stdout\n", quoted(data));
    let _ = match socks {
        Some(addr) => writeln!(text, "SocksPort {addr}"),
        None => writeln!(text, "SocksPort 0"),
    };
    if let Some(gate) = gate {
        let _ = writeln!(text, "Socks4Proxy {gate}");
    }
    text
}

/// The torrc of a bridge whose clients come through obfs4 at `obfs4`.
pub(crate) fn bridge(
    common: &str,
    data: &Path,
    or_port: SocketAddr,
    obfs4: SocketAddr,
    transport: &Path,
) -> String {
    let transport = transport.display();
    format!(
        "{common}DataDirectory {data}\nLog notice stdout\nNickname bridge\nAddress {address}\n\
         OutboundBindAddress {address}\nORPort {or_port}\nBridgeRelay 1\nPublishServerDescriptor 0\n\
         BridgeDistribution none\nExtORPort auto\nServerTransportPlugin obfs4 exec {transport}\n\
         ServerTransportListenAddr obfs4 {obfs4}\nSocksPort 0\nExitRelay 0\nNumCPUs 1\n",
        data = quoted(data),
        address = or_port.ip(),
    )
}

/// Where a client takes commands from whoever may enter the folder.
pub(crate) fn control(socket: &Path) -> String {
    format!("ControlSocket {}\n", quoted(socket))
}

/// Where a client finds keys for services that demand them.
pub(crate) fn onion_auth(dir: &Path) -> String {
    format!("ClientOnionAuthDir {}\n", quoted(dir))
}

/// A hidden service with pairs of virtual port and target.
pub(crate) fn service(dir: &Path, ports: &[(u16, SocketAddr)]) -> String {
    let mut text = format!("HiddenServiceDir {}\n", quoted(dir));
    for (port, target) in ports {
        let _ = writeln!(text, "HiddenServicePort {port} {target}");
    }
    text
}
