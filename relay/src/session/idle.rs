//! What a viewer's own task shares with whoever hands out what is new: its WebSocket, and where it stands.
//!
//! A viewer that has everything stands by. What is cut then is written to its socket on the spot, by the one task that goes
//! from viewer to viewer; waking a task for each of them took as long as the writing itself. Only a viewer that does not take
//! all of it at once is woken, and goes on by itself.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::websocket::Socket;
use crate::hub::{Handed, Listener, News};

/// A viewer's line.
#[derive(Debug)]
pub(super) struct Line {
    wake: Notify,
    /// The feeds that there is something to read in. A viewer of a thousand feeds looks at these only.
    news: Mutex<BTreeSet<u32>>,
    /// A hint, so that nobody waits for the lock who only has to wake.
    stands_by: AtomicBool,
    /// Where nothing can be handed out, there is no socket here.
    end: Option<Mutex<End>>,
}

#[derive(Debug)]
struct End {
    socket: Socket,
    standing: Option<Stand>,
}

/// Where a viewer stands that has everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// The feed that it is handed.
    pub(super) feed: u32,
    /// The next number that it has not got.
    pub(super) next: u64,
    /// When it was last told something.
    pub(super) told: Instant,
}

impl Line {
    pub(super) fn new(socket: Option<Socket>) -> Self {
        let end = socket.map(|socket| Mutex::new(End { socket, standing: None }));
        Self { wake: Notify::new(), news: Mutex::default(), stands_by: AtomicBool::new(false), end }
    }

    /// Waits until there may be something to do.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The feeds that have got something to read since the last call.
    pub(super) fn take_news(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.news.lock())
    }

    /// From now on what is new is handed out, if there is a way to.
    pub(super) fn stand_by(&self, stand: Stand) {
        if let Some(end) = &self.end {
            end.lock().standing = Some(stand);
            self.stands_by.store(true, Release);
        }
    }

    /// No longer; says how far that has come.
    pub(super) fn stand_down(&self) -> Option<Stand> {
        self.stands_by.store(false, Release);
        self.end.as_ref()?.lock().standing.take()
    }

    /// Waits until `next`, or until the viewer wants a `heartbeat`. One that stands by is told things of which its task knows
    /// nothing; it is reminded when it was told nothing for that long, so that its task need not look every time.
    pub(super) async fn until_due(&self, heartbeat: Instant, next: Instant) {
        sleep_until(if self.stands_by() { next } else { next.min(heartbeat) }).await;
    }

    /// The socket, for as long as nothing else happens.
    pub(super) fn socket(&self) -> Option<impl std::ops::DerefMut<Target = Socket> + '_> {
        self.end.as_ref().map(|end| MutexGuard::map(end.lock(), |end| &mut end.socket))
    }
}

impl Listener for Line {
    fn wake(&self) {
        self.wake.notify_one();
    }

    fn news(&self, feed: u32) {
        self.news.lock().insert(feed);
        self.wake();
    }

    fn stands_by(&self) -> bool {
        self.stands_by.load(Acquire)
    }

    fn remind(&self, now: Instant, silent: Duration) {
        let is_silent = |end: &Mutex<End>| end.lock().standing.is_some_and(|stand| stand.told + silent <= now);
        if self.stands_by() && self.end.as_ref().is_some_and(is_silent) {
            self.wake();
        }
    }

    fn hand(&self, news: &News, now: Instant) -> Handed {
        let (handed, is_done) = self.end.as_ref().map_or_else(Default::default, |end| end.lock().hand(news, now));
        if !is_done {
            self.stands_by.store(false, Release);
            self.wake.notify_one();
        }
        handed
    }
}

impl End {
    /// Writes what is new to the viewer; says whether nothing is left to do.
    fn hand(&mut self, news: &News, now: Instant) -> (Handed, bool) {
        let mut handed = Handed::default();
        let Some(standing) = self.standing.as_mut() else { return (handed, false) };
        if standing.feed != news.feed {
            // What it stands by for brings that as well.
            return (handed, true);
        }
        // Its task may have read some of it already.
        let next = standing.next;
        let mut pieces = news.pieces.iter().skip_while(|piece| piece.to < next).peekable();
        if pieces.peek().map_or(news.pieces.is_empty(), |first| first.from > next) {
            return (handed, false);
        }
        // Whoever does not take all of it is woken, and asks to be told by itself.
        let mut context = Context::from_waker(Waker::noop());
        let mut outcome = Poll::Ready(Ok(()));
        while let Some(piece) = pieces.next() {
            standing.next = piece.to + 1;
            handed.messages += 1;
            handed.bytes += piece.frame.len() as u64;
            // All in one write.
            if pieces.peek().is_some() {
                self.socket.push(&piece.frame);
            } else {
                outcome = self.socket.poll_send(&piece.frame, &mut context);
            }
        }
        standing.told = now;
        (handed, matches!(outcome, Poll::Ready(Ok(()))))
    }
}
