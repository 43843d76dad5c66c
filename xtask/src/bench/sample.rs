//! What was measured, circuit by circuit, and how sure one can be of a ratio.

use std::time::Duration;

/// How often a ratio is drawn again to see how far it spreads.
const DRAWS: usize = 2000;
/// The same draws in every run, so that one page of figures has one outcome.
const SEED: u64 = 0x0141_0905;

/// Values of one kind, in groups: what was measured on one circuit has its luck in common.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What follows is of another circuit.
    pub fn next_group(&mut self) {
        self.0.push(Vec::new());
    }

    /// Adds a value.
    pub fn push(&mut self, value: f64) {
        match self.0.last_mut() {
            Some(group) => group.push(value),
            None => self.0.push(vec![value]),
        }
    }

    /// Adds a time, in milliseconds.
    pub fn time(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1000.0);
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The `p`th percentile by nearest rank; not a number if there is nothing.
    pub fn percentile(&self, p: f64) -> f64 {
        percentile(self.0.iter().flatten().copied().collect(), p)
    }

    /// The mean; not a number if there is nothing.
    pub fn mean(&self) -> f64 {
        self.0.iter().flatten().sum::<f64>() / self.len() as f64
    }

    fn drawn(&self, groups: &[usize]) -> Vec<f64> {
        groups.iter().filter_map(|group| self.0.get(*group)).flatten().copied().collect()
    }
}

/// A ratio of two percentiles, and where 95 of 100 would lie if the circuits were drawn again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// What was found.
    pub value: f64,
    /// The lower end of its spread.
    pub low: f64,
    /// The upper end of its spread.
    pub high: f64,
}

impl Ratio {
    /// The ratio of percentile `p` of `of` to that of `to`, whose groups go together.
    ///
    /// Groups are drawn with replacement, the same ones for both (the bootstrap of pairs): what a
    /// lucky circuit or a busy moment did to both does not widen the spread. With a single group its
    /// values are drawn.
    pub fn of(of: &Samples, to: &Samples, p: f64) -> Self {
        let value = of.percentile(p) / to.percentile(p);
        let (of, to) = if of.0.len() > 1 { (of.clone(), to.clone()) } else { (single(of), single(to)) };
        let groups = of.0.len().min(to.0.len());
        let mut random = fastrand::Rng::with_seed(SEED);
        let drawn = (0..DRAWS).map(|_| {
            let picked: Vec<_> = (0..groups).map(|_| random.usize(..groups)).collect();
            percentile(of.drawn(&picked), p) / percentile(to.drawn(&picked), p)
        });
        // Where all of one way failed on the circuits that were drawn there is no ratio.
        let drawn: Vec<_> =
            if groups == 0 { Vec::new() } else { drawn.filter(|ratio| !ratio.is_nan()).collect() };
        Self { value, low: percentile(drawn.clone(), 2.5), high: percentile(drawn, 97.5) }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.value, self.low, self.high)
    }
}

/// Each value a group of its own.
fn single(samples: &Samples) -> Samples {
    Samples(samples.0.iter().flatten().map(|value| vec![*value]).collect())
}

fn percentile(mut values: Vec<f64>, p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * p / 100.0).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(groups: &[&[f64]]) -> Samples {
        Samples(groups.iter().map(|group| group.to_vec()).collect())
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut times = Samples::default();
        (1..=100).rev().for_each(|ms| times.time(Duration::from_millis(ms)));
        assert_eq!([50.0, 90.0, 99.0, 100.0].map(|p| times.percentile(p)), [50.0, 90.0, 99.0, 100.0]);
        assert_eq!(samples(&[&[100.0]]).percentile(50.0), 100.0);
        assert!(Samples::default().percentile(50.0).is_nan());
        assert_eq!((times.len(), times.mean()), (100, 50.5));
    }

    #[test]
    fn what_happened_to_both_does_not_widen_a_ratio_and_what_happened_to_one_does() {
        let slow_and_quick = samples(&[&[100.0, 110.0], &[10.0, 11.0], &[50.0, 55.0]]);
        let half = samples(&[&[50.0, 55.0], &[5.0, 5.5], &[25.0, 27.5]]);
        let same = Ratio::of(&half, &slow_and_quick, 50.0);
        assert_eq!((same.value, same.low, same.high), (0.5, 0.5, 0.5));
        let uneven = samples(&[&[50.0, 55.0], &[20.0, 22.0], &[25.0, 27.5]]);
        let ratio = Ratio::of(&uneven, &slow_and_quick, 50.0);
        assert!(ratio.low < ratio.high, "{ratio:?}");
        assert!(ratio.low <= ratio.value && ratio.value <= ratio.high, "{ratio:?}");
    }

    #[test]
    fn a_circuit_on_which_all_failed_widens_nothing() {
        let (own, other) = (samples(&[&[50.0], &[], &[25.0]]), samples(&[&[100.0], &[10.0], &[50.0]]));
        let ratio = Ratio::of(&own, &other, 50.0);
        assert!(ratio.low <= ratio.value && ratio.value <= ratio.high, "{ratio:?}");
    }

    #[test]
    fn a_single_group_is_spread_by_its_values() {
        let ratio = Ratio::of(&samples(&[&[1.0, 2.0, 3.0, 4.0]]), &samples(&[&[2.0, 2.0, 2.0, 2.0]]), 50.0);
        assert!(ratio.low < ratio.high, "{ratio:?}");
    }
}
