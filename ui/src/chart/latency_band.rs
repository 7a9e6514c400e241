//! The small chart of latencies over time: for each slice of time the band from the median to the 99th percentile.
//!
//! Each percentile is a range, so its end of the band is a box as high as the bin. Charts beside each other share the axis, which
//! is logarithmic.

use joey_shared::histogram::QuantileRange;

use super::latency_axis::{LatencyRange, log2};
use super::scale::{Scale, duration_ticks};
use super::{Anchor, Ink, Rect, Shape, Size};
use crate::band_data::Band;
use crate::units;

/// The width from which a chart has room for the larger type of a wall display, in CSS pixels.
const WIDE: f64 = 400.0;

/// The space for the labels of the axis. They are longer if the user chose a unit.
fn labels_width(size: Size) -> f64 {
    let width = if units::fixed_ns().is_some() { 58.0 } else { 44.0 };
    if size.width < WIDE { width } else { width * 1.4 }
}

/// The minimum height of a box, so that a fine bin can be seen.
const BOX_HEIGHT_MIN: f64 = 2.0;
/// The height of a line of labels.
const LABEL_HEIGHT: f64 = 15.0;

/// The band of `band` on `axis`. The time axis is the window.
#[must_use]
pub fn latency_band(band: &Band, axis: LatencyRange, size: Size) -> Vec<Shape> {
    let left = labels_width(size);
    let y = Scale { from: axis.low, to: axis.high, start: size.height - 6.0, end: 6.0 };
    let x = Scale { from: band.from.saturating_sub(1) as f64, to: band.to as f64, start: left, end: size.width };
    let labels_max = ((size.height / LABEL_HEIGHT) as usize).clamp(1, 4);
    let mut list = Vec::new();
    for (log2, label) in duration_ticks(axis.low, axis.high, labels_max) {
        let at = y.at(log2);
        list.push(Shape::hairline(Ink::Grid, [left, at], [size.width, at]));
        list.push(Shape::text(Ink::Muted, [left - 5.0, at], Anchor::End, label));
    }
    let mut bands = Vec::new();
    let mut medians = Vec::new();
    let mut p99s = Vec::new();
    for slice in &band.slices {
        let (start, end) = (x.at((slice.to - band.slice_seconds) as f64), x.at(slice.to as f64));
        let (start, end) = (start.max(left), end.min(size.width));
        let gap = if end - start > 4.0 { 1.0 } else { 0.0 };
        let bar =
            |low: f64, high: f64| Rect { x: start, y: high, width: (end - start - gap).max(0.5), height: low - high };
        let edge = |range: QuantileRange| {
            let (low, high) = (y.at(log2(range.low.into())), y.at(log2(range.high)));
            let missing = (BOX_HEIGHT_MIN - (low - high)).max(0.0) / 2.0;
            bar(low + missing, high - missing)
        };
        bands.push(bar(y.at(log2(slice.p50.low.into())), y.at(log2(slice.p99.high))));
        medians.push(edge(slice.p50));
        p99s.push(edge(slice.p99));
    }
    list.push(Shape::Rects { ink: Ink::Band, rects: bands });
    list.push(Shape::Rects { ink: Ink::Out, rects: medians });
    list.push(Shape::Rects { ink: Ink::Cross, rects: p99s });
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::band_data::Slice;

    const SIZE: Size = Size { width: 344.0, height: 112.0 };

    fn rects(shapes: &[Shape], wanted: Ink) -> Vec<Rect> {
        let of_ink = |shape: &Shape| match shape {
            Shape::Rects { ink, rects } if *ink == wanted => Some(rects.clone()),
            _ => None,
        };
        shapes.iter().find_map(of_ink).unwrap()
    }

    #[test]
    fn percentiles_are_boxes_as_high_as_their_bins_on_the_shared_axis() {
        let range = |low: u64, high: u64| QuantileRange { low, high: high.into() };
        let slice = |to| Slice { to, p50: range(1 << 10, 1 << 11), p99: range(1 << 20, 1 << 21), count: 5 };
        let band = Band { from: 1, to: 300, slice_seconds: 10, slices: vec![slice(10), slice(300)] };
        let shapes = latency_band(&band, LatencyRange { low: 10.0, high: 30.0 }, SIZE);
        let (medians, p99s, bands) = (rects(&shapes, Ink::Out), rects(&shapes, Ink::Cross), rects(&shapes, Ink::Band));
        let edges = |rect: Rect| [rect.bottom(), rect.height].map(f64::round);
        assert_eq!((edges(medians[0]), edges(p99s[0])), ([106.0, 5.0], [56.0, 5.0]));
        assert_eq!((bands[0].y, bands[0].bottom()), (p99s[0].y, medians[0].bottom()));
        assert_eq!((medians[0].x, medians[0].width), (labels_width(SIZE), 9.0));
        assert_eq!(medians[1].right(), SIZE.width - 1.0);
        assert!(shapes.iter().any(|shape| matches!(shape, Shape::Text { text, .. } if text.contains("ms"))));
    }

    #[test]
    fn a_fine_bin_can_be_seen() {
        let p50 = QuantileRange { low: 1 << 20, high: (1 << 20) + 1 };
        let slices = vec![Slice { to: 10, p50, p99: p50, count: 1 }];
        let band = Band { from: 1, to: 10, slice_seconds: 1, slices };
        let boxes = rects(&latency_band(&band, LatencyRange::EMPTY, SIZE), Ink::Out);
        assert!((boxes[0].height - BOX_HEIGHT_MIN).abs() < 0.01);
        drop(latency_band(&Band::default(), LatencyRange::EMPTY, Size { width: 0.0, height: 0.0 }));
    }
}
