//! Where things are said: names to NATS subjects and back.
//!
//! A name may hold dots, spaces, `*`, `>` and anything else, each of which means something in a subject. Base64url without
//! padding means nothing there and loses nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The version of what relays say to each other. Relays of two versions do not hear each other.
const VERSION: &str = "v1";
/// Stands for the empty name. One letter alone is never base64.
const EMPTY: &str = "_";

/// The subjects of one installation, which share a prefix.
#[derive(Clone, Debug)]
pub struct Subjects {
    base: String,
}

/// What a subject is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Relays say what logs they have.
    Logs,
    /// Relays say what their viewers watch.
    Wants,
    /// Something for one relay.
    Relay(u64),
    /// Batches of one log.
    Log(LogId),
    /// Questions that any holder of a replica of this log may answer.
    Holders(LogId),
}

/// One log: an application's name, and the epoch that its origin gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The application.
    pub app: String,
    /// The epoch.
    pub epoch: u64,
}

impl Subjects {
    /// The subjects that begin with `prefix`, which the configuration has checked.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { base: format!("{prefix}.{VERSION}") }
    }

    /// The subject of `place`.
    #[must_use]
    pub fn of(&self, place: &Place) -> String {
        let base = &self.base;
        match place {
            Place::Logs => format!("{base}.logs"),
            Place::Wants => format!("{base}.wants"),
            Place::Relay(relay) => format!("{base}.relay.{relay:x}"),
            Place::Log(LogId { app, epoch }) => format!("{base}.log.{}.{epoch:x}", word_of(app)),
            Place::Holders(LogId { app, epoch }) => format!("{base}.holders.{}.{epoch:x}", word_of(app)),
        }
    }

    /// The subjects of every log of an application.
    #[must_use]
    pub fn logs_of(&self, app: &str) -> String {
        format!("{}.log.{}.*", self.base, word_of(app))
    }

    /// What `subject` is for, if it is one of these.
    #[must_use]
    pub fn read(&self, subject: &str) -> Option<Place> {
        let words: Vec<&str> = subject.strip_prefix(&self.base)?.strip_prefix('.')?.split('.').collect();
        let log = |app, epoch| Some(LogId { app: name_of(app)?, epoch: number(epoch)? });
        match words[..] {
            ["logs"] => Some(Place::Logs),
            ["wants"] => Some(Place::Wants),
            ["relay", relay] => Some(Place::Relay(number(relay)?)),
            ["log", app, epoch] => Some(Place::Log(log(app, epoch)?)),
            ["holders", app, epoch] => Some(Place::Holders(log(app, epoch)?)),
            _ => None,
        }
    }
}

fn word_of(name: &str) -> String {
    if name.is_empty() { EMPTY.to_owned() } else { URL_SAFE_NO_PAD.encode(name) }
}

fn name_of(word: &str) -> Option<String> {
    if word == EMPTY {
        return Some(String::new());
    }
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(word).ok()?).ok()?;
    (!name.is_empty()).then_some(name)
}

fn number(word: &str) -> Option<u64> {
    let number = u64::from_str_radix(word, 16).ok()?;
    // One number has one subject.
    (format!("{number:x}") == word).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_plain(subject: &str) -> bool {
        subject
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
    }

    fn check(app: &str, epoch: u64) {
        let subjects = Subjects::new("team-1.joey");
        let id = LogId { app: app.to_owned(), epoch };
        for place in [Place::Log(id.clone()), Place::Holders(id), Place::Relay(epoch)] {
            let subject = subjects.of(&place);
            assert!(is_plain(&subject), "{subject}");
            assert_eq!(subjects.read(&subject), Some(place), "{subject}");
        }
        let every = subjects.logs_of(app);
        let one = subjects.of(&Place::Log(LogId { app: app.to_owned(), epoch }));
        assert_eq!(every.strip_suffix('*'), one.strip_suffix(&format!("{epoch:x}")));
    }

    #[test]
    fn names_that_mean_something_in_a_subject_mean_nothing_there() {
        for app in ["", "_", ".", "*", ">", "a.b", "a b", "a.*.>", "\t", "$SYS", "Größe", "数", "\u{202e}", "="] {
            check(app, 1);
        }
        check(&"x".repeat(255), u64::MAX);
    }

    #[test]
    fn a_subject_without_names_is_read_back() {
        let subjects = Subjects::new("joey");
        for (place, subject) in [(Place::Logs, "joey.v1.logs"), (Place::Wants, "joey.v1.wants")] {
            assert_eq!(subjects.of(&place), subject);
            assert_eq!(subjects.read(subject), Some(place));
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back(app in any::<String>(), epoch in any::<u64>()) {
            check(&app, epoch);
        }

        #[test]
        fn two_names_never_share_a_subject(one in any::<String>(), other in any::<String>()) {
            prop_assert_eq!(word_of(&one) == word_of(&other), one == other);
        }

        #[test]
        fn any_subject_is_read_or_is_not_ours(rest in any::<String>()) {
            let subjects = Subjects::new("joey");
            let subject = format!("joey.v1.{rest}");
            if let Some(place) = subjects.read(&subject) {
                prop_assert_eq!(subjects.of(&place), subject);
            }
        }
    }
}
