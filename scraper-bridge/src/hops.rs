//! Where a scrape's time goes.

use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::time::Instant;

/// A part of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Waiting for the target's session.
    Session,
    /// Waiting for a channel in it.
    Channel,
    /// From the request to the head of the exporter's answer.
    Answer,
    /// From there to the last byte of its body.
    Body,
}

impl Hop {
    /// All of them, in the order in which a scrape comes by.
    pub const ALL: [Self; 4] = [Self::Session, Self::Channel, Self::Answer, Self::Body];

    /// The hop as a label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Channel => "channel",
            Self::Answer => "answer",
            Self::Body => "body",
        }
    }
}

/// How long each hop of a scrape took, to the microsecond and 71 minutes at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hops {
    micros: [u32; 4],
    reached: u8,
}

impl Hops {
    /// Adds to the time of a hop, which the scrape has reached then.
    pub fn add(&mut self, hop: Hop, took: Duration) {
        let index = hop as usize;
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.micros[index] = self.micros[index].saturating_add(micros);
        self.reached = self.reached.max(index as u8 + 1);
    }

    /// The hops that the scrape has reached. Of one that failed, the last is where it did.
    pub fn reached(&self) -> impl Iterator<Item = (Hop, Duration)> {
        let took = self.micros.map(|micros| Duration::from_micros(micros.into()));
        Hop::ALL.into_iter().zip(took).take(self.reached.into())
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.reached().map(|(_, took)| took).sum()
    }
}

/// Times the hops of a scrape that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Laps {
    last: Instant,
    hops: Hops,
}

impl Laps {
    /// Begins now.
    pub fn start() -> Self {
        Self { last: Instant::now(), hops: Hops::default() }
    }

    /// Says that this hop is done.
    pub fn lap(&mut self, hop: Hop) {
        let now = Instant::now();
        self.hops.add(hop, now - self.last);
        self.last = now;
    }

    /// What was timed.
    pub fn hops(&self) -> Hops {
        self.hops
    }

    /// What was timed of a scrape that fails now, in the hop after the last that was done.
    pub fn broke_off(mut self) -> Hops {
        self.lap(Hop::ALL[usize::from(self.hops.reached).min(Hop::ALL.len() - 1)]);
        self.hops
    }

    /// The hops until now as a `Server-Timing` header (W3C Server Timing).
    pub fn header(&self) -> HeaderValue {
        let in_words =
            |(hop, took): (Hop, Duration)| format!("{};dur={:.1}", hop.label(), took.as_secs_f64() * 1000.0);
        let hops: Vec<String> = self.hops.reached().map(in_words).collect();
        HeaderValue::try_from(hops.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_goes_to_the_hop_that_took_it() {
        let wait = |milliseconds| tokio::time::advance(Duration::from_millis(milliseconds));
        let mut laps = Laps::start();
        wait(1).await;
        laps.lap(Hop::Session);
        wait(20).await;
        laps.lap(Hop::Channel);
        let broken = laps;
        wait(300).await;
        // On a second try the channel is opened again.
        laps.lap(Hop::Channel);
        wait(4000).await;
        laps.lap(Hop::Answer);
        assert_eq!(laps.header(), "session;dur=1.0, channel;dur=320.0, answer;dur=4000.0");
        assert_eq!(laps.hops().total(), Duration::from_millis(4321));

        let reached: Vec<_> = broken.broke_off().reached().collect();
        assert_eq!(reached.last(), Some(&(Hop::Answer, Duration::from_millis(4300))));
        assert_eq!(Laps::start().broke_off().reached().count(), 1);
        laps.lap(Hop::Body);
        assert_eq!(laps.broke_off().reached().count(), 4, "there is no hop after the body");
    }
}
