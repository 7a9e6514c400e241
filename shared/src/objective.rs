//! Latency objectives: which share of the events of a view must be faster than a threshold, and whether it was.
//!
//! An objective as text is `VIEWS: PERCENTILE < THRESHOLD over WINDOW`, for example `start-to-end/*: p99 < 10ms
//! over 1m`: in every minute, at least 99 % of the events of each pipeline take less than 10 ms. The page and the
//! command line use the same text.
//!
//! A histogram knows the bin of a duration, not the duration. Where the threshold is inside a bin, the number of events
//! under it is a range, and the verdict may be [`Verdict::Undecided`]. Nothing is interpolated.

mod text;

use alloc::string::String;

use crate::histogram::{Histogram, Quantile};
use crate::view::ViewKey;

pub use self::text::{ObjectiveError, parse_list, parse_percentile, parse_threshold, threshold_text};

/// An objective for the views of one application.
///
/// ```
/// use joey_shared::histogram::Histogram;
/// use joey_shared::objective::{Objective, Verdict};
///
/// let objective: Objective = "start-to-end/*: p99 < 10ms over 1m".parse()?;
/// assert_eq!(objective.to_string(), "start-to-end/*: p99 < 10ms over 1m");
/// let mut histogram = Histogram::default();
/// histogram.record_many(1_000_000, 99);
/// histogram.record(50_000_000);
/// assert_eq!(objective.evaluate(&histogram), Verdict::Met);
/// # Ok::<(), joey_shared::objective::ObjectiveError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Which views it is for: a glob over [`view_path`].
    views: String,
    /// The share of events that must be faster than the threshold.
    quantile: Quantile,
    threshold_ns: u64,
    window_seconds: u64,
}

/// The outcome of an objective in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough events are certainly under the threshold.
    Met,
    /// Too few events can be under the threshold.
    Missed,
    /// The threshold cuts a bin, and the outcome depends on how its events are distributed.
    Undecided,
    /// There were no events.
    NoData,
}

/// The number of events under a threshold, as a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Under {
    /// The events that are certainly under it.
    pub low: u128,
    /// The events that can be under it, at least `low`.
    pub high: u128,
    /// All events, at least `high`.
    pub total: u128,
}

/// How many events may miss the threshold, and how many did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The events that may miss it.
    pub allowed: u128,
    /// The smallest and the largest number of events that missed it.
    pub spent: (u128, u128),
    /// All events.
    pub total: u128,
}

impl Under {
    /// Counts the events of `histogram` that are shorter than `threshold_ns`. `low` and `high` differ only if
    /// a bin is cut.
    #[must_use]
    pub fn of(histogram: &Histogram, threshold_ns: u64) -> Self {
        let mut under = Self::default();
        let threshold = u128::from(threshold_ns);
        for (bin, count) in histogram.occupied() {
            let (range, count) = (histogram.range_of(bin), u128::from(count));
            under.total += count;
            // A recorded maximum is part of its range; other upper bounds are not.
            let is_inclusive = range.high < histogram.grid().high(bin);
            let are_all_under = if is_inclusive { range.high < threshold } else { range.high <= threshold };
            under.low += if are_all_under { count } else { 0 };
            under.high += if u128::from(range.low) < threshold { count } else { 0 };
        }
        under
    }

    /// The smallest and the largest number of events at or over the threshold.
    #[must_use]
    pub const fn over(&self) -> (u128, u128) {
        (self.total - self.high, self.total - self.low)
    }

    /// The smallest and the largest share of events under the threshold, 0 to 1; `None` without events.
    #[must_use]
    pub fn share(&self) -> Option<(f64, f64)> {
        let share = |count: u128| count as f64 / self.total as f64;
        (self.total > 0).then(|| (share(self.low), share(self.high)))
    }

    /// Whether the share `quantile` of the events is under the threshold: the value of its rank is.
    #[must_use]
    pub const fn verdict(&self, quantile: Quantile) -> Verdict {
        let rank = quantile.rank(self.total);
        match self.total {
            0 => Verdict::NoData,
            _ if self.low >= rank => Verdict::Met,
            _ if self.high < rank => Verdict::Missed,
            _ => Verdict::Undecided,
        }
    }

    /// The error budget for the share `quantile`.
    #[must_use]
    pub const fn budget(&self, quantile: Quantile) -> Budget {
        let allowed = self.total.saturating_sub(quantile.rank(self.total));
        Budget { allowed, spent: self.over(), total: self.total }
    }

    /// The smallest and the largest burn rate for the share `quantile`: the share over the threshold as a
    /// multiple of the share that may be. 1 spends exactly the budget. `None` without events, or if no event
    /// may be over the threshold.
    #[must_use]
    pub fn burn_rate(&self, quantile: Quantile) -> Option<(f64, f64)> {
        let allowed = 1_000_000 - quantile.millionths();
        let expected = self.total as f64 * f64::from(allowed) / 1e6;
        let rate = |over: u128| over as f64 / expected;
        (self.total > 0 && allowed > 0).then(|| (rate(self.over().0), rate(self.over().1)))
    }
}

impl Budget {
    /// The smallest and the largest number of events that may still miss the threshold. Negative if too many did.
    #[must_use]
    pub fn left(&self) -> (i128, i128) {
        // A histogram has at most 513 * u64::MAX events.
        let left = |spent: u128| self.allowed as i128 - spent as i128;
        (left(self.spent.1), left(self.spent.0))
    }
}

impl Objective {
    /// Its glob over [`view_path`].
    #[must_use]
    pub fn views(&self) -> &str {
        &self.views
    }

    /// The share of events that must be under the threshold.
    #[must_use]
    pub const fn quantile(&self) -> Quantile {
        self.quantile
    }

    /// The threshold in ns, at least 1.
    #[must_use]
    pub const fn threshold_ns(&self) -> u64 {
        self.threshold_ns
    }

    /// Length of the window in seconds, `1..=`[`SECONDS_MAX`](crate::window::SECONDS_MAX).
    #[must_use]
    pub const fn window_seconds(&self) -> u64 {
        self.window_seconds
    }

    /// Whether it is for `view`. Views without latencies have no objectives.
    #[must_use]
    pub fn matches(&self, view: &ViewKey) -> bool {
        view.kind.has_latency() && glob_matches(&self.views, &view_path(view))
    }

    /// Its verdict over a window with these latencies.
    #[must_use]
    pub fn evaluate(&self, histogram: &Histogram) -> Verdict {
        Under::of(histogram, self.threshold_ns).verdict(self.quantile)
    }
}

/// The text that objectives match: the kind of the view, and its pipeline, worker and name as far as it has them,
/// separated by `/`, as in `computation-by-worker/Orders/w1/Check`.
#[must_use]
pub fn view_path(view: &ViewKey) -> String {
    let mut path = String::from(view.kind.as_str());
    for part in [&view.pipeline, &view.worker, &view.name].into_iter().flatten() {
        path.push('/');
        path.push_str(part);
    }
    path
}

/// Whether `text` has the form of `glob`: `*` is any text, also with `/`, and `?` is any character.
#[must_use]
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    // After the last `*`: the rest of the glob, and the text that it was compared with.
    let mut retry = None;
    loop {
        let before = text.clone();
        match (glob.next(), text.next()) {
            (Some('*'), _) => {
                retry = Some((glob.clone(), before.clone()));
                text = before;
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {}
            _ => {
                // Let the last `*` match one more character.
                let Some((glob_rest, text_rest)) = &mut retry else { return false };
                if text_rest.next().is_none() {
                    return false;
                }
                (glob, text) = (glob_rest.clone(), text_rest.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
