//! The share of events by latency: the bars that users of the original Metrics UI know, with labels that are true.
//!
//! Bars lie down, so that each has its label and its number beside it at any width. They exclude each other and add up to
//! one hundred percent.

use joey_shared::format;
use joey_shared::histogram::{BINS, Histogram, bin_high, bin_low};

use super::{Anchor, Ink, Rect, Shape, Size};

/// Which bins are drawn as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinSet {
    /// Those of the original, fine around milliseconds.
    #[default]
    Default,
    /// The original's other set: fourfold steps.
    Demo,
    /// Every bin there is.
    All,
}

impl BinSet {
    /// All sets with their names.
    pub const CHOICES: [(Self, &'static str); 3] =
        [(Self::Default, "default"), (Self::Demo, "demo"), (Self::All, "all")];

    /// The upper bounds of the bars, as powers of two, for these counts.
    fn bounds(self, histogram: &Histogram) -> Vec<usize> {
        match self {
            Self::Default => vec![0, 10, 19, 20, 21, 22, 23, 24, 25, 26, 27, 30, 64],
            Self::Demo => vec![10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 64],
            Self::All => {
                let mut occupied = histogram.occupied().map(|(bin, _)| bin);
                let Some(lowest) = occupied.next() else { return Vec::new() };
                (lowest..=occupied.last().unwrap_or(lowest)).collect()
            }
        }
    }
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The shortest duration in it, in ns.
    pub low: u64,
    /// The shortest duration that is too long for it, in ns; up to `2^64`.
    pub high: u128,
    /// What it is called.
    pub label: String,
    /// How many events it counts.
    pub count: u128,
    /// Its share in percent.
    pub percent: f64,
    /// The share of it and all before it in percent.
    pub cumulative_percent: f64,
}

/// The bars of `histogram`.
#[must_use]
pub fn bars(histogram: &Histogram, set: BinSet) -> Vec<Bar> {
    let total = histogram.count();
    let percent = |count: u128| if total == 0 { 0.0 } else { count as f64 / total as f64 * 100.0 };
    let (mut from, mut seen) = (0, 0);
    let mut bars = Vec::new();
    for bound in set.bounds(histogram) {
        if set == BinSet::All {
            from = bound;
        }
        let count = histogram.bins[from..=bound].iter().map(|&count| u128::from(count)).sum();
        seen += count;
        let (low, high) = (bin_low(from), bin_high(bound));
        let label = match bound {
            0 => "0\u{2009}ns".to_owned(),
            64 => format!("≥ {}", format::duration(low.into()).thin()),
            _ => format!("< {}", format::duration(high).thin()),
        };
        bars.push(Bar { low, high, label, count, percent: percent(count), cumulative_percent: percent(seen) });
        from = (bound + 1).min(BINS - 1);
    }
    bars
}

/// `value` with so many decimals. The standard library would bring 10 KB of exact arithmetic for it.
#[must_use]
pub fn decimal(value: f64, decimals: u32) -> String {
    format::decimal((value * 10_u64.pow(decimals) as f64).round() as u64, decimals)
}

/// A share with as many digits as it needs: `99.1 %`, `0.033 %`, `<0.0001 %`.
#[must_use]
pub fn percent_text(percent: f64) -> String {
    let number = match percent {
        0.0 => "0".to_owned(),
        tiny if tiny < 0.0001 => "<0.0001".to_owned(),
        small if small < 0.1 => decimal(small, 4),
        some if some < 10.0 => decimal(some, 2),
        // What is not all must not read as all.
        most if (99.95..100.0).contains(&most) => decimal(most.min(99.9999), 4),
        many => decimal(many, 1),
    };
    format!("{number}\u{2009}%")
}

/// The bars as a chart.
#[must_use]
pub fn draw(bars: &[Bar], size: Size) -> Vec<Shape> {
    let mut list = Vec::new();
    let (label_width, number_width, top, bottom) = (82.0, 74.0, 6.0, 30.0);
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
    // Labels that would touch are left out; the table beside the chart has them all.
    let every = (13.0 / row).ceil().max(1.0) as usize;
    let mut filled = Vec::new();
    for (at, bar) in bars.iter().enumerate() {
        let (y, middle) = (plot.y + at as f64 * row, plot.y + (at as f64 + 0.5) * row);
        if bar.count > 0 {
            let width = (bar.percent / 100.0 * plot.width).max(1.5);
            filled.push(Rect { x: plot.x + 1.0, y: y + row * 0.16, width, height: (row * 0.68).max(1.0) });
        }
        if at % every == 0 {
            let ink = if bar.count > 0 { Ink::Text } else { Ink::Muted };
            list.push(Shape::text(ink, [plot.x - 8.0, middle], Anchor::End, bar.label.clone()));
            list.push(Shape::text(ink, [size.width - 2.0, middle], Anchor::End, percent_text(bar.percent)));
        }
    }
    list.push(Shape::Rects { ink: Ink::Bar, rects: filled });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of the real frame in Wallaroo's own documentation of its protocol.
    fn golden() -> Histogram {
        let mut histogram = Histogram::default();
        for (bin, count) in [(6, 57_306), (7, 505), (8, 4), (9, 7), (12, 2), (14, 17)] {
            histogram.bins[bin] = count;
        }
        histogram
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
    fn bars_exclude_each_other_and_add_up() {
        for (set, _) in BinSet::CHOICES {
            let bars = bars(&golden(), set);
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<u128>(), 57_841);
            assert!((bars.last().unwrap().cumulative_percent - 100.0).abs() < 1e-9);
            assert!(bars.windows(2).all(|pair| pair[0].high == u128::from(pair[1].low)));
        }
        assert!(bars(&Histogram::default(), BinSet::All).is_empty());
        assert!(bars(&Histogram::default(), BinSet::Demo).iter().all(|bar| bar.percent == 0.0));
    }

    #[test]
    fn labels_are_true_powers_of_two() {
        let labels: Vec<String> =
            bars(&golden(), BinSet::Default).into_iter().map(|bar| bar.label.replace('\u{2009}', " ")).collect();
        assert_eq!(labels[..3], ["0 ns", "< 1.02 µs", "< 524 µs"]);
        assert_eq!(labels[12], "≥ 1.07 s");
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_to_all() {
        let texts = [0.0, 0.00001, 0.0328, 1.5, 45.67, 99.9672, 99.999_999, 100.0]
            .map(|share| percent_text(share).replace('\u{2009}', ""));
        assert_eq!(texts, ["0%", "<0.0001%", "0.0328%", "1.50%", "45.7%", "99.9672%", "99.9999%", "100.0%"]);
    }

    #[test]
    fn any_size_is_harmless() {
        for size in [Size { width: 0.0, height: 0.0 }, Size { width: 300.0, height: 260.0 }] {
            for (set, _) in BinSet::CHOICES {
                drop(draw(&bars(&golden(), set), size));
            }
            drop(draw(&[], size));
        }
    }
}
