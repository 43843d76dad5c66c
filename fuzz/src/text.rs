//! Files and lines.

use std::cell::RefCell;
use std::path::Path;

use onionscrape::address::OnionAddress;
use onionscrape::ssh::KnownHosts;
use onionscrape::ticket::Ticket;
use onionscrape::tor::{ClientAuthKey, ClientAuthPublicKey};
use scraper_bridge::config::BridgeConfig;
use target_agent::access::{AuthorizedKey, BridgeFile};
use target_agent::config::AgentConfig;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder"));
}

/// Hands the bytes over as a file of this name that only its owner can read.
fn as_file(name: &str, data: &[u8], read: impl FnOnce(&Path)) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join(name);
        let mut options = std::fs::File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
        file.write_all(data).expect("written");
        read(&path);
    });
}

/// `agent.toml`; what is wrong with it is one line a mistake.
pub fn agent_config(data: &[u8]) {
    as_file("agent.toml", data, |path| {
        if let Err(mistakes) = AgentConfig::read(Some(path), Some("/nonexistent".into())) {
            lines_begin_with_the_file(&mistakes.to_string(), path);
        }
    });
}

/// `bridge.toml`.
pub fn bridge_config(data: &[u8]) {
    as_file("bridge.toml", data, |path| {
        if let Err(mistakes) = BridgeConfig::read(Some(path), Some("/nonexistent".into())) {
            lines_begin_with_the_file(&mistakes.to_string(), path);
        }
    });
}

fn lines_begin_with_the_file(mistakes: &str, path: &Path) {
    let file = path.display().to_string();
    assert!(!mistakes.is_empty() && mistakes.lines().all(|line| line.starts_with(&file)), "{mistakes}");
}

/// `bridges/NAME.toml`.
pub fn bridge_file(data: &[u8]) {
    as_file("home.toml", data, |path| {
        let _ = BridgeFile::read(path);
    });
}

/// A ticket; one that is read is written as it was.
pub fn ticket(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(*ticket.unredacted(), text.trim().to_ascii_lowercase());
    }
}

/// Lines of `authorized_keys`.
pub fn authorized_keys(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        if let Ok(key) = AuthorizedKey::parse(line) {
            let _ = key.permits.allows("node", 80);
        }
    }
}

/// A `known_hosts` file.
pub fn known_hosts(data: &[u8]) {
    as_file("known_hosts", data, |path| {
        if let Ok(known) = KnownHosts::read(path) {
            let _ = known.host(ONION, 22);
            let _ = known.host(ONION, 2222);
        }
    });
}

/// An onion address; one that is read is the same when it is read again.
pub fn onion_address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = text.parse::<OnionAddress>() {
        assert_eq!(address.unredacted(), text.to_ascii_lowercase());
        assert_eq!(OnionAddress::of_key(address.key()).as_ref(), Some(&address));
    }
}

/// C tor's client authorisation, both halves.
pub fn client_auth(data: &[u8]) {
    let _ = String::from_utf8_lossy(data).parse::<ClientAuthPublicKey>();
    let onion = ONION.parse().expect("an address");
    as_file("a.auth_private", data, |path| {
        let _ = ClientAuthKey::open(path, &onion);
    });
}
