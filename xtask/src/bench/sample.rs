//! What was measured, circuit by circuit, and how sure one can be of a ratio.

use std::time::Duration;

/// How often a ratio is drawn again to see how far it spreads.
const DRAWS: usize = 2000;
/// With fewer groups too few different ones can be drawn to tell anything.
const DRAWN_OF: usize = 5;
/// With fewer values the slowest in a hundred is the slowest.
const ENOUGH: usize = 100;
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

    /// The percentile that tells of the slowest in a hundred, and what it is called: of fewer values the greatest.
    pub fn tail(&self) -> (f64, String) {
        if self.len() < ENOUGH { (100.0, format!("max of {}", self.len())) } else { (99.0, "p99".to_owned()) }
    }

    /// All values in order, each with its group.
    fn in_order(&self) -> Vec<(f64, usize)> {
        let groups = self.0.iter().enumerate();
        let mut all: Vec<_> =
            groups.flat_map(|(group, values)| values.iter().map(move |value| (*value, group))).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        all
    }
}

/// A ratio of two percentiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// What was found.
    pub value: f64,
    /// Where 95 of 100 would lie if the circuits were drawn again; of a few circuits the least and the greatest ratio,
    /// of one or of all.
    pub spread: Option<[f64; 2]>,
}

impl Ratio {
    /// The ratio of percentile `p` of `of` to that of `to`, whose groups go together.
    ///
    /// Groups are drawn with replacement, the same ones for both (the bootstrap of pairs): what a
    /// lucky circuit or a busy moment did to both does not widen the spread. With a single group its
    /// values are drawn. Of a few groups there is no telling how others would be, so these are told.
    pub fn of(of: &Samples, to: &Samples, p: f64) -> Self {
        let value = of.percentile(p) / to.percentile(p);
        if (2..DRAWN_OF).contains(&of.0.len()) {
            let ratio =
                |(of, to): (&Vec<f64>, &Vec<f64>)| percentile(of.clone(), p) / percentile(to.clone(), p);
            let own: Vec<_> = of.0.iter().zip(&to.0).map(ratio).filter(|ratio| !ratio.is_nan()).collect();
            let spread = (own.len() > 1)
                .then(|| [f64::min, f64::max].map(|other| own.iter().copied().fold(value, other)));
            return Self { value, spread };
        }
        let (of, to) = if of.0.len() > 1 { (of.clone(), to.clone()) } else { (single(of), single(to)) };
        let groups = of.0.len().min(to.0.len());
        if groups < DRAWN_OF {
            return Self { value, spread: None };
        }
        let mut random = fastrand::Rng::with_seed(SEED);
        let (of, to) = (of.in_order(), to.in_order());
        let drawn = (0..DRAWS).map(|_| {
            let mut times = vec![0; groups];
            (0..groups).for_each(|_| times[random.usize(..groups)] += 1);
            drawn(&of, &times, p) / drawn(&to, &times, p)
        });
        // Where all of one way failed on the circuits that were drawn there is no ratio.
        let drawn: Vec<_> = drawn.filter(|ratio| !ratio.is_nan()).collect();
        Self { value, spread: Some([2.5, 97.5].map(|p| percentile(drawn.clone(), p))) }
    }
}

/// The percentile by nearest rank if each group is there so many times.
fn drawn(in_order: &[(f64, usize)], times: &[usize], p: f64) -> f64 {
    let times = |group: &usize| times.get(*group).copied().unwrap_or(0);
    let rank = rank(in_order.iter().map(|(_, group)| times(group)).sum(), p);
    let mut seen = 0;
    let at_rank = in_order.iter().find(|(_, group)| {
        seen += times(group);
        seen >= rank
    });
    at_rank.map_or(f64::NAN, |(value, _)| *value)
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.value)?;
        self.spread.map_or(Ok(()), |[low, high]| write!(f, " ({low:.2}–{high:.2})"))
    }
}

