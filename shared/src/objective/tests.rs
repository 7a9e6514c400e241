//! Tests of objectives: the text, and the counts against raw values.

use super::text::parse_threshold;
use super::*;
use crate::histogram::{Grid, SCALE_MAX, Unit};
use crate::window::SECONDS_MAX;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

/// `text` is an objective that is printed as `expected`.
fn check(text: &str, expected: &str) {
    assert_eq!(text.parse::<Objective>().map(|objective| objective.to_string()).as_deref(), Ok(expected));
}

#[test]
fn an_objective_is_printed_in_its_shortest_form() {
    check("start-to-end/*: p99 < 10ms over 1m", "start-to-end/*: p99 < 10ms over 1m");
    check("  a:p99.90<1500 us over 3600s ", "a: p99.9 < 1.5ms over 1h");
    check("computation/a: b: p50 < 0.000001s over 90s", "computation/a: b: p50 < 1us over 90s");
    check("a: p99.9999 < 1.234567891s over 5m", "a: p99.9999 < 1.234567891s over 5m");
    check("a: p1 < 2µs over 1s", "a: p1 < 2us over 1s");
}

#[test]
fn an_invalid_part_is_named() {
    use ObjectiveError::{Form, Percentile, Threshold, Views, Window};
    for (text, error) in [
        ("", Form),
        ("p99 < 10ms over 1m", Form),
        ("a: p99 10ms over 1m", Form),
        ("a: p99 < 10ms", Form),
        (": p99 < 10ms over 1m", Views),
        ("a\tb: p99 < 10ms over 1m", Views),
        ("a: 99 < 10ms over 1m", Percentile),
        ("a: p0 < 10ms over 1m", Percentile),
        ("a: p100 < 10ms over 1m", Percentile),
        ("a: p99.99999 < 10ms over 1m", Percentile),
        ("a: p99 < 10 over 1m", Threshold),
        ("a: p99 < 0ms over 1m", Threshold),
        ("a: p99 < 0.5ns over 1m", Threshold),
        ("a: p99 < 1e3ms over 1m", Threshold),
        ("a: p99 < 99999999999s over 1m", Threshold),
        ("a: p99 < 10ms over 0s", Window),
        ("a: p99 < 10ms over 61m", Window),
        ("a: p99 < 10ms over 1.5m", Window),
        ("a: p99 < 10ms over 1d", Window),
    ] {
        assert_eq!(text.parse::<Objective>(), Err(error), "{text}");
    }
}

#[test]
fn a_list_has_one_objective_on_each_line() {
    let list = parse_list("# mine\n\na: p99 < 10ms over 1m\r\nb: p50 < 1s over 1h\n").expect("it is valid");
    assert_eq!(list.iter().map(Objective::views).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(parse_list("\na: p99 < 10ms over 1m\nb"), Err((3, ObjectiveError::Form)));
}

#[test]
fn a_glob_selects_views_with_latencies() {
    let views = ["*/GET*", "start-to-end/?", "*", "computation/*", "start-to-end"];
    let objective = |views: &&str| Objective::new(views, Quantile::P99, 1, 60).expect("it is valid");
    let matching = |view: &ViewKey| -> Vec<&str> {
        views.iter().filter(|views| objective(views).matches(view)).copied().collect()
    };
    assert_eq!(matching(&ViewKey::pipeline("GET /users")), ["*/GET*", "*"]);
    assert_eq!(matching(&ViewKey::pipeline("p")), ["start-to-end/?", "*"]);
    assert_eq!(matching(&ViewKey::computation("a")), ["*", "computation/*"]);
    let counter = ViewKey { kind: crate::view::Kind::Throughput, ..ViewKey::computation("a") };
    assert_eq!(matching(&counter), Vec::<&str>::new());
}

#[test]
fn the_verdict_is_undecided_only_where_a_bin_is_cut() {
    let mut histogram = Histogram::from_counts(Grid::WALLAROO, 3, [99, 1]);
    let verdict = |histogram: &Histogram, ns| Under::of(histogram, ns).verdict(Quantile::P99);
    // Bin 3 is 4 to 8 ns, bin 4 is 8 to 16 ns.
    assert_eq!([4, 5, 8, 9].map(|ns| verdict(&histogram, ns)), {
        use Verdict::{Met, Missed, Undecided};
        [Missed, Undecided, Met, Met]
    });
    assert_eq!(Under::of(&histogram, 9), Under { low: 99, high: 100, total: 100 });
    // A recorded maximum of 5 ns decides: all events are under 6 ns.
    histogram = Histogram::default();
    histogram.record_many(4, 9);
    histogram.record(5);
    assert_eq!([4, 5, 6].map(|ns| Under::of(&histogram, ns).low), [0, 0, 10]);
    assert_eq!(verdict(&Histogram::default(), 5), Verdict::NoData);
}

#[test]
fn the_budget_is_what_the_percentile_leaves() {
    let under = Under { low: 970, high: 985, total: 1_000 };
    let budget = under.budget(Quantile::P99);
    assert_eq!((budget.allowed, budget.spent, budget.left()), (10, (15, 30), (-20, -5)));
    assert_eq!(under.burn_rate(Quantile::P99), Some((1.5, 3.0)));
    assert_eq!((Under::default().burn_rate(Quantile::P99), Under::default().share()), (None, None));
    assert_eq!(Under::default().budget(Quantile::P99).allowed, 0);
}

/// Any text, half of it with the form of an objective.
const PROBABLE_OBJECTIVE: &str =
    "(\\PC{0,10}: ?p?[0-9.]{0,9} ?< ?[0-9.]{0,24}[mnuµs]{0,2} over [0-9]{0,22}[smh]?|\\PC*)";

/// Durations that are often in the same bins.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0..40_u64, 900_000..1_200_000_u64, any::<u64>()], 1..60)
}

