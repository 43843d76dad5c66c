//! What can happen. Each fault says when the world was fine again; what it took away for good it gives
//! back in `tidy`, after the way is back.

mod clock;
mod disk;
mod link;
mod programs;
mod relays;
mod slow_exporter;

use std::time::Duration;

use super::history::{Program, Way};
use super::scene::Scene;
use super::verdict::Span;
use crate::Failure;

/// Something that can happen to a scene.
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for the table.
    pub what: &'static str,
    /// How soon the device is to be back, 95 times of 100, counted from the world being fine; `None`
    /// where the issue is another.
    pub reach: Option<Duration>,
    /// The way on which it is to cost no scrape, if there is one.
    pub free_on: Option<Way>,
    /// Times in a short run; 0 leaves it to the full one.
    pub short: usize,
    /// True if it needs network namespaces.
    pub apart: bool,
    /// Which programs can know of it and are to tell.
    pub told_by: Tellers,
    /// How soon they are to tell, if that is asked for besides [`DOWN_WITHIN`](super::verdict::DOWN_WITHIN).
    pub told_in: Option<Duration>,
    /// True if it may hit what carries no session: then it is noted how often it did.
    pub may_miss: bool,
    /// True if it does the same to the original recipe.
    pub for_recipe: bool,
    /// Has it happen, from beginning to end.
    pub act: fn(&mut Scene, usize) -> Result<Span, Failure>,
    /// Gives back what it took for good, and says what is to be noted.
    pub tidy: fn(&mut Scene) -> Result<Option<String>, Failure>,
}

/// Which programs are to tell the truth about the way while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tellers {
    /// Both: the device cannot be reached from anywhere.
    Both,
    /// The bridge: to others the device is there.
    Bridge,
    /// Neither: the way is there, and what is wrong is behind it.
    Neither,
}

impl Tellers {
    /// True if the program is one of them.
    pub fn contains(self, program: Program) -> bool {
        match self {
            Self::Both => true,
            Self::Bridge => program == Program::Bridge,
            Self::Neither => false,
        }
    }
}

/// All of them, in the order of the table.
pub fn all() -> Vec<Fault> {
    let mut all = Vec::new();
    all.extend(programs::faults());
    all.extend(relays::faults());
    all.extend(link::faults());
    all.extend(clock::faults());
    all.extend(disk::faults());
    all.extend(slow_exporter::faults());
    // Last, because relays vouch for each other: for a while after it a network is less than it was.
    all.extend(relays::network_faults());
    all
}

/// For faults that take nothing for good.
fn nothing(_: &mut Scene) -> Result<Option<String>, Failure> {
    Ok(None)
}

/// Has something be so for a while.
fn hold(
    scene: &mut Scene,
    begin: impl FnOnce(&mut Scene) -> Result<(), Failure>,
    hold: Duration,
    end: impl FnOnce(&mut Scene) -> Result<(), Failure>,
) -> Result<Span, Failure> {
    let began = scene.history.now();
    begin(scene)?;
    std::thread::sleep(hold);
    end(scene)?;
    Ok(Span { began, fine: scene.history.now() })
}

/// Takes away what an earlier fault wrote into a file of the suite's own.
fn forget(scene: &Scene, note: &str) -> Result<(), Failure> {
    match std::fs::remove_file(scene.folder.join(note)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
