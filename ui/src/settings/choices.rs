//! How the page shows things: zone, units, labels of bins, density. Each choice has a word that is stored.

use joey_shared::format::DurationUnit;

/// The time zone of all times on the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// The zone of this computer.
    #[default]
    Local,
    /// UTC.
    Utc,
    /// A zone of the IANA database, such as `Europe/Berlin`. Only the browser knows whether it exists.
    Named(String),
}

/// Maximum length of the name of a zone, in bytes. The longest has 32.
const ZONE_BYTES_MAX: usize = 64;

impl Zone {
    /// Parses the word of a zone. Returns `None` if it cannot be the name of one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
        match word {
            "local" => Some(Self::Local),
            "utc" | "UTC" => Some(Self::Utc),
            "" => None,
            name if name.len() <= ZONE_BYTES_MAX && name.bytes().all(is_name) => Some(Self::Named(name.to_owned())),
            _ => None,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Utc => "utc",
            Self::Named(name) => name,
        }
    }
}

/// The unit of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// The one in which the number is shortest.
    #[default]
    Automatic,
    /// Always this one.
    Fixed(DurationUnit),
}

/// How the bins of a histogram are labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinLabels {
    /// With their upper limit, which is not part of the bin: `< 8 ns`.
    #[default]
    Limits,
    /// As in the Metrics UI of Wallaroo: `<= 8 ns`.
    Wallaroo,
    /// With both limits: `4–8 ns`.
    Ranges,
}

/// How much space the rows of a table take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Density {
    /// As much as a finger needs.
    #[default]
    Comfortable,
    /// As little as a pointer needs.
    Compact,
}

/// The choices of a setting: value, word, label.
pub type Choices<T, const N: usize> = [(T, &'static str, &'static str); N];

impl Units {
    /// The choices.
    pub const CHOICES: Choices<Self, 5> = [
        (Self::Automatic, "auto", "Automatic"),
        (Self::Fixed(DurationUnit::Nanoseconds), "ns", "Nanoseconds (ns)"),
        (Self::Fixed(DurationUnit::Microseconds), "us", "Microseconds (µs)"),
        (Self::Fixed(DurationUnit::Milliseconds), "ms", "Milliseconds (ms)"),
        (Self::Fixed(DurationUnit::Seconds), "s", "Seconds (s)"),
    ];

    /// The fixed unit, if there is one.
    #[must_use]
    pub const fn fixed(self) -> Option<DurationUnit> {
        match self {
            Self::Automatic => None,
            Self::Fixed(unit) => Some(unit),
        }
    }
}

impl BinLabels {
    /// The choices.
    pub const CHOICES: Choices<Self, 3> = [
        (Self::Limits, "limits", "Upper limits (< 8 ns)"),
        (Self::Wallaroo, "wallaroo", "As in Wallaroo (<= 8 ns)"),
        (Self::Ranges, "ranges", "Ranges (4–8 ns)"),
    ];
}

impl Density {
    /// The choices.
    pub const CHOICES: Choices<Self, 2> =
        [(Self::Comfortable, "comfortable", "Comfortable"), (Self::Compact, "compact", "Compact")];
}

/// The value with this `word`.
#[must_use]
pub fn value_of<T: Copy, const N: usize>(choices: &Choices<T, N>, word: &str) -> Option<T> {
    choices.iter().find(|(_, known, _)| *known == word).map(|&(value, ..)| value)
}

/// The word of `value`.
#[must_use]
pub fn word_of<T: Copy + PartialEq, const N: usize>(choices: &Choices<T, N>, value: T) -> &'static str {
    choices.iter().find(|(known, ..)| *known == value).map_or("", |&(_, word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_words() {
        for (word, zone) in [
            ("local", Some(Zone::Local)),
            ("utc", Some(Zone::Utc)),
            ("Europe/Berlin", Some(Zone::Named("Europe/Berlin".to_owned()))),
            ("Etc/GMT+5", Some(Zone::Named("Etc/GMT+5".to_owned()))),
            ("", None),
            ("<b>", None),
            ("a b", None),
        ] {
            assert_eq!(Zone::parse(word), zone, "{word}");
            assert!(zone.is_none_or(|zone| zone.word() == word));
        }
        assert_eq!(Zone::parse(&"x".repeat(65)), None);
    }

    #[test]
    fn choices_have_words() {
        for (units, word, _) in Units::CHOICES {
            assert_eq!((value_of(&Units::CHOICES, word), word_of(&Units::CHOICES, units)), (Some(units), word));
        }
        assert_eq!(value_of(&Density::CHOICES, "tiny"), None);
        assert_eq!(word_of(&BinLabels::CHOICES, BinLabels::default()), "limits");
    }
}
