//! `import` and `export`: the device's identity from and to a folder as C tor has it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use onionscrape::files::{self, StateDirectory};
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use onionscrape::ssh::KeyFile;
use zeroize::Zeroizing;

use crate::access::Sources;
use crate::config::AgentConfig;
use crate::identity::{self, Identity};
use crate::onion::{self, ServiceName, keystore};
use crate::rotation::Part;

/// The files of C tor's `HiddenServiceDir` (tor(1), "FILES"), and the host key beside them.
const SECRET_KEY: &str = "hs_ed25519_secret_key";
const PUBLIC_KEY: &str = "hs_ed25519_public_key";
const HOSTNAME: &str = "hostname";
const HOST_KEY: &str = identity::HOST_KEY;
/// What C tor's key files begin with, filled up with zeros to 32 bytes.
const SECRET_HEAD: &[u8; 32] = b"== ed25519v1-secret: type0 ==\0\0\0";
const PUBLIC_HEAD: &[u8; 32] = b"== ed25519v1-public: type0 ==\0\0\0";
/// What must be said whenever there is a second copy of a key.
const WARNING: &str = "two services with one key take each other's place: run only one of them at a time";

/// Takes over the onion address of a C tor `HiddenServiceDir`, or all of what `export` wrote.
///
/// # Errors
/// When the folder has no such key, or the agent has an address or host key already; nothing has
/// changed then.
pub fn import(config: &AgentConfig, from: &Path) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::hold(&config.state_directory)?;
    let key = read_secret(&from.join(SECRET_KEY))?;
    let service = ServiceName::current(config)?;
    let host_key_from = from.join(HOST_KEY);
    let host_key = host_key_from.exists().then(|| KeyFile::open(&host_key_from)).transpose()?;
    let host_key_path = identity::host_key_path(&config.state_directory);
    if let Some(known) = keystore::read(&config.tor, service)?
        && known != key
    {
        return Err(Failure(format!(
            "{}: this device has another onion address already; move that key away if the address may be lost",
            onion::key_path(&config.tor, service).display()
        )));
    }
    if let (Some(key), true) = (&host_key, host_key_path.exists())
        && KeyFile::open(&host_key_path)?.fingerprint() != key.fingerprint()
    {
        return Err(Failure(format!(
            "{}: this device has another host key already; move it away if it may be lost",
            host_key_path.display()
        )));
    }
    // Before the key, so that a service that was closed to strangers is never open here.
    for (folder, kind, to) in guests(config) {
        copy(&from.join(folder), kind, to)?;
    }
    for (name, to) in lists(config) {
        copy_file(&from.join(name), to)?;
    }
    if keystore::read(&config.tor, service)?.is_none() {
        keystore::insert(&config.tor, service, &key)?;
    }
    if let Some(key) = host_key.filter(|_| !host_key_path.exists()) {
        key.write(&host_key_path)?;
    }
    outln!("{}", identity::onion_address(config)?.unredacted());
    eprintln!("{WARNING}; stop the one that served {} before the agent starts", from.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes the device's identity into a new folder: the onion key as C tor has it, and the host key.
///
/// # Errors
/// When the folder is there already, or cannot be written.
pub fn export(config: &AgentConfig, to: &Path) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    let identity = Identity::open_or_make(config)?;
    if Part::ALL.iter().any(|part| identity.next(*part).is_some()) {
        eprintln!(
            "a rotation is under way: export again when it is over, since this is the device as it was before"
        );
    }
    let Identity { service, onion, host_key, .. } = identity;
    let Some(key) = keystore::read(&config.tor, service)? else {
        return Err(Failure("the device has no onion address yet; run: target-agent hostname".into()));
    };
    let cannot = |path: &Path, error: std::io::Error| {
        Failure(format!("{}: cannot be written: {error}", path.display()))
    };
    fs::DirBuilder::new().mode(0o700).create(to).map_err(|error| cannot(to, error))?;
    let secret = Zeroizing::new([&SECRET_HEAD[..], &key[..]].concat());
    let public = [&PUBLIC_HEAD[..], &onion.key()].concat();
    let name = format!("{}\n", onion.unredacted());
    let files: [(&str, &[u8]); 3] =
        [(SECRET_KEY, &secret), (PUBLIC_KEY, &public), (HOSTNAME, name.as_bytes())];
    for (name, bytes) in files {
        let path = to.join(name);
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|error| cannot(&path, error))?;
    }
    host_key.write(&to.join(HOST_KEY))?;
    for (folder, kind, from) in guests(config) {
        copy(from, kind, &to.join(folder))?;
    }
    for (name, from) in lists(config) {
        copy_file(from, &to.join(name))?;
    }
    outln!("{}", to.display());
    eprintln!("whoever has these files is the device; {WARNING}");
    Ok(ExitCode::SUCCESS)
}

/// Folders of those who were invited: their names in a copy (the first is C tor's), the files' kind,
/// and where they are here.
fn guests(config: &AgentConfig) -> [(&'static str, &'static str, &Path); 2] {
    [
        ("authorized_clients", "auth", &config.sources.authorized_clients),
        ("bridges", "toml", &config.sources.bridges),
    ]
}

/// Files that say who else may come in, and that strangers may not: their names in a copy, and where they are here.
fn lists(config: &AgentConfig) -> [(&'static str, &Path); 2] {
    let Sources { authorized_keys, closed, .. } = &config.sources;
    [("authorized_keys", authorized_keys), ("closed_to_strangers", closed)]
}

/// Copies the files of this kind, except those that are there already.
fn copy(from: &Path, kind: &str, to: &Path) -> Result<(), Failure> {
    let cannot = |path: &Path, error: std::io::Error| {
        Failure(format!("{}: cannot be copied: {error}", path.display()))
    };
    if !from.is_dir() {
        return Ok(());
    }
    files::private_directory(to)?;
    for entry in fs::read_dir(from).map_err(|error| cannot(from, error))? {
        let path = entry.map_err(|error| cannot(from, error))?.path();
        let (true, Some(name)) = (path.extension().is_some_and(|of| of == kind), path.file_name()) else {
            continue;
        };
        copy_file(&path, &to.join(name))?;
    }
    Ok(())
}

/// Copies a file, if it is there and not at its new place already.
fn copy_file(from: &Path, to: &Path) -> Result<(), Failure> {
    if from.exists() && !to.exists() {
        let bytes = fs::read(from)
            .map_err(|error| Failure(format!("{}: cannot be copied: {error}", from.display())))?;
        files::create_private(to, &bytes)?;
    }
    Ok(())
}

/// The key in a file of C tor's. Its owner may be C tor's user, so nothing is asked of that.
fn read_secret(path: &PathBuf) -> Result<keystore::SecretKey, Failure> {
    let wrong = |what: &str| Failure(format!("{}: {what}", path.display()));
    let size = fs::metadata(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?.len();
    if size != 96 {
        return Err(wrong("is not C tor's key of an onion service of version 3, which has 96 bytes"));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?);
    let key = bytes.strip_prefix(SECRET_HEAD).and_then(|key| <[u8; 64]>::try_from(key).ok());
    key.map(Zeroizing::new).ok_or_else(|| wrong("is not C tor's key of an onion service of version 3"))
}
