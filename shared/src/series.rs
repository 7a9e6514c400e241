//! Series, topics and names.
//!
//! The names of a series are separate fields, never a joined string, because names may contain `:`, `@`, `*`, `/` or
//! spaces. The hub that Joey replaces lost a whole worker because of one of these. [`check_name`] checks each name
//! once, when it arrives.

use alloc::string::String;
use core::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Maximum length of a name, in bytes. It allows all known names, and names cannot fill the memory.
pub const NAME_BYTES_MAX: usize = 255;

/// The category of time spent in one computation.
pub const COMPUTATION: &str = "computation";
/// The category of time from a source to the end of a pipeline, reported by the worker on which the pipeline ends.
pub const START_TO_END: &str = "start-to-end";
/// The category of time from entering a worker to completion or hand-off.
pub const NODE_INGRESS_EGRESS: &str = "node-ingress-egress";
/// The category of counts at the sources of a pipeline. It has no latencies.
pub const PIPELINE_INGESTION: &str = "pipeline-ingestion";

/// The category of counts without latencies, for example of an OpenTelemetry sum. All its counts are in bin 0.
pub const THROUGHPUT: &str = "throughput";

/// The format in which a producer sent a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// Wallaroo's metrics protocol.
    #[default]
    Wallaroo,
    /// Joey's own protocol, from the crate `joey-emit` or another client.
    Emit,
    /// OpenTelemetry metrics.
    OtlpMetrics,
    /// OpenTelemetry traces: the durations of spans.
    OtlpTraces,
    /// StatsD.
    Statsd,
    /// The output of a program, from `joey pipe`.
    Pipe,
}

impl Source {
    /// The name in `joey stats --json` and on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wallaroo => "wallaroo",
            Self::Emit => "emit",
            Self::OtlpMetrics => "otlp-metrics",
            Self::OtlpTraces => "otlp-traces",
            Self::Statsd => "statsd",
            Self::Pipe => "pipe",
        }
    }
}

impl Source {
    /// How long a producer may collect periods before it sends them together, in ns. Exporters of traces send the spans
    /// of several seconds at once.
    #[must_use]
    pub const fn export_interval_ns(self) -> u64 {
        match self {
            Self::OtlpTraces => 10_000_000_000,
            _ => 0,
        }
    }
}

/// Where the histograms of a series come from, and what they do not know. It is part of the identity of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// The producer's format.
    pub source: Source,
    /// Whether the producer's buckets are no base-2 exponential ones, so that counts may be in a higher bin than their durations.
    pub is_approximate: bool,
    /// Whether the producer reports only a part of the events: counts are too low, or estimated from a known rate.
    pub is_sampled: bool,
    /// Whether the producer reports the exact minimum and maximum. If not, they are the edges of the outermost occupied bins.
    pub has_extremes: bool,
}

impl Default for Provenance {
    fn default() -> Self {
        Self::exact(Source::Wallaroo)
    }
}

impl Provenance {
    /// Everything that `source` reports is exact.
    #[must_use]
    pub const fn exact(source: Source) -> Self {
        Self { source, is_approximate: false, is_sampled: false, has_extremes: true }
    }

    /// What is known of the sum of this series and `other`. Its source is the lower one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            source: self.source.min(other.source),
            is_approximate: self.is_approximate || other.is_approximate,
            is_sampled: self.is_sampled || other.is_sampled,
            has_extremes: self.has_extremes && other.has_extremes,
        }
    }
}

/// The names that identify a series of an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// What is measured: [`COMPUTATION`], [`START_TO_END`], [`NODE_INGRESS_EGRESS`], [`PIPELINE_INGESTION`] or any other.
    pub category: String,
    /// The pipeline.
    pub pipeline: String,
    /// The worker that reported it.
    pub worker: String,
    /// The name of the metric, for example of a computation.
    pub name: String,
}

/// What a viewer subscribes to: an application and a filter on its log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic {
    /// The application.
    pub app: String,
    /// Selects its updates.
    pub filter: Filter,
}

/// Selects updates of an application's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Filter {
    /// All updates.
    All,
    /// The updates of one category.
    Category(String),
    /// The updates of one series.
    Series(SeriesKey),
}

impl Filter {
    /// Whether the filter matches the updates of `series`.
    #[must_use]
    pub fn matches(&self, series: &SeriesKey) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => *category == series.category,
            Self::Series(key) => key == series,
        }
    }

    /// Whether its names are valid. A filter with invalid names matches no series.
    #[must_use]
    pub fn has_valid_names(&self) -> bool {
        let names = match self {
            Self::All => return true,
            Self::Category(category) => [category.as_str(), "", "", ""],
            Self::Series(SeriesKey { category, pipeline, worker, name }) => {
                [category, pipeline, worker, name].map(String::as_str)
            }
        };
        names.iter().all(|name| check_name(name.as_bytes()).is_ok())
    }

    /// Whether this filter matches everything that `other` matches. Of two filters that overlap, one always covers the other.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) => false,
            (_, Self::Series(key)) => self.matches(key),
            (Self::Category(mine), Self::Category(theirs)) => mine == theirs,
            (Self::Series(_), Self::Category(_)) => false,
        }
    }
}

