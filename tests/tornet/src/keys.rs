use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::{Error, process};

/// Who a node is, in the forms that others write it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Fingerprint of the RSA identity: 40 hexadecimal digits.
    pub(crate) rsa: String,
    /// The Ed25519 identity in base64 without padding.
    pub(crate) ed25519: String,
    /// An authority's v3 identity: 40 hexadecimal digits.
    pub(crate) v3: Option<String>,
}

/// Makes the keys of one node in its data directory. `authority` is the address
/// of its directory port if it is one. Takes some 0.1 to 3 s of one core.
pub(crate) fn make(data: &Path, name: &str, authority: Option<SocketAddr>) -> Result<Identity, Error> {
    let keys = data.join("keys");
    make_private(data)?;
    make_private(&keys)?;
    let v3 = authority.map(|addr| certificate(&keys, addr)).transpose()?;
    // Tor wants to know some authority, whichever, before it does anything.
    let nobody = "nobody orport=9 no-v2 v3ident=0000000000000000000000000000000000000001 \
                  127.0.0.1:9 0000000000000000000000000000000000000001";
    let mut tor = Command::new("tor");
    // Neither the system's configuration nor its defaults.
    tor.args(["--hush", "--list-fingerprint", "--ignore-missing-torrc", "--defaults-torrc", "/dev/null"]);
    tor.arg("-f").arg(data.join("no-torrc")).arg("--DataDirectory").arg(data);
    tor.args(["--Nickname", name, "--ORPort", "9", "--DirAuthority", nobody]);
    process::run(&tor, "")?;
    Ok(Identity {
        rsa: second_word(&data.join("fingerprint"))?,
        ed25519: second_word(&data.join("fingerprint-ed25519"))?,
        v3,
    })
}

/// Makes an authority's long-term key, signing key and certificate, and returns
/// its v3 identity.
fn certificate(keys: &Path, addr: SocketAddr) -> Result<String, Error> {
    let certificate = keys.join("authority_certificate");
    let mut gencert = Command::new("tor-gencert");
    gencert.args(["--create-identity-key", "-m", "12", "-a", &addr.to_string(), "--passphrase-fd", "0"]);
    gencert.arg("-i").arg(keys.join("authority_identity_key"));
    gencert.arg("-s").arg(keys.join("authority_signing_key"));
    gencert.arg("-c").arg(&certificate);
    process::run(&gencert, "throwaway\n")?;
    let text = fs::read_to_string(&certificate).map_err(Error::file("read", &certificate))?;
    text.lines()
        .find_map(|line| line.strip_prefix("fingerprint "))
        .map(|fingerprint| fingerprint.trim().to_owned())
        .ok_or_else(|| odd(&certificate))
}

fn second_word(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    text.split_whitespace().nth(1).map(str::to_owned).ok_or_else(|| odd(path))
}

fn odd(path: &Path) -> Error {
    Error::file("understand", path)(std::io::Error::other("no fingerprint in it"))
}

/// Makes a directory that only its owner can enter, as tor demands.
pub(crate) fn make_private(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::file("make", dir))
}
