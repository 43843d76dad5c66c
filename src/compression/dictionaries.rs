//! The bodies that are kept: the last ones of each exporter, within one bound for all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::stored::Stored;
use super::{Dictionary, Digest};

/// Most bodies of one exporter: of the bridges that ask for it, and the forms they ask for.
const MAX_OF_ONE: usize = 8;
/// Bytes of bodies that are kept as they are. Packing one and unpacking it for the next answer is a tenth of what
/// a scrape costs a processor, which a device with a few exporters can do without; a fleet's bodies are packed.
const MAX_WHOLE: u64 = 4 << 20;
/// A body that was not used for so long makes room for others; before that, others are not kept. Else, where
/// there is not room for all, each would push out the next before that is used, and none would be of use.
const STALE: Duration = Duration::from_secs(300);

/// All bodies that are kept; clones are the same ones.
#[derive(Clone)]
pub struct Dictionaries(Arc<Inner>);

struct Inner {
    /// Bytes that bodies may take.
    limit: u64,
    /// Bytes that they take.
    taken: Gauge,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    shelves: u64,
    /// Bytes of bodies that are being gathered.
    gathering: u64,
}

struct Kept {
    shelf: u64,
    /// What it was asked for with, where that is told apart.
    asked: Option<u64>,
    body: Stored,
    used: Instant,
    /// True if a later one took its place, or its answer was lost, so that it will hardly be asked for
    /// again.
    is_past: bool,
    /// True if somebody who has it said so.
    was_known: bool,
}

impl Dictionaries {
    /// None yet, and at most `limit` bytes of them; `taken` shows how many there are.
    pub fn new(limit: u64, taken: Gauge) -> Self {
        Self(Arc::new(Inner { limit, taken, state: Mutex::default() }))
    }

    /// A place for the bodies of one exporter.
    pub fn shelf(&self) -> Shelf {
        let mut state = self.0.state();
        state.shelves += 1;
        Shelf { all: self.clone(), number: state.shelves }
    }
}

impl fmt::Debug for Dictionaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionaries({} bytes)", self.0.taken.get())
    }
}

/// The bodies of one exporter. Nobody else sees them, and they go with it.
#[derive(Debug)]
pub struct Shelf {
    all: Dictionaries,
    number: u64,
}

impl Shelf {
    /// The one that goes by this digest.
    pub fn known(&self, digest: Digest) -> Option<Stored> {
        let mut state = self.all.0.state();
        let found = state.of(self.number).find(|kept| kept.body.digest() == digest).map(|kept| {
            (kept.used, kept.was_known) = (Instant::now(), true);
            kept.body.clone()
        });
        if found.is_none() {
            // Somebody has another one: what they were told last did not arrive.
            state.of(self.number).filter(|kept| !kept.was_known).for_each(|kept| kept.is_past = true);
        }
        found
    }

    /// The last one that was asked for in this way.
    pub fn last(&self, asked: u64) -> Option<Stored> {
        let mut state = self.all.0.state();
        state.of(self.number).find(|kept| kept.asked == Some(asked)).map(|kept| {
            kept.used = Instant::now();
            kept.body.clone()
        })
    }

    /// A body as it is to be kept: as it is while a quarter of all the room, and 4 MiB, have not gone to such; then
    /// packed, which takes some 0.1 ms for 57 kB.
    pub fn stored(&self, body: Arc<Dictionary>) -> Stored {
        let limit = MAX_WHOLE.min(self.all.0.limit / 4);
        let taken = self.all.0.state().bytes_of(|kept| kept.body.is_whole());
        let is_room = taken + body.bytes().len() as u64 <= limit;
        if is_room { Stored::whole(body) } else { Stored::packed(body) }
    }

    /// Keeps a body besides the others. The one of digest `past` is the first to make room from now on.
    /// False if there is no room.
    pub fn keep(&self, body: Stored, past: Option<Digest>) -> bool {
        let mut state = self.all.0.state();
        for kept in state.of(self.number) {
            kept.is_past |= Some(kept.body.digest()) == past;
        }
        if let Some(known) = state.of(self.number).find(|kept| kept.body.digest() == body.digest()) {
            (known.is_past, known.used) = (false, Instant::now());
            return true;
        }
        self.put(&mut state, body, None)
    }

    /// Keeps a body in the place of those that were asked for in the same way. False if there is no room.
    pub fn replace(&self, asked: u64, body: Stored) -> bool {
        let mut state = self.all.0.state();
        state.kept.retain(|kept| kept.shelf != self.number || kept.asked != Some(asked));
        self.put(&mut state, body, Some(asked))
    }

    /// Drops the one of this digest, which was of no use.
    pub fn forget(&self, digest: Digest) {
        let mut state = self.all.0.state();
        state.kept.retain(|kept| kept.shelf != self.number || kept.body.digest() != digest);
        self.all.0.show(&state);
    }

    /// Room for a body that is gathered, none of which is taken yet. All such rooms have as much memory
    /// together as the bodies that are kept.
    pub fn room(&self) -> Room {
        Room { all: self.all.clone(), taken: 0 }
    }

    fn put(&self, state: &mut State, body: Stored, asked: Option<u64>) -> bool {
        let now = Instant::now();
        let makes_room = |kept: &Kept| kept.is_past || now.duration_since(kept.used) > STALE;
        if state.of(self.number).count() >= MAX_OF_ONE
            && !state.drop_first(|kept| kept.shelf == self.number && makes_room(kept))
        {
            return false;
        }
        let length = body.weight() as u64;
        while state.bytes() + length > self.all.0.limit {
            if length > self.all.0.limit || !state.drop_first(makes_room) {
                self.all.0.show(state);
                return false;
            }
        }
        state.kept.push(Kept {
            shelf: self.number,
            asked,
            body,
            used: now,
            is_past: false,
            was_known: false,
        });
        self.all.0.show(state);
        true
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let mut state = self.all.0.state();
        state.kept.retain(|kept| kept.shelf != self.number);
        self.all.0.show(&state);
    }
}

/// Memory for a body that is gathered; given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    all: Dictionaries,
    taken: u64,
}

impl Room {
    /// Takes so many bytes more; false if there are not so many.
    pub fn take(&mut self, more: usize) -> bool {
        let mut state = self.all.0.state();
        let wanted = state.gathering.saturating_add(more as u64);
        if wanted > self.all.0.limit {
            return false;
        }
        state.gathering = wanted;
        self.taken += more as u64;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.0.state().gathering -= self.taken;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &State) {
        self.taken.set(i64::try_from(state.bytes()).unwrap_or(i64::MAX));
    }
}

impl State {
    fn of(&mut self, shelf: u64) -> impl Iterator<Item = &mut Kept> {
        self.kept.iter_mut().filter(move |kept| kept.shelf == shelf)
    }

    fn bytes(&self) -> u64 {
        self.bytes_of(|_| true)
    }

    fn bytes_of(&self, which: impl Fn(&Kept) -> bool) -> u64 {
        self.kept.iter().filter(|kept| which(kept)).map(|kept| kept.body.weight() as u64).sum()
    }

    /// Drops, of those of which this is true, the one that is past, else the one that was not used for
    /// longest.
    fn drop_first(&mut self, may_go: impl Fn(&Kept) -> bool) -> bool {
        let candidates = self.kept.iter().enumerate().filter(|(_, kept)| may_go(kept));
        let first = candidates.min_by_key(|(_, kept)| (!kept.is_past, kept.used)).map(|(at, _)| at);
        first.map(|at| self.kept.remove(at)).is_some()
    }
}