/// Each value a group of its own.
fn single(samples: &Samples) -> Samples {
    Samples(samples.0.iter().flatten().map(|value| vec![*value]).collect())
}

fn percentile(mut values: Vec<f64>, p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(rank(values.len(), p) - 1).copied().unwrap_or(f64::NAN)
}

/// The nearest rank of a percentile, from 1.
fn rank(values: usize, p: f64) -> usize {
    (values as f64 * p / 100.0).ceil().max(1.0) as usize
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
        let slow_and_quick = samples(&[&[100.0, 110.0], &[10.0, 11.0], &[50.0, 55.0], &[20.0], &[30.0]]);
        let half = samples(&[&[50.0, 55.0], &[5.0, 5.5], &[25.0, 27.5], &[10.0], &[15.0]]);
        let same = Ratio::of(&half, &slow_and_quick, 50.0);
        assert_eq!((same.value, same.spread), (0.5, Some([0.5, 0.5])));
        let uneven = samples(&[&[50.0, 55.0], &[20.0, 22.0], &[25.0, 27.5], &[10.0], &[15.0]]);
        let ratio = Ratio::of(&uneven, &slow_and_quick, 50.0);
        assert!(is_spread(ratio), "{ratio:?}");
    }

    #[test]
    fn a_circuit_on_which_all_failed_widens_nothing() {
        let own = samples(&[&[50.0], &[], &[25.0], &[30.0], &[40.0]]);
        let other = samples(&[&[100.0], &[10.0], &[50.0], &[60.0], &[80.0]]);
        let ratio = Ratio::of(&own, &other, 50.0);
        assert!(is_spread(ratio), "{ratio:?}");
    }

    #[test]
    fn a_single_group_is_spread_by_its_values_if_they_are_enough() {
        let (own, other) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0; 5]);
        let ratio = Ratio::of(&samples(&[&own]), &samples(&[&other]), 50.0);
        assert!(is_spread(ratio), "{ratio:?}");
        let few = Ratio::of(&samples(&[&own[1..]]), &samples(&[&other[1..]]), 50.0);
        assert_eq!((few.spread, few.to_string().as_str()), (None, "1.50"));
    }

    #[test]
    fn of_a_few_circuits_the_least_and_the_greatest_ratio_are_told() {
        let own = samples(&[&[1.0, 2.0], &[3.0, 4.0], &[]]);
        let other = samples(&[&[2.0, 2.0], &[2.0, 2.0], &[2.0, 2.0]]);
        assert_eq!(Ratio::of(&own, &other, 50.0).to_string(), "1.00 (0.50–1.50)");
        let (own, other) = (samples(&[&[4.0, 4.0], &[9.0, 9.0]]), samples(&[&[4.0, 9.0], &[9.0, 9.0]]));
        assert_eq!(Ratio::of(&own, &other, 50.0).to_string(), "0.44 (0.44–1.00)", "of all it is neither's");
        let one = Ratio::of(&samples(&[&[1.0], &[]]), &samples(&[&[2.0], &[2.0]]), 50.0);
        assert_eq!(one.to_string(), "0.50", "the other circuit had none");
    }

    #[test]
    fn of_few_values_the_slowest_is_told() {
        let mut times = samples(&[&[7.0; 99]]);
        assert_eq!(times.tail(), (100.0, "max of 99".to_owned()));
        times.push(8.0);
        assert_eq!(times.tail(), (99.0, "p99".to_owned()));
    }

    #[test]
    fn groups_that_are_drawn_twice_count_twice() {
        let in_order = samples(&[&[1.0, 4.0], &[2.0], &[3.0]]).in_order();
        assert_eq!(drawn(&in_order, &[2, 0, 1], 50.0), 3.0, "of 1 1 3 4 4");
        assert_eq!(drawn(&in_order, &[0, 0, 0], 50.0).to_bits(), f64::NAN.to_bits());
    }

    fn is_spread(ratio: Ratio) -> bool {
        ratio.spread.is_some_and(|[low, high]| low < high && low <= ratio.value && ratio.value <= high)
    }
}
