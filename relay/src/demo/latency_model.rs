//! Realistic latencies: mixtures of log-normal distributions, sampled directly into bins.

use fastrand::Rng;
use joey_shared::histogram::{Grid, Histogram};

/// The range around a median that is sampled, in standard deviations. One event in a million is outside.
const SIGMAS: f64 = 5.0;

/// A group of events whose durations are log-normally distributed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// The share of all events.
    pub(super) share: f64,
    /// The median duration in ns.
    pub(super) median_ns: f64,
    /// The standard deviation of the natural logarithm of the duration.
    pub(super) sigma: f64,
}

/// Samples about `events` durations from `modes`, each multiplied by `slowdown`, into the bins of `grid`.
pub(super) fn sample(grid: Grid, modes: &[Mode], events: f64, slowdown: f64, rng: &mut Rng) -> Histogram {
    let mut histogram = Histogram::new(grid);
    for mode in modes {
        let median_ns = mode.median_ns * slowdown;
        let cdf = |ns: f64| normal_cdf((ns.max(0.5) / median_ns).ln() / mode.sigma);
        let [first, last] =
            [-SIGMAS, SIGMAS].map(|sigmas| grid.bin_of((median_ns * (sigmas * mode.sigma).exp()) as u64));
        for bin in first..=last {
            let expected = events * mode.share * (cdf(grid.high(bin) as f64) - cdf(grid.low(bin) as f64));
            histogram.add(bin, poisson(expected, rng));
        }
    }
    let lowest = histogram.occupied().next().map(|(bin, _)| bin);
    let highest = histogram.occupied().last().map(|(bin, _)| bin);
    if let (Some(lowest), Some(highest)) = (lowest, highest) {
        let [a, b] = [lowest, highest].map(|bin| duration_in(grid, bin, rng));
        (histogram.min_ns, histogram.max_ns) = (a.min(b), a.max(b));
    }
    histogram
}

/// A histogram of about `events` events without durations.
pub(super) fn count_only(events: f64, rng: &mut Rng) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.add(0, poisson(events, rng));
    if !histogram.is_empty() {
        (histogram.min_ns, histogram.max_ns) = (0, 0);
    }
    histogram
}

/// A random duration within `bin`.
fn duration_in(grid: Grid, bin: usize, rng: &mut Rng) -> u64 {
    let last = u64::try_from(grid.high(bin) - 1).unwrap_or(u64::MAX);
    rng.u64(grid.low(bin)..=last)
}

/// The cumulative standard normal distribution, by Page's approximation (1977), with an error below 0.0002.
fn normal_cdf(x: f64) -> f64 {
    1.0 / (1.0 + (-1.5976 * x - 0.070_565_992 * x.powi(3)).exp())
}

/// A Poisson-distributed number: Knuth's algorithm for small means, a rounded normal distribution for large ones.
pub(super) fn poisson(mean: f64, rng: &mut Rng) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    if mean > 40.0 {
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        return (mean + normal * mean.sqrt()).round().max(0.0) as u64;
    }
    let (limit, mut product, mut number) = ((-mean).exp(), rng.f64(), 0);
    while product > limit {
        product *= rng.f64();
        number += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::histogram::Quantile;

    #[test]
    fn a_sample_has_the_requested_median_and_size() {
        let mode = Mode { share: 1.0, median_ns: 100_000.0, sigma: 0.5 };
        let histogram = sample(Grid::FINEST, &[mode], 10_000.0, 1.0, &mut Rng::with_seed(1));
        let count = histogram.count();
        assert!((9_000..11_000).contains(&count), "{count}");
        let median = histogram.quantile(Quantile::P50).unwrap();
        assert!(median.low <= 105_000 && 95_000 <= median.high, "{median:?}");
        assert!(histogram.min_ns < histogram.max_ns);
    }
}
