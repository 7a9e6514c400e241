//! Messages that are longer than the NATS server takes at once: they travel in parts and are put together on arrival.
//!
//! How long a message may be is the server's to say (`max_payload`, 1 MiB unless its operator chose less), and may change with
//! the server. A part carries a header that says whose it is, of which message, and which part of how many. One writer sends all
//! parts of a message before the next one begins, and NATS keeps the order, so whatever does not follow is lost as a whole; who
//! misses it asks for it, as for any message that is lost.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// The header of a part: `publisher.message.part.parts`, in hexadecimal digits.
pub(super) const HEADER: &str = "Joey-Part";

/// What the header takes of what a message may be long, at most.
const HEADER_BYTES: usize = 128;

/// The longest message that is put together.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Messages that are being put together under one subject at once. One more, and the oldest publisher's is given up.
const OPEN_MAX: usize = 16;

/// Cuts messages into parts.
#[derive(Debug)]
pub(super) struct Splitter {
    publisher: u64,
    message: u64,
}

/// A message as it is handed to NATS: the value of its header, where it is a part, and its bytes.
pub(super) type Part = (Option<String>, Bytes);

impl Splitter {
    pub(super) fn new() -> Self {
        Self { publisher: fastrand::u64(..), message: 0 }
    }

    /// The parts of `payload` for a server that takes `max_bytes` at once; `None` where it cannot travel.
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

/// Puts the parts of messages together that come under one subject.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// By publisher.
    open: BTreeMap<u64, Open>,
}

/// A message of which some parts have come.
#[derive(Debug)]
struct Open {
    message: u64,
    /// The next part.
    next: usize,
    bytes: BytesMut,
}

/// What a part makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// This message.
    Whole(Bytes),
    /// Nothing yet.
    Open,
    /// Nothing, and a message is lost.
    Lost,
}

impl Joiner {
    /// Takes a part with this header.
    pub(super) fn take(&mut self, header: &str, part: &[u8]) -> Joined {
        let Some([publisher, message, at, parts]) = numbers(header) else { return Joined::Lost };
        let (Ok(at), Ok(parts)) = (usize::try_from(at), usize::try_from(parts)) else { return Joined::Lost };
        let mut open = match self.open.remove(&publisher) {
            Some(open) if open.message == message && open.next == at => open,
            before if at == 0 => {
                let open = Open { message, next: 0, bytes: BytesMut::new() };
                if before.is_none() {
                    open
                } else {
                    // The end of the one before did not come.
                    self.open.insert(publisher, open);
                    let taken = self.take(header, part);
                    return if taken == Joined::Open { Joined::Lost } else { taken };
                }
            }
            _ => return Joined::Lost,
        };
        if open.bytes.len() + part.len() > MESSAGE_BYTES_MAX || at >= parts {
            return Joined::Lost;
        }
        open.bytes.extend_from_slice(part);
        open.next += 1;
        if open.next == parts {
            return Joined::Whole(open.bytes.freeze());
        }
        let is_full = self.open.len() >= OPEN_MAX && self.open.pop_first().is_some();
        self.open.insert(publisher, open);
        if is_full { Joined::Lost } else { Joined::Open }
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

    /// What arrives of `parts`, in order, and how often something was lost.
    fn joined(joiner: &mut Joiner, parts: &[Part]) -> (Vec<Bytes>, usize) {
        let (mut whole, mut lost) = (vec![], 0);
        for (header, bytes) in parts {
            match header.as_ref().map_or(Joined::Whole(bytes.clone()), |header| joiner.take(header, bytes)) {
                Joined::Whole(bytes) => whole.push(bytes),
                Joined::Open => {}
                Joined::Lost => lost += 1,
            }
        }
        (whole, lost)
    }

    #[test]
    fn a_message_of_any_length_arrives_over_any_server_that_takes_a_quarter_of_a_kilobyte() {
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
        assert!(splitter.split(message(300), 255).is_none(), "the header takes half of it");
        assert!(splitter.split(message(MESSAGE_BYTES_MAX + 1), 4_096).is_none());
        assert!(splitter.split(message(255), 255).is_some());
    }

    #[test]
    fn publishers_do_not_disturb_one_another_and_a_lost_part_costs_its_message_only() {
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
            assert!(lost + lost_after >= 1, "what is lost is counted");
        }
    }

    proptest! {
        #[test]
        fn no_header_and_no_number_of_parts_panics_or_grows_without_end(
            parts in prop::collection::vec((0..40_u64, 0..3_u64, 0..4_u64, 0..4_u64), 0..200),
            text in ".{0,20}",
        ) {
            let mut joiner = Joiner::default();
            joiner.take(&text, b"x");
            for (publisher, message, at, parts) in parts {
                joiner.take(&format!("{publisher:x}.{message:x}.{at:x}.{parts:x}"), &[0; 100]);
                prop_assert!(joiner.open.len() <= OPEN_MAX);
            }
        }
    }
}
