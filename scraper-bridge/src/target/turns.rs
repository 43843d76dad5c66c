//! Whose turn it is to be dialled: each dial builds several circuits, so there is a bound to how many are
//! under way.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Two lines of targets that wait to be dialled.
///
/// One whose session was of use until now does not stand in line behind devices that are off. There may be
/// many of those, too: all, when it was the monitor that lost its network.
pub struct Turns {
    well: Semaphore,
    others: Semaphore,
}

impl Turns {
    /// So many at once in each line.
    pub fn new(at_once: usize) -> Self {
        Self { well: Semaphore::new(at_once), others: Semaphore::new(at_once) }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(super) async fn wait(&self, was_well: bool) -> Option<SemaphorePermit<'_>> {
        let line = if was_well { &self.well } else { &self.others };
        // Neither is ever closed.
        line.acquire().await.ok()
    }
}
