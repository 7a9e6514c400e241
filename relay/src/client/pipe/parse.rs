//! Reads the histograms that `bpftrace` and bcc print, line by line.
//!
//! | program | starts with | a bin |
//! |---|---|---|
//! | bpftrace, text | `@usecs[nginx]:` | `[512, 1K)   90 \|@@@@\|`, with suffixes of 1,024 |
//! | bpftrace, JSON | one line: `{"type": "hist", "data": {"@usecs": {"nginx": [..]}}}` | `{"min": 512, "max": 1023, "count": 90}` |
//! | bcc | `disk = 'sda'`, then `usecs : count distribution` | `512 -> 1023 : 90 \|****\|` |
//!
//! All other lines are ignored: banners, times, scalar maps.

use joey_shared::histogram::Unit;
use serde_json::Value;

/// Maximum number of bins of one histogram. `lhist()` has at most 1,002, all others less than 100.
const BINS_MAX: usize = 1_024;
/// Maximum number of histograms in one line of JSON.
const HISTOGRAMS_MAX: usize = 10_000;

/// One bin, in whole units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bin {
    /// The lowest value; `None` for the bin of all negative values.
    pub(super) low: Option<u64>,
    /// The highest value; `None` for the bin of all values from `low`.
    pub(super) high: Option<u64>,
    /// How many values.
    pub(super) count: u64,
}

/// A histogram as it was printed, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Printed {
    /// Its name and its key; empty if it has neither.
    pub(super) name: String,
    /// The unit that the header or the name contains.
    pub(super) unit: Option<Unit>,
    /// The occupied bins.
    pub(super) bins: Vec<Bin>,
}

/// Reads lines. What it returns is complete, or the program has paused.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The histogram whose bins are being printed.
    open: Option<Printed>,
    /// bcc's `disk = 'sda'`, which comes before the header.
    key: Option<String>,
}

impl Parser {
    /// Reads one line, without its end. Returns the histograms that are complete.
    pub(super) fn line(&mut self, line: &str) -> Vec<Printed> {
        let line = line.trim_end();
        if line.starts_with('{')
            && let Ok(value) = serde_json::from_str(line)
        {
            let mut complete = self.close();
            complete.extend(histograms_in_json(&value));
            return complete;
        }
        let bin = if line.starts_with(['[', '(']) { bpftrace_bin(line) } else { bcc_bin(line) };
        if let Some(bin) = bin {
            if let Some(open) = &mut self.open
                && bin.count > 0
                && open.bins.len() < BINS_MAX
            {
                open.bins.push(bin);
            }
            return Vec::new();
        }
        let complete = self.close();
        if let Some(name) = line.strip_prefix('@').and_then(|rest| rest.strip_suffix(':')) {
            self.open = Some(Printed { name: name.to_owned(), unit: unit_in_name(name), bins: Vec::new() });
        } else if let Some(unit) = bcc_header(line) {
            let name = self.key.take().unwrap_or_default();
            self.open = Some(Printed { name, unit: unit_of(unit), bins: Vec::new() });
        } else if !line.is_empty() {
            self.key = line.split_once(" = ").map(|(name, value)| bcc_key(name, value));
        }
        complete
    }

    /// The program has paused: returns what it has printed of the last histogram. More bins of the same one may follow.
    pub(super) fn pause(&mut self) -> Option<Printed> {
        let open = self.open.as_mut().filter(|open| !open.bins.is_empty())?;
        let bins = std::mem::take(&mut open.bins);
        Some(Printed { bins, ..open.clone() })
    }

    fn close(&mut self) -> Vec<Printed> {
        self.open.take().filter(|open| !open.bins.is_empty()).into_iter().collect()
    }
}

/// `[512, 1K)  90 |@@@@|`; also `[0]`, `(..., 0)` and `[1000, ...)`.
fn bpftrace_bin(line: &str) -> Option<Bin> {
    let end = line.find([']', ')'])?;
    let (range, rest) = line.split_at(end + 1);
    let count = rest.split('|').next()?.trim().parse().ok()?;
    let inside = range.get(1..range.len() - 1)?;
    let Some((low, high)) = inside.split_once(", ") else {
        let value = bpftrace_number(inside)?;
        return Some(Bin { low: Some(value), high: Some(value), count });
    };
    if low == "..." {
        return Some(Bin { low: None, high: Some(0), count });
    }
    // A bin of `lhist()` that starts below zero counts negative values.
    let low = if low.starts_with('-') { None } else { Some(bpftrace_number(low)?) };
    let high = match high {
        "..." => None,
        high if high.starts_with('-') => Some(0),
        high => Some(bpftrace_number(high)?.checked_sub(u64::from(range.ends_with(')')))?),
    };
    Some(Bin { low, high, count })
}

