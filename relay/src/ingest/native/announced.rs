//! The series that a connection has announced.

use joey_shared::emit::{Origin, Series};
use joey_shared::series::{NameError, Provenance, check_name};

use crate::metrics::RejectReason;

/// Maximum size of the names of one connection's series, in bytes. A series has about 50.
const NAME_BYTES_MAX: usize = 1 << 20;

/// The series of one connection, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Announced {
    series: Vec<Result<AnnouncedSeries, RejectReason>>,
    name_bytes: usize,
}

/// The names of a series, and its number in the log.
#[derive(Debug)]
pub(super) struct AnnouncedSeries {
    /// Category, pipeline and name, without separators.
    text: Box<str>,
    category_bytes: u8,
    pipeline_bytes: u8,
    /// The position in the pipeline.
    pub(super) id: u16,
    /// Where its histograms come from.
    pub(super) provenance: Provenance,
    /// Its number in the log, once it has been published.
    pub(super) number: Option<u32>,
}

impl AnnouncedSeries {
    /// The category, the pipeline and the name.
    pub(super) fn names(&self) -> [&str; 3] {
        let (category, rest) = self.text.split_at(usize::from(self.category_bytes));
        let (pipeline, name) = rest.split_at(usize::from(self.pipeline_bytes));
        [category, pipeline, name]
    }
}

/// The result of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announcement<'a> {
    /// The series is known now, or there are too many. Histograms of these are rejected later.
    Taken,
    /// The series has an invalid name. Its histograms are rejected.
    BadName(&'a str, NameError),
    /// The number is not the next one.
    BadNumber,
}

impl Announced {
    /// Adds a series of a producer of this kind, if there are less than `series_max`.
    pub(super) fn add<'a>(&mut self, series: &Series<'a>, origin: Origin, series_max: usize) -> Announcement<'a> {
        if self.series.len() >= series_max {
            return Announcement::Taken;
        }
        if usize::try_from(series.number) != Ok(self.series.len()) {
            return Announcement::BadNumber;
        }
        let names = [series.category, series.pipeline, series.name];
        let invalid = names.into_iter().find_map(|name| Some((name, check_name(name.as_bytes()).err()?)));
        if let Some((name, error)) = invalid {
            self.series.push(Err(error.into()));
            return Announcement::BadName(name, error);
        }
        let text = names.concat();
        let lengths = names.map(|name| u8::try_from(name.len()));
        self.name_bytes += text.len();
        self.series.push(match lengths {
            [Ok(category_bytes), Ok(pipeline_bytes), _] if self.name_bytes <= NAME_BYTES_MAX => Ok(AnnouncedSeries {
                text: text.into_boxed_str(),
                category_bytes,
                pipeline_bytes,
                id: series.id,
                provenance: series.provenance(origin),
                number: None,
            }),
            _ => Err(RejectReason::SeriesLimit),
        });
        Announcement::Taken
    }

    /// The series with this number on the connection, of which at most `series_max` are known.
    ///
    /// # Errors
    /// Returns why histograms of the series are rejected.
    pub(super) fn get(&mut self, number: u32, series_max: usize) -> Result<&mut AnnouncedSeries, RejectReason> {
        let is_full = self.series.len() >= series_max;
        let unknown = if is_full { RejectReason::SeriesLimit } else { RejectReason::UnknownSeries };
        let series = usize::try_from(number).ok().and_then(|at| self.series.get_mut(at)).ok_or(unknown)?;
        series.as_mut().map_err(|reason| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: u32, name: &str) -> Series<'_> {
        let (is_approximate, is_sampled, has_extremes) = (false, false, true);
        Series {
            number, id: 3, category: "computation", pipeline: "ä", name, is_approximate, is_sampled, has_extremes
        }
    }

    #[test]
    fn names_are_stored_together_and_returned_separately() {
        let mut announced = Announced::default();
        assert_eq!(announced.add(&series(0, "解码"), Origin::Emit, 9), Announcement::Taken);
        assert_eq!(announced.get(0, 9).unwrap().names(), ["computation", "ä", "解码"]);
        assert_eq!(announced.get(1, 9).unwrap_err(), RejectReason::UnknownSeries);
    }

    #[test]
    fn numbers_have_no_gaps() {
        let mut announced = Announced::default();
        assert_eq!(announced.add(&series(1, "a"), Origin::Emit, 9), Announcement::BadNumber);
        announced.add(&series(0, "a"), Origin::Emit, 9);
        assert_eq!(announced.add(&series(0, "b"), Origin::Emit, 9), Announcement::BadNumber);
    }

    #[test]
    fn a_series_with_an_invalid_name_has_a_number_but_no_histograms() {
        let mut announced = Announced::default();
        let bad = announced.add(&series(0, "a\u{202e}b"), Origin::Emit, 9);
        assert_eq!(bad, Announcement::BadName("a\u{202e}b", NameError::Unprintable));
        assert_eq!(announced.add(&series(1, "b"), Origin::Emit, 9), Announcement::Taken);
        assert_eq!(announced.get(0, 9).unwrap_err(), RejectReason::InvalidName);
        assert!(announced.get(1, 9).is_ok());
    }

    #[test]
    fn series_and_the_bytes_of_their_names_are_limited() {
        let mut announced = Announced::default();
        for number in 0..3 {
            assert_eq!(announced.add(&series(number, "a"), Origin::Emit, 2), Announcement::Taken);
        }
        assert_eq!(announced.get(2, 2).unwrap_err(), RejectReason::SeriesLimit);
        let (mut announced, long) = (Announced::default(), "n".repeat(200));
        let numbers = 0..u32::try_from(NAME_BYTES_MAX / 200).unwrap();
        numbers.clone().for_each(|number| _ = announced.add(&series(number, &long), Origin::Emit, usize::MAX));
        assert!(announced.get(0, usize::MAX).is_ok());
        assert_eq!(announced.get(numbers.end - 1, usize::MAX).unwrap_err(), RejectReason::SeriesLimit);
    }
}
