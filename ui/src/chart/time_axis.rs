//! The horizontal axis of a chart whose x is time.

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
