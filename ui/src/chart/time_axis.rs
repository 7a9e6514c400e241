//! The horizontal axis of a chart whose x is time.

use super::scale::{Scale, time_ticks};
use super::{Anchor, Ink, Rect, Shape, text_width};
use crate::time_format::UtcOffsets;

/// The axis: seconds since the Unix epoch, and pixels of the canvas. Second `k` reaches from `k - 1` to `k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeAxis {
    /// The first second.
    pub from: u64,
    /// The last second.
    pub to: u64,
    /// The left edge of the first second.
    pub left: f64,
    /// The right edge of the last second.
    pub right: f64,
}

impl TimeAxis {
    /// The axis of seconds `from..=to` along `plot`.
    #[must_use]
    pub(super) fn along(plot: Rect, from: u64, to: u64) -> Self {
        Self { from: from.max(1), to, left: plot.x, right: plot.right() }
    }

    /// The second at `x`; `None` outside the axis.
    #[must_use]
    pub fn second_inside(self, x: f64) -> Option<u64> {
        (self.left..=self.right).contains(&x).then(|| self.second_at(x))
    }

    /// The second at `x`, or the nearest one.
    #[must_use]
    pub fn second_at(self, x: f64) -> u64 {
        let share = ((x - self.left) / (self.right - self.left).max(1.0)).clamp(0.0, 1.0);
        let seconds = (self.to + 1 - self.from) as f64;
        (self.from + (share * seconds).floor() as u64).min(self.to)
    }

    /// The left edge of `second`, at most at the ends of the axis.
    #[must_use]
    pub fn start_of(self, second: u64) -> f64 {
        let share = second.saturating_sub(self.from) as f64 / (self.to + 1 - self.from) as f64;
        self.left + share.min(1.0) * (self.right - self.left)
    }

    /// The right edge of `second`, at most at the ends of the axis.
    #[must_use]
    pub fn end_of(self, second: u64) -> f64 {
        self.start_of(second.saturating_add(1))
    }
}

/// The scale of seconds `from..=to` along `plot`.
pub(super) fn scale(plot: Rect, from: u64, to: u64) -> Scale {
    Scale { from: from.saturating_sub(1) as f64, to: to as f64, start: plot.x, end: plot.right() }
}

/// Adds the ticks and labels of seconds `from..=to` below `plot`.
pub(super) fn draw_ticks(
    list: &mut Vec<Shape>,
    plot: Rect,
    time: &Scale,
    (from, to): (u64, u64),
    utc_offsets: UtcOffsets,
) {
    let labels_max = (plot.width / 84.0).max(1.0) as usize;
    for (second, label) in time_ticks(from, to, labels_max, utc_offsets) {
        let x = time.at(second as f64);
        list.push(Shape::hairline(Ink::Axis, [x, plot.bottom()], [x, plot.bottom() + 4.0]));
        let half = text_width(label.chars().count()) / 2.0;
        let at = x.min(plot.right() - half + 8.0).max(plot.x + half - 24.0);
        list.push(Shape::text(Ink::Muted, [at, plot.bottom() + 14.0], Anchor::Middle, label));
    }
}

/// Adds a vertical line through the middle of `second`.
pub(super) fn draw_crosshair(list: &mut Vec<Shape>, time: &Scale, second: u64, top: f64, bottom: f64) {
    let x = f64::midpoint(time.at(second.saturating_sub(1) as f64), time.at(second as f64));
    list.push(Shape::hairline(Ink::Cross, [x, top], [x, bottom]));
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: TimeAxis = TimeAxis { from: 101, to: 200, left: 50.0, right: 250.0 };

    #[test]
    fn positions_and_seconds_are_inverse() {
        for second in 101..=200 {
            let (start, end) = (AXIS.start_of(second), AXIS.end_of(second));
            assert_eq!(AXIS.second_at(f64::midpoint(start, end)), second);
        }
        assert_eq!((AXIS.start_of(101), AXIS.end_of(200)), (50.0, 250.0));
    }

    #[test]
    fn positions_outside_are_the_nearest_second() {
        assert_eq!((AXIS.second_at(-9.0), AXIS.second_at(999.0)), (101, 200));
        assert_eq!((AXIS.start_of(3), AXIS.end_of(999)), (50.0, 250.0));
    }
}
