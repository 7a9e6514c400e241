//! Parses one line of a StatsD packet, with the extensions of DogStatsD:
//!
//! ```text
//! name:value[:value …]|type[|@rate][|#key:value,key …][|c:container][|Ttime][|e:entity]
//! ```
//!
//! The libraries that parse this format are no longer maintained or do not know several values in a line, hence our
//! own.

use joey_shared::series::check_name;

use crate::metrics::RejectReason;

/// The lowest accepted sample rate: one in a million. It bounds the weight of one value.
const RATE_MIN: f64 = 1e-6;

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ms`: durations in milliseconds.
    Timer,
    /// `h` and `d`: durations in a configured unit.
    Distribution,
    /// `c`: numbers of events.
    Counter,
}

/// One metric: the content of one line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// The name. It is valid and not empty.
    pub name: &'a str,
    /// What its values are.
    pub kind: Kind,
    /// The part of the events that the client reports, above 0 and at most 1.
    pub rate: f64,
    /// The values, separated by colons.
    values: &'a str,
    /// The tags, separated by commas.
    tags: &'a str,
}

impl<'a> Metric<'a> {
    /// Parses a line without its line end.
    ///
    /// # Errors
    /// Returns why the line is rejected. The other lines of its packet are not affected.
    pub fn parse(line: &'a [u8]) -> Result<Self, RejectReason> {
        if line.starts_with(b"_e{") || line.starts_with(b"_sc|") {
            return Err(RejectReason::StatsdEvent);
        }
        let line = std::str::from_utf8(line).map_err(|_| RejectReason::InvalidName)?;
        let (name, rest) = line.split_once(':').ok_or(RejectReason::StatsdBadLine)?;
        let mut fields = rest.split('|');
        let (Some(values), Some(kind)) = (fields.next(), fields.next()) else {
            return Err(RejectReason::StatsdBadLine);
        };
        if name.is_empty() || name.contains('|') || values.is_empty() {
            return Err(RejectReason::StatsdBadLine);
        }
        let kind = match kind {
            "ms" => Kind::Timer,
            "h" | "d" => Kind::Distribution,
            "c" => Kind::Counter,
            "" => return Err(RejectReason::StatsdBadLine),
            _ => return Err(RejectReason::StatsdUnsupported),
        };
        check_name(name.as_bytes())?;
        let mut metric = Metric { name, kind, rate: 1.0, values, tags: "" };
        for field in fields {
            if let Some(rate) = field.strip_prefix('@') {
                let rate: f64 = rate.parse().map_err(|_| RejectReason::StatsdBadValue)?;
                if !(RATE_MIN..=1.0).contains(&rate) {
                    return Err(RejectReason::StatsdBadValue);
                }
                metric.rate = rate;
            } else if let Some(tags) = field.strip_prefix('#') {
                metric.tags = tags;
            }
            // Other fields, such as the id of a container, are no part of the metric.
        }
        Ok(metric)
    }

    /// The number of values.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.values.bytes().filter(|&byte| byte == b':').count() + 1
    }

    /// The values, which are finite and not negative, or why a value is rejected.
    pub fn values(&self) -> impl Iterator<Item = Result<f64, RejectReason>> + 'a {
        self.values.split(':').map(|value| {
            let value: f64 = value.parse().map_err(|_| RejectReason::StatsdBadValue)?;
            if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(RejectReason::StatsdBadValue) }
        })
    }

    /// The tags with a value, as `(key, value)`.
    pub fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.tags.split(',').filter_map(|tag| tag.trim().split_once(':')).filter(|(_, value)| !value.is_empty())
    }
}

/// The lines of a packet that are not empty.
pub fn lines(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    packet.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A metric as text: name, kind, rate, values and tags.
    fn check(line: &str, expected: &str) {
        let text = match Metric::parse(line.as_bytes()) {
            Ok(metric) => {
                let values: Vec<String> = metric
                    .values()
                    .map(|value| value.map_or_else(|reason| reason.as_str().to_owned(), |value| value.to_string()))
                    .collect();
                assert_eq!(values.len(), metric.value_count());
                let tags: Vec<String> = metric.tags().map(|(key, value)| format!("{key}={value}")).collect();
                let Metric { name, kind, rate, .. } = metric;
                format!("{name} {kind:?} {rate} [{}] [{}]", values.join(" "), tags.join(" "))
            }
            Err(reason) => reason.as_str().to_owned(),
        };
        assert_eq!(text, expected, "{line}");
    }

    #[test]
    fn lines_of_statsd_clients_are_parsed() {
        check("glork:320|ms", "glork Timer 1 [320] []");
        check("glork:0.25|ms|@0.1", "glork Timer 0.1 [0.25] []");
        check("gorets:1|c|@0.5", "gorets Counter 0.5 [1] []");
        check("a b:1e3|h", "a b Distribution 1 [1000] []");
    }

    #[test]
    fn the_extensions_of_dogstatsd_are_parsed() {
        check("r:1:2.5:3|d|@0.5|#env:dev,route:/a:b,flag", "r Distribution 0.5 [1 2.5 3] [env=dev route=/a:b]");
        check("r:1|c|#k:v|c:83c0a99c0a54|T1656581400", "r Counter 1 [1] [k=v]");
        check("r:1|ms|#|e:it-false|card:low", "r Timer 1 [1] []");
        check("r:1|ms|#service:,host: x ", "r Timer 1 [1] [host= x]");
    }

    #[test]
    fn lines_that_carry_no_durations_or_counts_are_rejected() {
        for line in ["g:1|g", "g:+1|g", "u:id|s", "m:3|m"] {
            check(line, "statsd_unsupported");
        }
        check("_e{5,4}:title|text|p:low", "statsd_event");
        check("_sc|Redis connection|2|#env:dev", "statsd_event");
    }

    #[test]
    fn malformed_lines_are_rejected() {
        for line in ["", "name", "name:1", ":1|c", "name:|c", "na|me:1|c", "x:1|"] {
            check(line, "statsd_bad_line");
        }
        for rate in ["0", "-0.5", "1.5", "nan", "x", "", "1e-7"] {
            check(&format!("n:1|c|@{rate}"), "statsd_bad_value");
        }
        check(
            "n:-1:nan:inf:1x::2|ms",
            "n Timer 1 [statsd_bad_value statsd_bad_value statsd_bad_value statsd_bad_value statsd_bad_value 2] []",
        );
        check("n\u{202e}:1|ms", "invalid_name");
        check(&format!("{}:1|ms", "n".repeat(256)), "name_too_long");
        assert_eq!(Metric::parse(b"\xff:1|ms"), Err(RejectReason::InvalidName));
    }

    #[test]
    fn packets_are_split_into_lines() {
        let lines: Vec<&[u8]> = lines(b"a:1|c\n\r\n b:2|c \nc").collect();
        assert_eq!(lines, [b"a:1|c".as_slice(), b"b:2|c", b"c"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes: Vec<u8>, text in "[a:|@#.1-9,ms\n]{0,40}") {
            for packet in [bytes.as_slice(), text.as_bytes()] {
                for metric in lines(packet).filter_map(|line| Metric::parse(line).ok()) {
                    prop_assert_eq!(metric.values().count(), metric.value_count());
                    for value in metric.values().flatten() {
                        prop_assert!(value.is_finite() && value >= 0.0);
                    }
                    metric.tags().count();
                }
            }
        }
    }
}
