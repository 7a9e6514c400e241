//! Percentiles that the user typed, beside those that every page shows.
//!
//! A percentile is between 0 and 100, exclusive, and has at most four decimals: that is a quantile in millionths, so
//! its rank is computed in integers like those of all others. The address contains them: `?p=99.95,75`.

use joey_shared::histogram::Quantile;

/// Maximum number of typed percentiles; each is a column of every table.
pub const TYPED_MAX: usize = 4;

/// The quantile 1, in millionths.
const ONE: u32 = 1_000_000;

/// A percentile that the user typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypedPercentile {
    /// Between 0 and a million, exclusive.
    millionths: u32,
}

impl TypedPercentile {
    /// Parses `99.95`, `p99.95`, `99,95` or `99.95 %`. Returns `None` for anything else, or outside 0 to 100, or with
    /// more than four decimals.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['p', 'P']).trim_end_matches('%').trim();
        let (whole, decimals) = text.split_once(['.', ',']).unwrap_or((text, ""));
        let decimals = decimals.trim_end_matches('0');
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || decimals.len() > 4 || !is_number(whole) || !is_number(decimals) {
            return None;
        }
        let millionths: u32 = format!("{whole}{decimals:0<4}").parse().ok()?;
        (0 < millionths && millionths < ONE).then_some(Self { millionths })
    }

    /// The percentile that `tail` millionths of the events exceed. `None` outside 1 to 999,999.
    #[must_use]
    pub fn from_tail(tail: u32) -> Option<Self> {
        (0 < tail && tail < ONE).then(|| Self { millionths: ONE - tail })
    }

    /// The share of events that exceed it, in millionths.
    #[must_use]
    pub const fn tail(self) -> u32 {
        ONE - self.millionths
    }

    /// Parses the list in an address. Those that are not percentiles are ignored.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        let mut list: Vec<Self> = text.split(',').filter_map(Self::parse).collect();
        list.sort_unstable();
        list.dedup();
        list.truncate(TYPED_MAX);
        list
    }

    /// The list as text for an address.
    #[must_use]
    pub fn list_text(list: &[Self]) -> String {
        list.iter().map(|percentile| percentile.number()).collect::<Vec<String>>().join(",")
    }

    /// The number: `99.95`.
    #[must_use]
    pub fn number(self) -> String {
        let (whole, decimals) = (self.millionths / 10_000, self.millionths % 10_000);
        let text = format!("{whole}.{decimals:04}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Its name on screen and in data attributes: `p99.95`.
    #[must_use]
    pub fn label(self) -> String {
        format!("p{}", self.number())
    }

    /// The quantile, from 0 to 1.
    #[must_use]
    pub fn quantile(self) -> Quantile {
        // It is less than a million, so there is such a quantile.
        Quantile::from_millionths(self.millionths).unwrap_or(Quantile::P50)
    }

    /// The minimum number of events for which it means anything: `1 / (1 - q)`.
    #[must_use]
    pub fn events_min(self) -> u128 {
        u128::from(ONE.div_ceil(ONE - self.millionths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::PERCENTILES;

    fn number(text: &str) -> Option<String> {
        TypedPercentile::parse(text).map(TypedPercentile::number)
    }

    #[test]
    fn a_percentile_is_between_0_and_100_with_four_decimals_at_most() {
        for (text, expected) in [
            ("99.95", "99.95"),
            (" p99.95 % ", "99.95"),
            ("99,95", "99.95"),
            ("75", "75"),
            ("075.0000000", "75"),
            ("0.0001", "0.0001"),
            ("99.9999", "99.9999"),
            ("12.", "12"),
        ] {
            assert_eq!(number(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "0", "100", "100.1", "99.99999", "-1", "+1", "1e1", ".5", "p", "%", "99.9.9", "abc", "١"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn the_shown_percentiles_are_typed_as_their_labels_and_need_as_many_events() {
        for percentile in PERCENTILES {
            let typed = TypedPercentile::parse(percentile.label).unwrap();
            assert_eq!(typed.quantile(), percentile.quantile);
            assert_eq!((typed.label().as_str(), typed.events_min()), (percentile.label, percentile.events_min));
        }
        assert_eq!(TypedPercentile::parse("99.95").unwrap().events_min(), 2_000);
        assert_eq!(TypedPercentile::parse("99.9999").unwrap().events_min(), 1_000_000);
        assert_eq!(TypedPercentile::parse("0.0001").unwrap().events_min(), 2);
    }

    #[test]
    fn a_list_is_sorted_without_repetitions_and_bounded() {
        let list = |text: &str| TypedPercentile::list_text(&TypedPercentile::parse_list(text));
        assert_eq!(list("99.95,75,99.950,x,,100"), "75,99.95");
        assert_eq!(list("1,2,3,4,5,6"), "1,2,3,4");
        assert_eq!(list(""), "");
    }
}
