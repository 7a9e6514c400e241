//! The strip of the last hour, on which a range of time is chosen: throughput or 99th percentile in steps of ten seconds.
//!
//! Hatched are the seconds that the page has not been sent, those before the first update, and missing ones. Percentiles
//! are boxes as high as their bins.

use joey_shared::histogram::QuantileRange;

use super::latency_axis::log2;
use super::scale::Scale;
use super::time_axis::{self, TimeAxis};
use super::{Anchor, Ink, Rect, Shape, Size, text_width};
use crate::hour_data::{Hour, STEP, Step};
use crate::time_format::UtcOffsets;

/// The space on both sides, in pixels: the handles of the brush are beside it. `hour_strip.css` has the same.
const MARGIN: f64 = 26.0;

/// What a strip shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Events per second.
    Rate,
    /// The range of the 99th percentile.
    P99,
}

fn plot_of(size: Size) -> Rect {
    let (top, bottom) = (3.0, 20.0);
    let [width, height] = [size.width - 2.0 * MARGIN, size.height - top - bottom].map(|length| length.max(1.0));
    Rect { x: MARGIN, y: top, width, height }
}

/// The time axis of seconds `from..=to` on a canvas of `size`.
#[must_use]
pub fn axis(from: u64, to: u64, size: Size) -> TimeAxis {
    TimeAxis::along(plot_of(size), from, to)
}

/// Draws the strip. The page has been sent the seconds from `available_from` on.
#[must_use]
pub fn draw(hour: &Hour, measure: Measure, available_from: u64, utc_offsets: UtcOffsets, size: Size) -> Vec<Shape> {
    let (plot, axis) = (plot_of(size), axis(hour.from, hour.to, size));
    let mut list = Vec::new();
    let mut hatch = |from: u64, to: u64| {
        let (left, right) = (axis.start_of(from), axis.end_of(to));
        if to >= hour.from && from <= hour.to && right > left {
            list.push(Shape::Hatched(Rect::between(left, plot.y, right, plot.bottom())));
        }
    };
    let known_from = hour.known_from().unwrap_or(hour.to + 1);
    if known_from > hour.from {
        hatch(hour.from, known_from - 1);
    }
    hour.missing.iter().for_each(|&(from, to)| hatch(from.max(known_from), to));
    list.push(Shape::hairline(Ink::Axis, [plot.x, plot.bottom()], [plot.right(), plot.bottom()]));
    match measure {
        Measure::Rate => draw_rates(&mut list, hour, plot, axis),
        Measure::P99 => draw_percentiles(&mut list, hour, plot, axis),
    }
    let time = time_axis::scale(plot, hour.from, hour.to);
    time_axis::draw_ticks(&mut list, plot, &time, (hour.from, hour.to), utc_offsets);
    let text = if available_from > hour.from + STEP { "not loaded" } else { "nothing known" };
    let space = axis.end_of(known_from - 1) - plot.x;
    if known_from > hour.from && space > text_width(text.len()) + 16.0 {
        let middle = [plot.x + space / 2.0, plot.y + plot.height / 2.0];
        list.push(Shape::text(Ink::Muted, middle, Anchor::Middle, text));
    }
    list
}

/// The left and right edge of a step.
fn edges(step: &Step, hour: &Hour, axis: TimeAxis) -> (f64, f64) {
    let first = (step.to + 1 - STEP).max(hour.known_from().unwrap_or(0));
    (axis.start_of(first), axis.end_of(step.to))
}

fn draw_rates(list: &mut Vec<Shape>, hour: &Hour, plot: Rect, axis: TimeAxis) {
    let most = highest_rate(hour);
    let y = Scale { from: 0.0, to: if most > 0.0 { most } else { 1.0 }, start: plot.bottom(), end: plot.y + 2.0 };
    let mut points = Vec::with_capacity(2 * hour.steps.len());
    for step in &hour.steps {
        if let Some(rate) = step.rate {
            let (left, right) = edges(step, hour, axis);
            points.extend([[left, y.at(rate)], [right, y.at(rate)]]);
        }
    }
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) {
        let mut area = points.clone();
        area.extend([[last[0], plot.bottom()], [first[0], plot.bottom()]]);
        list.push(Shape::Area { ink: Ink::OutArea, points: area });
        list.push(Shape::Line { ink: Ink::Out, width: 1.25, dashed: false, points });
    }
}

