//! A place for one piece of work that may hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Runs work on a thread where it may block, one piece at a time.
///
/// A thread that hangs in the kernel cannot be ended. So there is at most one for each slot: while
/// it hangs, nothing else is started.
#[derive(Debug)]
pub(super) struct Slot {
    place: Arc<Semaphore>,
    /// Whether somebody waited in vain for what is running; it says nothing while nothing is.
    overdue: AtomicBool,
}

impl Default for Slot {
    fn default() -> Self {
        Self { place: Arc::new(Semaphore::new(1)), overdue: AtomicBool::new(false) }
    }
}

impl Slot {
    /// What `work` returns; `None` if it is not done by `until`, cannot begin because what was
    /// started before is not, or panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.place.available_permits() == 0 && self.overdue.load(Ordering::Relaxed) {
            return None;
        }
        let done = timeout_at(until, async {
            let place = self.place.clone().acquire_owned().await.ok()?;
            self.overdue.store(false, Ordering::Relaxed);
            let task = spawn_blocking(move || {
                let done = work();
                drop(place);
                done
            });
            task.await.ok()
        });
        done.await.unwrap_or_else(|_| {
            self.overdue.store(true, Ordering::Relaxed);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn what_hangs_is_not_started_a_second_time() {
        let slot = Slot::default();
        let started = Arc::new(AtomicUsize::new(0));
        let (release, hang) = mpsc::channel::<()>();
        let begun = started.clone();
        let hanging = move || {
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = hang.recv();
        };
        assert_eq!(slot.run(soon(), hanging).await, None);
        for _ in 0..3 {
            let begun = started.clone();
            // Without a wait, since somebody has waited already.
            assert_eq!(slot.run(late(), move || begun.fetch_add(1, Ordering::SeqCst)).await, None);
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        release.send(()).expect("it still hangs");
        let _free = slot.place.acquire().await.expect("what was released ends");
        drop(_free);
        assert_eq!(slot.run(late(), || 5).await, Some(5), "all is well again");
    }

    #[tokio::test]
    async fn two_who_ask_at_once_are_served_one_after_the_other() {
        let slot = Slot::default();
        let now = Arc::new(AtomicUsize::new(0));
        let work = || {
            let now = now.clone();
            move || {
                let others = now.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                others
            }
        };
        let both = tokio::join!(slot.run(late(), work()), slot.run(late(), work()));
        assert_eq!(both, (Some(0), Some(0)));
        let panics = slot.run(late(), || panic!("a collector's own mistake"));
        assert_eq!(panics.await, None::<()>);
        assert_eq!(slot.run(late(), || 1).await, Some(1));
    }
}
