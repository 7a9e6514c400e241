//! The percentile curve: latency by percentile.
//!
//! The axis is the number of nines (`1 / (1 - q)` on a logarithmic scale, as in HdrHistogram), which gives the tail
//! enough room. The position of a value within its bin is unknown, so the curve consists of steps with a band: the
//! value is within the band, and the band's upper edge is its bound.

use joey_shared::histogram::Histogram;

use super::latency_axis::{LatencyRange, log2, visible_range};
use super::scale::{Scale, duration_ticks, nines};
use super::threshold_line::VerticalAxis;
use super::{Anchor, Ink, Rect, Shape, Size};

/// The percentiles on the axis.
const MARKS: [(f64, &str); 7] =
    [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99"), (0.99999, "99.999")];

/// Minimum and maximum number of nines on the axis. The minimum is the last percentile of the page.
const NINES: (f64, f64) = (4.0, 5.3);

/// The margins beside the plot, in pixels.
pub const MARGINS: (f64, f64) = (62.0, 16.0);

/// A step of the curve: from one share of events to another, between two durations (as powers of two).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

/// The steps of `histogram`, ascending.
fn steps(histogram: &Histogram) -> Vec<Step> {
    let count = histogram.count() as f64;
    let mut seen = 0_u128;
    let step = |(bin, events): (usize, u64)| {
        let from = seen as f64 / count;
        seen += u128::from(events);
        // As for quantiles, the recorded minimum and maximum narrow the bins that contain them.
        let range = histogram.range_of(bin);
        Step { from, to: seen as f64 / count, low: log2(range.low.into()), high: log2(range.high) }
    };
    histogram.occupied().map(step).collect()
}

/// The number of nines that the events of `histogram` can tell.
fn known_nines(histogram: &Histogram) -> f64 {
    (histogram.count() as f64).max(1.0).log10()
}

/// The number of nines at the right end of the axis of [`draw`].
#[must_use]
pub fn nines_max(histogram: &Histogram, reference: Option<&Histogram>) -> f64 {
    let known = known_nines(histogram);
    let most = reference.map_or(known, |reference| known.max(known_nines(reference)));
    (most + 0.3).max(NINES.0 + 0.2).min(NINES.1)
}

/// The latency axis of [`draw`].
#[must_use]
pub fn latency_axis(histogram: &Histogram, reference: Option<&Histogram>, size: Size) -> VerticalAxis {
    let plot = Rect {
        x: MARGINS.0,
        y: 10.0,
        width: (size.width - MARGINS.0 - MARGINS.1).max(1.0),
        height: (size.height - 10.0 - 38.0).max(1.0),
    };
    let reference = reference.filter(|reference| !reference.is_empty());
    let range = reference.map_or_else(|| visible_range(histogram), |reference| common_range(histogram, reference));
    VerticalAxis { plot, scale: Scale { from: range.low, to: range.high, start: plot.bottom(), end: plot.y } }
}

/// Draws the curve of `histogram`, and that of `reference` as dashed lines on the same axes: its bound, and thinner its
/// lower end.
#[must_use]
pub fn draw(histogram: &Histogram, reference: Option<&Histogram>, size: Size) -> Vec<Shape> {
    let VerticalAxis { plot, scale: y } = latency_axis(histogram, reference, size);
    let reference = reference.filter(|reference| !reference.is_empty());
    let known = known_nines(histogram);
    let x = Scale { from: 0.0, to: nines_max(histogram, reference), start: plot.x, end: plot.right() };
    let mut list = Vec::new();
    for (log2, label) in duration_ticks(y.from, y.to, (plot.height / 26.0) as usize) {
        list.push(Shape::hairline(Ink::Grid, [plot.x, y.at(log2)], [plot.right(), y.at(log2)]));
        list.push(Shape::text(Ink::Muted, [plot.x - 8.0, y.at(log2)], Anchor::End, label));
    }
    for (quantile, label) in MARKS.into_iter().filter(|(quantile, _)| nines(*quantile) <= x.to) {
        let at = x.at(nines(quantile));
        list.push(Shape::hairline(Ink::Grid, [at, plot.y], [at, plot.bottom()]));
        list.push(Shape::text(Ink::Muted, [at, plot.bottom() + 12.0], Anchor::Middle, label));
    }
    let middle = f64::midpoint(plot.x, plot.right());
    list.push(Shape::text(
        Ink::Muted,
        [middle, plot.bottom() + 28.0],
        Anchor::Middle,
        "percent of events that take at most this long",
    ));
    list.push(Shape::hairline(Ink::Axis, [plot.x, plot.bottom()], [plot.right(), plot.bottom()]));
    if known < x.to {
        list.push(Shape::Hatched(Rect::between(x.at(known), plot.y, plot.right(), plot.bottom())));
    }
    let limit = x.to.min(known.max(0.01));
    let (mut bands, mut bound) = (Vec::new(), Vec::new());
    for step in steps(histogram) {
        let (from, to) = (nines(step.from), nines(step.to).min(limit));
        if from < to {
            bands.push(Rect::between(x.at(from), y.at(step.low), x.at(to), y.at(step.high)));
            bound.extend([[x.at(from), y.at(step.high)], [x.at(to), y.at(step.high)]]);
        }
    }
    list.push(Shape::Rects { ink: Ink::Band, rects: bands });
    list.push(Shape::Line { ink: Ink::Out, width: 2.0, dashed: false, points: bound });
    if let Some(reference) = reference {
        draw_reference(&mut list, reference, known_nines(reference).max(0.01).min(x.to), &x, &y);
    }
    list
}

/// The range of both distributions.
fn common_range(histogram: &Histogram, reference: &Histogram) -> LatencyRange {
    let mut both = histogram.clone();
    both.merge(reference);
    visible_range(&both)
}

/// Adds the curve of `reference` up to `limit` nines.
fn draw_reference(list: &mut Vec<Shape>, reference: &Histogram, limit: f64, x: &Scale, y: &Scale) {
    let (mut bound, mut low) = (Vec::new(), Vec::new());
    for step in steps(reference) {
        let (from, to) = (nines(step.from), nines(step.to).min(limit));
        if from < to {
            bound.extend([[x.at(from), y.at(step.high)], [x.at(to), y.at(step.high)]]);
            low.extend([[x.at(from), y.at(step.low)], [x.at(to), y.at(step.low)]]);
        }
    }
    list.push(Shape::Line { ink: Ink::Reference, width: 1.0, dashed: true, points: low });
    list.push(Shape::Line { ink: Ink::Reference, width: 2.0, dashed: true, points: bound });
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::histogram::{Grid, Unit};

    const SIZE: Size = Size { width: 600.0, height: 300.0 };

    fn histogram_of(counts: &[(u64, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        for &(ns, count) in counts {
            histogram.record_many(ns, count);
        }
        histogram
    }

    #[test]
    fn steps_cover_all_events_and_end_at_the_extremes() {
        let steps = steps(&histogram_of(&[(40, 90), (1_024, 10)]));
        assert_eq!(steps.iter().map(|step| (step.from, step.to)).collect::<Vec<_>>(), [(0.0, 0.9), (0.9, 1.0)]);
        assert!((steps[0].low - 40_f64.log2()).abs() < 1e-9 && (steps[1].high - 10.0).abs() < 1e-9);
    }

    #[test]
    fn steps_of_a_fine_scale_end_at_the_edges_of_their_bins() {
        let grid = Grid::new(3, Unit::Seconds).unwrap();
        let steps = steps(&Histogram::from_counts(grid, grid.bin_of_index(-8), [3, 1]));
        let half_second = 0.5e9_f64.log2();
        for (step, edge) in steps.iter().zip([0.0, 0.125]) {
            assert!((step.low - half_second - edge).abs() < 1e-6 && (step.high - step.low - 0.125).abs() < 1e-6);
        }
        assert_eq!((steps[0].to, steps[1].to), (0.75, 1.0));
    }

    #[test]
    fn percentiles_with_too_few_events_are_hatched() {
        let hatched = |count| {
            draw(&histogram_of(&[(40, count)]), None, SIZE).iter().any(|draw| matches!(draw, Shape::Hatched(_)))
        };
        assert!(hatched(100));
        assert!(!hatched(1_000_000));
    }

    #[test]
    fn a_reference_is_dashed_and_on_the_same_axes() {
        let [now, before] = [&[(40, 90), (1_024, 10)][..], &[(1_000_000, 100)]].map(histogram_of);
        let list = draw(&now, Some(&before), SIZE);
        let dashed: Vec<_> = list
            .iter()
            .filter_map(|shape| match shape {
                Shape::Line { ink: Ink::Reference, dashed: true, width, points } => Some((*width, points.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(dashed.iter().map(|(width, _)| *width).collect::<Vec<_>>(), [1.0, 2.0]);
        // The duration is both bounds, and above everything of the other side.
        assert_eq!(dashed[0].1, dashed[1].1);
        let solid = list.iter().find_map(|shape| match shape {
            Shape::Line { ink: Ink::Out, dashed: false, points, .. } => Some(points.clone()),
            _ => None,
        });
        assert!(solid.unwrap().iter().all(|point| point[1] > dashed[0].1[0][1]));
        assert!(!draw(&now, None, SIZE).iter().any(|shape| matches!(shape, Shape::Line { ink: Ink::Reference, .. })));
    }

    #[test]
    fn empty_and_full_histograms_can_be_drawn() {
        let full =
            [Grid::WALLAROO, Grid::FINEST].map(|grid| Histogram::from_counts(grid, 0, vec![u64::MAX; grid.bins()]));
        for histogram in full.into_iter().chain([Histogram::default(), histogram_of(&[(0, 1)])]) {
            for size in [SIZE, Size { width: 0.0, height: 0.0 }] {
                drop(draw(&histogram, None, size));
                drop(draw(&histogram, Some(&histogram_of(&[(700, 5)])), size));
                drop(draw(&histogram_of(&[(700, 5)]), Some(&histogram), size));
            }
        }
    }
}