fn grid() -> impl Strategy<Value = Grid> {
    (0..=SCALE_MAX, prop::sample::select(Unit::ALL.to_vec()))
        .prop_map(|(scale, unit)| Grid::new(scale, unit).expect("the scale is valid"))
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_objective(
        views in "[a-z*?/: <µ]{1,20}", millionths in 1..1_000_000_u32, threshold_ns in 1..=u64::MAX,
        shift in 0..64_u32, window_seconds in 1..=SECONDS_MAX,
    ) {
        prop_assume!(!views.trim().is_empty());
        let quantile = Quantile::from_millionths(millionths).expect("it is valid");
        let objective = Objective::new(views.trim(), quantile, (threshold_ns >> shift).max(1), window_seconds);
        let objective = objective.expect("all parts are valid");
        prop_assert_eq!(objective.to_string().parse(), Ok(objective));
    }

    #[test]
    fn any_text_is_parsed_without_a_panic(text in PROBABLE_OBJECTIVE) {
        let _ = text.parse::<Objective>();
        let _ = parse_threshold(&text);
    }

    /// The range contains the number of raw values, both of its ends are possible for the bins, and the
    /// verdict is that of the raw values unless it is undecided.
    #[test]
    fn the_counts_and_the_verdict_agree_with_raw_values(
        grid in grid(), mut values in durations(), at in any::<prop::sample::Index>(), offset in -2..=2_i64,
        has_extremes in any::<bool>(), millionths in 1..1_000_000_u32,
    ) {
        let threshold_ns = values[at.index(values.len())].saturating_add_signed(offset).max(1);
        let mut histogram = Histogram::new(grid);
        values.iter().for_each(|&ns| histogram.record(ns));
        if !has_extremes {
            histogram = histogram.with_statistics(u64::MAX, 0, None);
        }
        let under = Under::of(&histogram, threshold_ns);
        let expected = values.iter().filter(|&&ns| ns < threshold_ns).count() as u128;
        prop_assert!(under.low <= expected && expected <= under.high && under.high <= under.total);
        prop_assert_eq!(under.total, values.len() as u128);
        // Only the bin of the threshold can be cut.
        let cut = values.iter().filter(|&&ns| grid.bin_of(ns) == grid.bin_of(threshold_ns)).count() as u128;
        prop_assert!(under.high - under.low == 0 || under.high - under.low == cut);

        values.sort_unstable();
        let quantile = Quantile::from_millionths(millionths).expect("it is valid");
        let value = values[quantile.rank(under.total) as usize - 1];
        let expected = if value < threshold_ns { Verdict::Met } else { Verdict::Missed };
        let verdict = under.verdict(quantile);
        prop_assert!(verdict == expected || (verdict == Verdict::Undecided && under.low < under.high));
        let is_left = under.budget(quantile).left();
        match verdict {
            Verdict::Met => prop_assert!(is_left.0 >= 0),
            Verdict::Missed => prop_assert!(is_left.1 < 0),
            _ => prop_assert!(is_left.0 < 0 && is_left.1 >= 0),
        }
    }

    #[test]
    fn a_glob_made_from_a_text_matches_it(text in "[ab*?/]{0,12}", from in 0..12_usize, to in 0..12_usize) {
        let (from, to) = (from.min(text.len()).min(to), to.max(from).min(text.len()));
        let glob = alloc::format!("{}*{}", &text[..from], &text[to..]);
        prop_assert!(glob_matches(&glob, &text));
        let longer = text.clone() + "?";
        prop_assert!(!glob_matches(&longer, &text) || text.contains('*'));
    }
}
