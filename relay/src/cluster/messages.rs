//! Messages between relays. Batches are not among them; they are sent in the form that viewers receive.
//!
//! Each message is one postcard value of [`ClusterMessage`] and is self-contained: it may be lost, duplicated, or
//! arrive after a later one. Decoding never panics.

use joey_shared::wire::{AppEntry, Blob};
use serde::{Deserialize, Serialize};

/// Maximum number of bytes of a history page in one message. The default limit of a NATS server is 1 MiB. If the limit
/// is lower, the NATS client splits messages further.
pub const PART_BYTES_MAX: usize = 128 << 10;
/// Maximum number of parts of one page, 8 MiB in total. A page with more parts is ignored.
pub const PARTS_MAX: u32 = 64;
/// Approximate number of bytes of entries in one message.
const LIST_BYTES: usize = 64 << 10;

/// A message from relay to relay. New variants must be added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterMessage<'a> {
    /// To all relays: logs whose origin is the sender. Each announcement lists all of them, in one or more messages.
    Logs {
        /// Sender.
        relay: u64,
        /// Release of the sender, for log output.
        release: String,
        /// Some of its logs.
        logs: Vec<LogInfo>,
    },
    /// To all relays: the sender is alive, and its viewers watch these applications.
    Interest {
        /// Sender.
        relay: u64,
        /// Validity in ms, unless renewed.
        ttl_ms: u32,
        /// Whether the sender asks all relays to announce their logs now, because it may have missed some.
        requests_logs: bool,
        /// Total number of its viewers.
        viewers: u32,
        /// Watched applications and their numbers of viewers; 0 during the linger time after the last viewer.
        apps: Vec<(String, u32)>,
    },
    /// To all relays: the sender is shutting down.
    Leaving {
        /// Sender.
        relay: u64,
    },
    /// To the origin of a log, or to any relay with a replica: request for the history after a number.
    HistoryRequest {
        /// Relay that sends the request.
        relay: u64,
        /// Its number of the request.
        request: u64,
        /// Name of the application.
        app: String,
        /// Epoch of the log.
        epoch: u64,
        /// Last number that the requesting relay has.
        after: u64,
    },
    /// To the requesting relay: a part of a history page. A page is a postcard list of messages as viewers receive
    /// them.
    HistoryPart {
        /// Number of the request.
        request: u64,
        /// Index of the part, from 0.
        index: u32,
        /// In the last part: how the page ends.
        end: Option<PageEnd>,
        /// Bytes of the part.
        #[serde(borrow)]
        bytes: Blob<'a>,
    },
    /// To all relays: ownerless logs of which the sender has replicas.
    Replicas {
        /// Sender.
        relay: u64,
        /// Validity in ms, unless renewed.
        ttl_ms: u32,
        /// Some of the logs.
        logs: Vec<ReplicaInfo>,
    },
    /// To all relays: addresses for viewers whose own relay is gone.
    Addresses {
        /// Sender.
        relay: u64,
        /// Addresses of the sender, as a user would type them.
        addresses: Vec<String>,
    },
}

/// One log in [`ClusterMessage::Logs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInfo {
    /// Name of the application.
    pub app: String,
    /// Epoch of the log.
    pub epoch: u64,
    /// Last number that a batch of the log covers.
    pub head: u64,
    /// Catalogue entry; sent when it has changed, and periodically.
    pub entry: Option<AppEntry>,
}

/// One log in [`ClusterMessage::Replicas`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// Epoch of the log.
    pub epoch: u64,
    /// Last number in the replica.
    pub head: u64,
    /// Time since the last message from the origin, in ms. With it, a log without an origin expires on all relays at
    /// about the same time.
    pub silent_ms: u32,
    /// Catalogue entry as the origin last announced it, with all workers disconnected.
    pub entry: AppEntry,
}

/// End of a history page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageEnd {
    /// Whether the answering relay has the log.
    pub has_log: bool,
    /// Whether there is more history after this page.
    pub has_more: bool,
}

impl<'a> ClusterMessage<'a> {
    /// Decodes one message. Returns `None` if the bytes are not exactly one message.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        decode_all(bytes)
    }

    /// Encodes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // postcard can encode all types in a message.
        postcard::to_allocvec(self).unwrap_or_default()
    }
}

/// Splits `logs` into lists that each fit into a message.
pub fn split_logs(logs: Vec<LogInfo>) -> Vec<Vec<LogInfo>> {
    split(logs, |log| log.app.len() + 24 + log.entry.as_ref().map_or(0, cost_of))
}

/// Like [`split_logs`], for replicas of ownerless logs.
pub fn split_replicas(logs: Vec<ReplicaInfo>) -> Vec<Vec<ReplicaInfo>> {
    split(logs, |log| 24 + cost_of(&log.entry))
}

/// Upper estimate of the encoded size of an entry.
fn cost_of(entry: &AppEntry) -> usize {
    entry.app.len() + 48 + entry.workers.iter().map(|worker| worker.worker.len() + 24).sum::<usize>()
}

