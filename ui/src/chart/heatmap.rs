//! The heatmap of a timeline: cells, latency axis, legend, and the histogram of the window beside it.
//!
//! A row is a bin, so all rows have about the same height and a cell shows an exact count. Bins that would be too thin are folded
//! to a coarser scale first. The colour is the logarithm of the count, so that cells of one event and of a million are both
//! visible.

use joey_shared::format;
use joey_shared::histogram::{Grid, Histogram, Quantile};

use super::latency_axis::{LatencyRange, finest_grid};
use super::scale::{Scale, duration_ticks};
use super::timeline_data::{Column, Layout, Timeline};
use super::{Anchor, Ink, Rect, Shape, text_width};

/// The number of colours on the ramp. More cannot be distinguished, and each costs a call to the browser.
const LEVELS: u32 = 24;

/// Minimum height of a row, in pixels.
const ROW_HEIGHT_MIN: f64 = 2.0;

/// Minimum distance between two labels, in pixels.
const LABEL_HEIGHT: f64 = 10.0;

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
    let scale = chart.latency_scale(layout);
    let grid = row_grid(chart.total.grid(), &scale);
    let most = cells(list, chart, grid, &scale, time);
    latency_axis(list, plot, &scale);
    legend(list, plot, most);
    if let Some(first) = chart.first.filter(|_| most == 0) {
        let known = f64::midpoint(time.at(first.max(chart.from) as f64), plot.right());
        list.push(Shape::text(Ink::Muted, [known, plot.y + plot.height / 2.0], Anchor::Middle, "no events"));
    }
    if layout.rail.width > 0.0 {
        rail(list, chart, layout.rail, grid, &scale);
    }
}

/// The finest grid, up to `grid`, whose bins are high enough to be seen.
pub(super) fn row_grid(grid: Grid, scale: &Scale) -> Grid {
    let octave = scale.at(0.0) - scale.at(1.0);
    finest_grid(grid, |folded| octave / f64::from(1_u32 << folded.scale()) >= ROW_HEIGHT_MIN)
}

/// The upper and lower edge of a row, in whole pixels and at least one pixel apart.
pub(super) fn row_edges(grid: Grid, bin: usize, scale: &Scale) -> (f64, f64) {
    let range = LatencyRange::of_bin(grid, bin);
    let (bottom, top) = (scale.at(range.low).round(), scale.at(range.high).round());
    (top.min(bottom - 1.0), bottom)
}

/// Adds the cells, and returns the highest count of one.
fn cells(list: &mut Vec<Shape>, chart: &Timeline, grid: Grid, scale: &Scale, time: &Scale) -> u64 {
    let mut counts: Vec<(&Column, usize, u64)> = Vec::new();
    for column in &chart.columns {
        if column.histogram.grid() == grid {
            counts.extend(column.histogram.occupied().map(|(bin, count)| (column, bin, count)));
        } else {
            counts.extend(column.histogram.in_grid(grid).occupied().map(|(bin, count)| (column, bin, count)));
        }
    }
    let most = counts.iter().map(|&(.., count)| count).max().unwrap_or(0);
    let gap_from = if grid.scale() == 0 { 6.0 } else { 9.0 };
    // There are many more cells than rows.
    let rows: Vec<(f64, f64)> = (0..grid.bins()).map(|bin| row_edges(grid, bin, scale)).collect();
    let mut by_level: Vec<Vec<Rect>> = vec![Vec::new(); 256];
    for (column, bin, count) in counts {
        let start = column.second.saturating_sub(column.width).max(chart.from.saturating_sub(1));
        let (x0, x1) = (time.at(start as f64).round(), time.at(column.second as f64).round());
        let (top, bottom) = rows[bin];
        // A gap of a pixel separates adjacent bins if there is room. Between thin rows it would be a pattern of its own.
        let gap = if bottom - top >= gap_from { 1.0 } else { 0.0 };
        by_level[usize::from(level(count, most))].push(Rect::between(x0, bottom, x1.max(x0 + 1.0), top + gap));
    }
    for (step, rects) in (0..=255).zip(by_level) {
        if !rects.is_empty() {
            list.push(Shape::Rects { ink: Ink::Heat(step), rects });
        }
    }
    most
}

