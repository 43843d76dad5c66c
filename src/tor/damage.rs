//! Damaged files of arti's, such as a power cut leaves behind. What can be learnt again is put aside;
//! keys are never touched.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use arti_client::ErrorKind;
use data_encoding::HEXLOWER;
use sha3::{Digest as _, Sha3_256};
use tracing::warn;

use super::TorSettings;

/// Where the last damaged files are, in the folder of Tor's state.
const ASIDE: &str = "damaged";
/// Where directories are, in the folder of the cache.
const BLOBS: &str = "dir_blobs";
/// What a database begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// What the name of a directory's file has before the digest of what is in it.
const DIGEST: &str = "_sha3-256-";
/// What arti's list of clients that were met begins with.
const REPLAY: &[u8] = b"<tor hss replay Kangaroo12>\n";

/// True if arti does not start, or does not go on, because of what it once wrote itself.
pub(super) fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PersistentStateCorrupted | ErrorKind::CacheCorrupted)
}

/// True if arti takes a cache that is no database (sqlite.org/fileformat.html, section 1.3) for a mistake in
/// its configuration.
pub(super) fn is_no_database(settings: &TorSettings, kind: ErrorKind) -> bool {
    let file = settings.cache.join("dir.sqlite3");
    kind == ErrorKind::InvalidConfig && file.exists() && !begins_with(&file, SQLITE)
}

/// True if a directory of the cache is not the one that was fetched, most likely because a power cut ended it.
/// Arti does not say so, and asks relays for none but a newer one for as long as it is the latest.
pub(super) fn is_other_directory(cache: &Path) -> bool {
    let is_other = |path: &Path| -> io::Result<bool> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((_, digest)) = name.split_once(DIGEST) else { return Ok(false) };
        let mut hash = Sha3_256::new();
        io::copy(&mut File::open(path)?, &mut hash)?;
        Ok(HEXLOWER.encode(&hash.finalize()) != digest)
    };
    let files = fs::read_dir(cache.join(BLOBS)).into_iter().flatten().flatten();
    files.map(|file| file.path()).any(|path| is_other(&path).unwrap_or(false))
}

/// True if the onion service of this name does not start because of what arti once wrote, other than keys.
pub(super) fn is_damage_of_service(settings: &TorSettings, name: &str, kind: ErrorKind) -> bool {
    // Of a damaged list of clients that were met arti says no more than that something is wrong.
    let lists = fs::read_dir(settings.state.join("hss").join(name).join("iptreplay"));
    let is_broken = || lists.into_iter().flatten().flatten().any(|list| !begins_with(&list.path(), REPLAY));
    is_damage(kind) || is_broken()
}

/// Puts aside what a client knows of the network and cannot read: the cache, or else its guards and what
/// it knows of circuits. It is learnt anew.
pub(super) fn put_aside(settings: &TorSettings, kind: ErrorKind) {
    if kind == ErrorKind::PersistentStateCorrupted {
        warn!("files of Tor's state are damaged; they are put aside, and made anew");
        let state = settings.state.join("state");
        let unreadable = |path: &Path| is_json(path) && !parses(path);
        let aside = settings.state.join(ASIDE);
        match move_files(&state, &aside, unreadable) {
            // Each can be read, but one does not say what it should.
            Ok(0) => told(&state, move_files(&state, &aside, is_json)),
            moved => told(&state, moved),
        }
        return;
    }
    warn!("Tor's cache is damaged; it is fetched again");
    // It is large.
    for name in ["dir.sqlite3", "dir.sqlite3-wal", "dir.sqlite3-shm"] {
        told(&settings.cache, gone_is_well(fs::remove_file(settings.cache.join(name))));
    }
    told(&settings.cache, gone_is_well(fs::remove_dir_all(settings.cache.join(BLOBS))));
}

