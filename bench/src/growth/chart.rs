//! The growth chart: a panel for each quantity and each cost, CPU above memory, as one SVG that follows the reader's
//! light or dark colour scheme.

use std::fmt::Write as _;

use crate::statistics::Line;

/// Points and labels.
pub(super) struct Panel<'a> {
    /// Quantity on the x axis.
    pub(super) unit: &'a str,
    /// What stays constant.
    pub(super) rest: &'a str,
    /// Quantity on the y axis.
    pub(super) what: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Size of the whole chart, in units that are pixels at the width of a README.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 504.0;
/// Number of panels in each column.
const ROWS: usize = 2;
/// Size of the plot area of one panel.
const FIELD: (f64, f64) = (208.0, 150.0);
/// Origin of the first plot area, and the distance to the next.
const FIRST: (f64, f64) = (52.0, 66.0);
const STEP: (f64, f64) = (284.0, 240.0);
/// Number of grid lines.
const LINES: f64 = 4.0;

const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #57606a }
  .title { font-weight: 600; font-size: 14px; fill: #1f2328 }
  .label { font-weight: 600 }
  .fit { fill: #0b6e6e; font-weight: 600 }
  .grid { stroke: #d8dee4 }
  .axis { stroke: #8c959f }
  .line { stroke: #0f9d9d; stroke-width: 2 }
  .point { fill: #ffffff; stroke: #0b6e6e; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .title { fill: #f0f6fc }
    .fit { fill: #4fd1c5 }
    .grid { stroke: #30363d }
    .axis { stroke: #656c76 }
    .line { stroke: #2fb8ac }
    .point { fill: #0d1117; stroke: #4fd1c5 }
  }
";

/// Draws `panels`, column by column.
pub(super) fn draw(panels: &[Panel<'_>]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"CPU and memory of a relay against viewers, series and updates\">\n<style>{STYLE}</style>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let (column, row) = ((at / ROWS) as f64, (at % ROWS) as f64);
        write!(svg, "<g transform=\"translate({} {})\">", FIRST.0 + column * STEP.0, FIRST.1 + row * STEP.1).ok();
        panel.draw(&mut svg, row == 0.0);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    // Writing to a string cannot fail.
    fn draw(&self, svg: &mut String, is_first: bool) {
        let (width, height) = FIELD;
        let line = Line::through(&self.points);
        let most = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).fold(0.0, f64::max);
        let right = most(|point| point.0);
        let end = line.start + line.slope * right;
        let top = ceiling(most(|point| point.1).max(end));
        let (x, y) = (|at: f64| at / right * width, |at: f64| height - at / top * height);
        if is_first {
            text(svg, (0.0, -46.0), "title", "start", &format!("More {}", self.unit));
            text(svg, (0.0, -30.0), "", "start", self.rest);
        }
        let what = if is_first { "CPU" } else { "Memory" };
        text(svg, (0.0, -10.0), "label", "start", &format!("{what}, {}", self.what));
        for step in 0..=LINES as usize {
            let value = top * step as f64 / LINES;
            let class = if step == 0 { "axis" } else { "grid" };
            stroke(svg, class, (0.0, y(value)), (width, y(value)));
            text(svg, (-8.0, y(value) + 4.0), "", "end", &number(value));
        }
        for value in [0.0, right / 2.0, right] {
            stroke(svg, "axis", (x(value), height), (x(value), height + 5.0));
            text(svg, (x(value), height + 19.0), "", "middle", &number(value));
        }
        text(svg, (width / 2.0, height + 36.0), "", "middle", self.unit);
        stroke(svg, "line", (0.0, y(line.start.max(0.0))), (width, y(end)));
        for point in &self.points {
            write!(svg, "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>", x(point.0), y(point.1)).ok();
        }
        // Costs rise, so there is space below the end of the line.
        let unit = self.what.split(' ').next().unwrap_or_default();
        text(
            svg,
            (width - 4.0, height - 26.0),
            "fit",
            "end",
            &format!("{} {unit} for 1,000", number(line.slope * 1e3)),
        );
        text(svg, (width - 4.0, height - 9.0), "", "end", &format!("R² {:.3}", line.fit));
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>").ok();
}

fn stroke(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    write!(svg, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>").ok();
}

/// The next number above `most` that divides easily into [`LINES`].
fn ceiling(most: f64) -> f64 {
    let unit = 10_f64.powf(most.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * unit).find(|ceiling| *ceiling >= most).unwrap_or(most)
}

/// Formats a number briefly: thousands as `k`, small numbers with their significant digits.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        thousands if thousands >= 1_000.0 => format!("{}k", thousands / 1_000.0),
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => trimmed(&format!("{middle:.1}")),
        small if small >= 0.1 => trimmed(&format!("{small:.2}")),
        tiny => trimmed(&format!("{tiny:.3}")),
    }
}

fn trimmed(number: &str) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_area_is_slightly_higher_than_its_highest_point() {
        for (most, above) in [(0.07, 0.08), (1.0, 1.0), (13.0, 16.0), (250.0, 300.0), (999.0, 1_000.0)] {
            assert!((ceiling(most) - above).abs() < 1e-9, "{most}");
        }
    }

    #[test]
    fn numbers_are_formatted_briefly() {
        for (value, expected) in
            [(0.0, "0"), (10_000.0, "10k"), (2_500.0, "2.5k"), (120.0, "120"), (7.5, "7.5"), (0.025, "0.025")]
        {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_chart_contains_every_point_and_closes_its_elements() {
        let panel = |what| Panel { unit: "viewers", rest: "", what, points: vec![(1.0, 2.0), (2.0, 3.0), (3.0, 5.0)] };
        let svg = draw(&[panel("% of a core"), panel("MiB")]);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
