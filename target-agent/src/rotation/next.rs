//! What is to take the place of a device's host key or address.

use std::path::{Path, PathBuf};

use onionscrape::address::OnionAddress;
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;

use super::{Part, Rotation, folder};
use crate::config::AgentConfig;
use crate::identity;
use crate::onion::{self, ServiceName};

/// Makes what is to come, if there is none yet, and says what people compare.
///
/// # Errors
/// When it is there and cannot be used, or cannot be made.
pub fn make(config: &AgentConfig, part: Part) -> Result<String, Failure> {
    let state = &config.state_directory;
    match part {
        Part::HostKey => {
            files::private_directory(&folder(state))?;
            Ok(KeyFile::open_or_make(&host_key_path(state), "target-agent")?.fingerprint())
        }
        Part::Onion => {
            let next = ServiceName::current(config)?.next();
            Ok(onion::address(&config.tor, next)?.unredacted().to_owned())
        }
    }
}

/// The host key that is to come, if a rotation is under way.
///
/// # Errors
/// When the rotation's file cannot be used, or is about a key that is not there any more.
pub fn host_key(config: &AgentConfig, current: &KeyFile) -> Result<Option<KeyFile>, Failure> {
    let state = &config.state_directory;
    let Some(rotation) = Rotation::read(state, Part::HostKey)? else { return Ok(None) };
    if rotation.next == current.fingerprint() {
        // It has taken place, and only the file was not removed.
        return Ok(None);
    }
    let path = host_key_path(state);
    let next = KeyFile::open(&path)?;
    if next.fingerprint() == rotation.next { Ok(Some(next)) } else { Err(other(&path, Part::HostKey, state)) }
}

/// The address that is to come, if a rotation is under way.
///
/// # Errors
/// When the rotation's file cannot be used, or is about a key that is not there any more.
pub fn address(
    config: &AgentConfig,
    service: ServiceName,
    current: &OnionAddress,
) -> Result<Option<OnionAddress>, Failure> {
    let state = &config.state_directory;
    let Some(rotation) = Rotation::read(state, Part::Onion)? else { return Ok(None) };
    if rotation.next == current.unredacted() {
        return Ok(None);
    }
    let path = onion::key_path(&config.tor, service.next());
    if !path.exists() {
        return Err(FileError::new(&path, "is gone, and a rotation is about it; restore it").into());
    }
    let next = onion::address(&config.tor, service.next())?;
    if next.unredacted() == rotation.next { Ok(Some(next)) } else { Err(other(&path, Part::Onion, state)) }
}

/// Puts what the rotation is about in the old one's place, in one step that either happens or not;
/// then sweeps. The caller holds the lock of [`identity::alone`].
///
/// # Errors
/// When it is not there any more, or cannot be put there; the old one counts then.
pub fn promote(config: &AgentConfig, part: Part) -> Result<(), Failure> {
    let state = &config.state_directory;
    let service = ServiceName::current(config)?;
    let gone = || Failure(format!("no other {} is to come any more", part.label()));
    match part {
        Part::HostKey => {
            let current = KeyFile::open(&identity::host_key_path(state))?;
            host_key(config, &current)?.ok_or_else(gone)?;
            files::rename(&host_key_path(state), &identity::host_key_path(state))?;
        }
        Part::Onion => {
            let current = onion::address(&config.tor, service)?;
            address(config, service, &current)?.ok_or_else(gone)?;
            service.next().make_current(state)?;
        }
    }
    sweep(config, part)
}

/// Removes what a rotation that has taken place left: its file, and onion keys of before.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep(config: &AgentConfig, part: Part) -> Result<(), Failure> {
    let state = &config.state_directory;
    let service = ServiceName::current(config)?;
    let current = match part {
        Part::HostKey => KeyFile::open(&identity::host_key_path(state))?.fingerprint(),
        Part::Onion => onion::address(&config.tor, service)?.unredacted().to_owned(),
    };
    if Rotation::read(state, part)?.is_some_and(|rotation| rotation.next == current) {
        files::remove(&part.file(state))?;
    }
    if part == Part::Onion {
        for old in service.before() {
            onion::keystore::remove(&config.tor, old)?;
        }
    }
    Ok(())
}

fn host_key_path(state_directory: &Path) -> PathBuf {
    folder(state_directory).join(identity::HOST_KEY)
}

fn other(path: &Path, part: Part, state_directory: &Path) -> Failure {
    let about = part.file(state_directory);
    let what = format!("is another key than {} is about; restore the one it was", about.display());
    FileError::new(path, what).into()
}
