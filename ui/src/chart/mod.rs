//! Charts as lists of plain shapes.
//!
//! A chart is a function from data and size to a list of [`Shape`]; it knows neither colours nor the browser. Colours are
//! roles ([`Ink`]) that the style sheet fills, so both themes use the same list, and a test reads the list instead of
//! pixels. Only [`canvas`] touches the browser.

pub mod bar_chart;
pub mod canvas;
pub mod percentile_curve;
pub mod heatmap;
pub mod scale;
pub mod sparkline;
pub mod timeline;

/// Width and height in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// An upright rectangle in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// The rectangle between two corners given in any order.
    #[must_use]
    pub fn between(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x: x0.min(x1), y: y0.min(y1), width: (x1 - x0).abs(), height: (y1 - y0).abs() }
    }

    /// Right edge.
    #[must_use]
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Lower edge.
    #[must_use]
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// What a shape stands for; the style sheet says how that looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text that is read.
    Text,
    /// Text that is looked up.
    Muted,
    /// Lines that guide the eye.
    Grid,
    /// The line on which values stand.
    Axis,
    /// What a pipeline, worker or computation completes.
    Out,
    /// Under the line of the former.
    OutArea,
    /// What a pipeline takes in.
    In,
    /// Counts of a histogram.
    Bar,
    /// The honest range of a quantile.
    Band,
    /// The crosshair and what it points at.
    Cross,
    /// Where nothing can be known: holes, the time before, nines that the count does not support.
    Hatch,
    /// A step of the heat ramp, from 0 (least) to 255 (most).
    Heat(u8),
}

/// Where a text's position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

/// One shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Filled rectangles of one ink.
    Rects {
        /// What they stand for.
        ink: Ink,
        /// Where they are.
        rects: Vec<Rect>,
    },
    /// A line through points; a point that is not a number interrupts it.
    Line {
        /// What it stands for.
        ink: Ink,
        /// Its width in pixels.
        width: f64,
        /// Whether it is dashed.
        dashed: bool,
        /// Its points.
        points: Vec<[f64; 2]>,
    },
    /// The area inside a line.
    Area {
        /// What it stands for.
        ink: Ink,
        /// Its corners.
        points: Vec<[f64; 2]>,
    },
    /// A hatched rectangle.
    Hatched(Rect),
    /// A line of text, centred on its height.
    Text {
        /// What it stands for.
        ink: Ink,
        /// Where its anchor is.
        at: [f64; 2],
        /// Which part of it is there.
        anchor: Anchor,
        /// What it says.
        text: String,
    },
}

impl Shape {
    /// A text.
    #[must_use]
    pub fn text(ink: Ink, at: [f64; 2], anchor: Anchor, text: impl Into<String>) -> Self {
        Self::Text { ink, at, anchor, text: text.into() }
    }

    /// A hairline, placed on the pixel grid so that it stays one pixel wide.
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

/// Width that a text of `characters` takes at most, in pixels, in the charts' small type. Charts reserve room by it, so that
/// their geometry needs no browser.
#[must_use]
pub fn text_width(characters: usize) -> f64 {
    characters as f64 * 6.8
}
