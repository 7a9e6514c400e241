//! All settings as text: stored by the browser, and exported and imported by the user.
//!
//! One line for each setting, `name: value`, and one `relay` line for each relay. Unknown lines are ignored, so that an
//! older page reads what a newer one has written. Tokens are not part of it.

use super::choices::{BinLabels, Density, Units, Zone, value_of, word_of};
use super::relay_list::{PAGE_RELAYS_MAX, RelayEntry, parse_addresses};
use super::{Theme, WINDOW_DEFAULT, offered_window};

/// Maximum length of the text, in bytes. Eight relays with eight addresses of 255 bytes fit.
pub const TEXT_BYTES_MAX: usize = 32_768;

/// The first line.
const TITLE: &str = "Joey settings";
/// The word for the relay that the page uses without settings.
const OWN: &str = "own";

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The relays, in order. The one that the page uses without settings is always among them.
    pub relays: Vec<RelayEntry>,
    /// The time zone.
    pub zone: Zone,
    /// The colours.
    pub theme: Theme,
    /// The unit of durations.
    pub units: Units,
    /// The labels of bins.
    pub bins: BinLabels,
    /// The density of tables.
    pub density: Density,
    /// The window of a page whose address names none, in seconds.
    pub window_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            relays: vec![RelayEntry::own()],
            zone: Zone::default(),
            theme: Theme::default(),
            units: Units::default(),
            bins: BinLabels::default(),
            density: Density::default(),
            window_seconds: WINDOW_DEFAULT,
        }
    }
}

impl Settings {
    /// Parses the text. Returns `None` if it is not the text of settings, or too long. A line with an invalid value has no
    /// effect.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.trim_start().lines().map(str::trim);
        if text.len() > TEXT_BYTES_MAX || lines.next() != Some(TITLE) {
            return None;
        }
        let mut settings = Self { relays: Vec::new(), ..Self::default() };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            settings.set(name.trim(), value.trim());
        }
        if !settings.relays.iter().any(RelayEntry::is_own) {
            settings.relays.insert(0, RelayEntry::own());
        }
        Some(settings)
    }

    fn set(&mut self, name: &str, value: &str) {
        match name {
            "relay" => self.add_relay(value, true),
            "relay off" => self.add_relay(value, false),
            "zone" => self.zone = Zone::parse(value).unwrap_or_default(),
            "theme" => self.theme = Theme::parse(value),
            "units" => self.units = value_of(&Units::CHOICES, value).unwrap_or_default(),
            "bins" => self.bins = value_of(&BinLabels::CHOICES, value).unwrap_or_default(),
            "density" => self.density = value_of(&Density::CHOICES, value).unwrap_or_default(),
            "window" => {
                self.window_seconds = value.parse().ok().and_then(offered_window).unwrap_or(WINDOW_DEFAULT);
            }
            _ => {}
        }
    }

    fn add_relay(&mut self, value: &str, is_enabled: bool) {
        let addresses = match value {
            OWN => Vec::new(),
            // What is stored has a scheme.
            _ => match parse_addresses(value, true) {
                Ok(addresses) => addresses,
                Err(_) => return,
            },
        };
        let is_known = self.relays.iter().any(|entry| entry.addresses == addresses);
        // One place is kept for the page's own relay.
        let has_own = addresses.is_empty() || self.relays.iter().any(RelayEntry::is_own);
        if !is_known && self.relays.len() + usize::from(!has_own) < PAGE_RELAYS_MAX {
            self.relays.push(RelayEntry { addresses, is_enabled });
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for relay in &self.relays {
            let name = if relay.is_enabled { "relay" } else { "relay off" };
            let value = if relay.is_own() { OWN.to_owned() } else { relay.key() };
            text.push_str(&format!("{name}: {value}\n"));
        }
        for (name, value) in [
            ("zone", self.zone.word()),
            ("theme", self.theme.name()),
            ("units", word_of(&Units::CHOICES, self.units)),
            ("bins", word_of(&BinLabels::CHOICES, self.bins)),
            ("density", word_of(&Density::CHOICES, self.density)),
        ] {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&format!("window: {}\n", self.window_seconds));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_line_for_each_setting() {
        let mut settings = Settings::default();
        settings
            .relays
            .push(RelayEntry { addresses: vec!["wss://a/ws".to_owned(), "ws://b:1/ws".to_owned()], is_enabled: false });
        let expected = "Joey settings\nrelay: own\nrelay off: wss://a/ws ws://b:1/ws\nzone: local\ntheme: auto\n\
                        units: auto\nbins: limits\ndensity: comfortable\nwindow: 300\n";
        assert_eq!(settings.text(), expected);
        assert_eq!(Settings::parse(expected), Some(settings));
    }

    #[test]
    fn a_text_of_something_else_is_refused_and_invalid_lines_are_ignored() {
        assert_eq!(Settings::parse("relay: own"), None);
        assert_eq!(Settings::parse(&format!("{TITLE}\n{}", " ".repeat(TEXT_BYTES_MAX))), None);
        let odd =
            "Joey settings\n\nrelay: ftp://x\nzone: <b>\nunits: days\nwindow: 61\nnew: 1\nrelay: wss://a\nno colon";
        let relays = vec![RelayEntry::own(), RelayEntry { addresses: vec!["wss://a/ws".to_owned()], is_enabled: true }];
        assert_eq!(Settings::parse(odd), Some(Settings { relays, ..Settings::default() }));
        let many: String = (0..50).map(|at| format!("relay: wss://h{at}\n")).collect();
        assert_eq!(Settings::parse(&format!("{TITLE}\n{many}")).unwrap().relays.len(), PAGE_RELAYS_MAX);
    }

    #[test]
    fn settings_survive_their_text() {
        let other = |host: &str, is_enabled| RelayEntry { addresses: vec![format!("ws://{host}/ws")], is_enabled };
        let lists = [
            vec![RelayEntry::own()],
            vec![other("a", true), RelayEntry { is_enabled: false, ..RelayEntry::own() }, other("b", false)],
        ];
        for (relays, zone) in lists.into_iter().zip([Zone::Utc, Zone::Named("Asia/Kathmandu".to_owned())]) {
            for (units, ..) in Units::CHOICES {
                for (bins, ..) in BinLabels::CHOICES {
                    for (theme, ..) in Theme::CHOICES {
                        for (density, ..) in Density::CHOICES {
                            let (relays, zone) = (relays.clone(), zone.clone());
                            let settings = Settings { relays, zone, theme, units, bins, density, window_seconds: 60 };
                            assert_eq!(Settings::parse(&settings.text()), Some(settings));
                        }
                    }
                }
            }
        }
    }
}