/// `512`, or `1K` for 1,024.
fn bpftrace_number(text: &str) -> Option<u64> {
    let suffixes = ["K", "M", "G", "T", "P", "E"].into_iter().zip(1_u32..);
    let (digits, power) =
        suffixes.into_iter().find_map(|(suffix, power)| Some((text.strip_suffix(suffix)?, power))).unwrap_or((text, 0));
    digits.parse::<u64>().ok()?.checked_mul(1024_u64.checked_pow(power)?)
}

/// `512 -> 1023 : 90 |****|`, or `512 : 90 |****|` in a linear histogram.
fn bcc_bin(line: &str) -> Option<Bin> {
    let (range, rest) = line.split_once(" : ")?;
    let (count, _) = rest.split_once('|')?;
    let count = count.trim().parse().ok()?;
    let (low, high) = range.split_once("->").unwrap_or((range, range));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    Some(Bin { low: Some(low), high: Some(high), count })
}

/// The unit in `usecs               : count     distribution`.
fn bcc_header(line: &str) -> Option<&str> {
    let (unit, columns) = line.split_once(':')?;
    columns.split_whitespace().eq(["count", "distribution"]).then(|| unit.trim())
}

/// `disk = b'sda'` as `disk = sda`.
fn bcc_key(name: &str, value: &str) -> String {
    let value = value.trim();
    let value = value.strip_prefix('b').filter(|rest| rest.starts_with('\'')).unwrap_or(value);
    format!("{} = {}", name.trim(), value.trim_matches('\''))
}

/// The unit that a word names.
pub(super) fn unit_of(word: &str) -> Option<Unit> {
    Some(match word {
        "ns" | "nsec" | "nsecs" | "nanoseconds" => Unit::Nanoseconds,
        "us" | "usec" | "usecs" | "microseconds" => Unit::Microseconds,
        "ms" | "msec" | "msecs" | "milliseconds" => Unit::Milliseconds,
        "s" | "sec" | "secs" | "seconds" => Unit::Seconds,
        _ => return None,
    })
}

/// The unit in the name of a map: `usecs`, `read_us[nginx]`.
fn unit_in_name(name: &str) -> Option<Unit> {
    let map = name.split('[').next().unwrap_or(name);
    map.split('_').rev().find_map(unit_of)
}

/// The histograms in a line of `bpftrace -f json`.
fn histograms_in_json(value: &Value) -> Vec<Printed> {
    let is_histogram = value["type"] == "hist" || value["type"] == "lhist";
    let maps = value["data"].as_object().filter(|_| is_histogram);
    let mut found = Vec::new();
    for (map, data) in maps.into_iter().flatten() {
        let map = map.trim_start_matches('@');
        let mut add = |name: String, bins: &Value| {
            let bins: Vec<Bin> = bins.as_array().into_iter().flatten().take(BINS_MAX).filter_map(json_bin).collect();
            if !bins.is_empty() && found.len() < HISTOGRAMS_MAX {
                found.push(Printed { name, unit: unit_in_name(map), bins });
            }
        };
        match data {
            Value::Array(_) => add(map.to_owned(), data),
            Value::Object(keys) => keys.iter().for_each(|(key, bins)| add(format!("{map}[{key}]"), bins)),
            _ => {}
        }
    }
    found
}

