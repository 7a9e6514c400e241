//! Changes in words. A percentile is a range, so its change is a number of bins; the tooltip has the range of ratios.

use joey_shared::compare::{Change, Distance, Evidence, QuantileChange, RateChange};
use joey_shared::format;
use joey_shared::histogram::QuantileRange;

use crate::chart::bar_chart::percent_text;
use crate::units;

/// A change as a short text, in two parts: the first is emphasised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeText {
    /// The main part.
    pub main: String,
    /// The other part; may be empty.
    pub aside: String,
    /// The whole story.
    pub tooltip: String,
}

/// The distance of two distributions: `slower`, `37.0 %`. `other` is what they are compared with.
#[must_use]
pub fn distance(change: &Change, other: &str) -> ChangeText {
    let events = format!("{} and {} events", format::count(change.count), format::count(change.reference_count));
    let Some(distance) = change.distance else {
        let tooltip = format!("no events to compare with {other}");
        return ChangeText { main: "–".to_owned(), aside: String::new(), tooltip };
    };
    let (main, reason) = match change.evidence {
        Evidence::Changed if distance.is_slower => ("slower", String::new()),
        Evidence::Changed => ("faster", String::new()),
        Evidence::Chance => ("≈", ". Chance explains a difference of this size".to_owned()),
        Evidence::TooFew => ("few events", ". Too few events to tell".to_owned()),
    };
    let aside = if change.evidence == Evidence::TooFew { String::new() } else { percent_text(distance.share * 100.0) };
    let tooltip = format!("{}{reason} ({events})", below(&distance, other));
    ChangeText { main: main.to_owned(), aside, tooltip }
}

/// `12.0 % are below 16.4 ms, 49.0 % in the baseline`.
fn below(distance: &Distance, other: &str) -> String {
    let [current, reference] =
        [distance.current_below, distance.reference_below].map(|share| percent_text(share * 100.0));
    format!("{current} take less than {}, {reference} in {other}", units::duration(distance.edge_ns).thin())
}

/// How far a percentile moved: `+1 bin`, `×2`. `label` is its name.
#[must_use]
pub fn quantile(change: &QuantileChange, label: &str, other: &str) -> ChangeText {
    let main = match change.bins {
        0 => "same bin".to_owned(),
        1 => "+1 bin".to_owned(),
        -1 => "−1 bin".to_owned(),
        bins if bins < 0 => format!("−{} bins", bins.unsigned_abs()),
        bins => format!("+{bins} bins"),
    };
    let factor = change.nominal_ratio().filter(|_| change.bins != 0);
    let range = |range: QuantileRange| units::range(range).thin();
    let tooltip = format!(
        "{label} is {}, and {} in {other}: {}",
        range(change.current),
        range(change.reference),
        ratio_range(change.ratio)
    );
    ChangeText { main, aside: factor.map(times).unwrap_or_default(), tooltip }
}

/// `between ×1.0 and ×4.0`.
fn ratio_range((low, high): (f64, f64)) -> String {
    match (low, high) {
        (low, high) if high.is_infinite() && low == 0.0 => "any ratio is possible".to_owned(),
        (low, high) if high.is_infinite() => format!("at least {}", times(low)),
        (low, high) if times(low) == times(high) => format!("exactly {}", times(low)),
        (low, high) => format!("between {} and {}", times(low), times(high)),
    }
}