/// Adds the latency axis on the left of `plot`.
pub(super) fn latency_axis(list: &mut Vec<Shape>, plot: Rect, scale: &Scale) {
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

/// The histogram of the window, and on top of it that of the period under the crosshair, in the rows of the heatmap.
fn rail(list: &mut Vec<Shape>, chart: &Timeline, rail: Rect, grid: Grid, scale: &Scale) {
    let width = rail.width - 32.0;
    let bars = |histogram: &Histogram| {
        let histogram = histogram.in_grid(grid);
        let most = histogram.occupied().map(|(_, count)| count).max().unwrap_or(0).max(1) as f64;
        let bar = |(bin, count): (usize, u64)| {
            let (top, bottom) = row_edges(grid, bin, scale);
            // Square roots keep the tail visible. The lengths are compared, not read.
            let length = ((count as f64 / most).sqrt() * width).max(1.0);
            let gap = if bottom - top > 1.0 { 1.0 } else { 0.0 };
            Rect::between(rail.x, bottom, rail.x + length, top + gap)
        };
        histogram.occupied().map(bar).collect::<Vec<Rect>>()
    };
    list.push(Shape::text(Ink::Muted, [rail.x, rail.y - 12.0], Anchor::Start, "whole window"));
    list.push(Shape::Rects { ink: Ink::Bar, rects: bars(&chart.total) });
    if let Some(column) = chart.hover.and_then(|second| chart.column_at(second)) {
        for bar in bars(&column.histogram) {
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
    let mut labels: Vec<(f64, String)> = Vec::new();
    for (quantile, name) in [(Quantile::P50, "p50"), (Quantile::P99, "p99")] {
        let Some(range) = chart.total.quantile(quantile) else { continue };
        let bin = LatencyRange::of_bin(grid, grid.bin_of(range.low));
        let y = scale.at(f64::midpoint(bin.low, bin.high));
        match labels.last_mut() {
            Some((known, name)) if (*known - y).abs() < LABEL_HEIGHT => "p50–99".clone_into(name),
            _ => labels.push((y, name.to_owned())),
        }
    }
    for (y, name) in labels {
        list.push(Shape::text(Ink::Text, [rail.right(), y], Anchor::End, name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::super::latency_axis::visible_range;
    use super::super::timeline::tests::{SIZE, timeline};
    use super::*;
    use joey_shared::histogram::Unit;

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

    fn cells_of(list: &[Shape]) -> Vec<Rect> {
        let rects = list.iter().filter_map(|shape| match shape {
            Shape::Rects { ink: Ink::Heat(_), rects } if rects[0].height != 8.0 => Some(rects.clone()),
            _ => None,
        });
        rects.flatten().collect()
    }

    /// The heatmap of a service: in each of two seconds, one count in each of `bins` of scale 3 from 1 s on.
    fn fine_heatmap(bins: usize, size: Size) -> (Vec<Rect>, Scale) {
        let grid = Grid::new(3, Unit::Seconds).unwrap();
        let histogram = Histogram::from_counts(grid, grid.bin_of_index(0), vec![1; bins]);
        let mut total = histogram.clone();
        total.merge(&histogram);
        let columns = [3_602, 3_604].map(|second| Column { second, width: 2, histogram: histogram.clone() }).to_vec();
        let chart = Timeline { columns, total, ..timeline() };
        let (plot, range) = (Layout::of(size, true).heat, visible_range(&chart.total));
        let scale = Scale { from: range.low, to: range.high, start: plot.bottom(), end: plot.y };
        (cells_of(&chart.draw(size)), scale)
    }

    #[test]
    fn a_bin_of_a_fine_scale_is_a_row_at_its_own_edges() {
        let (cells, scale) = fine_heatmap(16, SIZE);
        assert_eq!(cells.len(), 32);
        let bottom = cells.iter().map(Rect::bottom).fold(0.0, f64::max);
        // The lowest row starts at one second, not at a power of two of a nanosecond.
        assert!((bottom - scale.at(1e9_f64.log2())).abs() <= 0.5, "{bottom}");
        let top = cells.iter().map(|cell| cell.y).fold(f64::MAX, f64::min);
        assert!((top - scale.at(4e9_f64.log2())).abs() <= 1.5, "{top}");
    }

    #[test]
    fn rows_too_thin_to_be_seen_are_folded() {
        let (cells, _) = fine_heatmap(160, SIZE);
        // 20 octaves: 8 rows for each do not fit, 4 do.
        assert_eq!(cells.len(), 2 * 80);
        assert!(cells.iter().all(|cell| cell.height >= 1.0));
        let (cells, _) = fine_heatmap(160, Size { width: 10.0, height: 10.0 });
        assert!(cells.len() == 2 * 20 && cells.iter().all(|cell| cell.height >= 1.0));
    }
}
