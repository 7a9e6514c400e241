//! Charts as lists of shapes.
//!
//! A chart is a function from data and size to a list of [`Shape`]. It does not depend on the browser or on a theme: colours are
//! roles ([`Ink`]), which the style sheet defines, and tests inspect the list instead of pixels. Only [`canvas`] paints.

pub mod bar_chart;
pub mod canvas;
pub mod difference;
pub mod heatmap;
pub mod hour_strip;
pub mod latency_axis;
pub mod latency_band;
pub mod percentile_curve;
pub mod scale;
pub mod sparkline;
pub mod threshold_line;
pub mod time_axis;
pub mod timeline;
mod timeline_data;

/// Width and height in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// An axis-aligned rectangle in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// The rectangle between two opposite corners.
    #[must_use]
    pub fn between(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x: x0.min(x1), y: y0.min(y1), width: (x1 - x0).abs(), height: (y1 - y0).abs() }
    }

    /// Right edge.
    #[must_use]
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Bottom edge.
    #[must_use]
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// The role of a shape, which determines its colour. The style sheet defines the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Primary text.
    Text,
    /// Secondary text.
    Muted,
    /// Grid lines.
    Grid,
    /// Axes.
    Axis,
    /// The rate out.
    Out,
    /// The area under the rate out.
    OutArea,
    /// The rate in.
    In,
    /// Bars of a histogram.
    Bar,
    /// The range that contains a quantile.
    Band,
    /// The crosshair and markers.
    Cross,
    /// Hatching where there is no data: gaps, the time before the first update, percentiles with too few events.
    Hatch,
    /// A level of the heat ramp, from 0 (lowest) to 255.
    Heat(u8),
    /// What is compared with: its curve and bars.
    Reference,
    /// The same, as an area.
    ReferenceArea,
    /// A threshold.
    Threshold,
    /// A level of the diverging palette, from -[`difference::LEVELS`] to [`difference::LEVELS`]. The neutral colour is 0.
    Difference(i8),
}

/// Which part of a text is at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The start.
    Start,
    /// The middle.
    Middle,
    /// The end.
    End,
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Filled rectangles of one ink.
    Rects {
        /// Their role.
        ink: Ink,
        /// The rectangles.
        rects: Vec<Rect>,
    },
    /// A line through points, interrupted where a coordinate is NaN.
    Line {
        /// Its role.
        ink: Ink,
        /// Its width in pixels.
        width: f64,
        /// Whether it is dashed.
        dashed: bool,
        /// Its points.
        points: Vec<[f64; 2]>,
    },
    /// A filled polygon.
    Area {
        /// Its role.
        ink: Ink,
        /// Its corners.
        points: Vec<[f64; 2]>,
    },
    /// A hatched rectangle.
    Hatched(Rect),
    /// A line of text, centred vertically.
    Text {
        /// Its role.
        ink: Ink,
        /// The position of its anchor.
        at: [f64; 2],
        /// Its anchor.
        anchor: Anchor,
        /// The text.
        text: String,
    },
}

impl Shape {
    /// A text.
    #[must_use]
    pub fn text(ink: Ink, at: [f64; 2], anchor: Anchor, text: impl Into<String>) -> Self {
        Self::Text { ink, at, anchor, text: text.into() }
    }

    /// A line one pixel wide, aligned to the pixel grid so that it is not blurred.
    #[must_use]
    pub fn hairline(ink: Ink, from: [f64; 2], to: [f64; 2]) -> Self {
        let on_grid = |[x, y]: [f64; 2]| [x.floor() + 0.5, y.floor() + 0.5];
        Self::Line { ink, width: 1.0, dashed: false, points: vec![on_grid(from), on_grid(to)] }
    }

    /// One filled rectangle.
    #[must_use]
    pub fn rect(ink: Ink, rect: Rect) -> Self {
        Self::Rects { ink, rects: vec![rect] }
    }
}

/// The maximum width of a text of `characters` in the font of charts, in pixels. It is an estimate, so that the layout does not
/// depend on the browser.
#[must_use]
pub fn text_width(characters: usize) -> f64 {
    characters as f64 * 6.8
}
