//! Statistics of several runs: minimum, median, percentile, linear fit; and tables of them.

use std::fmt::{self, Display, Formatter};

/// The results of several runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// Adds a run.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The minimum, which other load of the machine affected least.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The minimum and, in parentheses, the median, with this many decimal digits.
    pub(crate) fn show(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$})", self.least(), self.median())
    }
}

/// The value that a `share` of `values` do not exceed, in their unit.
pub(crate) fn percentile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).map_or(f64::NAN, |&value| value as f64)
}

/// A least-squares line through points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// Its rise per unit of x.
    pub(crate) slope: f64,
    /// Its value at x = 0.
    pub(crate) start: f64,
    /// R², the share of the points' variance that the line explains: 1 if they lie on it.
    pub(crate) fit: f64,
}

impl Line {
    /// A line through points `(x, y)`; at least two must have different x.
    pub(crate) fn through(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let slope = sum(&|x, y| x * y) / sum(&|x, _| x * x);
        let residual = sum(&|x, y| (y - slope * x).powi(2));
        Self { slope, start: mean_y - slope * mean_x, fit: 1.0 - residual / sum(&|_, y| y * y) }
    }
}

/// A Markdown table, so that printed results can be copied into a document.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self(vec![columns.iter().map(|&column| column.to_owned()).collect()])
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |at: usize| self.0.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default().max(3)).collect();
        for (number, row) in self.0.iter().enumerate() {
            for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // Names are left-aligned, numbers right-aligned.
                if at == 0 { write!(out, "| {cell:<width$} ")? } else { write!(out, "| {cell:>width$} ")? }
            }
            writeln!(out, "|")?;
            if number == 0 {
                for (at, &width) in widths.iter().enumerate() {
                    if at == 0 {
                        write!(out, "|{:-<1$}", "", width + 2)?
                    } else {
                        write!(out, "|{:->1$}:", "", width + 1)?
                    }
                }
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_points_exactly_or_reports_how_well_it_fits() {
        assert_eq!(Line::through(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Line { slope: 2.0, start: 1.0, fit: 1.0 });
        let bent = Line::through(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]);
        assert_eq!((bent.slope, bent.start, bent.fit), (0.0, 1.0, 0.0));
    }

    #[test]
    fn a_table_is_aligned_markdown() {
        let mut table = Table::new(&["system", "ms"]);
        table.row(["joey".to_owned(), "1.25".to_owned()]);
        assert_eq!(table.to_string(), "| system |   ms |\n|--------|-----:|\n| joey   | 1.25 |\n");
    }

    #[test]
    fn minimum_median_and_percentile_are_values_of_the_input() {
        let mut runs = Runs::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|value| runs.add(value));
        assert_eq!((runs.least(), runs.median()), (1.0, 2.0));
        assert_eq!(percentile(&mut (1..=100).rev().collect::<Vec<u64>>(), 0.99), 99.0);
    }
}
