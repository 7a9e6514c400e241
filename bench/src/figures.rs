//! Several runs of one thing as figures: the least, the middle, a percentile, the line through them; and tables of them.

use std::fmt::{self, Display, Formatter};

/// What several runs gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// One more run.
    pub(crate) fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The least: what others on the machine disturbed least.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The least and, in brackets, the middle one, with so many digits behind the point.
    pub(crate) fn show(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$})", self.least(), self.median())
    }
}

/// The value below which `share` of `values` lie, in their own unit.
pub(crate) fn percentile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).map_or(f64::NAN, |&value| value as f64)
}

/// The straight line with the least squares of distances from points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// How much it rises for one step to the right.
    pub(crate) slope: f64,
    /// Where it begins.
    pub(crate) start: f64,
    /// R², the share of the points' spread that the line explains: 1 when they lie on it.
    pub(crate) fit: f64,
}

impl Line {
    /// Through points `(x, y)`, of which there are at least two that do not stand above each other.
    pub(crate) fn through(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let slope = sum(&|x, y| x * y) / sum(&|x, _| x * x);
        let missed = sum(&|x, y| (y - slope * x).powi(2));
        Self { slope, start: mean_y - slope * mean_x, fit: 1.0 - missed / sum(&|_, y| y * y) }
    }
}

/// Figures as Markdown, so that what is printed can stand in a document.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table of these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self(vec![columns.iter().map(|&column| column.to_owned()).collect()])
    }

    /// One more line.
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
                // Names stand to the left, figures to the right.
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
    fn a_line_goes_through_points_that_lie_on_it_and_says_how_well_it_fits_others() {
        assert_eq!(Line::through(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Line { slope: 2.0, start: 1.0, fit: 1.0 });
        let bent = Line::through(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]);
        assert_eq!((bent.slope, bent.start, bent.fit), (0.0, 1.0, 0.0));
    }

    #[test]
    fn a_table_is_markdown_whose_columns_stand_below_each_other() {
        let mut table = Table::new(&["system", "ms"]);
        table.row(["joey".to_owned(), "1.25".to_owned()]);
        assert_eq!(table.to_string(), "| system |   ms |\n|--------|-----:|\n| joey   | 1.25 |\n");
    }

    #[test]
    fn least_median_and_percentile_are_values_that_occurred() {
        let mut runs = Runs::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|figure| runs.add(figure));
        assert_eq!((runs.least(), runs.median()), (1.0, 2.0));
        assert_eq!(percentile(&mut (1..=100).rev().collect::<Vec<u64>>(), 0.99), 99.0);
    }
}
