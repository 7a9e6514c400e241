//! Charts made of characters: a row of bars, and the heatmap of a view.

use joey_shared::histogram::{Grid, Histogram};

use super::rows::Detail;

/// Bars of one line, from the lowest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the newest `values` in `width` characters. The highest one has a full bar; 0 has none.
pub(super) fn bars(values: &[f64], width: usize) -> String {
    let shown = resampled(values, width);
    let max = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        if value <= 0.0 {
            return ' ';
        }
        let level = (value / max * BARS.len() as f64).ceil();
        BARS[(level as usize).clamp(1, BARS.len()) - 1]
    };
    let bars: String = shown.iter().map(|&value| bar(value)).collect();
    format!("{bars:>width$}")
}

/// The means of at most `width` equal groups of `values`.
pub(super) fn resampled(values: &[f64], width: usize) -> Vec<f64> {
    if values.len() <= width {
        return values.to_vec();
    }
    let edge = |group: usize| group * values.len() / width;
    let mean = |group: usize| {
        let group = &values[edge(group)..edge(group + 1)];
        group.iter().sum::<f64>() / group.len() as f64
    };
    (0..width).map(mean).collect()
}

/// The counts of a view by time and duration.
#[derive(Debug, PartialEq)]
pub(super) struct Heatmap {
    /// The rows from the longest duration down.
    pub(super) rows: Vec<HeatmapRow>,
    /// The highest value of a cell.
    pub(super) max: f64,
}

/// The durations of one row of a heatmap.
#[derive(Debug, PartialEq)]
pub(super) struct HeatmapRow {
    /// The shortest duration, in ns, inclusive.
    pub(super) low: u64,
    /// The longest duration, in ns, exclusive.
    pub(super) high: u128,
    /// Events over the whole window.
    pub(super) count: u128,
    /// Events per second, one value for each column.
    pub(super) cells: Vec<f64>,
}

impl Heatmap {
    /// The heatmap of a view with `width` columns and at most `rows_max` rows; `None` without events. Bins that do not fit are
    /// added up in equal groups, so no count is left out.
    pub(super) fn of(detail: &Detail, width: usize, rows_max: usize) -> Option<Self> {
        let total = &detail.histogram;
        let lowest = total.occupied().next()?.0;
        let highest = total.occupied().last()?.0;
        if width == 0 || rows_max == 0 {
            return None;
        }
        let bins_per_row = (highest - lowest + 1).div_ceil(rows_max);
        let row_of = |bin: usize| (highest - bin.clamp(lowest, highest)) / bins_per_row;
        let grid = total.grid();
        let row = |row: usize| {
            let top = highest - row * bins_per_row;
            let bottom = (top + 1).saturating_sub(bins_per_row).max(lowest);
            HeatmapRow { low: grid.low(bottom), high: grid.high(top), count: 0, cells: vec![0.0; width] }
        };
        let mut rows: Vec<HeatmapRow> = (0..=row_of(lowest)).map(row).collect();
        for (bin, count) in total.occupied() {
            rows[row_of(bin)].count += u128::from(count);
        }
        let start = *detail.seconds.start();
        let length = usize::try_from(detail.seconds.end() + 1 - start).ok()?;
        for (second, slot_seconds, histogram) in &detail.columns {
            let period = (*slot_seconds).max(detail.period_seconds);
            let Ok(end) = usize::try_from(second + 1 - start) else { continue };
            let begin = end.saturating_sub(usize::try_from(period).unwrap_or(end));
            for (bin, count) in in_grid(histogram, grid).occupied() {
                spread(&mut rows[row_of(bin)].cells, begin..end, length, count as f64);
            }
        }
        let max = rows.iter().flat_map(|row| &row.cells).copied().fold(0.0, f64::max);
        Some(Self { rows, max })
    }

    /// The intensity of a value in `0..=levels`; 0 only for no events. The square root makes few events visible.
    pub(super) fn level(&self, value: f64, levels: usize) -> usize {
        if value <= 0.0 || self.max <= 0.0 {
            return 0;
        }
        (((value / self.max).sqrt() * levels as f64).ceil() as usize).clamp(1, levels)
    }
}

fn in_grid(histogram: &Histogram, grid: Grid) -> Histogram {
    if histogram.grid() == grid { histogram.clone() } else { histogram.in_grid(grid) }
}

/// Adds `count` events of the seconds `seconds`, of `length` seconds in all, to the cells of their time.
fn spread(cells: &mut [f64], seconds: core::ops::Range<usize>, length: usize, count: f64) {
    let per_second = count / (seconds.end - seconds.start).max(1) as f64;
    let width = cells.len();
    if width >= length {
        // Each second has one cell or several.
        cells[seconds.start * width / length..seconds.end * width / length]
            .iter_mut()
            .for_each(|cell| *cell += per_second);
        return;
    }
    for second in seconds {
        let at = second * width / length;
        let seconds_of_cell = ((at + 1) * length).div_ceil(width) - (at * length).div_ceil(width);
        cells[at] += per_second / seconds_of_cell as f64;
    }
}

#[cfg(test)]
mod tests {
    use joey_shared::view::ViewKey;

    use super::super::rows::detail;
    use super::super::testing::store;
    use super::*;

    #[test]
    fn bars_show_the_newest_values_relative_to_the_highest() {
        assert_eq!(bars(&[0.0, 1.0, 4.0, 8.0], 6), "   ▁▄█");
        assert_eq!(bars(&[8.0, 8.0, 1.0, 1.0], 2), "█▁");
        assert_eq!(bars(&[], 2), "  ");
    }

    #[test]
    fn a_heatmap_has_all_counts() {
        let mut store = store();
        let detail = detail(&mut store, &ViewKey::computation("Decode")).expect("it is there");
        for (width, rows) in [(60, 10), (7, 3), (200, 1)] {
            let heatmap = Heatmap::of(&detail, width, rows).expect("it has events");
            let counts: u128 = heatmap.rows.iter().map(|row| row.count).sum();
            assert_eq!(counts, 40);
            // Four events a second over the last ten of sixty seconds.
            let sum: f64 = heatmap.rows.iter().flat_map(|row| &row.cells).sum();
            let mean = sum / width as f64;
            assert!((mean - 40.0 / 60.0).abs() < 0.1, "{width}: {mean}");
        }
        assert_eq!(Heatmap::of(&detail, 0, 3), None);
    }

    #[test]
    fn few_events_are_visible() {
        let heatmap = Heatmap { rows: Vec::new(), max: 1_000_000.0 };
        assert_eq!([0.0, 1.0, 1_000_000.0].map(|value| heatmap.level(value, 8)), [0, 1, 8]);
    }
}