fn draw_percentiles(list: &mut Vec<Shape>, hour: &Hour, plot: Rect, axis: TimeAxis) {
    let Some(range) = percentiles(hour) else { return };
    let y = Scale { from: log2(range.low.into()), to: log2(range.high), start: plot.bottom() - 2.0, end: plot.y + 2.0 };
    let boxes = hour.steps.iter().filter_map(|step| {
        let p99 = step.p99?;
        let (left, right) = edges(step, hour, axis);
        let rect = Rect::between(left, y.at(log2(p99.low.into())), right, y.at(log2(p99.high)));
        Some(Rect { width: rect.width.max(1.0), height: rect.height.max(2.0), ..rect })
    });
    list.push(Shape::Rects { ink: Ink::Cross, rects: boxes.collect() });
}

/// The highest rate of the hour: the end of the vertical axis, which begins at 0.
#[must_use]
pub fn highest_rate(hour: &Hour) -> f64 {
    hour.steps.iter().filter_map(|step| step.rate).fold(0.0, f64::max)
}

/// The range of the 99th percentiles of the hour: the vertical axis, which is logarithmic.
#[must_use]
pub fn percentiles(hour: &Hour) -> Option<QuantileRange> {
    let ranges = hour.steps.iter().filter_map(|step| step.p99);
    ranges.reduce(|a, b| QuantileRange { low: a.low.min(b.low), high: a.high.max(b.high) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 772.0, height: 60.0 };

    /// An hour whose last ten minutes are known.
    fn hour() -> Hour {
        let p99 = |high: u64| Some(QuantileRange { low: high / 2, high: high.into() });
        let step = |to: u64| Step {
            to,
            rate: Some(to as f64 - 3_000.0),
            p99: p99(if to > 3_500 { 1 << 24 } else { 1 << 20 }),
        };
        let steps = (3_010..=3_600).step_by(10).map(step).collect();
        Hour { from: 1, to: 3_600, first: Some(3_001), missing: vec![(3_101, 3_150)], steps }
    }

    fn hatched(list: &[Shape]) -> Vec<(f64, f64)> {
        let edges = |shape: &Shape| if let Shape::Hatched(rect) = shape { Some((rect.x, rect.right())) } else { None };
        list.iter().filter_map(edges).collect()
    }

    fn has_text(list: &[Shape], wanted: &str) -> bool {
        list.iter().any(|shape| matches!(shape, Shape::Text { text, .. } if text == wanted))
    }

    #[test]
    fn what_is_not_known_is_hatched_and_says_why() {
        let list = draw(&hour(), Measure::Rate, 3_001, UtcOffsets::default(), SIZE);
        // An hour is 720 pixels long.
        assert_eq!(hatched(&list), [(26.0, 626.0), (646.0, 656.0)]);
        assert!(has_text(&list, "not loaded") && has_text(&list, "00:30"), "{list:?}");
        let list = draw(&hour(), Measure::Rate, 1, UtcOffsets::default(), SIZE);
        assert!(has_text(&list, "nothing known"));
    }

    #[test]
    fn rates_are_steps_from_zero_and_percentiles_are_boxes_as_high_as_their_bins() {
        let line = |shape: &Shape| {
            if let Shape::Line { points, ink: Ink::Out, .. } = shape { Some(points.clone()) } else { None }
        };
        let rates = draw(&hour(), Measure::Rate, 1, UtcOffsets::default(), SIZE).iter().find_map(line).unwrap();
        assert_eq!((rates[0][0], rates[1][0], rates.last().copied()), (626.0, 628.0, Some([746.0, 5.0])));
        let boxes = |shape: &Shape| {
            if let Shape::Rects { rects, ink: Ink::Cross } = shape { Some(rects.clone()) } else { None }
        };
        let boxes = draw(&hour(), Measure::P99, 1, UtcOffsets::default(), SIZE).iter().find_map(boxes).unwrap();
        // Five octaves in 33 pixels.
        assert_eq!((boxes.len(), boxes[0].bottom(), boxes[0].height.round()), (60, 38.0, 7.0));
        assert_eq!(boxes[59].y, 5.0);
    }

    #[test]
    fn any_hour_can_be_drawn() {
        for size in [SIZE, Size { width: 0.0, height: 0.0 }] {
            for measure in [Measure::Rate, Measure::P99] {
                drop(draw(&Hour::default(), measure, 0, UtcOffsets::default(), size));
                drop(draw(&hour(), measure, 0, UtcOffsets::default(), size));
            }
        }
    }
}
