//! Objectives as text: `start-to-end/*: p99 < 10ms over 1m`. What is printed parses to the same objective.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display, Formatter};
use core::str::FromStr;

use super::Objective;
use crate::histogram::Quantile;
use crate::window::SECONDS_MAX;

/// Longest glob in bytes. Longer ones are rejected, so that a saved list stays small.
const GLOB_BYTES_MAX: usize = 1_024;

/// Units of thresholds with the number of decimal digits below them, from the longest. `µs` is accepted for `us`.
const THRESHOLD_UNITS: [(&str, u32); 4] = [("s", 9), ("ms", 6), ("us", 3), ("ns", 0)];

/// Units of windows in seconds, from the longest.
const WINDOW_UNITS: [(&str, u64); 3] = [("h", 3_600), ("m", 60), ("s", 1)];

/// Why a text is not an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectiveError {
    /// It has no `:`, `<` or `over`.
    Form,
    /// The glob is empty, longer than 1,024 bytes, has control characters, or starts or ends with a space.
    Views,
    /// The percentile is not between 0 and 100, exclusive, or has more than four decimals.
    Percentile,
    /// The threshold is not a positive number of `ns`, `us`, `ms` or `s`, or not a whole number of ns.
    Threshold,
    /// The window is not a whole number of `s`, `m` or `h` from one second to one hour.
    Window,
}

impl Display for ObjectiveError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Form => "write an objective as `start-to-end/*: p99 < 10ms over 1m`",
            Self::Views => "the views before `:` are empty or contain invalid characters",
            Self::Percentile => "the percentile must be above p0, below p100, and have at most four decimals",
            Self::Threshold => "the threshold must be a positive number of ns, us, ms or s",
            Self::Window => "the window must be from 1s to 1h",
        })
    }
}

impl core::error::Error for ObjectiveError {}

impl Objective {
    /// Creates an objective for the views whose path matches the glob `views`.
    ///
    /// # Errors
    /// The first part that is outside its range, see [`ObjectiveError`].
    pub fn new(
        views: &str,
        quantile: Quantile,
        threshold_ns: u64,
        window_seconds: u64,
    ) -> Result<Self, ObjectiveError> {
        if views.is_empty() || views.len() > GLOB_BYTES_MAX || views.trim() != views || views.contains(char::is_control)
        {
            return Err(ObjectiveError::Views);
        }
        if !(1..1_000_000).contains(&quantile.millionths()) {
            return Err(ObjectiveError::Percentile);
        }
        if threshold_ns == 0 {
            return Err(ObjectiveError::Threshold);
        }
        if !(1..=SECONDS_MAX).contains(&window_seconds) {
            return Err(ObjectiveError::Window);
        }
        Ok(Self { views: views.to_string(), quantile, threshold_ns, window_seconds })
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        // Names may contain `:`; what follows the views does not.
        let (views, target) = text.rsplit_once(':').ok_or(ObjectiveError::Form)?;
        let (percentile, rest) = target.split_once('<').ok_or(ObjectiveError::Form)?;
        let (threshold, window) = rest.split_once(" over ").ok_or(ObjectiveError::Form)?;
        let quantile = parse_percentile(percentile.trim()).ok_or(ObjectiveError::Percentile)?;
        let threshold_ns = parse_threshold(threshold.trim()).ok_or(ObjectiveError::Threshold)?;
        let window_seconds = parse_window(window.trim()).ok_or(ObjectiveError::Window)?;
        Self::new(views.trim(), quantile, threshold_ns, window_seconds)
    }
}

impl Display for Objective {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let percentile = decimal(self.quantile().millionths().into(), 4);
        let threshold = threshold_text(self.threshold_ns());
        let seconds = self.window_seconds();
        let (window_unit, length) =
            WINDOW_UNITS.into_iter().find(|&(_, length)| seconds.is_multiple_of(length)).unwrap_or(("s", 1));
        write!(out, "{}: p{percentile} < {threshold} over {}{window_unit}", self.views(), seconds / length)
    }
}

/// A threshold as text, which [`parse_threshold`] reads: `10ms`, `1.5s`.
#[must_use]
pub fn threshold_text(ns: u64) -> String {
    let (unit, digits) = THRESHOLD_UNITS.into_iter().find(|&(_, digits)| ns >= 10_u64.pow(digits)).unwrap_or(("ns", 0));
    decimal(ns, digits) + unit
}

/// Parses a list with one objective on each line. Empty lines and lines that start with `#` are ignored.
///
/// # Errors
/// The number of the first line that is not an objective, from 1, and why.
pub fn parse_list(text: &str) -> Result<Vec<Objective>, (usize, ObjectiveError)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| line.parse().map_err(|error| (number, error))).collect()
}

/// Parses a percentile such as `p99` or `p99.95`, with at most four decimals.
#[must_use]
pub fn parse_percentile(text: &str) -> Option<Quantile> {
    let millionths = parse_decimal(text.strip_prefix('p')?, 4)?;
    Quantile::from_millionths(u32::try_from(millionths).ok()?)
}

/// Parses a duration such as `10ms`, `1.5 s` or `250us`, in ns.
#[must_use]
pub fn parse_threshold(text: &str) -> Option<u64> {
    let at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "µs" | "μs" => "us",
        unit => unit,
    };
    let (_, digits) = THRESHOLD_UNITS.into_iter().find(|&(name, _)| name == unit)?;
    parse_decimal(number, digits)
}

fn parse_window(text: &str) -> Option<u64> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let (_, seconds) = WINDOW_UNITS.into_iter().find(|&(name, _)| name == unit.trim())?;
    parse_decimal(number, 0)?.checked_mul(seconds)
}

/// Parses a decimal number, in units of its last of `digits` decimals. More decimals must be zero.
fn parse_decimal(text: &str, digits: u32) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let decimals = decimals.trim_end_matches('0');
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let missing = (digits as usize).checked_sub(decimals.len())?;
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
        return None;
    }
    let fraction = if decimals.is_empty() { 0 } else { decimals.parse::<u64>().ok()? * 10_u64.pow(missing as u32) };
    whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(digits))?.checked_add(fraction)
}

/// The inverse of [`parse_decimal`], without zeros at the end.
fn decimal(value: u64, digits: u32) -> String {
    if digits == 0 {
        return value.to_string();
    }
    let text = crate::format::decimal(value, digits);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}
