//! The line of a threshold on a chart with a vertical latency axis.

use super::latency_axis::log2;
use super::scale::Scale;
use super::{Ink, Rect, Shape};

/// The vertical latency axis of a chart: powers of two of a ns, upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerticalAxis {
    /// The area of the chart inside its axes.
    pub plot: Rect,
    /// From the logarithm of a duration to a position.
    pub scale: Scale,
}

impl VerticalAxis {
    /// The position of `ns`, not above or below the plot.
    #[must_use]
    pub fn position(&self, ns: u64) -> f64 {
        self.scale.at(log2(ns.into())).clamp(self.plot.y, self.plot.bottom())
    }

    /// The duration in ns at position `y`, not above or below the plot.
    #[must_use]
    pub fn duration(&self, y: f64) -> f64 {
        self.scale.value(y.clamp(self.plot.y, self.plot.bottom())).exp2()
    }

    /// Adds the line at `ns`, if that is on the axis.
    pub fn draw_threshold(&self, list: &mut Vec<Shape>, ns: u64) {
        let y = self.scale.at(log2(ns.into()));
        if (self.plot.y..=self.plot.bottom()).contains(&y) {
            let points = vec![[self.plot.x, y], [self.plot.right(), y]];
            list.push(Shape::Line { ink: Ink::Threshold, width: 2.0, dashed: true, points });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis() -> VerticalAxis {
        let plot = Rect { x: 60.0, y: 20.0, width: 300.0, height: 100.0 };
        VerticalAxis { plot, scale: Scale { from: 10.0, to: 20.0, start: plot.bottom(), end: plot.y } }
    }

    #[test]
    fn positions_and_durations_are_inverse_and_stay_inside() {
        let axis = axis();
        assert_eq!((axis.position(1 << 15), axis.duration(70.0)), (70.0, f64::from(1 << 15)));
        assert_eq!((axis.position(1), axis.position(u64::MAX)), (120.0, 20.0));
        assert_eq!((axis.duration(-50.0), axis.duration(500.0)), (f64::from(1 << 20), 1_024.0));
    }

    #[test]
    fn a_threshold_outside_the_axis_has_no_line() {
        let lines = |ns| {
            let mut list = Vec::new();
            axis().draw_threshold(&mut list, ns);
            list.len()
        };
        assert_eq!([lines(1 << 15), lines(1 << 9), lines(1 << 21), lines(0)], [1, 0, 0, 0]);
    }
}