/// Splits `apps` into lists that each fit into a message. Returns one empty list if `apps` is empty.
pub fn split_apps(apps: Vec<(String, u32)>) -> Vec<Vec<(String, u32)>> {
    let lists = split(apps, |(app, _)| app.len() + 8);
    if lists.is_empty() { vec![Vec::new()] } else { lists }
}

fn split<T>(items: Vec<T>, cost: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut lists: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let cost = cost(&item);
        match lists.last_mut() {
            Some(list) if cost <= room => list.push(item),
            _ => {
                room = LIST_BYTES;
                lists.push(vec![item]);
            }
        }
        room = room.saturating_sub(cost);
    }
    lists
}

/// Encodes a history page and splits it into parts.
pub fn encode_page(request: u64, messages: &[&[u8]], end: PageEnd) -> Vec<Vec<u8>> {
    let blobs: Vec<Blob<'_>> = messages.iter().map(|message| Blob(message)).collect();
    let page = postcard::to_allocvec(&blobs).unwrap_or_default();
    let count = page.len().div_ceil(PART_BYTES_MAX).max(1);
    let part = |index: usize| {
        let from = index * PART_BYTES_MAX;
        let bytes = Blob(&page[from..page.len().min(from + PART_BYTES_MAX)]);
        let end = (index + 1 == count).then_some(end);
        ClusterMessage::HistoryPart { request, index: u32::try_from(index).unwrap_or(u32::MAX), end, bytes }.encode()
    };
    (0..count).map(part).collect()
}

/// Decodes the messages in a complete page. Returns `None` if the page is malformed.
#[must_use]
pub fn decode_page(page: &[u8]) -> Option<Vec<&[u8]>> {
    let blobs: Vec<Blob<'_>> = decode_all(page)?;
    Some(blobs.into_iter().map(|blob| blob.0).collect())
}

fn decode_all<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(message: &ClusterMessage<'_>) {
        let bytes = message.encode();
        assert_eq!(ClusterMessage::decode(&bytes).as_ref(), Some(message));
        let longer = [message.encode(), vec![0]].concat();
        assert_eq!(ClusterMessage::decode(&longer), None, "trailing bytes are rejected");
    }

    #[test]
    fn messages_round_trip() {
        let entry = AppEntry { app: "App".into(), series: 3, ..AppEntry::default() };
        let log = LogInfo { app: "App".into(), epoch: 7, head: u64::MAX, entry: Some(entry) };
        check(&ClusterMessage::Logs { relay: 1, release: "0.1.0".into(), logs: vec![log] });
        check(&ClusterMessage::Interest {
            relay: 1,
            ttl_ms: 10_000,
            requests_logs: true,
            viewers: 2,
            apps: vec![("a.b >*".into(), 2)],
        });
        check(&ClusterMessage::Leaving { relay: u64::MAX });
        check(&ClusterMessage::HistoryRequest { relay: 1, request: 2, app: String::new(), epoch: 3, after: 4 });
        let end = Some(PageEnd { has_log: true, has_more: false });
        check(&ClusterMessage::HistoryPart { request: 2, index: 0, end, bytes: Blob(&[1, 2, 3]) });
        let entry = AppEntry { app: "App".into(), ..AppEntry::default() };
        let held = ReplicaInfo { epoch: 7, head: 9, silent_ms: u32::MAX, entry };
        check(&ClusterMessage::Replicas { relay: 1, ttl_ms: 10_000, logs: vec![held] });
        check(&ClusterMessage::Addresses { relay: 1, addresses: vec!["wss://a.example".into()] });
    }

    #[test]
    fn long_lists_are_split_into_messages_that_nats_accepts() {
        let apps: Vec<(String, u32)> = (0..1_000).map(|at| (format!("{at:0>255}"), at)).collect();
        let lists = split_apps(apps.clone());
        assert!(lists.len() > 1 && lists.iter().all(|list| postcard::to_allocvec(list).unwrap().len() <= LIST_BYTES));
        assert_eq!(lists.concat(), apps);
        assert_eq!(split_apps(Vec::new()), [Vec::new()], "an empty list is announced too");
        assert_eq!(split_logs(Vec::new()), [] as [Vec<LogInfo>; 0]);
    }

    #[test]
    fn a_page_of_any_size_round_trips() {
        for length in [0, 1, PART_BYTES_MAX - 8, PART_BYTES_MAX, 3 * PART_BYTES_MAX] {
            let message = vec![7; length];
            let end = PageEnd { has_log: true, has_more: true };
            let parts = encode_page(5, &[&message, &[1]], end);
            let mut page = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                let Some(ClusterMessage::HistoryPart { request: 5, index, end: decoded_end, bytes }) =
                    ClusterMessage::decode(part)
                else {
                    panic!("a part")
                };
                assert_eq!((index as usize, decoded_end), (at, (at + 1 == parts.len()).then_some(end)));
                page.extend_from_slice(bytes.0);
            }
            assert_eq!(decode_page(&page), Some(vec![&message[..], &[1]]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = ClusterMessage::decode(&bytes) {
                let again = message.encode();
                prop_assert_eq!(ClusterMessage::decode(&again), Some(message));
            }
            let _ = decode_page(&bytes);
        }
    }
}
