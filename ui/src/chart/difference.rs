//! The difference heatmap: in each column, the share of the events in a bin, minus the share in the same bin on the other side.
//!
//! The palette diverges from a neutral colour, which means exactly zero. Where one side has no events there is no share and so
//! no difference: such columns are hatched, which no difference is. The scale is symmetrical and has a legend.

use joey_shared::compare::Comparison;
use joey_shared::histogram::{Grid, Histogram};

use super::heatmap::{latency_axis, row_edges, row_grid};
use super::latency_axis::{LatencyRange, visible_range};
use super::scale::Scale;
use super::time_axis::{self, TimeAxis};
use super::{Anchor, Ink, Rect, Shape, Size, text_width};
use crate::time_format::UtcOffsets;

/// The number of colours on each side of zero.
pub const LEVELS: i8 = 12;

/// The ends of the scale, as shares.
const ENDS: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// The data of the chart.
#[derive(Clone, Debug)]
pub struct Difference {
    /// First second of the window.
    pub from: u64,
    /// Last second of the window.
    pub to: u64,
    /// The columns, ascending. Seconds without a column have nothing to compare.
    pub columns: Vec<DifferenceColumn>,
    /// The bins of all columns.
    pub grid: Grid,
    /// The UTC offsets of the time axis.
    pub utc_offsets: UtcOffsets,
    /// The second under the crosshair.
    pub hover: Option<u64>,
}

/// One column: both sides have events.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferenceColumn {
    /// Its last second.
    pub second: u64,
    /// Its width in seconds.
    pub width: u64,
    /// The events of this side, in the bins of the chart.
    pub current: Histogram,
    /// The events of the other side.
    pub reference: Histogram,
}

impl DifferenceColumn {
    /// The bins of `grid` that either side has, and the difference of the shares there.
    #[must_use]
    pub fn differences(&self, grid: Grid) -> Vec<(usize, f64)> {
        let [current, reference] = [&self.current, &self.reference].map(|side| side.in_grid(grid));
        Comparison::new(&current, &reference).differences()
    }

    /// Both sides, to compare them.
    #[must_use]
    pub fn comparison(&self) -> Comparison<'_> {
        Comparison::new(&self.current, &self.reference)
    }
}

/// The colour of a difference on a scale that ends at `end`: 0 exactly for 0, otherwise -[`LEVELS`] to [`LEVELS`].
#[must_use]
pub fn level(difference: f64, end: f64) -> i8 {
    if difference == 0.0 {
        return 0;
    }
    let step = (difference.abs() / end * f64::from(LEVELS)).ceil().clamp(1.0, f64::from(LEVELS)) as i8;
    if difference < 0.0 { -step } else { step }
}

impl Difference {
    /// The column that covers `second`.
    #[must_use]
    pub fn column_at(&self, second: u64) -> Option<&DifferenceColumn> {
        self.columns.iter().find(|column| column.second >= second && column.second < second + column.width)
    }

    /// The second at horizontal position `x` of a canvas of `size`; `None` outside the plot.
    #[must_use]
    pub fn second_at(&self, x: f64, size: Size) -> Option<u64> {
        self.axis(size).second_inside(x)
    }

    /// The time axis on a canvas of `size`.
    #[must_use]
    pub fn axis(&self, size: Size) -> TimeAxis {
        TimeAxis::along(plot_of(size), self.from, self.to)
    }

    /// The range of latencies of both sides.
    fn range(&self) -> LatencyRange {
        let mut total = Histogram::new(self.grid);
        for column in &self.columns {
            total.merge(&column.current);
            total.merge(&column.reference);
        }
        visible_range(&total)
    }

    /// Draws the chart. `name` is the other side.
    #[must_use]
    pub fn draw(&self, size: Size, name: &str) -> Vec<Shape> {
        let plot = plot_of(size);
        let (time, range) = (time_axis::scale(plot, self.from, self.to), self.range());
        let scale = Scale { from: range.low, to: range.high, start: plot.bottom(), end: plot.y };
        let grid = row_grid(self.grid, &scale);
        let mut list = vec![Shape::Hatched(plot)];
        let end = self.cells(&mut list, plot, grid, &scale, &time);
        latency_axis(&mut list, plot, &scale);
        time_axis::draw_ticks(&mut list, plot, &time, (self.from, self.to), self.utc_offsets);
        legend(&mut list, plot, end);
        if self.columns.is_empty() {
            let middle = [f64::midpoint(plot.x, plot.right()), plot.y + plot.height / 2.0];
            list.push(Shape::text(Ink::Muted, middle, Anchor::Middle, format!("nothing to compare with {name}")));
        }
        if let Some(second) = self.hover.filter(|second| (self.from..=self.to).contains(second)) {
            time_axis::draw_crosshair(&mut list, &time, second, plot.y, plot.bottom());
        }
        list
    }

