//! The conditions of `--fail-if`: by how much a percentile or the throughput of a view may change.
//!
//! A condition on a percentile holds only if the latencies differ beyond chance. A percentile is a bin, so its change is that of
//! the middles of the two bins: none if it stays in its bin, and at least a factor of two with Wallaroo's bins.

use joey_shared::compare::{Comparison, Evidence, RateChange, ViewChange};
use joey_shared::histogram::Quantile;
use joey_shared::objective::{glob_matches, parse_percentile, view_path};
use serde_json::{Value, json};

/// Maximum number of views that the line on standard error names.
const NAMED_MAX: usize = 3;

/// A condition, such as `p99 > +10%` or `start-to-end/*: throughput < -20%`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    /// Which views it is for: a glob over their paths.
    views: Option<String>,
    metric: Metric,
    /// Whether an increase beyond the bound fails, or a decrease.
    is_increase: bool,
    /// The ratio of after to before at the bound.
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Percentile(Quantile),
    Throughput,
}

/// What a condition found out about one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The condition holds: the comparison fails.
    Violated,
    /// It does not.
    Kept,
    /// One side has no or too few events.
    NoData,
}

/// What a condition found out about all views.
pub(super) struct Findings {
    pub(super) text: String,
    violated: Vec<String>,
    kept: usize,
    no_data: usize,
}

/// Parses `[VIEWS:] METRIC >|< [+|-]NUMBER%`.
pub(crate) fn parse_condition(text: &str) -> Result<Condition, String> {
    let form = || "it must be like 'p99 > +10%', 'throughput < -20%' or 'start-to-end/*: p99.9 > +50%'".to_owned();
    // Names may contain `:`; what follows the views does not.
    let (views, rest) = match text.rsplit_once(':') {
        Some((views, rest)) if !views.trim().is_empty() => (Some(views.trim().to_owned()), rest),
        Some(_) => return Err(form()),
        None => (None, text),
    };
    let at = rest.find(['<', '>']).ok_or_else(form)?;
    let (metric, bound) = rest.split_at(at);
    let (is_increase, bound) = (bound.starts_with('>'), bound.get(1..).unwrap_or_default());
    let metric = match metric.trim() {
        "throughput" => Metric::Throughput,
        percentile => Metric::Percentile(parse_percentile(percentile).ok_or_else(form)?),
    };
    let percent = bound.trim().strip_suffix('%').map(str::trim).ok_or_else(form)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let digits = percent.strip_prefix(['+', '-']).unwrap_or(percent);
    let number: f64 = digits.parse().ok().filter(|_| is_number(digits)).ok_or_else(form)?;
    let percent = if percent.starts_with('-') { -number } else { number };
    if percent <= -100.0 {
        return Err("a decrease is less than 100 %".to_owned());
    }
    Ok(Condition { text: text.trim().to_owned(), views, metric, is_increase, bound: 1.0 + percent / 100.0 })
}

impl Condition {
    /// Judges all views that it is for. Those that only one side has are not judged.
    pub(super) fn findings(&self, views: &[ViewChange]) -> Findings {
        let mut findings = Findings { text: self.text.clone(), violated: Vec::new(), kept: 0, no_data: 0 };
        for view in views {
            let path = view_path(&view.key);
            if self.views.as_ref().is_some_and(|glob| !glob_matches(glob, &path)) {
                continue;
            }
            match self.judge(view) {
                Finding::Violated => findings.violated.push(path),
                Finding::Kept => findings.kept += 1,
                Finding::NoData => findings.no_data += 1,
            }
        }
        findings
    }

    fn judge(&self, view: &ViewChange) -> Finding {
        let Some((current, reference)) = view.current.as_ref().zip(view.reference.as_ref()) else {
            return Finding::NoData;
        };
        let ratio = match self.metric {
            Metric::Throughput => {
                RateChange::between(current.throughput, reference.throughput).and_then(|change| change.ratio())
            }
            Metric::Percentile(quantile) => {
                match view.change.as_ref().map(|change| change.evidence) {
                    None | Some(Evidence::TooFew) => return Finding::NoData,
                    Some(Evidence::Chance) => return Finding::Kept,
                    Some(Evidence::Changed) => {}
                }
                let comparison = Comparison::new(&current.histogram, &reference.histogram);
                // A bin of zero has no middle; then only what is certain counts.
                comparison.quantile(quantile).map(|change| match change.nominal_ratio() {
                    Some(ratio) => ratio,
                    None if change.bins == 0 => 1.0,
                    None if self.is_increase => change.ratio.0,
                    None => change.ratio.1,
                })
            }
        };
        let is_beyond = |ratio: f64| if self.is_increase { ratio > self.bound } else { ratio < self.bound };
        match ratio {
            None => Finding::NoData,
            Some(ratio) if is_beyond(ratio) => Finding::Violated,
            Some(_) => Finding::Kept,
        }
    }
}