fn json_bin(bin: &Value) -> Option<Bin> {
    let count = bin["count"].as_u64().filter(|&count| count > 0)?;
    let is_negative = |bound: &Value| bound.as_i64().is_some_and(|bound| bound < 0);
    let low = bin["min"].as_u64();
    let high = if is_negative(&bin["max"]) { Some(0) } else { bin["max"].as_u64() };
    // The first bin has no minimum, or a negative one; the last one of `lhist()` has no maximum.
    (low.is_some() || high.is_some()).then_some(Bin { low, high, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Printed> {
        let mut parser = Parser::default();
        let mut found: Vec<Printed> = text.lines().flat_map(|line| parser.line(line)).collect();
        found.extend(parser.pause());
        found
    }

    fn bin(low: u64, high: u64, count: u64) -> Bin {
        Bin { low: Some(low), high: Some(high), count }
    }

    #[test]
    fn text_of_bpftrace() {
        let found = parse(include_str!("samples/bpftrace.txt"));
        let names: Vec<&str> = found.iter().map(|printed| printed.name.as_str()).collect();
        assert_eq!(names, ["usecs", "usecs", "read_ns[nginx, 0]", "bytes"]);
        assert_eq!(found[0].unit, Some(Unit::Microseconds));
        assert_eq!(found[0].bins[..3], [bin(0, 0, 1), bin(1, 1, 12), bin(2, 3, 8)]);
        assert_eq!(found[0].bins[3..], [bin(512, 1_023, 90), bin(1_024, 2_047, 7), bin(1 << 20, (2 << 20) - 1, 1)]);
        assert_eq!((found[2].unit, found[3].unit), (Some(Unit::Nanoseconds), None));
        let open = Bin { high: None, ..bin(1_000, 0, 1) };
        assert_eq!(found[3].bins, [Bin { low: None, ..bin(0, 0, 3) }, bin(0, 99, 2), bin(100, 199, 5), open]);
    }

    #[test]
    fn json_of_bpftrace() {
        let found = parse(include_str!("samples/bpftrace.json"));
        let names: Vec<&str> = found.iter().map(|printed| printed.name.as_str()).collect();
        assert_eq!(names, ["usecs", "ns[nginx,0]", "ns[postgres,1]", "us"]);
        assert_eq!(found[0].bins, [bin(0, 0, 1), bin(1, 1, 12), bin(512, 1_023, 90)]);
        let (first, last) = (Bin { low: None, ..bin(0, 0, 3) }, Bin { high: None, ..bin(1_000, 0, 1) });
        assert_eq!(found[3].bins, [first, bin(0, 99, 2), last]);
    }

    #[test]
    fn text_of_bcc() {
        let found = parse(include_str!("samples/bcc.txt"));
        let names: Vec<&str> = found.iter().map(|printed| printed.name.as_str()).collect();
        assert_eq!(names, ["", "disk = sda", "disk = nvme0n1", "", ""]);
        assert_eq!(found[0].bins, [bin(0, 1, 2), bin(64, 127, 1), bin(128, 255, 20)]);
        let units: Vec<Option<Unit>> = found.iter().map(|printed| printed.unit).collect();
        let [us, ms] = [Unit::Microseconds, Unit::Milliseconds].map(Some);
        assert_eq!(units, [us, us, us, ms, None]);
    }

    #[test]
    fn bins_after_a_pause_belong_to_the_same_histogram() {
        let mut parser = Parser::default();
        for line in ["@us: ", "[1]   3 |@@@|"] {
            assert_eq!(parser.line(line), []);
        }
        let first = parser.pause().unwrap();
        assert_eq!(parser.pause(), None);
        assert_eq!(parser.line("[2, 4)   4 |@@@@|"), []);
        let rest = parser.line("");
        assert_eq!((first.bins, &rest[0].bins), (vec![bin(1, 1, 3)], &vec![bin(2, 3, 4)]));
        assert_eq!(rest[0].name, first.name);
    }

    #[test]
    fn other_lines_are_ignored_and_none_panics() {
        for line in [
            "Attaching 2 probes...",
            "@count: 12",
            "@stats: count 3, average 5, total 15",
            "13:05:01",
            "[1]  3 |@|",
            "[, 4) 3",
            "[é, 4) 3",
            "(..., 4) x",
            "[1, 0) 3 ||",
            "[99999999999E, 2) 1 |",
            "[",
            ") 1",
            "{\"type\": \"hist\"}",
            "{\"type\": \"hist\", \"data\": {\"@\": [1, {}, {\"count\": 2}]}}",
            " 1 -> x : 3 |",
            ": count distribution",
            "=",
            " = ",
        ] {
            assert_eq!(parse(line), [], "{line}");
        }
    }
}