    /// Adds the cells, and returns the end of the scale.
    fn cells(&self, list: &mut Vec<Shape>, plot: Rect, grid: Grid, scale: &Scale, time: &Scale) -> f64 {
        let columns: Vec<(&DifferenceColumn, Vec<(usize, f64)>)> =
            self.columns.iter().map(|column| (column, column.differences(grid))).collect();
        let all = columns.iter().flat_map(|(_, differences)| differences.iter().map(|(_, difference)| *difference));
        let end = scale_end(all);
        let index = |level: i8| usize::from((level + LEVELS).unsigned_abs());
        let mut by_level: Vec<Vec<Rect>> = vec![Vec::new(); index(LEVELS) + 1];
        let mut background = Vec::new();
        for (column, differences) in &columns {
            let start = column.second.saturating_sub(column.width).max(self.from.saturating_sub(1));
            let (x0, x1) = (time.at(start as f64).round(), time.at(column.second as f64).round());
            let x1 = x1.max(x0 + 1.0);
            // Bins without events on either side differ by exactly zero.
            background.push(Rect::between(x0, plot.y, x1, plot.bottom()));
            for &(bin, difference) in differences {
                let step = level(difference, end);
                if step != 0 {
                    let (top, bottom) = row_edges(grid, bin, scale);
                    by_level[index(step)].push(Rect::between(x0, bottom, x1, top));
                }
            }
        }
        // The neutral colour covers the hatch.
        list.push(Shape::Rects { ink: Ink::Difference(0), rects: background });
        for (step, rects) in (-LEVELS..=LEVELS).zip(by_level) {
            if !rects.is_empty() {
                list.push(Shape::Rects { ink: Ink::Difference(step), rects });
            }
        }
        end
    }
}

fn plot_of(size: Size) -> Rect {
    let (left, right, top, bottom) = (62.0, 12.0, 30.0, 24.0);
    Rect { x: left, y: top, width: (size.width - left - right).max(1.0), height: (size.height - top - bottom).max(1.0) }
}

/// The end of a scale that contains all `differences`.
fn scale_end(differences: impl Iterator<Item = f64>) -> f64 {
    let largest = differences.map(f64::abs).fold(0.0, f64::max);
    ENDS.into_iter().find(|&end| largest <= end).unwrap_or(1.0)
}