/// A ratio with up to three digits: `×2`, `×1.54`, and `÷8` for an eighth.
#[must_use]
pub fn times(ratio: f64) -> String {
    let (sign, size) = if ratio > 0.0 && ratio < 1.0 { ('÷', 1.0 / ratio) } else { ('×', ratio) };
    if size >= 100.0 {
        return format!("{sign}{}", format::count(size.round() as u128));
    }
    let text = if size >= 10.0 { format!("{size:.1}") } else { format!("{size:.2}") };
    format!("{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The change of a rate: `−19 %`, or `×3.2` for large ones.
#[must_use]
pub fn rate(change: &RateChange, other: &str) -> ChangeText {
    let rate = |rate: f64| format!("{}/s", format::rate(rate).thin());
    let tooltip = format!("the median second has {}, and {} in {other}", rate(change.current), rate(change.reference));
    let main = match change.ratio() {
        None if change.current > 0.0 => "from 0".to_owned(),
        None => "same".to_owned(),
        Some(ratio) if ratio >= 2.0 => times(ratio),
        Some(ratio) => percent_change(ratio),
    };
    ChangeText { main, aside: String::new(), tooltip }
}

/// `+12 %`, `−0.3 %`, or `same`.
fn percent_change(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    let sign = if percent < 0.0 { "−" } else { "+" };
    let size = percent.abs();
    if size == 0.0 {
        "same".to_owned()
    } else if size < 0.1 {
        format!("{sign}<0.1\u{2009}%")
    } else if size < 10.0 {
        format!("{sign}{size:.1}\u{2009}%")
    } else {
        format!("{sign}{size:.0}\u{2009}%")
    }
}

/// Why a comparison is in coarser bins than one of its sides; empty if it is not.
#[must_use]
pub const fn bins_note(is_folded: bool, is_exact: bool) -> &'static str {
    match (is_folded, is_exact) {
        (_, false) => "approximate: the two sides measure in different units, so counts may be in a higher bin",
        (true, _) => "compared in the coarser bins of the two sides",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::compare::Comparison;
    use joey_shared::histogram::{Grid, Histogram, Quantile};

    fn histogram(grid: Grid, counts: &[(u64, u64)]) -> Histogram {
        let mut histogram = Histogram::new(grid);
        counts.iter().for_each(|&(ns, count)| histogram.record_many(ns, count));
        histogram
    }

    fn plain(text: &ChangeText) -> [String; 3] {
        [&text.main, &text.aside, &text.tooltip].map(|part| part.replace(['\u{2009}', '\u{202f}'], " "))
    }

    #[test]
    fn a_distance_says_where_the_difference_is() {
        let before = histogram(Grid::WALLAROO, &[(700, 900), (3_000, 100)]);
        let now = histogram(Grid::WALLAROO, &[(700, 500), (3_000, 500)]);
        let text = |now, before| plain(&distance(&Comparison::new(now, before).change(), "the baseline"));
        assert_eq!(
            text(&now, &before),
            ["slower", "40.0 %", "50.0 % take less than 1.02 µs, 90.0 % in the baseline (1 000 and 1 000 events)"]
        );
        assert_eq!(text(&before, &now)[0], "faster");
        let [main, aside, tooltip] = text(&before, &before);
        assert_eq!((main.as_str(), aside.as_str()), ("≈", "0 %"));
        assert!(tooltip.contains("Chance explains"), "{tooltip}");
        let few = histogram(Grid::WALLAROO, &[(700, 9)]);
        assert_eq!(text(&few, &before)[..2], ["few events", ""]);
        assert_eq!(text(&few, &Histogram::default())[..2], ["–", ""]);
    }

    #[test]
    fn a_percentile_moves_by_bins() {
        let text = |grid, now: u64, before: u64| {
            let [now, before] = [now, before].map(|ns| histogram(grid, &[(ns / 2, 1), (ns, 8), (ns * 2, 1)]));
            let change = Comparison::new(&now, &before).quantile(Quantile::P50).unwrap();
            plain(&quantile(&change, "p50", "the baseline"))
        };
        let [main, aside, tooltip] = text(Grid::WALLAROO, 3_000, 700);
        assert_eq!((main.as_str(), aside.as_str()), ("+2 bins", "×4"));
        assert_eq!(tooltip, "p50 is 2.05–4.10 µs, and 0.512–1.02 µs in the baseline: between ×2 and ×8");
        assert_eq!(text(Grid::WALLAROO, 700, 800)[..2], ["same bin", ""]);
        assert_eq!(text(Grid::WALLAROO, 700, 1_500)[..2], ["−1 bin", "÷2"]);
        assert_eq!(text(Grid::FINEST, 1_600_000, 1_000_000)[..2], ["+5 bins", "×1.54"]);
    }

    #[test]
    fn ratios_have_three_digits() {
        let texts = [0.0, 0.000_2, 0.0625, 0.5, 1.0, 2.0, 3.17, 12.34, 1_024.0].map(times);
        assert_eq!(texts, ["×0", "÷5\u{202f}000", "÷16", "÷2", "×1", "×2", "×3.17", "×12.3", "×1\u{202f}024"]);
        assert_eq!(ratio_range((0.0, f64::INFINITY)), "any ratio is possible");
        assert_eq!(ratio_range((2.0, f64::INFINITY)), "at least ×2");
        assert_eq!(ratio_range((2.0, 2.0)), "exactly ×2");
    }

    #[test]
    fn a_rate_changes_in_percent() {
        let text = |current, reference| plain(&rate(&RateChange { current, reference }, "w-2"))[0].clone();
        assert_eq!(text(81.0, 100.0), "−19 %");
        assert_eq!(text(100.5, 100.0), "+0.5 %");
        assert_eq!(text(100.01, 100.0), "+<0.1 %");
        assert_eq!(text(7.0, 7.0), "same");
        assert_eq!(text(320.0, 100.0), "×3.2");
        assert_eq!([text(5.0, 0.0), text(0.0, 0.0), text(0.0, 5.0)], ["from 0", "same", "−100 %"]);
    }
}
