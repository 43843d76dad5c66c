//! Header fields that an exporter wants and the monitor need not know: passwords above all. They stay on
//! the device, and go to the exporter and nowhere else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use onionscrape::files::{self, FileError, Stamp, read_private};
use zeroize::Zeroizing;

/// Longest value, in bytes; servers take no head that is much larger.
const MAX_VALUE: usize = 8 << 10;

/// Fields as configured: each name once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnFields(pub Vec<(HeaderName, Value)>);

/// What a field says.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// This.
    Text(HeaderValue),
    /// What is in this file.
    File(PathBuf),
    /// A user's name, and his password in this file (RFC 7617).
    Basic(String, PathBuf),
    /// An authentication scheme, and credentials in this file (RFC 9110, section 11.6.2).
    Scheme(String, PathBuf),
}

impl Value {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(file) | Self::Basic(_, file) | Self::Scheme(_, file) => Some(file),
        }
    }

    fn read(&self) -> Result<HeaderValue, FileError> {
        let (file, text) = match self {
            Self::Text(value) => return Ok(value.clone()),
            Self::File(file) => (file, secret(file)?),
            Self::Scheme(scheme, file) => {
                (file, Zeroizing::new(format!("{scheme} {}", secret(file)?.as_str())))
            }
            Self::Basic(user, file) => {
                let both = Zeroizing::new(format!("{user}:{}", secret(file)?.as_str()));
                (file, Zeroizing::new(format!("Basic {}", BASE64.encode(both.as_bytes()))))
            }
        };
        if text.len() > MAX_VALUE {
            return Err(FileError::new(file, "is too long for a header field"));
        }
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| FileError::new(file, "has letters that a header field cannot have"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The text of a file, without the space and the end of line that an editor leaves.
fn secret(file: &Path) -> Result<Zeroizing<String>, FileError> {
    let text = read_private(file)?.ok_or_else(|| FileError::new(file, "is not there"))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

impl OwnFields {
    /// All fields, read at this moment.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn read(&self) -> Result<HeaderMap, FileError> {
        self.0.iter().map(|(name, value)| Ok((name.clone(), value.read()?))).collect()
    }

    /// What is wrong with their files at this moment.
    pub fn faults(&self) -> impl Iterator<Item = FileError> {
        self.0.iter().filter_map(|(_, value)| value.read().err())
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.0.iter().filter_map(|(_, value)| value.file()).map(Stamp::take).collect()
    }
}

/// Names only.
impl fmt::Debug for OwnFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Fields, read again when one of their files changes.
#[derive(Default)]
pub(super) struct Followed {
    fields: OwnFields,
    read: Mutex<files::Followed<HeaderMap>>,
}

impl Followed {
    pub(super) fn new(fields: OwnFields) -> Self {
        Self { fields, read: Mutex::default() }
    }

    /// Puts the fields in the place of those of their names; false if they cannot be had. `complain` is
    /// told why, once for each reason.
    pub(super) fn put_into(&self, headers: &mut HeaderMap, complain: impl FnOnce(&str)) -> bool {
        if self.fields.0.is_empty() {
            return true;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.refresh(self.fields.stamps(), || self.fields.read(), complain) {
            return false;
        }
        let Some(own) = read.last() else { return false };
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        true
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use hyper::header::AUTHORIZATION;
    use onionscrape::files::replace_private;

    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-key");

    #[test]
    fn they_take_the_place_of_what_was_passed_on() {
        let folder = tempfile::tempdir().expect("folder");
        let (password, key) = (folder.path().join("password"), folder.path().join("key"));
        replace_private(&password, b"open sesame\n").expect("written");
        replace_private(&key, b" k1 \n").expect("written");
        let basic = Value::Basic("Aladdin".into(), password.clone());
        let fields = OwnFields(vec![(AUTHORIZATION, basic), (KEY, Value::File(key.clone()))]);
        let followed = Followed::new(fields);
        let put = || {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer prometheus"));
            headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer twice"));
            let mut said = None;
            let done = followed.put_into(&mut headers, |why| said = Some(why.to_owned()));
            (done, headers, said)
        };
        let (done, headers, said) = put();
        assert!(done && said.is_none());
        // The example of RFC 7617.
        let sent: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(sent, ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        assert_eq!(headers[KEY], "k1");
        assert!(headers[KEY].is_sensitive() && !format!("{headers:?} {followed:?}").contains("k1"));

        replace_private(&key, b"k2").expect("written");
        assert_eq!(put().1[KEY], "k2", "read again");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
        let (done, headers, said) = put();
        assert!(!done && said.expect("told").contains("chmod 600"));
        assert!(!headers.contains_key(KEY), "nothing goes out");
        assert!(put().2.is_none(), "it is said once");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(put().0, "mended");
        fs::remove_file(&password).expect("removed");
        assert!(put().2.expect("told").ends_with("password: is not there"));
    }

    #[test]
    fn what_is_no_header_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("token");
        for (text, why) in [("se\ncret", "letters"), (&*"x".repeat(MAX_VALUE), "too long"), (" \n", "empty")]
        {
            replace_private(&file, text.as_bytes()).expect("written");
            let said = Value::Scheme("Bearer".into(), file.clone()).read().expect_err(why).to_string();
            assert!(said.contains(why) && !said.contains("se\ncret") && !said.contains("xx"), "{said}");
        }
    }
}
