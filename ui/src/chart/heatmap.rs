//! The heatmap of a timeline: cells, latency axis, legend, and the histogram of the window beside it.
//!
//! A row is a bin, so all rows have the same height and a cell shows an exact count. The colour is the logarithm of the count, so
//! that cells of one event and of a million are both visible.

use joey_shared::format;
use joey_shared::histogram::{BINS, Histogram, Quantile, bin_of};

use super::scale::{Scale, duration_ticks};
use super::timeline_data::{Layout, Timeline};
use super::{Anchor, Ink, Rect, Shape, text_width};

/// The number of colours on the ramp. More cannot be distinguished, and each costs a call to the browser.
const LEVELS: u32 = 24;

/// Minimum number of visible bins, so that a view with a single bin is not one thick bar.
const BINS_SHOWN_MIN: usize = 8;

/// The lowest and highest visible bin for these counts.
#[must_use]
pub fn visible_bins(total: &Histogram) -> (usize, usize) {
    let mut occupied = total.occupied().map(|(bin, _)| bin);
    let Some(lowest) = occupied.next() else { return (8, 24) };
    let highest = occupied.last().unwrap_or(lowest);
    let (mut low, mut high) = (lowest.saturating_sub(1), (highest + 1).min(BINS - 1));
    while high - low + 1 < BINS_SHOWN_MIN {
        low = low.saturating_sub(1);
        high = (high + 1).min(BINS - 1);
    }
    (low, high)
}

/// The level of the ramp for `count`, from 0 for one event to 255 for `most`, the highest count of a cell.
#[must_use]
pub fn level(count: u64, most: u64) -> u8 {
    if most <= 1 {
        return 255;
    }
    let share = (count.max(1) as f64).ln() / (most as f64).ln();
    // Rounded to one of the levels.
    let step = (share * f64::from(LEVELS - 1)).round() / f64::from(LEVELS - 1);
    (step * 255.0) as u8
}

/// Adds the heatmap of `chart` to `list`.
pub(super) fn draw(list: &mut Vec<Shape>, chart: &Timeline, layout: &Layout, time: &Scale) {
    let plot = layout.heat;
    let (low, high) = visible_bins(&chart.total);
    // Bin `b` is from 2^(b-1) to 2^b; the axis is logarithmic.
    let scale = Scale { from: low as f64 - 1.0, to: high as f64, start: plot.bottom(), end: plot.y };
    cells(list, chart, &scale, time);
    axis(list, layout, &scale);
    let most = chart.columns.iter().flat_map(|column| column.bins).max().unwrap_or(0);
    legend(list, plot, most);
    if let Some(first) = chart.first.filter(|_| most == 0) {
        let known = f64::midpoint(time.at(first.max(chart.from) as f64), plot.right());
        list.push(Shape::text(Ink::Muted, [known, plot.y + plot.height / 2.0], Anchor::Middle, "no events"));
    }
    if layout.rail.width > 0.0 {
        rail(list, chart, layout.rail, &scale);
    }
}

fn cells(list: &mut Vec<Shape>, chart: &Timeline, scale: &Scale, time: &Scale) {
    let most = chart.columns.iter().flat_map(|column| column.bins).max().unwrap_or(0);
    let mut by_level: Vec<Vec<Rect>> = vec![Vec::new(); 256];
    for column in &chart.columns {
        let start = column.second.saturating_sub(column.width).max(chart.from.saturating_sub(1));
        let (x0, x1) = (time.at(start as f64).round(), time.at(column.second as f64).round());
        for (bin, &count) in column.bins.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let (y0, y1) = (scale.at(bin as f64 - 1.0).round(), scale.at(bin as f64).round());
            // A gap of a pixel separates adjacent bins if there is room.
            let gap = if y0 - y1 >= 6.0 { 1.0 } else { 0.0 };
            by_level[usize::from(level(count, most))].push(Rect::between(x0, y0, x1.max(x0 + 1.0), y1 + gap));
        }
    }
    for (step, rects) in (0..=255).zip(by_level) {
        if !rects.is_empty() {
            list.push(Shape::Rects { ink: Ink::Heat(step), rects });
        }
    }
}

fn axis(list: &mut Vec<Shape>, layout: &Layout, scale: &Scale) {
    let plot = layout.heat;
    let labels_max = (plot.height / 26.0) as usize;
    for (log2, label) in duration_ticks(scale.from, scale.to, labels_max) {
        let y = scale.at(log2);
        list.push(Shape::hairline(Ink::Grid, [plot.x, y], [plot.right(), y]));
        list.push(Shape::text(Ink::Muted, [plot.x - 8.0, y], Anchor::End, label));
    }
    list.push(Shape::hairline(Ink::Axis, [plot.x, plot.bottom()], [plot.right(), plot.bottom()]));
}

