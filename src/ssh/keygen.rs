//! Keys, hashed names and certificates made by the real `ssh-keygen`, for tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use russh::keys::{Certificate, PublicKey};

/// A folder that `ssh-keygen` works in.
pub(super) struct Keygen(tempfile::TempDir);

impl Keygen {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `ssh-keygen` in the folder.
    pub(super) fn run(&self, arguments: &[&str]) {
        let output = Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("ssh-keygen is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a key of this kind and returns its public half.
    pub(super) fn key(&self, name: &str, kind: &str, passphrase: &str) -> PublicKey {
        self.run(&["-q", "-t", kind, "-N", passphrase, "-C", name, "-f", name]);
        PublicKey::from_openssh(&self.read(&format!("{name}.pub"))).expect("public key")
    }

    /// Has the key `authority` sign a certificate for `key` with further options.
    pub(super) fn certificate(&self, authority: &str, key: &str, options: &[&str]) -> Certificate {
        let public = format!("{key}.pub");
        self.run(&[&["-q", "-s", authority, "-I", "test"], options, &[&public]].concat());
        Certificate::from_openssh(self.read(&format!("{key}-cert.pub")).trim()).expect("certificate")
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("readable")
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }
}
