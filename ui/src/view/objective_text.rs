//! Objectives in words: shares, counts, burn rates and verdicts. Where the threshold cuts a bin, a number is a range.

use joey_shared::format;
use joey_shared::objective::{Budget, Objective, Under, Verdict};
use joey_shared::window::SECONDS_MAX;

use super::format::NO_VALUE;
use crate::objectives::Outcome;
use crate::row_marks::Mark;
use crate::settings::WINDOWS;
use crate::units;

/// Decimals of a percentage, so that what is missing to 100 % keeps two digits.
fn decimals(share: f64) -> usize {
    let missing = 1.0 - share;
    if missing <= 0.0 { 0 } else { (-(missing * 100.0).log10()).ceil().clamp(0.0, 6.0) as usize + 1 }
}

/// `99.31 %`. It never rounds up to 100 %.
fn percent(share: f64) -> String {
    let decimals = decimals(share);
    let scale = 10_f64.powi(decimals as i32);
    // A share of 1 has no decimals, and is exact.
    let cut = (share * 100.0 * scale + 1e-6).floor() / scale;
    format!("{cut:.decimals$}")
}

/// The share of events under the threshold: `99.31–99.87 %`.
pub(super) fn share_text(under: &Under) -> String {
    let Some((low, high)) = under.share() else { return NO_VALUE.to_owned() };
    let (low, high) = (percent(low), percent(high));
    if low == high { format!("{low}\u{2009}%") } else { format!("{low}–{high}\u{2009}%") }
}

/// The number of events over the threshold: `12–15`.
pub(super) fn over_text(under: &Under) -> String {
    let (low, high) = under.over();
    count_range(low, high)
}

fn count_range(low: u128, high: u128) -> String {
    let (low, high) = (format::count(low), format::count(high));
    if low == high { low } else { format!("{low}–{high}") }
}

/// The burn rate: `×0.4–1.2`.
pub(super) fn burn_text(objective: &Objective, under: &Under) -> String {
    let Some((low, high)) = under.burn_rate(objective.quantile()) else { return NO_VALUE.to_owned() };
    let number = |rate: f64| if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") };
    let (low, high) = (number(low), number(high));
    if low == high { format!("×{low}") } else { format!("×{low}–{high}") }
}

/// The target without the views: `p99 < 10 ms over 1m`.
pub(super) fn target_text(objective: &Objective) -> String {
    let text = objective.to_string();
    text.rsplit_once(": ").map_or(text.as_str(), |(_, target)| target).to_owned()
}

/// The verdict in a word.
pub(super) const fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::Undecided => "undecided",
        Verdict::NoData => "no events",
    }
}

/// The length of a window: `1 m`; `selected` for the selected range.
pub(super) fn window_text(seconds: Option<u64>) -> String {
    let Some(seconds) = seconds else { return "selected".to_owned() };
    let known = WINDOWS.iter().find(|&&(length, _)| length == seconds);
    known.map_or_else(|| format!("{seconds} s"), |&(_, text)| text.to_owned())
}

/// The smallest and the largest share of the error budget that is used, from 0; more than 1 if it is exceeded. `None`
/// if nothing is allowed.
pub(super) fn budget_used(budget: &Budget) -> Option<(f64, f64)> {
    let share = |spent: u128| spent as f64 / budget.allowed as f64;
    (budget.allowed > 0).then(|| (share(budget.spent.0), share(budget.spent.1)))
}

/// The budget in words: `36–40 % used, 36–40 of 100 allowed events were over`.
pub(super) fn budget_text(budget: &Budget) -> String {
    let spent = count_range(budget.spent.0, budget.spent.1);
    let allowed = format::count(budget.allowed);
    let Some((low, high)) = budget_used(budget) else {
        return format!("no event may be over; {spent} were");
    };
    let number = |share: f64| format!("{:.0}", (share * 100.0).ceil());
    let (low, high) = (number(low), number(high));
    let used = if low == high { low } else { format!("{low}–{high}") };
    format!("{used}\u{2009}% used, {spent} of {allowed} allowed events were over")
}