impl Findings {
    /// Number of views that could be judged.
    pub(super) const fn judged(&self) -> usize {
        self.violated.len() + self.kept
    }

    /// One line for the user if the condition holds.
    pub(super) fn line(&self) -> Option<String> {
        let named = self.violated.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = match self.violated.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!self.violated.is_empty()).then(|| format!("{}: {}{more}", self.text, super::printable(&named)))
    }

    pub(super) fn as_json(&self) -> Value {
        json!({"condition": self.text, "violated": self.violated, "kept": self.kept, "no_data": self.no_data})
    }
}

#[cfg(test)]
mod tests {
    use joey_shared::compare::ViewSide;
    use joey_shared::histogram::{Grid, Histogram, Unit};
    use joey_shared::view::ViewKey;
    use joey_shared::window::Throughput;

    use super::*;

    /// A view with `count` events of a duration on each side.
    fn view(before: (u64, u64), after: (u64, u64), rates: (f64, f64)) -> ViewChange {
        let side = |(ns, count), rate| {
            let mut histogram = Histogram::new(Grid::new(3, Unit::Nanoseconds).expect("a grid"));
            histogram.record_many(ns, count);
            ViewSide { histogram, throughput: Some(Throughput { min: rate, median: rate, max: rate }) }
        };
        let (reference, current) = (side(before, rates.0), side(after, rates.1));
        let change = Some(Comparison::new(&current.histogram, &reference.histogram).change());
        ViewChange { key: ViewKey::computation("Check"), current: Some(current), reference: Some(reference), change }
    }

    fn check(condition: &str, view: &ViewChange, expected: Finding) {
        assert_eq!(parse_condition(condition).expect(condition).judge(view), expected, "{condition}");
    }

    #[test]
    fn a_percentile_beyond_the_bound_is_found_and_one_within_it_is_not() {
        let doubled = view((1_000_000, 10_000), (2_000_000, 10_000), (10.0, 10.0));
        check("p99 > +10%", &doubled, Finding::Violated);
        check("p99 > 99.9%", &doubled, Finding::Violated);
        check("p99 > +101%", &doubled, Finding::Kept);
        check("p99 < -10%", &doubled, Finding::Kept);
        let halved = view((2_000_000, 10_000), (1_000_000, 10_000), (10.0, 10.0));
        check("p50 < -40%", &halved, Finding::Violated);
        check("p50 > +0%", &halved, Finding::Kept);
    }

    #[test]
    fn chance_and_too_few_events_are_no_violation() {
        check("p99 > +10%", &view((1_000, 10_000), (1_000, 9_000), (1.0, 1.0)), Finding::Kept);
        check("p99 > +10%", &view((1_000, 99), (9_000_000, 10_000), (1.0, 1.0)), Finding::NoData);
    }

    #[test]
    fn throughput_is_that_of_the_median_second() {
        let dropped = view((1_000, 500), (1_000, 500), (100.0, 70.0));
        check("throughput < -20%", &dropped, Finding::Violated);
        check("throughput < -40%", &dropped, Finding::Kept);
        check("throughput > +0%", &dropped, Finding::Kept);
    }

    #[test]
    fn conditions_are_for_the_views_of_their_glob() {
        let views = [view((1_000, 1_000), (9_000, 1_000), (1.0, 1.0))];
        let judged = |text: &str| parse_condition(text).expect(text).findings(&views);
        assert_eq!(
            judged("computation/*: p99 > +10%").line().as_deref(),
            Some("computation/*: p99 > +10%: computation/Check")
        );
        assert_eq!(judged("start-to-end/*: p99 > +10%").judged(), 0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "p99",
            "p99 > 10",
            "p99 = +10%",
            "p101 > +10%",
            "count > +10%",
            "p99 > +-10%",
            ": p99 > 1%",
            "p99 > inf%",
            "p99 < -100%",
            "p99 > %",
        ] {
            assert!(parse_condition(text).is_err(), "{text}");
        }
    }
}