/// The palette from the lowest to the highest difference, and what is hatched.
fn legend(list: &mut Vec<Shape>, plot: Rect, end: f64) {
    let (y, height) = (plot.y - 20.0, 10.0);
    let middle = y + height / 2.0;
    let percent = |share: f64| format!("{}\u{2009}%", (share * 100.0).round());
    let high = format!("+{} here", percent(end));
    let mut right = plot.right();
    list.push(Shape::text(Ink::Muted, [right, middle], Anchor::End, high.clone()));
    right -= text_width(high.chars().count()) + 4.0;
    let cell = 6.0;
    let width = cell * f64::from(2 * LEVELS + 1);
    for step in -LEVELS..=LEVELS {
        let x = right - width + f64::from(step + LEVELS) * cell;
        list.push(Shape::rect(Ink::Difference(step), Rect { x, y, width: cell + 0.5, height }));
    }
    let zero = right - width / 2.0;
    list.push(Shape::hairline(Ink::Axis, [zero, y + height], [zero, y + height + 4.0]));
    right -= width + 6.0;
    let low = format!("−{}", percent(end));
    list.push(Shape::text(Ink::Muted, [right, middle], Anchor::End, low.clone()));
    right -= text_width(low.chars().count()) + 14.0;
    if plot.width > 420.0 {
        let label = "nothing to compare";
        list.push(Shape::text(Ink::Muted, [right, middle], Anchor::End, label));
        right -= text_width(label.chars().count()) + 4.0;
        list.push(Shape::Hatched(Rect { x: right - 24.0, y, width: 24.0, height }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 1_000.0, height: 260.0 };

    fn histogram(counts: &[(usize, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        counts.iter().for_each(|&(bin, count)| histogram.add(bin, count));
        histogram
    }

    fn column(second: u64, current: &[(usize, u64)], reference: &[(usize, u64)]) -> DifferenceColumn {
        DifferenceColumn { second, width: 2, current: histogram(current), reference: histogram(reference) }
    }

    fn chart(columns: Vec<DifferenceColumn>) -> Difference {
        let (grid, utc_offsets) = (Grid::WALLAROO, UtcOffsets::default());
        Difference { from: 3_601, to: 3_610, columns, grid, utc_offsets, hover: None }
    }

    /// The rectangles of the cells by level, without the legend.
    fn cells(list: &[Shape]) -> Vec<(i8, usize)> {
        let cells = list.iter().filter_map(|shape| match shape {
            Shape::Rects { ink: Ink::Difference(level), rects } if rects[0].width > 7.0 => Some((*level, rects.len())),
            _ => None,
        });
        cells.collect()
    }

    #[test]
    fn a_difference_is_of_shares_and_zero_is_exact() {
        let equal = column(3_602, &[(10, 1), (12, 2)], &[(10, 5), (12, 10)]);
        assert_eq!(equal.differences(Grid::WALLAROO), [(10, 0.0), (12, 0.0)]);
        let moved = column(3_604, &[(10, 1), (12, 3)], &[(10, 3), (11, 1)]);
        assert_eq!(moved.differences(Grid::WALLAROO), [(10, -0.5), (11, -0.25), (12, 0.75)]);
        // Both columns have the neutral colour; the second one has cells.
        let list = chart(vec![equal, moved]).draw(SIZE, "x");
        assert_eq!(cells(&list), [(0, 2), (-6, 1), (-3, 1), (9, 1)]);
    }

    #[test]
    fn what_cannot_be_compared_is_hatched_and_not_neutral() {
        let list = chart(vec![column(3_604, &[(10, 1)], &[(10, 1)])]).draw(SIZE, "x");
        let Some(Shape::Hatched(hatched)) = list.first() else { panic!("everything is hatched first") };
        let Some(Shape::Rects { ink: Ink::Difference(0), rects }) = list.get(1) else { panic!("then the columns") };
        assert_eq!((hatched.width, rects.len()), (926.0, 1));
        assert!((rects[0].width - 926.0 / 5.0).abs() <= 1.0);
        let empty = chart(vec![]).draw(SIZE, "worker-2");
        let texts = empty.iter().filter(|shape| matches!(shape, Shape::Text { text, .. } if text.contains("worker-2")));
        assert_eq!(texts.count(), 1);
    }

    #[test]
    fn the_scale_is_symmetrical_and_holds_every_difference() {
        assert_eq!(
            [0.0, 0.02, -0.3, 1.0].map(|difference| scale_end([difference].into_iter())),
            [0.01, 0.02, 0.5, 1.0]
        );
        assert_eq!([0.0, 1e-12, -1e-12, 0.2, -0.2].map(|difference| level(difference, 0.2)), [0, 1, -1, 12, -12]);
    }

    #[test]
    fn a_second_has_the_column_that_covers_it() {
        let chart = chart(vec![column(3_604, &[(10, 1)], &[(10, 1)])]);
        assert!(chart.column_at(3_603).is_some() && chart.column_at(3_604).is_some());
        assert!(chart.column_at(3_602).is_none() && chart.column_at(3_605).is_none());
        let x = time_axis::scale(plot_of(SIZE), chart.from, chart.to).at(3_603.5);
        assert_eq!((chart.second_at(x, SIZE), chart.second_at(3.0, SIZE)), (Some(3_604), None));
    }

    #[test]
    fn any_size_can_be_drawn() {
        for size in [Size { width: 0.0, height: 0.0 }, Size { width: 300.0, height: 50.0 }] {
            drop(chart(vec![column(3_604, &[(0, u64::MAX)], &[(64, u64::MAX)])]).draw(size, ""));
        }
    }
}
