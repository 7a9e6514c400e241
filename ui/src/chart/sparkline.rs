//! The small charts in table rows: the rate over the window, and the histogram over the bins of the whole table.

use joey_shared::histogram::{BINS, Histogram, Quantile, bin_of};

use super::scale::Scale;
use super::{Ink, Rect, Shape, Size};
use crate::statistics::RateSeries;

/// The rate from second `from` to second `to`. The vertical axis is from zero to its own maximum.
#[must_use]
pub fn rate(rates: &RateSeries, from: u64, to: u64, size: Size) -> Vec<Shape> {
    let most = rates.values.iter().copied().fold(0.0, f64::max);
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

/// The histogram over bins `low..=high`, with a mark at the upper bound of its 99th percentile.
///
/// Heights are square roots of shares, because linear bars would hide the tail.
#[must_use]
pub fn histogram(histogram: &Histogram, low: usize, high: usize, size: Size) -> Vec<Shape> {
    let baseline = size.height - 1.0;
    let mut list = vec![Shape::hairline(Ink::Grid, [0.0, baseline], [size.width, baseline])];
    let bins = high.saturating_sub(low) + 1;
    let step = size.width / bins as f64;
    let most = histogram.bins.iter().copied().max().unwrap_or(0) as f64;
    let rects: Vec<Rect> = histogram
        .occupied()
        .filter(|(bin, _)| (low..=high).contains(bin))
        .map(|(bin, count)| {
            let height = ((count as f64 / most).sqrt() * (size.height - 3.0)).max(1.5);
            let gap = if step > 3.0 { 1.0 } else { 0.0 };
            Rect { x: (bin - low) as f64 * step, y: baseline - height, width: (step - gap).max(1.0), height }
        })
        .collect();
    list.push(Shape::Rects { ink: Ink::Bar, rects });
    if let Some(range) = histogram.quantile(Quantile::P99) {
        let bin = bin_of(range.low).clamp(low, high);
        let x = (bin + 1 - low) as f64 * step;
        list.push(Shape::hairline(Ink::Cross, [x.min(size.width - 1.0), 0.0], [x.min(size.width - 1.0), baseline]));
    }
    list
}

/// The first and last bin with counts in any of the histograms.
#[must_use]
pub fn common_bin_range<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Option<(usize, usize)> {
    let mut seen = [false; BINS];
    for histogram in histograms {
        histogram.occupied().for_each(|(bin, _)| seen[bin] = true);
    }
    Some((seen.iter().position(|&seen| seen)?, seen.iter().rposition(|&seen| seen)?))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn small_histograms_share_their_bins() {
        let of = |ns: u64| {
            let mut histogram = Histogram::default();
            histogram.record(ns);
            histogram
        };
        let all = [of(5), of(1_000)];
        assert_eq!(common_bin_range(&all), Some((3, 10)));
        assert_eq!(common_bin_range([]), None);
        let Shape::Rects { rects, .. } = &histogram(&all[1], 3, 10, SIZE)[1] else { panic!("no bars") };
        assert!((rects[0].x - 87.5).abs() < 1e-9);
        drop(histogram(&Histogram::default(), 0, 0, Size { width: 0.0, height: 0.0 }));
    }
}