/// The colour ramp with its lowest and highest count, above the plot.
fn legend(list: &mut Vec<Shape>, plot: Rect, most: u64) {
    if most == 0 {
        return;
    }
    let (y, height, width) = (plot.y - 16.0, 8.0, 96.0);
    let most_text = format::rate(most as f64).to_string();
    let end = plot.right() - text_width(most_text.chars().count()) - 6.0;
    list.push(Shape::text(Ink::Muted, [plot.right(), y + height / 2.0], Anchor::End, most_text));
    let cell = width / f64::from(LEVELS);
    for step in 0..LEVELS {
        let rect = Rect { x: end - width + f64::from(step) * cell, y, width: cell + 0.5, height };
        let ink = Ink::Heat(u8::try_from(step * 255 / (LEVELS - 1)).unwrap_or(255));
        list.push(Shape::rect(ink, rect));
    }
    let label = if plot.width > 380.0 { "events per cell, log  1" } else { "events  1" };
    list.push(Shape::text(Ink::Muted, [end - width - 6.0, y + height / 2.0], Anchor::End, label));
}

/// The histogram of the window, and on top of it that of the period under the crosshair.
fn rail(list: &mut Vec<Shape>, chart: &Timeline, rail: Rect, scale: &Scale) {
    let width = rail.width - 32.0;
    let bars = |bins: &[u64; BINS]| {
        let most = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
        let bar = |(bin, &count): (usize, &u64)| {
            let (y0, y1) = (scale.at(bin as f64 - 1.0).round(), scale.at(bin as f64).round());
            // Square roots keep the tail visible. The lengths are compared, not read.
            let length = ((count as f64 / most).sqrt() * width).max(1.0);
            (count > 0).then(|| Rect::between(rail.x, y0, rail.x + length, (y1 + 1.0).min(y0)))
        };
        bins.iter().enumerate().filter_map(bar).collect::<Vec<Rect>>()
    };
    list.push(Shape::text(Ink::Muted, [rail.x, rail.y - 12.0], Anchor::Start, "whole window"));
    list.push(Shape::Rects { ink: Ink::Bar, rects: bars(&chart.total.bins) });
    if let Some(column) = chart.hover.and_then(|second| chart.column_at(second)) {
        for bar in bars(&column.bins) {
            let [left, right] = [rail.x + 0.5, bar.right()];
            let points = vec![
                [left, bar.y + 0.5],
                [right, bar.y + 0.5],
                [right, bar.bottom() - 0.5],
                [left, bar.bottom() - 0.5],
            ];
            list.push(Shape::Line { ink: Ink::Cross, width: 1.0, dashed: false, points });
        }
    }
    let mut labels: Vec<(usize, String)> = Vec::new();
    for (quantile, name) in [(Quantile::P50, "p50"), (Quantile::P99, "p99")] {
        let Some(range) = chart.total.quantile(quantile) else { continue };
        let bin = bin_of(range.low);
        match labels.last_mut() {
            Some((known, _)) if *known == bin => "p50–99".clone_into(&mut labels[0].1),
            _ => labels.push((bin, name.to_owned())),
        }
    }
    for (bin, name) in labels {
        list.push(Shape::text(Ink::Text, [rail.right(), scale.at(bin as f64 - 0.5)], Anchor::End, name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::{SIZE, timeline};
    use super::*;

    #[test]
    fn every_count_is_a_cell_and_the_fullest_is_the_brightest() {
        let list = timeline().draw(SIZE);
        let cells: Vec<(u8, usize)> = list
            .iter()
            .filter_map(|draw| match draw {
                Shape::Rects { ink: Ink::Heat(level), rects } if rects[0].height > 9.0 => Some((*level, rects.len())),
                _ => None,
            })
            .collect();
        assert_eq!(cells.iter().map(|(_, cells)| cells).sum::<usize>(), 3);
        assert_eq!((cells.first().map(|cell| cell.0), cells.last().map(|cell| cell.0)), (Some(0), Some(255)));
    }

    #[test]
    fn levels_are_logarithmic_and_never_out_of_range() {
        assert_eq!([level(1, 1_000_000), level(1_000, 1_000_000), level(1_000_000, 1_000_000)], [0, 133, 255]);
        assert_eq!([level(0, 0), level(1, 1), level(u64::MAX, u64::MAX), level(0, 9)], [255, 255, 255, 0]);
    }

    #[test]
    fn the_shown_bins_hold_every_count_with_a_margin() {
        let of = |bins: &[usize]| {
            let mut histogram = Histogram::default();
            bins.iter().for_each(|&bin| histogram.bins[bin] = 1);
            visible_bins(&histogram)
        };
        assert_eq!([of(&[5, 20]), of(&[0, 64]), of(&[]), of(&[0])], [(4, 21), (0, 64), (8, 24), (0, 7)]);
        assert_eq!(of(&[64]), (57, 64));
    }
}