/// Why a name was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameError {
    /// It is longer than [`NAME_BYTES_MAX`].
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It contains a control character, or a character that reorders or hides text on a screen.
    Unprintable,
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(out, "longer than {NAME_BYTES_MAX} bytes"),
            Self::NotUtf8 => out.write_str("not UTF-8"),
            Self::Unprintable => out.write_str("with characters that cannot be shown"),
        }
    }
}

/// Maximum number of displayed characters of a rejected name.
const SHOWN_CHARS_MAX: usize = 48;

/// Makes a rejected name safe for display: shortens it, and escapes each unprintable character.
#[must_use]
pub fn escape_name(bytes: &[u8]) -> String {
    let prefix = bytes.get(..4 * SHOWN_CHARS_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(prefix);
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        if is_unprintable(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if prefix.len() < bytes.len() || text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns the name in `bytes` if it is valid.
///
/// # Errors
/// See [`NameError`]. A frame with an invalid name is rejected as a whole.
pub fn check_name(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let name = core::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
    // Most names are ASCII, and a relay checks five names in each frame.
    if bytes.iter().fold(true, |is_plain, byte| is_plain & (b' '..=b'~').contains(byte)) {
        return Ok(name);
    }
    if name.chars().any(is_unprintable) { Err(NameError::Unprintable) } else { Ok(name) }
}

/// Whether `c` is a control character or an invisible character that can make one name look like another: bidirectional
/// marks, embeddings, overrides and isolates, zero-width spaces, the byte order mark. Right-to-left letters are
/// allowed. So are the joiners (U+200C and U+200D), which Persian, Hindi and many emoji need.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn key(category: &str, name: &str) -> SeriesKey {
        let [category, name] = [category, name].map(ToString::to_string);
        SeriesKey { category, pipeline: "p".to_string(), worker: "w".to_string(), name }
    }

    #[test]
    fn names_with_separators_markup_and_any_script_are_valid() {
        for name in [
            "",
            "a:b@c*d",
            "<b>bold</b>",
            "Décodage · 解码 🚀",
            "مرحبا",
            "پردازش\u{200c}ها",
            "क्\u{200d}ष",
            "👩\u{200d}💻",
            "a/b?c#d e",
        ] {
            assert_eq!(check_name(name.as_bytes()), Ok(name));
        }
    }

    #[test]
    fn deceptive_names_are_rejected() {
        let long = [b'a'; NAME_BYTES_MAX + 1];
        assert_eq!(check_name(&long), Err(NameError::TooLong));
        assert!(check_name(&long[1..]).is_ok());
        assert_eq!(check_name(&[0xff, 0xfe]), Err(NameError::NotUtf8));
        for name in ["a\0b", "a\nb", "a\u{202e}b", "a\u{200b}b", "\u{feff}a", "a\u{2066}b", "\u{85}"] {
            assert_eq!(check_name(name.as_bytes()), Err(NameError::Unprintable), "{name:?}");
        }
    }

    #[test]
    fn rejected_names_are_escaped_for_display() {
        assert_eq!(escape_name("a\tb\u{202e}c".as_bytes()), "a\\tb\\u{202e}c");
        assert_eq!(escape_name(b"a\xffb"), "a\u{fffd}b");
        let long = escape_name("解".repeat(200).as_bytes());
        assert!(long.ends_with("解…") && long.chars().count() == SHOWN_CHARS_MAX + 1, "{long}");
        for bytes in [&[0x80_u8; 1000][..], &[0; 1000], "👩\u{200d}💻".repeat(100).as_bytes()] {
            let shown = escape_name(bytes);
            assert!(!shown.chars().any(is_unprintable) && shown.len() < 400, "{shown}");
        }
    }

    #[test]
    fn wider_filters_cover_narrower_ones() {
        let check = key(COMPUTATION, "Check");
        let [all, category, series] =
            [Filter::All, Filter::Category(COMPUTATION.to_string()), Filter::Series(check.clone())];
        let other = Filter::Series(key(START_TO_END, "p"));
        assert!(all.covers(&all) && all.covers(&category) && category.covers(&series) && series.covers(&series));
        assert!(
            !series.covers(&category) && !category.covers(&all) && !category.covers(&other) && !series.covers(&other)
        );
        assert!(category.matches(&check) && !other.matches(&check));
    }
}
