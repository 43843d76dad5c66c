//! The steps of a run: each is taken, tried again and kept by itself.

use std::path::Path;

use super::ground::Ground;
use super::page::Page;
use super::part::Part;
use super::sizes::Sizes;
use super::{bodies, cold, cost, fleet, idle, load, memory, plain, start, trips, warm};
use crate::Failure;
use crate::build::Programs;

/// A part, on the network of which it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The part.
    pub part: Part,
    /// What each link takes, one way, in milliseconds, if the part is measured on more networks than one.
    pub delay: Option<u64>,
}

/// What steps measure, and how much of it.
pub struct Means<'a> {
    /// How much.
    pub sizes: &'a Sizes,
    /// The two programs.
    pub programs: &'a Programs,
    /// Many agents in one process.
    pub crowd: &'a Path,
    /// Whether these are what is given to people.
    pub is_given: bool,
}

impl Step {
    /// All of them, in the order in which they are taken and stand on the page.
    pub const ALL: [Self; 16] = [
        Self::once(Part::Size),
        Self::once(Part::Plain),
        Self::once(Part::Load),
        Self::once(Part::Fleet),
        Self::once(Part::Cost),
        Self::at(Part::Warm, 0),
        Self::at(Part::Cold, 0),
        Self::at(Part::Bodies, 0),
        Self::at(Part::Warm, trips::DELAY),
        Self::at(Part::Cold, trips::DELAY),
        Self::at(Part::Bodies, trips::DELAY),
        Self::once(Part::Trips),
        Self::at(Part::Start, 0),
        Self::at(Part::Start, trips::DELAY),
        Self::once(Part::Idle),
        Self::once(Part::Onions),
    ];

    const fn once(part: Part) -> Self {
        Self { part, delay: None }
    }

    const fn at(part: Part, delay: u64) -> Self {
        Self { part, delay: Some(delay) }
    }

    /// What the page calls it.
    pub fn name(self) -> String {
        let part = self.part.name();
        self.delay.map_or_else(|| part.clone(), |delay| format!("{part} at {delay} ms a link"))
    }

    /// Measures it. All that runs over Tor is started by the first step that needs it.
    ///
    /// # Errors
    /// When something does not start, or is gone.
    pub fn measure(
        self,
        page: &mut Page,
        means: &Means<'_>,
        ground: &mut Option<Ground>,
    ) -> Result<(), Failure> {
        let Means { sizes, programs, crowd, is_given } = *means;
        match self.part {
            Part::Size => return memory::sizes(page, programs, is_given),
            Part::Plain => return plain::measure(page, sizes, programs, crowd),
            Part::Load => return load::measure(page, sizes, programs, crowd),
            Part::Fleet => return fleet::plain(page, sizes, programs, crowd),
            _ => {}
        }
        let ground = match ground {
            Some(ground) => ground,
            None => ground.insert(Ground::start(programs.clone())?),
        };
        let delay = self.delay.unwrap_or(0);
        ground.delay(delay);
        match self.part {
            Part::Cost => cost::measure(ground, page, sizes),
            Part::Warm => {
                warm::measure(ground, page, sizes.at(delay), delay)?;
                if delay > 0 {
                    return Ok(());
                }
                memory::measure(ground, page, "after scrapes of node_exporter", true)
            }
            Part::Cold => cold::measure(ground, page, sizes.at(delay), delay),
            Part::Bodies => {
                bodies::measure(ground, page, sizes.at(delay), delay)?;
                if delay > 0 {
                    return Ok(());
                }
                memory::measure(ground, page, "after bodies of 10 MB", false)
            }
            Part::Trips => trips::measure(ground, page, sizes),
            Part::Start => start::measure(ground, page, sizes, delay),
            Part::Idle => idle::measure(ground, page, sizes.idle),
            Part::Onions => fleet::onions(page, sizes, ground, crowd),
            Part::Size | Part::Plain | Part::Load | Part::Fleet => Ok(()),
        }
    }
}