/// The mark of a row whose objective was missed, or may have been; the worst of `outcomes`.
pub(super) fn objective_mark(outcomes: &[(Objective, Outcome)]) -> Option<Mark> {
    let find = |verdict| outcomes.iter().find(move |(_, outcome)| outcome.verdict == verdict);
    let (objective, outcome) = find(Verdict::Missed).or_else(|| find(Verdict::Undecided))?;
    let Under { total, .. } = outcome.under;
    let tooltip = format!(
        "{objective}: {} of {} events take less than {}",
        share_text(&outcome.under),
        format::count(total),
        units::duration(objective.threshold_ns().into()).thin()
    );
    let (kind, word) = match outcome.verdict {
        Verdict::Missed => ("missed", "misses"),
        _ => ("undecided", "may miss"),
    };
    let text = target_text(objective);
    let text = text.split_once(" over ").map_or(text.as_str(), |(target, _)| target);
    Some(Mark { kind, text: format!("{word} {text}"), tooltip })
}

const _: () = assert!(SECONDS_MAX == 3_600, "the error budget is over the longest window, an hour");

#[cfg(test)]
mod tests {
    use super::*;

    fn under(low: u128, high: u128, total: u128) -> Under {
        Under { low, high, total }
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(share_text(&under(100, 100, 100)), "100\u{2009}%");
        assert_eq!(share_text(&under(999_999, 999_999, 1_000_000)), "99.99990\u{2009}%");
        assert_eq!(share_text(&under(9_931, 9_987, 10_000)), "99.31–99.87\u{2009}%");
        assert_eq!(share_text(&under(0, 1, 2)), "0.0–50.0\u{2009}%");
        assert_eq!(share_text(&Under::default()), "–");
        assert_eq!(over_text(&under(9_985, 9_988, 10_000)), "12–15");
    }

    #[test]
    fn budget_and_burn_rate_are_ranges_where_a_bin_is_cut() {
        let objective: Objective = "*: p99 < 10ms over 1m".parse().unwrap();
        let outcome = under(9_960, 9_964, 10_000);
        assert_eq!(burn_text(&objective, &outcome), "×0.4");
        let budget = outcome.budget(objective.quantile());
        assert_eq!(budget_text(&budget), "36–40\u{2009}% used, 36–40 of 100 allowed events were over");
        let spent = under(9_800, 9_800, 10_000).budget(objective.quantile());
        assert_eq!(budget_text(&spent), "200\u{2009}% used, 200 of 100 allowed events were over");
        let none = under(3, 3, 4).budget(objective.quantile());
        assert_eq!(budget_text(&none), "no event may be over; 1 were");
    }

    #[test]
    fn a_row_has_the_mark_of_its_worst_objective() {
        let objective = |text: &str| text.parse::<Objective>().unwrap();
        let with = |text, verdict| (objective(text), Outcome { objective: 0, verdict, under: under(90, 95, 100) });
        let met = with("*: p50 < 1s over 1m", Verdict::Met);
        let undecided = with("*: p95 < 20ms over 1m", Verdict::Undecided);
        let missed = with("*: p99 < 10ms over 1m", Verdict::Missed);
        assert_eq!(objective_mark(std::slice::from_ref(&met)), None);
        let mark = objective_mark(&[met.clone(), undecided.clone()]).unwrap();
        assert_eq!((mark.kind, mark.text.as_str()), ("undecided", "may miss p95 < 20ms"));
        let mark = objective_mark(&[undecided, missed, met]).unwrap();
        assert_eq!((mark.kind, mark.text.as_str()), ("missed", "misses p99 < 10ms"));
        assert_eq!(
            mark.tooltip,
            "*: p99 < 10ms over 1m: 90.0–95.0\u{2009}% of 100 events take less than 10.0\u{2009}ms"
        );
    }
}
