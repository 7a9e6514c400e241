//! What relays say to each other, besides the batches, which go as viewers get them.
//!
//! Each message is one postcard value of [`Word`] and stands alone: it may be lost, come twice, or come after a later one.
//! Decoding is total.

use joey_shared::wire::{AppEntry, Blob};
use serde::{Deserialize, Serialize};

/// The most bytes of a page of history in one message. NATS takes 1 MiB unless it is told otherwise; where it takes less, the
/// engine cuts messages into parts of its own.
pub const PART_BYTES_MAX: usize = 128 << 10;
/// The most messages of one page: 8 MiB. A page that claims more is not put together.
pub const PARTS_MAX: u32 = 64;
/// About how many bytes of entries one message holds before the next one begins.
const LIST_BYTES: usize = 64 << 10;

/// From relay to relay. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word<'a> {
    /// To all: logs that this relay itself writes. Each beat names all of them, in as many messages as it takes.
    Logs {
        /// Who says it.
        relay: u64,
        /// Its release, for whoever reads logs.
        release: String,
        /// Some of its logs.
        logs: Vec<LogWord>,
    },
    /// To all: this relay is alive, and this is what its viewers watch.
    Wants {
        /// Who says it.
        relay: u64,
        /// For how long it holds, in ms, unless it is said again.
        ttl_ms: u32,
        /// Whether the logs should be told at once, since this relay may have missed some.
        is_back: bool,
        /// Viewers that it has in all.
        viewers: u32,
        /// Applications that are watched, and by how many viewers; 0 while the last one has just left.
        apps: Vec<(String, u32)>,
    },
    /// To all: this relay stops.
    Leaves {
        /// Who says it.
        relay: u64,
    },
    /// To the origin of a log, or to any holder of it: what comes after a number?
    Ask {
        /// Who wants to know.
        relay: u64,
        /// The asker's number for this question.
        ask: u64,
        /// The application.
        app: String,
        /// The epoch of its log.
        epoch: u64,
        /// The last number that the asker has.
        after: u64,
    },
    /// To the asker: a piece of the answer, which is a postcard list of messages as viewers get them.
    Part {
        /// The asker's number for the question.
        ask: u64,
        /// Which piece, from 0.
        index: u32,
        /// In the last piece: what else there is to know.
        end: Option<PageEnd>,
        /// The bytes.
        #[serde(borrow)]
        bytes: Blob<'a>,
    },
    /// To all: logs of relays that are gone, which this relay still holds and can be asked for.
    Holds {
        /// Who says it.
        relay: u64,
        /// For how long it holds, in ms, unless it is said again.
        ttl_ms: u32,
        /// Some of the logs.
        logs: Vec<HeldWord>,
    },
    /// To all: where viewers may go, should their own relay be gone.
    Reach {
        /// Who says it.
        relay: u64,
        /// Addresses of this relay, as a person would write them.
        addresses: Vec<String>,
    },
}

/// One log in [`Word::Logs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWord {
    /// The application.
    pub app: String,
    /// The epoch of the log.
    pub epoch: u64,
    /// The last number that any batch of it covers.
    pub head: u64,
    /// Its line in the catalogue, when it has changed and from time to time.
    pub entry: Option<AppEntry>,
}

/// One log in [`Word::Holds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldWord {
    /// The epoch of the log.
    pub epoch: u64,
    /// The last number of it that the holder has.
    pub head: u64,
    /// How long ago its origin was last heard, in ms: what nobody continues is forgotten everywhere at about the same time.
    pub quiet_ms: u32,
    /// The application, as its origin described it last, with its workers gone.
    pub entry: AppEntry,
}

/// How a page of history ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageEnd {
    /// Whether whoever answered has this log at all.
    pub is_held: bool,
    /// Whether there is more after this page.
    pub has_more: bool,
}

impl<'a> Word<'a> {
    /// Reads one message; `None` when it is not exactly one.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        whole(bytes)
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // It holds nothing that postcard cannot write.
        postcard::to_allocvec(self).unwrap_or_default()
    }
}

/// Cuts `logs` into lists that fit into a message each.
pub fn split_logs(logs: Vec<LogWord>) -> Vec<Vec<LogWord>> {
    split(logs, |log| log.app.len() + 24 + log.entry.as_ref().map_or(0, cost_of))
}

/// The same with logs that are held for others.
pub fn split_held(logs: Vec<HeldWord>) -> Vec<Vec<HeldWord>> {
    split(logs, |log| 24 + cost_of(&log.entry))
}

