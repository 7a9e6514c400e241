//! The small charts in table rows: the rate over the window, and the histogram over the latencies of the whole table.

use joey_shared::histogram::{Histogram, Quantile};

use super::latency_axis::LatencyRange;
use super::scale::Scale;
use super::time_axis::TimeAxis;
use super::{Ink, Rect, Shape, Size};
use crate::statistics::RateSeries;

/// The time axis of [`rate`] on a canvas of `size`.
#[must_use]
pub fn axis(from: u64, to: u64, size: Size) -> TimeAxis {
    TimeAxis { from: from.max(1), to, left: 0.5, right: size.width - 0.5 }
}

/// The rate from second `from` to second `to`. The vertical axis is from zero to its own maximum.
#[must_use]
pub fn rate(rates: &RateSeries, from: u64, to: u64, size: Size) -> Vec<Shape> {
    rate_up_to(rates, rates.values.iter().copied().fold(0.0, f64::max), from, to, size)
}

/// The same, with a vertical axis from zero to `most`.
#[must_use]
pub fn rate_up_to(rates: &RateSeries, most: f64, from: u64, to: u64, size: Size) -> Vec<Shape> {
    let x = Scale { from: from.saturating_sub(1) as f64, to: to as f64, start: 0.5, end: size.width - 0.5 };
    let y = Scale { from: 0.0, to: if most > 0.0 { most } else { 1.0 }, start: size.height - 1.5, end: 2.0 };
    let baseline = size.height - 1.0;
    let mut list = vec![Shape::hairline(Ink::Grid, [0.0, baseline], [size.width, baseline])];
    let points: Vec<[f64; 2]> = (rates.start_second..)
        .zip(&rates.values)
        .map(|(second, &rate)| [x.at(second as f64 - 0.5), y.at(rate)])
        .collect();
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) {
        let mut area = points.clone();
        area.extend([[last[0], baseline], [first[0], baseline]]);
        list.push(Shape::Area { ink: Ink::OutArea, points: area });
        list.push(Shape::Line { ink: Ink::Out, width: 1.25, dashed: false, points });
    }
    list
}

/// Adds a vertical line through `second` of a chart of seconds `from..=to`.
pub fn crosshair(list: &mut Vec<Shape>, second: u64, from: u64, to: u64, size: Size) {
    let axis = axis(from, to, size);
    let x = f64::midpoint(axis.start_of(second), axis.end_of(second));
    list.push(Shape::hairline(Ink::Cross, [x, 0.0], [x, size.height]));
}

/// The histogram over the latencies of `axis`, with a mark at the upper edge of the bin of its 99th percentile.
///
/// Heights are square roots of shares, because linear bars would hide the tail.
#[must_use]
pub fn histogram(histogram: &Histogram, axis: LatencyRange, size: Size) -> Vec<Shape> {
    let (baseline, grid) = (size.height - 1.0, histogram.grid());
    let mut list = vec![Shape::hairline(Ink::Grid, [0.0, baseline], [size.width, baseline])];
    let x = Scale { from: axis.low, to: axis.high, start: 0.0, end: size.width };
    let most = histogram.occupied().map(|(_, count)| count).max().unwrap_or(0) as f64;
    let rects: Vec<Rect> = histogram
        .occupied()
        .map(|(bin, count)| (LatencyRange::of_bin(grid, bin), count))
        .filter(|(range, _)| range.low >= axis.low && range.high <= axis.high)
        .map(|(range, count)| {
            let height = ((count as f64 / most).sqrt() * (size.height - 3.0)).max(1.5);
            let (start, end) = (x.at(range.low), x.at(range.high));
            let gap = if end - start > 3.0 { 1.0 } else { 0.0 };
            Rect { x: start, y: baseline - height, width: (end - start - gap).max(1.0), height }
        })
        .collect();
    list.push(Shape::Rects { ink: Ink::Bar, rects });
    if let Some(range) = histogram.quantile(Quantile::P99) {
        let edge = LatencyRange::of_bin(grid, grid.bin_of(range.low)).high.clamp(axis.low, axis.high);
        let at = x.at(edge).min(size.width - 1.0);
        list.push(Shape::hairline(Ink::Cross, [at, 0.0], [at, baseline]));
    }
    list
}

/// The axis for all of the histograms. Their bins may have different edges.
#[must_use]
pub fn common_axis<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> LatencyRange {
    let ranges = histograms.into_iter().filter_map(LatencyRange::around);
    ranges.reduce(LatencyRange::union).unwrap_or(LatencyRange::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::histogram::{Grid, Unit};

    const SIZE: Size = Size { width: 100.0, height: 20.0 };

    #[test]
    fn a_rate_is_drawn_where_its_seconds_are() {
        let rates = RateSeries { start_second: 51, values: vec![0.0, 10.0, 5.0] };
        let list = rate(&rates, 1, 100, SIZE);
        let Some(Shape::Line { points, .. }) = list.last() else { panic!("no line in {list:?}") };
        assert!((points[0][0] - 50.0).abs() < 1.0);
        assert_eq!(points[1][1], 2.0);
        assert_eq!(rate(&RateSeries::default(), 0, 0, SIZE).len(), 1);
    }

    /// The bars of a histogram.
    fn bars(of: &Histogram, axis: LatencyRange) -> Vec<Rect> {
        match &histogram(of, axis, SIZE)[1] {
            Shape::Rects { rects, .. } => rects.clone(),
            other => panic!("{other:?} instead of bars"),
        }
    }

    #[test]
    fn small_histograms_share_their_axis() {
        let of = |ns: u64| {
            let mut histogram = Histogram::default();
            histogram.record(ns);
            histogram
        };
        let all = [of(5), of(1_000)];
        let axis = common_axis(&all);
        assert_eq!(axis, LatencyRange { low: 1.0, high: 11.0 });
        assert_eq!(common_axis([]), LatencyRange::EMPTY);
        assert_eq!((bars(&all[0], axis)[0].x, bars(&all[1], axis)[0].x), (10.0, 80.0));
        drop(histogram(&Histogram::default(), axis, Size { width: 0.0, height: 0.0 }));
    }

    #[test]
    fn histograms_of_different_scales_and_units_share_an_axis() {
        let seconds = Grid::new(3, Unit::Seconds).unwrap();
        let fine = Histogram::from_counts(seconds, seconds.bin_of(1_500_000), [4]);
        let mut coarse = Histogram::default();
        coarse.record_many(1_500_000, 4);
        let axis = common_axis([&fine, &coarse]);
        let (fine, coarse) = (bars(&fine, axis)[0], bars(&coarse, axis)[0]);
        assert!(fine.width < coarse.width / 5.0);
        assert!(fine.x >= coarse.x && fine.right() <= coarse.right() + 1.0, "{fine:?} {coarse:?}");
    }
}
