//! Paints shapes on a canvas. This is the only file that uses the canvas API.
//!
//! Colours come from the style sheet and are resolved once for each theme: a probe element is styled with each custom property,
//! and the browser computes its colour. Sizes are in CSS pixels; the canvas has the resolution of the screen.

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, HtmlElement};

use super::difference::LEVELS;
use super::{Anchor, Ink, Rect, Shape, Size};

/// The custom properties of all inks except the ramps, in the order of [`property_index`].
const PROPERTIES: [&str; 14] = [
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
    "--ink-reference",
    "--ink-reference-area",
    "--ink-threshold",
];

/// The stops of the heat ramp, lowest first.
const HEAT_STOPS: [&str; 8] =
    ["--heat-0", "--heat-1", "--heat-2", "--heat-3", "--heat-4", "--heat-5", "--heat-6", "--heat-7"];

/// The stops of the diverging palette: the lowest difference, exactly zero, the highest one.
const DIFFERENCE_STOPS: [&str; 5] =
    ["--difference-low", "--difference-lower", "--difference-zero", "--difference-higher", "--difference-high"];

/// The distance between the lines of a hatch, in CSS pixels.
const HATCH_STEP: f64 = 6.0;

/// The colours and the font of charts.
#[derive(Debug)]
pub struct Palette {
    inks: Vec<String>,
    /// The colour behind a chart.
    background: String,
    heat: Vec<String>,
    /// From the lowest to the highest level.
    difference: Vec<String>,
    font: String,
}

impl Palette {
    /// Reads the computed colours inside `parent`, or those of the light theme for paper. Returns `None` if the
    /// browser refuses the probe element.
    #[must_use]
    pub fn read(parent: &Element, for_paper: bool) -> Option<Self> {
        let window = web_sys::window()?;
        let probe = window.document()?.create_element("span").ok()?.dyn_into::<HtmlElement>().ok()?;
        probe.set_class_name(if for_paper { "chart-type paper" } else { "chart-type" });
        parent.append_child(&probe).ok()?;
        let style = window.get_computed_style(&probe).ok()??;
        let color = |property: &str| {
            probe.style().set_property("color", &format!("var({property})")).ok()?;
            style.get_property_value("color").ok()
        };
        let inks = PROPERTIES.iter().map(|property| color(property).unwrap_or_default()).collect();
        let stops = |properties: &[&str]| -> Vec<[f64; 3]> {
            properties.iter().map(|property| channels(&color(property).unwrap_or_default())).collect()
        };
        let (heat_stops, difference_stops) = (stops(&HEAT_STOPS), stops(&DIFFERENCE_STOPS));
        let background = color("--raised").unwrap_or_default();
        let family = style.get_property_value("font-family").unwrap_or_default();
        let size = style.get_property_value("font-size").unwrap_or_default();
        probe.remove();
        let heat = (0..=255).map(|level| interpolate(&heat_stops, f64::from(level) / 255.0)).collect();
        let difference = (-LEVELS..=LEVELS)
            .map(|level| interpolate(&difference_stops, f64::midpoint(f64::from(level) / f64::from(LEVELS), 1.0)))
            .collect();
        Some(Self { inks, background, heat, difference, font: format!("{size} {family}") })
    }

    fn color(&self, ink: Ink) -> &str {
        match ink {
            Ink::Heat(level) => &self.heat[usize::from(level)],
            Ink::Difference(level) => &self.difference[usize::from((level + LEVELS).unsigned_abs())],
            other => &self.inks[property_index(other)],
        }
    }
}

/// The index of an ink in [`PROPERTIES`].
const fn property_index(ink: Ink) -> usize {
    match ink {
        Ink::Text | Ink::Heat(_) | Ink::Difference(_) => 0,
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
        Ink::Reference => 11,
        Ink::ReferenceArea => 12,
        Ink::Threshold => 13,
    }
}

/// Red, green and blue of `rgb(1, 2, 3)`.
fn channels(color: &str) -> [f64; 3] {
    let mut numbers = color.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u8>().ok());
    [0; 3].map(|_| f64::from(numbers.next().unwrap_or(0)))
}

