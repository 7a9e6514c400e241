//! Keys as text: `p`, `?`, `Ctrl+k`, or a sequence such as `g d`.
//!
//! A sequence is typed one key after the other. What does not continue one is a key of its own.

/// How long the second key of a sequence is waited for, in ns.
const WAIT_NS: u64 = 2_000_000_000;

/// The beginning of a sequence that has been typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    first: Option<(String, u64)>,
}

impl Typed {
    /// Adds `key`, pressed at `now_ns`, and returns what is complete with it. `is_known` is whether a text is a key or
    /// a sequence that does something, `is_prefix` whether it begins one.
    pub fn press(
        &mut self,
        key: &str,
        now_ns: u64,
        is_known: impl Fn(&str) -> bool,
        is_prefix: impl Fn(&str) -> bool,
    ) -> Option<String> {
        if let Some((first, at_ns)) = self.first.take()
            && now_ns.saturating_sub(at_ns) < WAIT_NS
        {
            let both = format!("{first} {key}");
            if is_known(&both) {
                return Some(both);
            }
        }
        if is_prefix(key) {
            self.first = Some((key.to_owned(), now_ns));
            return None;
        }
        is_known(key).then(|| key.to_owned())
    }
}

/// The text of a key with its modifiers. `Ctrl` also stands for the command key of a Mac. `None` for keys with Alt, which belong
/// to the browser or write characters.
#[must_use]
pub fn key_text(key: &str, has_control: bool, has_alt: bool) -> Option<String> {
    match (has_control, has_alt) {
        (_, true) => None,
        (true, false) => Some(format!("Ctrl+{}", key.to_lowercase())),
        (false, false) => Some(key.to_owned()),
    }
}

/// The keys of `sequence` as they are written on a keyboard, one after the other.
#[must_use]
pub fn shown(sequence: &str) -> Vec<String> {
    let name = |key: &str| match key {
        "ArrowUp" => "↑".to_owned(),
        "ArrowDown" => "↓".to_owned(),
        "PageUp" => "Page Up".to_owned(),
        "PageDown" => "Page Down".to_owned(),
        "Escape" => "Esc".to_owned(),
        "-" => "−".to_owned(),
        key => match key.strip_prefix("Ctrl+") {
            Some(letter) => format!("Ctrl {}", letter.to_uppercase()),
            None => key.to_owned(),
        },
    };
    sequence.split(' ').map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn check(keys: &[(&str, u64)], expected: &[&str]) {
        let known = |key: &str| ["p", "g d", "g a", "d"].contains(&key);
        let mut typed = Typed::default();
        let complete: Vec<String> =
            keys.iter().filter_map(|(key, at)| typed.press(key, at * S, known, |key| key == "g")).collect();
        assert_eq!(complete, expected, "{keys:?}");
    }

    #[test]
    fn keys_and_sequences_are_recognized() {
        check(&[("p", 0)], &["p"]);
        check(&[("x", 0)], &[]);
        check(&[("g", 0), ("d", 1)], &["g d"]);
        check(&[("g", 0), ("p", 1)], &["p"]);
        check(&[("g", 0), ("g", 1), ("a", 2)], &["g a"]);
    }

    #[test]
    fn a_sequence_that_takes_too_long_is_not_one() {
        check(&[("g", 0), ("d", 2)], &["d"]);
        check(&[("g", 0), ("a", 5)], &[]);
    }

    #[test]
    fn modifiers_are_part_of_a_key() {
        assert_eq!(key_text("K", true, false).as_deref(), Some("Ctrl+k"));
        assert_eq!(key_text("?", false, false).as_deref(), Some("?"));
        assert_eq!(key_text("p", false, true), None);
        assert_eq!(shown("g d"), ["g", "d"]);
        assert_eq!(shown("Ctrl+k"), ["Ctrl K"]);
    }
}
