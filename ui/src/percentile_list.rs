//! Which percentiles are shown: those of every page and those that the user typed, in ascending order.

use joey_shared::histogram::Quantile;

use crate::statistics::PERCENTILES;
use crate::typed_percentile::TypedPercentile;

/// A percentile of a table, or among the figures of a detail page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownPercentile {
    /// One that every page shows, by its index in [`PERCENTILES`].
    Fixed(usize),
    /// One that the user typed.
    Typed(TypedPercentile),
}

impl ShownPercentile {
    /// The quantile, from 0 to 1.
    #[must_use]
    pub fn quantile(self) -> Quantile {
        match self {
            Self::Fixed(index) => PERCENTILES[index].quantile,
            Self::Typed(percentile) => percentile.quantile(),
        }
    }

    /// Its name on screen.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::Fixed(index) => PERCENTILES[index].label.to_owned(),
            Self::Typed(percentile) => percentile.label(),
        }
    }

    /// Whether the user typed it.
    #[must_use]
    pub const fn is_typed(self) -> bool {
        matches!(self, Self::Typed(_))
    }
}

/// The first `count` of [`PERCENTILES`] and those of `typed` that are not among them, in ascending order.
#[must_use]
pub fn shown_percentiles(count: usize, typed: &[TypedPercentile]) -> Vec<ShownPercentile> {
    let mut all: Vec<ShownPercentile> = (0..count.min(PERCENTILES.len())).map(ShownPercentile::Fixed).collect();
    all.extend(typed.iter().map(|percentile| ShownPercentile::Typed(*percentile)));
    // The sort is stable: of two equal ones, the first is that of every page.
    all.sort_by_key(|percentile| percentile.quantile());
    all.dedup_by_key(|percentile| percentile.quantile());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_order_and_shown_once() {
        let labels = |count, typed: &str| {
            let shown = shown_percentiles(count, &TypedPercentile::parse_list(typed));
            shown.into_iter().map(ShownPercentile::label).collect::<Vec<_>>()
        };
        assert_eq!(labels(3, ""), ["p50", "p95", "p99"]);
        assert_eq!(labels(3, "75,99.95,1,99"), ["p1", "p50", "p75", "p95", "p99", "p99.95"]);
        assert_eq!(labels(5, "99.95,99.9"), ["p50", "p95", "p99", "p99.9", "p99.95", "p99.99"]);
        assert_eq!(shown_percentiles(9, &[]).len(), PERCENTILES.len());
    }
}
