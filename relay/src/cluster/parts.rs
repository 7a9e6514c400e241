//! Splits messages that are larger than the NATS server allows into parts, and joins them on arrival.
//!
//! The server sets the limit (`max_payload`, 1 MiB by default), and it may change with the server. The header of a part
//! contains the publisher, the message number, the part number and the number of parts. One writer sends all parts of a
//! message before the next message, and NATS preserves the order. If a part does not directly follow its predecessor,
//! the message is dropped; a relay that misses it requests the data later.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// Header of a part: `publisher.message.part.parts`, in hexadecimal digits.
pub(super) const HEADER: &str = "Joey-Part";

/// Maximum size of the header, which counts towards the message limit.
const HEADER_BYTES: usize = 128;

/// Maximum size of a joined message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Maximum number of partial messages per subject. Beyond it, the partial message of one publisher is dropped.
const PARTIAL_MAX: usize = 16;

/// Splits messages into parts.
#[derive(Debug)]
pub(super) struct Splitter {
    publisher: u64,
    message: u64,
}

/// A NATS message: the header value, if it is a part, and the bytes.
pub(super) type Part = (Option<String>, Bytes);

impl Splitter {
    pub(super) fn new() -> Self {
        Self { publisher: fastrand::u64(..), message: 0 }
    }

    /// Splits `payload` for a server with the limit `max_bytes`. Returns `None` if the payload cannot be sent.
    pub(super) fn split(&mut self, payload: Bytes, max_bytes: usize) -> Option<Vec<Part>> {
        if payload.len() <= max_bytes {
            return Some(vec![(None, payload)]);
        }
        let room = max_bytes.saturating_sub(HEADER_BYTES);
        if room < HEADER_BYTES || payload.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        self.message += 1;
        let parts = payload.len().div_ceil(room);
        let part = |at: usize| {
            let header = format!("{:x}.{:x}.{at:x}.{parts:x}", self.publisher, self.message);
            (Some(header), payload.slice(at * room..payload.len().min((at + 1) * room)))
        };
        Some((0..parts).map(part).collect())
    }
}

/// Joins the parts that arrive under one subject.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// Partial messages by publisher.
    partial: BTreeMap<u64, Partial>,
}

/// A message with missing parts.
#[derive(Debug)]
struct Partial {
    message: u64,
    /// Number of the next part.
    next: usize,
    bytes: BytesMut,
}

/// Result of adding a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The message is complete.
    Whole(Bytes),
    /// Parts are missing.
    Incomplete,
    /// A message has been lost.
    Lost,
}

impl Joiner {
    /// Adds a part with this header.
    pub(super) fn add(&mut self, header: &str, part: &[u8]) -> Joined {
        let Some([publisher, message, at, parts]) = numbers(header) else { return Joined::Lost };
        let (Ok(at), Ok(parts)) = (usize::try_from(at), usize::try_from(parts)) else { return Joined::Lost };
        let mut partial = match self.partial.remove(&publisher) {
            Some(partial) if partial.message == message && partial.next == at => partial,
            before if at == 0 => {
                let partial = Partial { message, next: 0, bytes: BytesMut::new() };
                if before.is_none() {
                    partial
                } else {
                    // The previous message of this publisher is incomplete and lost.
                    self.partial.insert(publisher, partial);
                    let outcome = self.add(header, part);
                    return if outcome == Joined::Incomplete { Joined::Lost } else { outcome };
                }
            }
            _ => return Joined::Lost,
        };
        if partial.bytes.len() + part.len() > MESSAGE_BYTES_MAX || at >= parts {
            return Joined::Lost;
        }
        partial.bytes.extend_from_slice(part);
        partial.next += 1;
        if partial.next == parts {
            return Joined::Whole(partial.bytes.freeze());
        }
        let is_full = self.partial.len() >= PARTIAL_MAX && self.partial.pop_first().is_some();
        self.partial.insert(publisher, partial);
        if is_full { Joined::Lost } else { Joined::Incomplete }
    }
}

fn numbers(header: &str) -> Option<[u64; 4]> {
    let numbers: Option<Vec<u64>> = header.split('.').map(|digits| u64::from_str_radix(digits, 16).ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Bytes {
        (0..length).map(|at| at as u8).collect::<Vec<u8>>().into()
    }

    /// Joins `parts` in order. Returns the complete messages and the number of losses.
    fn joined(joiner: &mut Joiner, parts: &[Part]) -> (Vec<Bytes>, usize) {
        let (mut whole, mut lost) = (vec![], 0);
        for (header, bytes) in parts {
            match header.as_ref().map_or(Joined::Whole(bytes.clone()), |header| joiner.add(header, bytes)) {
                Joined::Whole(bytes) => whole.push(bytes),
                Joined::Incomplete => {}
                Joined::Lost => lost += 1,
            }
        }
        (whole, lost)
    }

    #[test]
    fn messages_of_any_length_pass_any_server_that_accepts_256_bytes() {
        for max_bytes in [256, 1_000, 1_024, 4_096, 1 << 20] {
            let (mut splitter, mut joiner) = (Splitter::new(), Joiner::default());
            for length in [0, 1, max_bytes, max_bytes + 1, 10 * max_bytes, 100_000, MESSAGE_BYTES_MAX] {
                let Some(parts) = splitter.split(message(length), max_bytes) else { continue };
                let fits = |(header, bytes): &Part| {
                    let header = header
                        .as_ref()
                        .map_or(0, |header| "NATS/1.0\r\n: \r\n\r\n".len() + HEADER.len() + header.len());
                    header + bytes.len() <= max_bytes
                };
                assert!(parts.iter().all(fits));
                assert_eq!(joined(&mut joiner, &parts), (vec![message(length)], 0));
            }
        }
        let mut splitter = Splitter::new();
        assert!(splitter.split(message(300), 255).is_none(), "the header needs half of it");
        assert!(splitter.split(message(MESSAGE_BYTES_MAX + 1), 4_096).is_none());
        assert!(splitter.split(message(255), 255).is_some());
    }

    #[test]
    fn a_lost_part_drops_only_its_own_message() {
        let (mut one, mut other, mut joiner) = (Splitter::new(), Splitter::new(), Joiner::default());
        let mut parts = |length| [&mut one, &mut other].map(|splitter| splitter.split(message(length), 1_000).unwrap());
        let [mine, theirs] = parts(3_000);
        let turns: Vec<Part> = mine.iter().zip(&theirs).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        assert_eq!(joined(&mut joiner, &turns), (vec![message(3_000); 2], 0));
        for missing in 0..4 {
            let [mut mine, theirs] = parts(3_000);
            mine.remove(missing);
            let (whole, lost) = joined(&mut joiner, &[mine, theirs].concat());
            let [next, _] = parts(2_000);
            let (after, lost_after) = joined(&mut joiner, &next);
            assert_eq!((whole, after), (vec![message(3_000)], vec![message(2_000)]), "without part {missing}");
            assert!(lost + lost_after >= 1, "losses are counted");
        }
    }

    proptest! {
        #[test]
        fn any_headers_and_parts_are_handled_in_bounded_memory(
            parts in prop::collection::vec((0..40_u64, 0..3_u64, 0..4_u64, 0..4_u64), 0..200),
            text in ".{0,20}",
        ) {
            let mut joiner = Joiner::default();
            joiner.add(&text, b"x");
            for (publisher, message, at, parts) in parts {
                joiner.add(&format!("{publisher:x}.{message:x}.{at:x}.{parts:x}"), &[0; 100]);
                prop_assert!(joiner.partial.len() <= PARTIAL_MAX);
            }
        }
    }
}
