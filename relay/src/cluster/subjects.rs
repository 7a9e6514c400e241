//! NATS subjects for logs and relays, and the conversion from and to names.
//!
//! A name may contain dots, spaces, `*`, `>` and other characters that are special in a subject. Names are therefore
//! encoded as base64url without padding, which has no special characters and is reversible.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Version of the protocol between relays. Relays with different versions do not receive each other's messages.
const VERSION: &str = "v1";
/// Encodes the empty name. A single character is never valid base64.
const EMPTY: &str = "_";

/// The subjects of one cluster, which share a prefix.
#[derive(Clone, Debug)]
pub struct Subjects {
    base: String,
}

/// Purpose of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// Announcements of logs.
    Logs,
    /// Announcements of viewers' interest, and other messages to all relays.
    Interest,
    /// Messages to one relay.
    Relay(u64),
    /// Batches of one log.
    LogBatches(LogId),
    /// History requests that any relay with a replica of this log may answer.
    LogReplicas(LogId),
}

/// Identity of a log: the application's name, and the epoch that the origin assigned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// Name of the application.
    pub app: String,
    /// Epoch.
    pub epoch: u64,
}

impl Subjects {
    /// Creates the subjects that begin with `prefix`. The configuration has validated the prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { base: format!("{prefix}.{VERSION}") }
    }

    /// Returns the subject for `kind`.
    #[must_use]
    pub fn subject(&self, kind: &SubjectKind) -> String {
        let base = &self.base;
        match kind {
            SubjectKind::Logs => format!("{base}.logs"),
            SubjectKind::Interest => format!("{base}.wants"),
            SubjectKind::Relay(relay) => format!("{base}.relay.{relay:x}"),
            SubjectKind::LogBatches(LogId { app, epoch }) => format!("{base}.log.{}.{epoch:x}", encode_name(app)),
            SubjectKind::LogReplicas(LogId { app, epoch }) => format!("{base}.holders.{}.{epoch:x}", encode_name(app)),
        }
    }

    /// Wildcard subject for all logs of an application.
    #[must_use]
    pub fn all_logs_subject(&self, app: &str) -> String {
        format!("{}.log.{}.*", self.base, encode_name(app))
    }

    /// Parses a subject. Returns `None` if it is not one of this cluster.
    #[must_use]
    pub fn parse(&self, subject: &str) -> Option<SubjectKind> {
        let tokens: Vec<&str> = subject.strip_prefix(&self.base)?.strip_prefix('.')?.split('.').collect();
        let log = |app, epoch| Some(LogId { app: decode_name(app)?, epoch: parse_hex(epoch)? });
        match tokens[..] {
            ["logs"] => Some(SubjectKind::Logs),
            ["wants"] => Some(SubjectKind::Interest),
            ["relay", relay] => Some(SubjectKind::Relay(parse_hex(relay)?)),
            ["log", app, epoch] => Some(SubjectKind::LogBatches(log(app, epoch)?)),
            ["holders", app, epoch] => Some(SubjectKind::LogReplicas(log(app, epoch)?)),
            _ => None,
        }
    }
}

fn encode_name(name: &str) -> String {
    if name.is_empty() { EMPTY.to_owned() } else { URL_SAFE_NO_PAD.encode(name) }
}

fn decode_name(token: &str) -> Option<String> {
    if token == EMPTY {
        return Some(String::new());
    }
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    (!name.is_empty()).then_some(name)
}

fn parse_hex(token: &str) -> Option<u64> {
    let number = u64::from_str_radix(token, 16).ok()?;
    // Accept only the canonical form, so that each number has one subject.
    (format!("{number:x}") == token).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_plain(subject: &str) -> bool {
        subject
            .split('.')
            .all(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
    }

    fn check(app: &str, epoch: u64) {
        let subjects = Subjects::new("team-1.joey");
        let id = LogId { app: app.to_owned(), epoch };
        for kind in [SubjectKind::LogBatches(id.clone()), SubjectKind::LogReplicas(id), SubjectKind::Relay(epoch)] {
            let subject = subjects.subject(&kind);
            assert!(is_plain(&subject), "{subject}");
            assert_eq!(subjects.parse(&subject), Some(kind), "{subject}");
        }
        let every = subjects.all_logs_subject(app);
        let one = subjects.subject(&SubjectKind::LogBatches(LogId { app: app.to_owned(), epoch }));
        assert_eq!(every.strip_suffix('*'), one.strip_suffix(&format!("{epoch:x}")));
    }

    #[test]
    fn names_with_subject_metacharacters_are_escaped() {
        for app in ["", "_", ".", "*", ">", "a.b", "a b", "a.*.>", "\t", "$SYS", "Größe", "数", "\u{202e}", "="] {
            check(app, 1);
        }
        check(&"x".repeat(255), u64::MAX);
    }

    #[test]
    fn subjects_without_names_round_trip() {
        let subjects = Subjects::new("joey");
        for (kind, subject) in [(SubjectKind::Logs, "joey.v1.logs"), (SubjectKind::Interest, "joey.v1.wants")] {
            assert_eq!(subjects.subject(&kind), subject);
            assert_eq!(subjects.parse(subject), Some(kind));
        }
    }

    proptest! {
        #[test]
        fn any_name_round_trips(app in any::<String>(), epoch in any::<u64>()) {
            check(&app, epoch);
        }

        #[test]
        fn two_names_never_share_a_subject(one in any::<String>(), other in any::<String>()) {
            prop_assert_eq!(encode_name(&one) == encode_name(&other), one == other);
        }

        #[test]
        fn any_subject_is_parsed_or_rejected(rest in any::<String>()) {
            let subjects = Subjects::new("joey");
            let subject = format!("joey.v1.{rest}");
            if let Some(kind) = subjects.parse(&subject) {
                prop_assert_eq!(subjects.subject(&kind), subject);
            }
        }
    }
}
