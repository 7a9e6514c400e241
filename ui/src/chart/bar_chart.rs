//! The share of events by latency, with the bins of the original Metrics UI.
//!
//! Its bins are powers of two of a nanosecond. A histogram whose bins are finer is folded to powers of two. If they are those of
//! another unit, each bar ends at the nearest edge, and its label says where.
//!
//! The bars are horizontal, so that a label and a number fit beside each at any width. They do not overlap and add up to 100
//! percent.

use joey_shared::histogram::{Grid, Histogram};

use super::latency_axis::finest_grid;
use super::{Anchor, Ink, Rect, Shape, Size};
use crate::units;

/// How bins are grouped into bars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinSet {
    /// The original groups, fine around milliseconds.
    #[default]
    Default,
    /// The original's other groups: each four times as wide.
    Demo,
    /// One bar for each bin.
    All,
}

impl BinSet {
    /// All choices with their names.
    pub const CHOICES: [(Self, &'static str); 3] =
        [(Self::Default, "default"), (Self::Demo, "demo"), (Self::All, "all")];

    /// The last bins of the bars of `histogram`, which has the grid of [`folded`](Self::folded).
    fn last_bins(self, histogram: &Histogram) -> Vec<usize> {
        let bounds: &[u32] = match self {
            Self::Default => &[0, 10, 19, 20, 21, 22, 23, 24, 25, 26, 27, 30, 64],
            Self::Demo => &[10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 64],
            Self::All => {
                let (first, counts) = histogram.span();
                return (first..first + counts.len()).collect();
            }
        };
        bounds.iter().map(|&bound| last_bin(histogram.grid(), bound)).collect()
    }

    /// The grid of the bars.
    fn grid(self, histogram: &Histogram) -> Grid {
        let (grid, (first, counts)) = (histogram.grid(), histogram.span());
        let bars = |folded: Grid| {
            let last = first + counts.len().saturating_sub(1);
            grid.folded_bin(last, folded.scale()) - grid.folded_bin(first, folded.scale()) + 1
        };
        match self {
            Self::Default | Self::Demo => grid.folded(0),
            Self::All => finest_grid(grid, |folded| bars(folded) <= BARS_MAX),
        }
    }

    /// The number of the histogram's bins in a bar, if the bars would be too many otherwise.
    #[must_use]
    pub fn bins_per_bar(self, histogram: &Histogram) -> Option<u32> {
        let folded = histogram.grid().scale() - self.grid(histogram).scale();
        (self == Self::All && folded > 0).then(|| 1 << folded)
    }
}

/// Maximum number of bars with one bin each. More are not readable.
const BARS_MAX: usize = 40;

/// The bin whose upper edge is the nearest to `2^bound` ns, on a logarithmic scale.
fn last_bin(grid: Grid, bound: u32) -> usize {
    let Some(ns) = 1_u64.checked_shl(bound) else { return grid.bins() - 1 };
    let bin = grid.bin_of(ns);
    let is_below_middle = u128::from(ns).pow(2) < u128::from(grid.low(bin)) * grid.high(bin);
    if is_below_middle { bin - 1 } else { bin }
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The lower bound in ns, inclusive.
    pub low: u64,
    /// The upper bound in ns, exclusive.
    pub high: u128,
    /// The label.
    pub label: String,
    /// The number of events.
    pub count: u128,
    /// Its share in percent.
    pub percent: f64,
    /// The share of this bar and all before it, in percent.
    pub cumulative_percent: f64,
}

/// The bars of `histogram`.
#[must_use]
pub fn bars(histogram: &Histogram, set: BinSet) -> Vec<Bar> {
    bars_like(histogram, histogram, set)
}

/// The bars of two histograms of the same grid: as many, with the same bounds.
#[must_use]
pub fn paired_bars(histogram: &Histogram, reference: &Histogram, set: BinSet) -> [Vec<Bar>; 2] {
    let mut both = histogram.clone();
    both.merge(reference);
    [histogram, reference].map(|side| bars_like(side, &both, set))
}

/// The bars of `histogram` with the bounds of those of `shape`.
fn bars_like(histogram: &Histogram, shape: &Histogram, set: BinSet) -> Vec<Bar> {
    let total = histogram.count();
    let percent = |count: u128| if total == 0 { 0.0 } else { count as f64 / total as f64 * 100.0 };
    let grid = set.grid(shape);
    let (folded, shape) = (histogram.in_grid(grid), shape.in_grid(grid));
    let (mut from, mut seen) = (0, 0);
    let mut bars = Vec::new();
    for last in set.last_bins(&shape) {
        if set == BinSet::All {
            from = last;
        }
        let count = (from..=last).map(|bin| u128::from(folded.count_at(bin))).sum();
        seen += count;
        let (low, high) = (grid.low(from), grid.high(last));
        let label = if last == 0 {
            "0\u{2009}ns".to_owned()
        } else {
            units::bin_label(low, (last < grid.bins() - 1).then_some(high))
        };
        bars.push(Bar { low, high, label, count, percent: percent(count), cumulative_percent: percent(seen) });
        from = (last + 1).min(grid.bins() - 1);
    }
    bars
}

/// A share with as many decimals as it needs: `99.1 %`, `0.0330 %`, `<0.0001 %`.
#[must_use]
pub fn percent_text(percent: f64) -> String {
    let number = match percent {
        0.0 => "0".to_owned(),
        tiny if tiny < 0.0001 => "<0.0001".to_owned(),
        small if small < 0.1 => format!("{small:.4}"),
        medium if medium < 10.0 => format!("{medium:.2}"),
        // Less than everything must not be rounded to 100 %.
        nearly_all if (99.95..100.0).contains(&nearly_all) => format!("{:.4}", nearly_all.min(99.9999)),
        large => format!("{large:.1}"),
    };
    format!("{number}\u{2009}%")
}

/// Draws the bars, and below each the one of `reference` as an outline, which has as many.
#[must_use]
pub fn draw(bars: &[Bar], reference: Option<&[Bar]>, size: Size) -> Vec<Shape> {
    let mut list = Vec::new();
    let number_width = if reference.is_some() { 120.0 } else { 74.0 };
    let (label_width, top, bottom) = (82.0, 6.0, 30.0);
    let plot = Rect {
        x: label_width,
        y: top,
        width: (size.width - label_width - number_width).max(1.0),
        height: (size.height - top - bottom).max(1.0),
    };
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let x = plot.x + share * plot.width;
        list.push(Shape::hairline(if share == 0.0 { Ink::Axis } else { Ink::Grid }, [x, plot.y], [x, plot.bottom()]));
        list.push(Shape::text(
            Ink::Muted,
            [x, plot.bottom() + 13.0],
            Anchor::Middle,
            format!("{}\u{2009}%", (share * 100.0) as u32),
        ));
    }
    if bars.is_empty() {
        return list;
    }
    let row = plot.height / bars.len() as f64;
    // Labels that would overlap are skipped; the table below the chart has all of them.
    let every = (13.0 / row).ceil().max(1.0) as usize;
    let mut filled = Vec::new();
    let mut outlined = Vec::new();
    let height = if reference.is_some() { 0.4 } else { 0.68 };
    let rect_of = |bar: &Bar, y: f64| {
        let width = (bar.percent / 100.0 * plot.width).max(1.5);
        (bar.count > 0).then(|| Rect { x: plot.x + 1.0, y, width, height: (row * height).max(1.0) })
    };
    for (at, bar) in bars.iter().enumerate() {
        let (y, middle) = (plot.y + at as f64 * row, plot.y + (at as f64 + 0.5) * row);
        let other = reference.and_then(|reference| reference.get(at));
        filled.extend(rect_of(bar, y + row * if other.is_some() { 0.1 } else { 0.16 }));
        outlined.extend(other.and_then(|other| rect_of(other, y + row * 0.5)));
        if at % every == 0 {
            let ink = if bar.count > 0 || other.is_some_and(|other| other.count > 0) { Ink::Text } else { Ink::Muted };
            list.push(Shape::text(ink, [plot.x - 8.0, middle], Anchor::End, bar.label.clone()));
            let mut number = percent_text(bar.percent);
            if let Some(other) = other {
                // Both numbers have the same unit.
                number = format!("{} | {}", number.trim_end_matches("\u{2009}%"), percent_text(other.percent));
            }
            list.push(Shape::text(ink, [size.width - 2.0, middle], Anchor::End, number));
        }
    }
    list.push(Shape::Rects { ink: Ink::Bar, rects: filled });
    for Rect { x, y, width, height } in outlined.iter().copied() {
        let (right, bottom) = (x + width, y + height);
        let points = vec![[x, y], [right, y], [right, bottom], [x, bottom], [x, y]];
        list.push(Shape::Line { ink: Ink::Reference, width: 1.0, dashed: false, points });
    }
    if !outlined.is_empty() {
        list.push(Shape::Rects { ink: Ink::ReferenceArea, rects: outlined });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::histogram::Unit;

    /// The counts of the example frame in Wallaroo's documentation of its protocol.
    fn golden() -> Histogram {
        let mut histogram = Histogram::default();
        for (bin, count) in [(6, 57_306), (7, 505), (8, 4), (9, 7), (12, 2), (14, 17)] {
            histogram.add(bin, count);
        }
        histogram
    }

    /// `bins` bins of scale 3 from 1 ms on, with `count` events each.
    fn fine(unit: Unit, bins: usize, count: u64) -> Histogram {
        let grid = Grid::new(3, unit).unwrap();
        Histogram::from_counts(grid, grid.bin_of(1_000_000), vec![count; bins])
    }

    /// The shares of the golden frame by upper bound, to four decimals, without the empty ones.
    fn check(set: BinSet, expected: &[(u32, &str)]) {
        let shares: Vec<(u32, String)> = bars(&golden(), set)
            .into_iter()
            .filter(|bar| bar.count > 0)
            .map(|bar| (bar.high.trailing_zeros(), format!("{:.4}", bar.percent)))
            .collect();
        let expected: Vec<(u32, String)> = expected.iter().map(|&(bound, share)| (bound, share.to_owned())).collect();
        assert_eq!(shares, expected);
    }

    #[test]
    fn shares_are_those_of_the_original_hub() {
        check(BinSet::Default, &[(10, "99.9672"), (19, "0.0328")]);
        check(BinSet::Demo, &[(10, "99.9672"), (12, "0.0035"), (14, "0.0294")]);
        check(
            BinSet::All,
            &[(6, "99.0751"), (7, "0.8731"), (8, "0.0069"), (9, "0.0121"), (12, "0.0035"), (14, "0.0294")],
        );
    }

    #[test]
    fn bars_do_not_overlap_and_add_up() {
        for unit in Unit::ALL {
            let fine = fine(unit, 1, 57_841);
            for (set, _) in BinSet::CHOICES {
                for histogram in [&golden(), &fine, &Histogram::from_counts(fine.grid(), 0, [1; 513])] {
                    let bars = bars(histogram, set);
                    assert_eq!(bars.iter().map(|bar| bar.count).sum::<u128>(), histogram.count());
                    assert!((bars.last().unwrap().cumulative_percent - 100.0).abs() < 1e-9);
                    assert!(bars.windows(2).all(|pair| pair[0].high == u128::from(pair[1].low)));
                }
            }
        }
        assert!(bars(&Histogram::default(), BinSet::All).is_empty());
        assert!(bars(&Histogram::default(), BinSet::Demo).iter().all(|bar| bar.percent == 0.0));
    }

    #[test]
    fn labels_are_exact_powers_of_two() {
        let labels: Vec<String> =
            bars(&golden(), BinSet::Default).into_iter().map(|bar| bar.label.replace('\u{2009}', " ")).collect();
        assert_eq!(labels[..3], ["0 ns", "< 1.02 µs", "< 524 µs"]);
        assert_eq!(labels[12], "≥ 1.07 s");
    }

    #[test]
    fn a_fine_histogram_has_the_same_bars_as_a_coarse_one() {
        let mut coarse = Histogram::default();
        let mut fine = Histogram::new(Grid::FINEST);
        for ns in [0, 3, 700, 300_000, 1_048_576, 5_000_000, 40_000_000, 9_000_000_000] {
            coarse.record(ns);
            fine.record(ns);
        }
        for set in [BinSet::Default, BinSet::Demo] {
            assert_eq!(bars(&fine, set), bars(&coarse, set));
        }
    }

    #[test]
    fn bars_of_another_unit_end_at_its_own_edges() {
        let seconds = bars(&fine(Unit::Seconds, 8, 1), BinSet::Default);
        let labels: Vec<String> = seconds.iter().map(|bar| bar.label.replace('\u{2009}', " ")).collect();
        assert_eq!(labels[..4], ["0 ns", "< 954 ns", "< 488 µs", "< 977 µs"]);
        assert_eq!(labels[11..], ["< 1.00 s", "≥ 1.00 s"]);
        // The bin of 1 ms starts at 1/1024 s. It and the next seven end at 1/512 s, 1.95 ms.
        let counts: Vec<u128> = seconds.iter().map(|bar| bar.count).collect();
        assert_eq!(counts, [0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn too_many_bars_are_folded() {
        for (bins, bars_shown, bins_per_bar) in
            [(40, 40, None), (41, 21, Some(2)), (100, 25, Some(4)), (350, 44, Some(8))]
        {
            let histogram = fine(Unit::Nanoseconds, bins, 1);
            let bars = bars(&histogram, BinSet::All);
            assert_eq!(BinSet::All.bins_per_bar(&histogram), bins_per_bar, "{bins}");
            assert!(bars.len().abs_diff(bars_shown) <= 1, "{} bars for {bins} bins", bars.len());
            assert_eq!(BinSet::Default.bins_per_bar(&histogram), None);
        }
        assert_eq!(BinSet::All.bins_per_bar(&golden()), None);
    }

    #[test]
    fn two_histograms_have_the_same_bars() {
        let other = Histogram::from_counts(Grid::WALLAROO, 20, [7]);
        for (set, _) in BinSet::CHOICES {
            let [current, reference] = paired_bars(&golden(), &other, set);
            assert!(current.iter().zip(&reference).all(|(a, b)| (a.low, a.high) == (b.low, b.high)));
            assert_eq!(current.len(), reference.len());
            let counts = [&current, &reference].map(|bars| bars.iter().map(|bar| bar.count).sum::<u128>());
            assert_eq!(counts, [golden().count(), 7]);
            let list = draw(&current, Some(&reference), Size { width: 600.0, height: 320.0 });
            let outlines = list.iter().filter(|shape| matches!(shape, Shape::Line { ink: Ink::Reference, .. }));
            assert_eq!(outlines.count(), 1);
        }
    }

    #[test]
    fn a_share_is_never_rounded_to_0_or_100_percent() {
        let texts = [0.0, 0.00001, 0.0328, 1.5, 45.67, 99.9672, 99.999_999, 100.0]
            .map(|share| percent_text(share).replace('\u{2009}', ""));
        assert_eq!(texts, ["0%", "<0.0001%", "0.0328%", "1.50%", "45.7%", "99.9672%", "99.9999%", "100.0%"]);
    }

    #[test]
    fn any_size_can_be_drawn() {
        for size in [Size { width: 0.0, height: 0.0 }, Size { width: 300.0, height: 260.0 }] {
            for (set, _) in BinSet::CHOICES {
                let bars = bars(&golden(), set);
                drop(draw(&bars, None, size));
                drop(draw(&bars, Some(&bars), size));
            }
            drop(draw(&[], Some(&[]), size));
        }
    }
}