/// About how many bytes an entry takes, never less.
fn cost_of(entry: &AppEntry) -> usize {
    entry.app.len() + 48 + entry.workers.iter().map(|worker| worker.worker.len() + 24).sum::<usize>()
}

/// Cuts `apps` into lists that fit into a message each; one empty list where there is nothing.
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

/// A page of history as its parts.
pub fn parts_of(ask: u64, pieces: &[&[u8]], end: PageEnd) -> Vec<Vec<u8>> {
    let blobs: Vec<Blob<'_>> = pieces.iter().map(|piece| Blob(piece)).collect();
    let page = postcard::to_allocvec(&blobs).unwrap_or_default();
    let count = page.len().div_ceil(PART_BYTES_MAX).max(1);
    let part = |index: usize| {
        let from = index * PART_BYTES_MAX;
        let bytes = Blob(&page[from..page.len().min(from + PART_BYTES_MAX)]);
        let end = (index + 1 == count).then_some(end);
        Word::Part { ask, index: u32::try_from(index).unwrap_or(u32::MAX), end, bytes }.encode()
    };
    (0..count).map(part).collect()
}

/// The messages in a page that was put together again; `None` when it is no page.
#[must_use]
pub fn pieces_of(page: &[u8]) -> Option<Vec<&[u8]>> {
    let blobs: Vec<Blob<'_>> = whole(page)?;
    Some(blobs.into_iter().map(|blob| blob.0).collect())
}

fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(word: &Word<'_>) {
        let bytes = word.encode();
        assert_eq!(Word::decode(&bytes).as_ref(), Some(word));
        let longer = [word.encode(), vec![0]].concat();
        assert_eq!(Word::decode(&longer), None, "nothing may follow");
    }

    #[test]
    fn words_come_back() {
        let entry = AppEntry { app: "App".into(), series: 3, ..AppEntry::default() };
        let log = LogWord { app: "App".into(), epoch: 7, head: u64::MAX, entry: Some(entry) };
        check(&Word::Logs { relay: 1, release: "0.1.0".into(), logs: vec![log] });
        check(&Word::Wants { relay: 1, ttl_ms: 10_000, is_back: true, viewers: 2, apps: vec![("a.b >*".into(), 2)] });
        check(&Word::Leaves { relay: u64::MAX });
        check(&Word::Ask { relay: 1, ask: 2, app: String::new(), epoch: 3, after: 4 });
        let end = Some(PageEnd { is_held: true, has_more: false });
        check(&Word::Part { ask: 2, index: 0, end, bytes: Blob(&[1, 2, 3]) });
        let entry = AppEntry { app: "App".into(), ..AppEntry::default() };
        let held = HeldWord { epoch: 7, head: 9, quiet_ms: u32::MAX, entry };
        check(&Word::Holds { relay: 1, ttl_ms: 10_000, logs: vec![held] });
        check(&Word::Reach { relay: 1, addresses: vec!["wss://a.example".into()] });
    }

    #[test]
    fn long_lists_are_cut_into_messages_that_nats_takes() {
        let apps: Vec<(String, u32)> = (0..1_000).map(|at| (format!("{at:0>255}"), at)).collect();
        let lists = split_apps(apps.clone());
        assert!(lists.len() > 1 && lists.iter().all(|list| postcard::to_allocvec(list).unwrap().len() <= LIST_BYTES));
        assert_eq!(lists.concat(), apps);
        assert_eq!(split_apps(Vec::new()), [Vec::new()], "having nothing to say is said too");
        assert_eq!(split_logs(Vec::new()), [] as [Vec<LogWord>; 0]);
    }

    #[test]
    fn a_page_of_any_size_is_its_pieces() {
        for length in [0, 1, PART_BYTES_MAX - 8, PART_BYTES_MAX, 3 * PART_BYTES_MAX] {
            let piece = vec![7; length];
            let end = PageEnd { is_held: true, has_more: true };
            let parts = parts_of(5, &[&piece, &[1]], end);
            let mut page = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                let Some(Word::Part { ask: 5, index, end: told, bytes }) = Word::decode(part) else { panic!("a part") };
                assert_eq!((index as usize, told), (at, (at + 1 == parts.len()).then_some(end)));
                page.extend_from_slice(bytes.0);
            }
            assert_eq!(pieces_of(&page), Some(vec![&piece[..], &[1]]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_word_or_are_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(word) = Word::decode(&bytes) {
                let again = word.encode();
                prop_assert_eq!(Word::decode(&again), Some(word));
            }
            let _ = pieces_of(&bytes);
        }
    }
}
