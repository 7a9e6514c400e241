//! Several runs of one thing as figures: the least, the middle, a percentile.

/// What several runs gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// One more run.
    pub(crate) fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The least: what others on the machine disturbed least.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The value below which `share` of `values` lie, in their own unit.
pub(crate) fn percentile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).map_or(f64::NAN, |&value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_median_and_percentile_are_values_that_occurred() {
        let mut runs = Runs::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|figure| runs.add(figure));
        assert_eq!((runs.least(), runs.median()), (1.0, 2.0));
        assert_eq!(percentile(&mut (1..=100).rev().collect::<Vec<u64>>(), 0.99), 99.0);
    }
}
