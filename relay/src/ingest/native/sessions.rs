//! The sessions of producers: which data each of them has delivered, also on earlier connections.

use std::num::NonZeroUsize;
use std::sync::Arc;

use joey_shared::emit::Session;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use crate::hub::Safe;

/// Maximum number of sessions. Beyond it, the one that was used longest ago is forgotten, and counted.
const SESSIONS_MAX: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// Time after the last use for which a session is remembered, in ns. A producer's buffer covers less.
const RETENTION_NS: u64 = 3_600_000_000_000;

/// How far a session is.
#[derive(Debug)]
pub(super) struct Progress {
    last_seq: Mutex<u64>,
    /// Up to which sequence number the data is safe and can be acknowledged. It is `last_seq` unless there is a journal.
    pub(super) safe: Arc<Safe>,
}

impl Progress {
    fn new(seq: u64) -> Arc<Self> {
        Arc::new(Self { last_seq: Mutex::new(seq), safe: Arc::new(Safe::new(seq)) })
    }

    /// The highest sequence number that has arrived; 0 before the first. The lock is held while data is published, so that
    /// two connections of one session cannot publish it twice.
    pub(super) fn lock(&self) -> MutexGuard<'_, u64> {
        self.last_seq.lock()
    }
}

pub(super) type LastSeq = Arc<Progress>;

/// The sessions that the relay remembers.
#[derive(Debug)]
pub struct Sessions(Mutex<LruCache<Session, Remembered>>);

#[derive(Debug)]
struct Remembered {
    last_seq: LastSeq,
    used_ns: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_limit(SESSIONS_MAX)
    }
}

impl Sessions {
    fn with_limit(limit: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(limit)))
    }

    /// Sessions that a journal knows, with up to which sequence number their data has arrived.
    #[must_use]
    pub fn recovered(known: Vec<(Session, u64)>, now_ns: u64) -> Self {
        let sessions = Self::default();
        for (session, seq) in known {
            sessions.0.lock().push(session, Remembered { last_seq: Progress::new(seq), used_ns: now_ns });
        }
        sessions
    }

    /// Starts or continues a session at `now_ns`. Returns its state, and whether another session was forgotten early.
    pub(super) fn open(&self, session: Session, now_ns: u64) -> (LastSeq, bool) {
        let mut sessions = self.0.lock();
        while let Some((_, oldest)) = sessions.peek_lru()
            && now_ns.saturating_sub(oldest.used_ns) > RETENTION_NS
        {
            sessions.pop_lru();
        }
        if let Some(known) = sessions.get_mut(&session) {
            known.used_ns = now_ns;
            return (known.last_seq.clone(), false);
        }
        let last_seq = Progress::new(0);
        let evicted = sessions.push(session, Remembered { last_seq: last_seq.clone(), used_ns: now_ns });
        (last_seq, evicted.is_some())
    }

    /// Remembers the state of a session whose connection has ended at `now_ns`. Returns whether another session was
    /// forgotten early.
    pub(super) fn close(&self, session: Session, last_seq: LastSeq, now_ns: u64) -> bool {
        let mut sessions = self.0.lock();
        // It may have been forgotten, and a new connection may have started it again.
        if let Some(known) = sessions.get_mut(&session) {
            known.used_ns = now_ns;
            return false;
        }
        sessions.push(session, Remembered { last_seq, used_ns: now_ns }).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: u64 = RETENTION_NS;

    fn session(number: u8) -> Session {
        [number; 16]
    }

    fn seen(sessions: &Sessions, number: u8, now_ns: u64) -> u64 {
        *sessions.open(session(number), now_ns).0.lock()
    }

    #[test]
    fn a_session_is_remembered_for_an_hour_after_its_last_use() {
        let sessions = Sessions::default();
        *sessions.open(session(1), 0).0.lock() = 7;
        assert_eq!(seen(&sessions, 1, H), 7);
        assert_eq!(seen(&sessions, 1, 2 * H), 7);
        assert_eq!(seen(&sessions, 1, 3 * H + 1), 0);
    }

    #[test]
    fn the_session_that_was_used_longest_ago_is_forgotten_first() {
        let sessions = Sessions::with_limit(NonZeroUsize::new(2).unwrap());
        for number in 1..=2 {
            let (last_seq, has_evicted) = sessions.open(session(number), u64::from(number));
            *last_seq.lock() = 7;
            assert!(!has_evicted);
        }
        assert_eq!(seen(&sessions, 1, 3), 7);
        assert!(sessions.open(session(3), 4).1);
        assert_eq!(seen(&sessions, 1, 5), 7);
        assert_eq!(seen(&sessions, 2, 6), 0);
    }

    #[test]
    fn a_session_that_was_forgotten_while_connected_is_remembered_again() {
        let sessions = Sessions::with_limit(NonZeroUsize::MIN);
        let (last_seq, _) = sessions.open(session(1), 0);
        sessions.open(session(2), 1);
        *last_seq.lock() = 7;
        assert!(sessions.close(session(1), last_seq, 2));
        assert_eq!(seen(&sessions, 1, 3), 7);
    }
}
