//! What was cut and is on its way to those who stand by for it: viewers that have everything so far, and take what is new on
//! the spot instead of being woken to come for it.
//!
//! A round is as good as waking: whoever does not take it is woken, and reads from the ring.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;
use crate::runtime::sync::{AtomicU64, Mutex};

/// Bytes that may wait to be handed out for one feed. Where handing out is slower than cutting, whoever stands by is woken
/// instead, and reads as it can.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Batches that may wait for the same: as many as one write takes.
const WAITING_MAX: usize = 64;

/// A viewer, as those see it who have news.
pub trait Listener: Debug + Send + Sync {
    /// There may be something to read.
    fn wake(&self);

    /// There is something to read in feed `feed`.
    fn news(&self, _feed: u32) {
        self.wake();
    }

    /// Whether it is handed what is new. If so it need not be woken: it is, where that fails.
    fn stands_by(&self) -> bool {
        false
    }

    /// Is woken if it stands by and has been told nothing for so long, `now`.
    fn remind(&self, _now: Instant, _silent: Duration) {}

    /// Takes what is new, `now`, or is woken.
    fn hand(&self, _news: &News, _now: Instant) -> Handed {
        self.wake();
        Handed::default()
    }
}

impl Listener for Notify {
    fn wake(&self) {
        self.notify_one();
    }
}

/// What is new in one feed, in order.
#[derive(Debug)]
pub struct News {
    /// The relay's number for the feed.
    pub feed: u32,
    /// What was cut; nothing where it is too much to be handed out.
    pub pieces: Vec<Piece>,
}

/// One batch, with the numbers that it covers.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// The message.
    pub frame: WsFrame,
}

/// What was handed to a viewer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handed {
    /// How many messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Everybody who follows one feed. Whoever hands out keeps the list as it was.
pub(super) type Audience = Arc<Vec<(u64, Arc<dyn Listener>)>>;

/// News of one feed and who is to have it.
#[derive(Debug)]
pub struct Round {
    /// What is new.
    pub news: News,
    audience: Audience,
    bytes: usize,
}

impl Round {
    /// Who is to have it.
    #[must_use]
    pub fn audience(&self) -> &[(u64, Arc<dyn Listener>)] {
        &self.audience
    }
}

/// Rounds that wait to be made, one for each feed.
#[derive(Debug, Default)]
pub struct Rounds {
    waiting: Mutex<BTreeMap<u32, Round>>,
    work: Notify,
    took_ns: AtomicU64,
}

impl Rounds {
    /// Waits until there may be a round to make.
    pub async fn due(&self) {
        self.work.notified().await;
    }

    /// All that are due, one for each feed at most: whoever makes them is fair to all feeds.
    #[must_use]
    pub fn take(&self) -> Vec<Round> {
        std::mem::take(&mut *self.waiting.lock()).into_values().collect()
    }

    /// All that were due are made, which took `took`.
    pub fn are_made(&self, took: Duration) {
        self.took_ns.store(nanos(took), Relaxed);
    }

    /// How long it took to make those that were due, the last time.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.took_ns.load(Relaxed))
    }

    /// Those in `audience` who stand by are handed `piece` of feed `feed`; all others are woken at once.
    pub(super) fn announce(&self, feed: u32, audience: &Audience, piece: Piece) {
        let mut is_awaited = false;
        for (_, listener) in audience.iter() {
            if listener.stands_by() {
                is_awaited = true;
            } else {
                listener.news(feed);
            }
        }
        if !is_awaited {
            return;
        }
        let mut waiting = self.waiting.lock();
        let empty = || Round { news: News { feed, pieces: Vec::new() }, audience: audience.clone(), bytes: 0 };
        let round = waiting.entry(feed).or_insert_with(empty);
        // Some have come since it was begun.
        round.audience = audience.clone();
        round.bytes = round.bytes.saturating_add(piece.frame.bytes().len());
        // Where something lies between, only the ring tells what.
        let goes_on = round.news.pieces.last().is_none_or(|last| last.to + 1 == piece.from);
        if goes_on && round.bytes <= WAITING_BYTES_MAX && round.news.pieces.len() < WAITING_MAX {
            round.news.pieces.push(piece);
        } else {
            round.bytes = usize::MAX;
            round.news.pieces.clear();
        }
        drop(waiting);
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Fake {
        stands_by: bool,
        woken: Mutex<u32>,
    }

    impl Listener for Fake {
        fn wake(&self) {
            *self.woken.lock() += 1;
        }

        fn stands_by(&self) -> bool {
            self.stands_by
        }
    }

    fn fake(stands_by: bool) -> Arc<Fake> {
        Arc::new(Fake { stands_by, ..Fake::default() })
    }

    fn piece(from: u64, to: u64, bytes: usize) -> Piece {
        Piece { from, to, frame: WsFrame::new(&vec![0; bytes]) }
    }

    #[test]
    fn whoever_stands_by_is_in_a_round_and_everybody_else_is_woken_at_once() {
        let (idle, busy) = (fake(true), fake(false));
        let audience: Audience = Arc::new(vec![(1, idle.clone()), (2, busy.clone())]);
        let rounds = Rounds::default();
        rounds.announce(7, &audience, piece(1, 5, 10));
        rounds.announce(3, &audience, piece(1, 2, 10));
        let later: Audience = Arc::new(vec![(1, idle.clone()), (2, busy.clone()), (3, fake(true))]);
        rounds.announce(7, &later, piece(6, 9, 10));
        assert_eq!((*idle.woken.lock(), *busy.woken.lock()), (0, 3));
        let due = rounds.take();
        let seen = due.iter().map(|round| (round.news.feed, round.news.pieces.len(), round.audience().len()));
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen, [(3, 1, 2), (7, 2, 3)], "each feed once, for all who came meanwhile");
        assert!(rounds.take().is_empty());
        rounds.announce(7, &Arc::new(vec![(2, busy)]), piece(10, 10, 10));
        assert!(rounds.take().is_empty(), "nobody stands by");
    }

    #[test]
    fn what_does_not_go_on_or_is_too_much_is_left_to_the_ring() {
        let audience: Audience = Arc::new(vec![(1, fake(true))]);
        for pieces in [
            vec![piece(1, 5, 10), piece(21, 25, 10), piece(26, 26, 10)],
            vec![piece(1, 5, WAITING_BYTES_MAX), piece(6, 6, 10), piece(7, 7, 10)],
            (1..=100).map(|number| piece(number, number, 1)).collect(),
        ] {
            let rounds = Rounds::default();
            pieces.into_iter().for_each(|piece| rounds.announce(7, &audience, piece));
            let due = rounds.take();
            assert!(due.len() == 1 && due[0].news.pieces.is_empty(), "{due:?}");
        }
    }
}
