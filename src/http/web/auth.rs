//! Basic authentication (RFC 7617) with bcrypt hashes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use hyper::header::HeaderName;
use hyper::{HeaderMap, StatusCode};
use ring::hmac;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::http::Answer;

/// Passwords compared at the same time; each takes a processor for as long as its hash is costly.
const COMPARED: usize = 1;
/// Passwords that may wait to be compared.
const WAITING: usize = 64;
/// Right passwords that are remembered. More than one for a user are possible, since bcrypt looks at
/// the first 72 bytes only.
const REMEMBERED: usize = 256;

/// The users and their hashes. A right password is compared once and then remembered, as a keyed hash.
pub(in crate::http) struct Users {
    hashes: BTreeMap<String, String>,
    /// Compared for a user that is not known, so that the time taken does not tell.
    decoy: String,
    key: hmac::Key,
    remembered: Mutex<HashSet<[u8; 32]>>,
    waiting: Semaphore,
    compared: Arc<Semaphore>,
}

impl Users {
    /// These users; `None` if there is nobody. The hashes were checked.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Option<Self> {
        // The costliest: its time is what the slowest of the known users takes.
        let decoy = hashes.values().max_by_key(|hash| cost(hash))?.clone();
        Some(Self {
            hashes,
            decoy,
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            remembered: Mutex::default(),
            waiting: Semaphore::new(WAITING),
            compared: Arc::new(Semaphore::new(COMPARED)),
        })
    }

    /// Lets a request through that has a known user and the right password in this header field.
    ///
    /// # Errors
    /// The answer to give: 401 for anything else, 503 while too many passwords wait to be compared.
    pub(in crate::http) async fn check(&self, headers: &HeaderMap, field: HeaderName) -> Result<(), Answer> {
        let refused = || Answer::new(StatusCode::UNAUTHORIZED, "a user's name and password are needed");
        let Credentials { user, password } = Credentials::of(headers, field).ok_or_else(refused)?;
        let proof = self.proof(&user, &password);
        if self.remembers(&proof) {
            return Ok(());
        }
        let busy =
            || Answer::new(StatusCode::SERVICE_UNAVAILABLE, "too many passwords to compare, try again");
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = self.compared.clone().acquire_owned().await.map_err(|_| busy())?;
        if self.remembers(&proof) {
            // Another request with the same password was ahead of this one.
            return Ok(());
        }
        let hash = self.hashes.get(&user);
        let compared = hash.unwrap_or(&self.decoy).clone();
        let comparing = tokio::task::spawn_blocking(move || {
            // Held by the work rather than by who waits for it, and may have gone away.
            let _place = place;
            bcrypt::verify(password.as_slice(), &compared)
        });
        match comparing.await {
            Ok(Ok(true)) if hash.is_some() => {
                self.remember(proof);
                Ok(())
            }
            _ => Err(refused()),
        }
    }

    /// What stands for a user and a password while this process runs.
    fn proof(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut proof = [0; 32];
        proof.copy_from_slice(context.sign().as_ref());
        proof
    }

    fn remembers(&self, proof: &[u8; 32]) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(proof)
    }

    fn remember(&self, proof: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(proof);
    }
}

/// What a hash costs to compare, as a power of two; `None` if it is not one that bcrypt knows.
pub(super) fn cost(hash: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    known.then(|| hash.parse::<bcrypt::HashParts>().ok()).flatten().map(|parts| parts.get_cost())
}

