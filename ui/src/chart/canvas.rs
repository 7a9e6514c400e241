//! Shapes to pixels: the only file that draws in the browser.
//!
//! Colours come from the style sheet, resolved once for each theme: a probe element is given each custom property and the
//! browser says what that is. Widths and heights are CSS pixels; the canvas has as many real ones as the screen.

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, HtmlElement};

use super::{Anchor, Ink, Rect, Shape, Size};

/// Inks with the custom properties that fill them, in the order of [`slot`].
const PROPERTIES: [&str; 11] = [
    "--ink-text",
    "--ink-muted",
    "--ink-grid",
    "--ink-axis",
    "--ink-out",
    "--ink-out-area",
    "--ink-in",
    "--ink-bar",
    "--ink-band",
    "--ink-cross",
    "--ink-hatch",
];

/// The stops of the heat ramp, least first.
const HEAT_STOPS: [&str; 8] =
    ["--heat-0", "--heat-1", "--heat-2", "--heat-3", "--heat-4", "--heat-5", "--heat-6", "--heat-7"];

/// Distance between the lines of a hatch, in CSS pixels.
const HATCH_STEP: f64 = 6.0;

/// What the style sheet says about charts.
#[derive(Debug)]
pub struct Palette {
    inks: Vec<String>,
    heat: Vec<String>,
    font: String,
}

impl Palette {
    /// Reads the colours that hold inside `within` now.
    #[must_use]
    pub fn read(within: &Element) -> Option<Self> {
        let window = web_sys::window()?;
        let probe = window.document()?.create_element("span").ok()?.dyn_into::<HtmlElement>().ok()?;
        probe.set_class_name("chart-type");
        within.append_child(&probe).ok()?;
        let style = window.get_computed_style(&probe).ok()??;
        let color = |property: &str| {
            probe.style().set_property("color", &format!("var({property})")).ok()?;
            style.get_property_value("color").ok()
        };
        let inks = PROPERTIES.iter().map(|property| color(property).unwrap_or_default()).collect();
        let stops: Vec<[f64; 3]> =
            HEAT_STOPS.iter().map(|property| channels(&color(property).unwrap_or_default())).collect();
        let family = style.get_property_value("font-family").unwrap_or_default();
        let size = style.get_property_value("font-size").unwrap_or_default();
        probe.remove();
        let heat = (0..=255).map(|level| between(&stops, f64::from(level) / 255.0)).collect();
        Some(Self { inks, heat, font: format!("{size} {family}") })
    }

    fn color(&self, ink: Ink) -> &str {
        match ink {
            Ink::Heat(level) => &self.heat[usize::from(level)],
            other => &self.inks[slot(other)],
        }
    }
}

/// The place of an ink in [`PROPERTIES`].
const fn slot(ink: Ink) -> usize {
    match ink {
        Ink::Text | Ink::Heat(_) => 0,
        Ink::Muted => 1,
        Ink::Grid => 2,
        Ink::Axis => 3,
        Ink::Out => 4,
        Ink::OutArea => 5,
        Ink::In => 6,
        Ink::Bar => 7,
        Ink::Band => 8,
        Ink::Cross => 9,
        Ink::Hatch => 10,
    }
}

/// Red, green and blue out of `rgb(1, 2, 3)`.
fn channels(color: &str) -> [f64; 3] {
    let mut numbers = color.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u8>().ok());
    [0; 3].map(|_| f64::from(numbers.next().unwrap_or(0)))
}

/// The colour at `share` of the way through `stops`.
fn between(stops: &[[f64; 3]], share: f64) -> String {
    let place = share * (stops.len() - 1) as f64;
    let at = (place as usize).min(stops.len().saturating_sub(2));
    let part = place - at as f64;
    let mix =
        |channel: usize| (stops[at][channel] + (stops[at + 1][channel] - stops[at][channel]) * part).round() as u8;
    format!("rgb({},{},{})", mix(0), mix(1), mix(2))
}

