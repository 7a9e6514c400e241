//! A number of bytes as people write it.

use std::str::FromStr;

use serde::Deserialize;

/// A number of bytes: `500k`, `64M`, `2G` (powers of 1,000), or a plain number, also as one in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ByteSize(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("", 1)];
        let bytes = units
            .into_iter()
            .find_map(|(unit, bytes)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(bytes));
        bytes.map(Self).ok_or_else(|| "it must be a size such as 500k, 100M or 2G".to_owned())
    }
}

impl TryFrom<Written> for ByteSize {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        let parse = |text: &str| text.parse().map(|ByteSize(bytes)| bytes);
        assert_eq!(["500k", "100M", "2G", "7"].map(parse), [500_000, 100_000_000, 2_000_000_000, 7].map(Ok));
        for invalid in ["", "-1", "1.5G", "M", "1 M", "99999999999G"] {
            assert!(parse(invalid).is_err(), "{invalid}");
        }
    }
}
