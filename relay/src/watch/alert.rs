//! When a requirement counts as missed and as met again. Hold times keep a value near its threshold from flapping.

use joey_shared::objective::Verdict;

/// How long a verdict must last, in seconds, until it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holds {
    pub(crate) missed: u64,
    pub(crate) met: u64,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The requirement is missed.
    Missed,
    /// It was missed and is met again.
    Met,
}

/// The state of one requirement in one view.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alert {
    /// When it began to be missed, in ns since the Unix epoch, while it counts as missed.
    pub(crate) active_since_ns: Option<u64>,
    missed_since_ns: Option<u64>,
    met_since_ns: Option<u64>,
}

impl Alert {
    /// Takes a verdict at `now_ns`. A verdict other than met or missed leaves the state and interrupts the hold times.
    pub(crate) fn update(&mut self, verdict: Verdict, now_ns: u64, holds: Holds) -> Option<Change> {
        let keep = |is_same: bool, since: Option<u64>| is_same.then(|| since.unwrap_or(now_ns));
        self.missed_since_ns = keep(verdict == Verdict::Missed, self.missed_since_ns);
        self.met_since_ns = keep(verdict == Verdict::Met, self.met_since_ns);
        let has_lasted =
            |since: u64, seconds: u64| now_ns.saturating_sub(since) >= seconds.saturating_mul(1_000_000_000);
        match (self.active_since_ns, self.missed_since_ns, self.met_since_ns) {
            (None, Some(since), _) if has_lasted(since, holds.missed) => {
                self.active_since_ns = Some(since);
                Some(Change::Missed)
            }
            (Some(_), _, Some(since)) if has_lasted(since, holds.met) => {
                self.active_since_ns = None;
                Some(Change::Met)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// Takes one verdict each second (`x` missed, `.` met, `?` undecided, `-` no data) and returns the changes with their second.
    fn changes(verdicts: &str, missed: u64, met: u64) -> Vec<(u64, Change)> {
        let mut alert = Alert::default();
        let verdict = |letter| match letter {
            'x' => Verdict::Missed,
            '.' => Verdict::Met,
            '?' => Verdict::Undecided,
            _ => Verdict::NoData,
        };
        let holds = Holds { missed, met };
        let each = (0..).zip(verdicts.chars());
        each.filter_map(|(at, letter)| Some((at, alert.update(verdict(letter), at * S, holds)?))).collect()
    }

    #[test]
    fn without_hold_times_each_change_counts_once() {
        assert_eq!(changes("..xx..", 0, 0), [(2, Change::Missed), (4, Change::Met)]);
        assert_eq!(changes("....", 0, 0), []);
    }

    #[test]
    fn a_flapping_value_changes_nothing_until_it_lasts() {
        assert_eq!(changes("x.x.x.x.", 2, 2), []);
        assert_eq!(changes("xxx.x.x....", 2, 3), [(2, Change::Missed), (10, Change::Met)]);
    }

    #[test]
    fn no_data_and_undecided_neither_start_nor_end_an_alert() {
        assert_eq!(changes("x-x-x-", 1, 0), []);
        assert_eq!(changes("x----", 0, 0), [(0, Change::Missed)]);
        assert_eq!(changes("x.?.?..", 0, 1), [(0, Change::Missed), (6, Change::Met)]);
    }
}
