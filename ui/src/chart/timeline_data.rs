//! The data and the layout of a timeline, for the timeline and its heatmap.

use joey_shared::histogram::Histogram;

use super::{Rect, Size};
use crate::statistics::RateSeries;
use crate::time_format::UtcOffsets;

/// The data of a timeline.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// First second of the window.
    pub from: u64,
    /// Last second of the window.
    pub to: u64,
    /// Last complete second.
    pub through: u64,
    /// First second with data.
    pub first: Option<u64>,
    /// Whether there are latencies, or only rates.
    pub has_latency: bool,
    /// The periods with counts, ascending.
    pub columns: Vec<Column>,
    /// The histogram of the window.
    pub total: Histogram,
    /// Events per second of the complete seconds.
    pub rates: RateSeries,
    /// Events per second of the incomplete seconds after those.
    pub partial: RateSeries,
    /// Events per second of ingestion, if known.
    pub ingestion: Option<RateSeries>,
    /// Seconds for which updates are missing, as inclusive ranges.
    pub missing: Vec<(u64, u64)>,
    /// The UTC offsets of the time axis.
    pub utc_offsets: UtcOffsets,
    /// The second under the crosshair.
    pub hover: Option<u64>,
}

/// The latencies of one period.
#[derive(Clone, Debug)]
pub struct Column {
    /// The second in which it ended.
    pub second: u64,
    /// Its width in seconds.
    pub width: u64,
    /// Its counts, in the bins of the window's histogram. They have no minimum and maximum.
    pub histogram: Histogram,
}

/// The layout of the chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The heatmap; its height is 0 if there are no latencies.
    pub heat: Rect,
    /// The histogram beside the heatmap; its width is 0 if there is no room.
    pub rail: Rect,
    /// The rates.
    pub rates: Rect,
}

/// Width of the labels of the vertical axes, in pixels.
const GUTTER: f64 = 62.0;

impl Layout {
    /// The layout for a canvas of `size`.
    #[must_use]
    pub fn of(size: Size, latency: bool) -> Self {
        let rail_width = if latency && size.width >= 720.0 { 104.0 } else { 0.0 };
        let right = if rail_width > 0.0 { rail_width + 16.0 } else { 12.0 };
        let width = (size.width - GUTTER - right).max(1.0);
        let (top, axis) = (24.0, 24.0);
        let rates_height =
            if latency { ((size.height - top - axis) * 0.28).max(40.0) } else { size.height - 12.0 - axis };
        let rates = Rect { x: GUTTER, y: size.height - axis - rates_height, width, height: rates_height.max(1.0) };
        let heat_height = if latency { (rates.y - 18.0 - top).max(1.0) } else { 0.0 };
        let heat = Rect { x: GUTTER, y: top, width, height: heat_height };
        Self { heat, rail: Rect { x: heat.right() + 8.0, width: rail_width, ..heat }, rates }
    }
}

impl Timeline {
    /// The period that covers `second`.
    #[must_use]
    pub fn column_at(&self, second: u64) -> Option<&Column> {
        self.columns.iter().find(|column| column.second >= second && column.second < second + column.width)
    }
}