/// Paints `list` on `canvas`, which is `size` CSS pixels large on a screen with `ratio` real pixels to one of those.
pub fn paint(canvas: &HtmlCanvasElement, list: &[Shape], palette: &Palette, size: Size, ratio: f64) {
    let (width, height) = ((size.width * ratio).round() as u32, (size.height * ratio).round() as u32);
    if canvas.width() != width || canvas.height() != height {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    let context =
        canvas.get_context("2d").ok().flatten().map(|context| context.unchecked_into::<CanvasRenderingContext2d>());
    let Some(context) = context else { return };
    // A refused transform or clip leaves a chart that looks odd; there is nothing better to do about it.
    let _ = context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
    context.clear_rect(0.0, 0.0, size.width, size.height);
    context.set_font(&palette.font);
    context.set_text_baseline("middle");
    context.set_line_join("round");
    for draw in list {
        shape(&context, draw, palette);
    }
}

fn shape(context: &CanvasRenderingContext2d, draw: &Shape, palette: &Palette) {
    match draw {
        Shape::Rects { ink, rects } => {
            context.set_fill_style_str(palette.color(*ink));
            for rect in rects {
                context.fill_rect(rect.x, rect.y, rect.width, rect.height);
            }
        }
        Shape::Line { ink, width, dashed, points } => {
            stroke(context, palette.color(*ink), *width);
            set_dash(context, if *dashed { &[5.0, 3.0] } else { &[] });
            trace(context, points);
            context.stroke();
            set_dash(context, &[]);
        }
        Shape::Area { ink, points } => {
            context.set_fill_style_str(palette.color(*ink));
            trace(context, points);
            context.fill();
        }
        Shape::Hatched(rect) => hatch(context, *rect, palette.color(Ink::Hatch)),
        Shape::Text { ink, at: [x, y], anchor, text } => {
            context.set_fill_style_str(palette.color(*ink));
            context.set_text_align(match anchor {
                Anchor::Start => "left",
                Anchor::Middle => "center",
                Anchor::End => "right",
            });
            let _ = context.fill_text(text, *x, *y);
        }
    }
}

fn stroke(context: &CanvasRenderingContext2d, color: &str, width: f64) {
    context.set_stroke_style_str(color);
    context.set_line_width(width);
}

fn set_dash(context: &CanvasRenderingContext2d, lengths: &[f64]) {
    let array = js_sys::Array::new();
    for length in lengths {
        array.push(&JsValue::from_f64(*length));
    }
    let _ = context.set_line_dash(&array);
}

fn trace(context: &CanvasRenderingContext2d, points: &[[f64; 2]]) {
    context.begin_path();
    let mut drawing = false;
    for &[x, y] in points {
        if x.is_nan() || y.is_nan() {
            drawing = false;
        } else if drawing {
            context.line_to(x, y);
        } else {
            context.move_to(x, y);
            drawing = true;
        }
    }
}

fn hatch(context: &CanvasRenderingContext2d, rect: Rect, color: &str) {
    context.save();
    context.begin_path();
    context.rect(rect.x, rect.y, rect.width, rect.height);
    context.clip();
    stroke(context, color, 1.0);
    context.begin_path();
    // Lines start on a grid of the whole canvas, so that neighbouring hatches meet.
    let mut offset = ((rect.x + rect.y) / HATCH_STEP).floor() * HATCH_STEP;
    while offset < rect.right() + rect.bottom() {
        context.move_to(offset - rect.y, rect.y);
        context.line_to(offset - rect.bottom(), rect.bottom());
        offset += HATCH_STEP;
    }
    context.stroke();
    context.restore();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_runs_through_its_stops() {
        let stops = ["rgb(0, 0, 0)", "rgba(100, 50, 10, 0.5)", "rgb(200, 100, 20)"].map(channels);
        assert_eq!(
            [0.0, 0.25, 0.5, 1.0].map(|share| between(&stops, share)),
            ["rgb(0,0,0)", "rgb(50,25,5)", "rgb(100,50,10)", "rgb(200,100,20)"]
        );
        assert_eq!(channels("none"), [0.0; 3]);
    }
}
