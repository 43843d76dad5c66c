//! What files say, kept until they change.

use std::time::Duration;

use tokio::time::Instant;

use super::{FileError, Stamp};

/// How long after a reading that failed the same files are read again: what failed may have done so
/// for a moment, for want of a file descriptor say.
const RETRY: Duration = Duration::from_secs(1);

/// What some files said when they were read last, and what came of reading them since.
#[derive(Debug)]
pub struct Followed<T> {
    good: Option<(Vec<Stamp>, T)>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    stamps: Vec<Stamp>,
    at: Instant,
    what: String,
}

impl<T> Default for Followed<T> {
    fn default() -> Self {
        Self { good: None, failed: None }
    }
}

impl<T> Followed<T> {
    /// Has `read` read the files if that is called for; `stamps` are what they look like, taken before
    /// this, so that a change in between is seen the next time. False if what they say now cannot be
    /// had. `complain` is told why, once for each reason.
    pub fn refresh(
        &mut self,
        stamps: Vec<Stamp>,
        read: impl FnOnce() -> Result<T, FileError>,
        complain: impl FnOnce(&str),
    ) -> bool {
        if self.good.as_ref().is_some_and(|(seen, _)| *seen == stamps) {
            self.failed = None;
            return true;
        }
        let waits = |failed: &Failed| failed.stamps == stamps && failed.at.elapsed() < RETRY;
        if self.failed.as_ref().is_some_and(waits) {
            return false;
        }
        match read() {
            Ok(now) => {
                (self.good, self.failed) = (Some((stamps, now)), None);
                true
            }
            Err(error) => {
                let what = error.to_string();
                if self.failed.as_ref().is_none_or(|failed| failed.what != what) {
                    complain(&what);
                }
                self.failed = Some(Failed { stamps, at: Instant::now(), what });
                false
            }
        }
    }

    /// What the files said when they could be read last.
    pub fn last(&self) -> Option<&T> {
        self.good.as_ref().map(|(_, said)| said)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_failed_for_a_moment_is_tried_again_and_told_of_once() {
        let stamps = || vec![Stamp::take(Path::new("/nowhere"))];
        let mut followed = Followed::default();
        let fails = || Err(FileError::new(Path::new("/nowhere"), "too many open files"));
        let mut told = 0;
        assert!(!followed.refresh(stamps(), fails, |_| told += 1));
        assert!(!followed.refresh(stamps(), || unreachable!("not at once"), |_| told += 1));
        tokio::time::sleep(RETRY).await;
        assert!(!followed.refresh(stamps(), fails, |_| told += 1));
        assert_eq!((told, followed.last()), (1, None));
        tokio::time::sleep(RETRY).await;
        assert!(followed.refresh(stamps(), || Ok(7), |_| told += 1), "nothing of the file has changed");
        assert!(followed.refresh(stamps(), || unreachable!("known"), |_| told += 1));
        let other = vec![Stamp::take(Path::new("/"))];
        assert!(!followed.refresh(other, fails, |_| told += 1), "it has changed");
        assert_eq!((told, followed.last()), (2, Some(&7)));
    }
}