struct Credentials {
    user: String,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// What the one Authorization field says, if it says it in the Basic scheme.
    fn of(headers: &HeaderMap, field: HeaderName) -> Option<Self> {
        let mut fields = headers.get_all(field).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64.decode(encoded.trim().as_bytes()).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
        Some(Self { user, password: Zeroizing::new(decoded[colon + 1..].to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hyper::header::AUTHORIZATION;

    use super::*;

    fn users(cost: u32) -> Users {
        let hash = |password: &str, version| {
            bcrypt::hash_with_salt(password, cost, [7; 16]).expect("hash").format_for_version(version)
        };
        let of = [
            ("prometheus", hash("secret", bcrypt::Version::TwoY)),
            ("old", hash("säcret:with:colons", bcrypt::Version::TwoA)),
        ];
        Users::new(of.map(|(user, hash)| (user.to_owned(), hash)).into()).expect("somebody")
    }

    fn field(text: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Basic {}", BASE64.encode(text)).parse().expect("value"));
        headers
    }

    async fn status(users: &Users, headers: &HeaderMap) -> Option<u16> {
        users.check(headers, AUTHORIZATION).await.err().map(|answer| answer.status.as_u16())
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user() {
        let users = users(4);
        for good in ["prometheus:secret", "old:säcret:with:colons"] {
            for _ in 0..2 {
                assert_eq!(status(&users, &field(good.as_bytes())).await, None, "{good}");
            }
        }
        for bad in [
            "prometheus:",
            "prometheus:Secret",
            "prometheus:secret ",
            "Prometheus:secret",
            "old:secret",
            "nobody:secret",
            ":secret",
            "prometheus",
            "",
        ] {
            assert_eq!(status(&users, &field(bad.as_bytes())).await, Some(401), "{bad}");
        }
        assert_eq!(status(&users, &field(b"\xff:secret")).await, Some(401));
        assert_eq!(status(&users, &field(b"prometheus:\xff\0")).await, Some(401));
        assert_eq!(users.remembered.lock().expect("lock").len(), 2);
    }

    #[tokio::test]
    async fn other_schemes_and_broken_fields() {
        let users = users(4);
        assert_eq!(status(&users, &HeaderMap::new()).await, Some(401));
        let right = field(b"prometheus:secret");
        let encoded = right[AUTHORIZATION].to_str().expect("text")["Basic ".len()..].to_owned();
        for bad in ["", "Basic", "Basic ", "Basic !!!", &format!("Bearer {encoded}"), &encoded] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, bad.parse().expect("value"));
            assert_eq!(status(&users, &headers).await, Some(401), "{bad:?}");
        }
        let mut twice = right.clone();
        twice.append(AUTHORIZATION, right[AUTHORIZATION].clone());
        assert_eq!(status(&users, &twice).await, Some(401));
        let mut folded = HeaderMap::new();
        folded.insert(AUTHORIZATION, format!("bASIC {encoded}").parse().expect("value"));
        assert_eq!(status(&users, &folded).await, None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_password_is_compared_once_and_an_unknown_user_takes_as_long_as_a_known_one() {
        let users = Arc::new(users(8));
        let right = field(b"prometheus:secret");
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let (users, right) = (users.clone(), right.clone());
                tokio::spawn(async move { status(&users, &right).await })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.expect("no panic"), None);
        }
        let took = async |text: &[u8]| {
            let started = Instant::now();
            status(&users, &field(text)).await;
            started.elapsed()
        };
        let (known, unknown) = (took(b"prometheus:wrong").await, took(b"nobody:wrong").await);
        let remembered = took(b"prometheus:secret").await;
        assert!(unknown > known / 4, "an unknown user is known by a quick answer: {unknown:?} {known:?}");
        assert!(remembered < known / 4, "compared again: {remembered:?} {known:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_wrong_passwords_neither_queues_up_nor_locks_out() {
        let users = Arc::new(users(8));
        assert_eq!(status(&users, &field(b"prometheus:secret")).await, None);
        let flood: Vec<_> = (0..500)
            .map(|n| {
                let users = users.clone();
                tokio::spawn(async move { status(&users, &field(format!("a:{n}").as_bytes())).await })
            })
            .collect();
        let mut refused = 0;
        assert_eq!(status(&users, &field(b"prometheus:secret")).await, None, "who was let in once still is");
        for asked in flood {
            refused += usize::from(asked.await.expect("no panic") == Some(503));
        }
        assert!(refused >= 300, "only {refused} were turned away");
    }

    #[test]
    fn hashes_that_are_known() {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        for version in ["2a", "2b", "2y"] {
            assert_eq!(cost(&hash.replacen("2y", version, 1)), Some(10));
        }
        for bad in ["", "secret", &hash.replacen("2y", "2x", 1), &hash[..59], &hash.replace('$', "ä")] {
            assert_eq!(cost(bad), None, "{bad}");
        }
    }
}