/// Puts aside what the onion service of this name remembers: its introduction points. It chooses others.
pub(super) fn put_service_aside(settings: &TorSettings, name: &str) {
    let state = settings.state.join("hss").join(name);
    let aside = settings.state.join(ASIDE);
    told(&state, move_files(&state, &aside, is_json));
    told(&state, move_files(&state.join("iptreplay"), &aside, |_| true));
}

/// Removes what the onion service of this name remembers of its introduction points, so that it chooses
/// others: arti itself keeps one that does not work for a quarter of an hour, and takes it up again after a
/// restart.
pub(super) fn forget_introductions(settings: &TorSettings, name: &str) {
    let state = settings.state.join("hss").join(name);
    for file in ["ipts.json", "iptpub.json"] {
        told(&state, gone_is_well(fs::remove_file(state.join(file))));
    }
    // Each belongs to one of them.
    told(&state, gone_is_well(fs::remove_dir_all(state.join("iptreplay"))));
}

/// The same for all onion services.
pub(super) fn forget_introductions_of_all(settings: &TorSettings) {
    for entry in fs::read_dir(settings.state.join("hss")).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().is_dir()) {
            forget_introductions(settings, name);
        }
    }
}

/// Moves such files of a folder, in the place of those that were moved there before; how many there were.
fn move_files(from: &Path, to: &Path, which: impl Fn(&Path) -> bool) -> io::Result<usize> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut moved = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && which(&entry.path()) {
            make_private(to)?;
            fs::rename(entry.path(), to.join(entry.file_name()))?;
            moved += 1;
        }
    }
    Ok(moved)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn parses(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok())
}

fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut begin = vec![0; magic.len()];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok() && begin == magic)
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn gone_is_well(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn told<T>(place: &Path, done: io::Result<T>) {
    if let Err(error) = done {
        warn!("{}: files cannot be put aside or removed: {error}", place.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_what_is_damaged_is_put_aside_and_no_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let settings = config::defaults(|top| TorSettings::read(top.section("tor"), folder.path()));
        let settings = settings.expect("defaults");
        let (state, cache) = (settings.state.join("state"), settings.cache.clone());
        fs::create_dir_all(&state).expect("made");
        fs::create_dir_all(&cache).expect("made");
        let write = |name: &str, text: &str| fs::write(state.join(name), text).expect("written");
        write("guards.json", "{}");
        write("circuit_timeouts.json", "{\"a");
        write("state.lock", "");
        fs::write(cache.join("dir.sqlite3"), "nothing").expect("written");
        assert!(is_no_database(&settings, ErrorKind::InvalidConfig));
        assert!(!is_no_database(&settings, ErrorKind::FsPermissions));
        put_aside(&settings, ErrorKind::CacheCorrupted);
        assert!(!cache.join("dir.sqlite3").exists() && state.join("circuit_timeouts.json").exists());
        put_aside(&settings, ErrorKind::PersistentStateCorrupted);
        assert!(!state.join("circuit_timeouts.json").exists() && state.join("guards.json").exists());
        assert!(settings.state.join("damaged/circuit_timeouts.json").exists(), "put aside");
        // Then it must be one that can be read.
        put_aside(&settings, ErrorKind::PersistentStateCorrupted);
        assert!(!state.join("guards.json").exists() && state.join("state.lock").exists());
    }

    #[test]
    fn a_directory_is_what_its_name_says() {
        let cache = tempfile::tempdir().expect("folder");
        let blobs = cache.path().join(BLOBS);
        assert!(!is_other_directory(cache.path()), "none yet");
        fs::create_dir(&blobs).expect("made");
        // As `openssl dgst -sha3-256` says it.
        let digest = "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532";
        let file = blobs.join(format!("con_microdesc_sha3-256-{digest}"));
        fs::write(&file, "abc").expect("written");
        fs::write(blobs.join("another.tmp"), "begun").expect("written");
        assert!(!is_other_directory(cache.path()));
        fs::write(&file, "ab").expect("written");
        assert!(is_other_directory(cache.path()), "cut short");
    }
}