/// The colour at `share` (0 to 1) of the ramp through `stops`.
fn interpolate(stops: &[[f64; 3]], share: f64) -> String {
    let position = share * (stops.len() - 1) as f64;
    let index = (position as usize).min(stops.len().saturating_sub(2));
    let fraction = position - index as f64;
    let mix = |channel: usize| {
        let (low, high) = (stops[index][channel], stops[index + 1][channel]);
        (low + (high - low) * fraction).round() as u8
    };
    format!("rgb({},{},{})", mix(0), mix(1), mix(2))
}

/// Paints `shapes` on `canvas`, which has a size of `size` CSS pixels. `ratio` is the number of device pixels per CSS pixel.
pub fn paint(canvas: &HtmlCanvasElement, shapes: &[Shape], palette: &Palette, size: Size, ratio: f64) {
    let (width, height) = ((size.width * ratio).round() as u32, (size.height * ratio).round() as u32);
    if canvas.width() != width || canvas.height() != height {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    let context =
        canvas.get_context("2d").ok().flatten().map(|context| context.unchecked_into::<CanvasRenderingContext2d>());
    let Some(context) = context else { return };
    // If the browser rejects the transform, the chart has a wrong scale; nothing can be done about it.
    let _ = context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
    context.clear_rect(0.0, 0.0, size.width, size.height);
    context.set_font(&palette.font);
    context.set_text_baseline("middle");
    context.set_line_join("round");
    for shape in shapes {
        paint_shape(&context, shape, palette);
    }
}

/// The number of pixels of an image for a CSS pixel, so that it is sharp in a document.
const IMAGE_RATIO: f64 = 2.0;

/// The margin of an image, and the height of its title, in CSS pixels.
const IMAGE_MARGIN: f64 = 12.0;
const TITLE_HEIGHT: f64 = 24.0;

/// An image of `shapes` below a title. Returns `None` if the browser refuses a canvas.
#[must_use]
pub fn image(shapes: &[Shape], palette: &Palette, size: Size, title: &str) -> Option<HtmlCanvasElement> {
    let document = web_sys::window()?.document()?;
    let canvas = || document.create_element("canvas").ok()?.dyn_into::<HtmlCanvasElement>().ok();
    let (chart, image) = (canvas()?, canvas()?);
    paint(&chart, shapes, palette, size, IMAGE_RATIO);
    let whole =
        Size { width: size.width + 2.0 * IMAGE_MARGIN, height: size.height + 2.0 * IMAGE_MARGIN + TITLE_HEIGHT };
    let at = [IMAGE_MARGIN, IMAGE_MARGIN + TITLE_HEIGHT / 2.0];
    paint(&image, &[Shape::text(Ink::Text, at, Anchor::Start, title)], palette, whole, IMAGE_RATIO);
    let context = image.get_context("2d").ok()??.unchecked_into::<CanvasRenderingContext2d>();
    let (left, top) = (IMAGE_MARGIN, IMAGE_MARGIN + TITLE_HEIGHT);
    context.draw_image_with_html_canvas_element_and_dw_and_dh(&chart, left, top, size.width, size.height).ok()?;
    // The background goes behind what is there: painting starts with an empty canvas.
    context.set_global_composite_operation("destination-over").ok()?;
    context.set_fill_style_str(&palette.background);
    context.fill_rect(0.0, 0.0, whole.width, whole.height);
    Some(image)
}

fn paint_shape(context: &CanvasRenderingContext2d, shape: &Shape, palette: &Palette) {
    match shape {
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
    // Lines start on a grid of the whole canvas, so that adjacent hatches align.
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
            [0.0, 0.25, 0.5, 1.0].map(|share| interpolate(&stops, share)),
            ["rgb(0,0,0)", "rgb(50,25,5)", "rgb(100,50,10)", "rgb(200,100,20)"]
        );
        assert_eq!(channels("none"), [0.0; 3]);
    }
}
