//! State that a viewer's task shares with the broadcast task: its WebSocket and its position while it is idle.
//!
//! A viewer that is up to date becomes idle. The broadcast task then writes new batches directly to its socket. Waking
//! one task per viewer took as long as the writes. A viewer is only woken, and continues in its own task, if its socket
//! does not accept the whole write.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::websocket::Socket;
use crate::hub::{Delivered, NewBatches, Subscriber};

/// Shared handle of one session.
#[derive(Debug)]
pub(super) struct SessionHandle {
    wake: Notify,
    /// Feeds with new batches. A viewer of a thousand feeds reads only these.
    ready_feeds: Mutex<BTreeSet<u32>>,
    /// Hint that avoids locking the socket just to wake the viewer.
    idle: AtomicBool,
    /// `None` if the transport cannot receive broadcasts.
    socket: Option<Mutex<IdleSocket>>,
}

#[derive(Debug)]
struct IdleSocket {
    socket: Socket,
    position: Option<IdlePosition>,
}

/// Position of an idle viewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdlePosition {
    /// The feed whose broadcasts it receives.
    pub(super) feed: u32,
    /// Next sequence number to send.
    pub(super) next: u64,
    /// When the last message was sent.
    pub(super) last_sent: Instant,
}

impl SessionHandle {
    pub(super) fn new(socket: Option<Socket>) -> Self {
        let socket = socket.map(|socket| Mutex::new(IdleSocket { socket, position: None }));
        Self { wake: Notify::new(), ready_feeds: Mutex::default(), idle: AtomicBool::new(false), socket }
    }

    /// Waits until the session is woken.
    pub(super) async fn notified(&self) {
        self.wake.notified().await;
    }

    /// Takes the feeds that got new batches since the last call.
    pub(super) fn take_ready_feeds(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.ready_feeds.lock())
    }

    /// Makes the session idle if its transport can receive broadcasts.
    pub(super) fn enter_idle(&self, position: IdlePosition) {
        if let Some(idle) = &self.socket {
            idle.lock().position = Some(position);
            self.idle.store(true, Release);
        }
    }

    /// Ends the idle state. Returns the position, if the session was idle.
    pub(super) fn leave_idle(&self) -> Option<IdlePosition> {
        self.idle.store(false, Release);
        self.socket.as_ref()?.lock().position.take()
    }

    /// Waits until `next`, or until `heartbeat` if the session is not idle. An idle session receives broadcasts without
    /// its task. It is woken when nothing has been sent for a heartbeat interval, so its task needs no timer for that.
    pub(super) async fn until_due(&self, heartbeat: Instant, next: Instant) {
        sleep_until(if self.is_idle() { next } else { next.min(heartbeat) }).await;
    }

    /// Locks the socket.
    pub(super) fn socket(&self) -> Option<impl std::ops::DerefMut<Target = Socket> + '_> {
        self.socket.as_ref().map(|idle| MutexGuard::map(idle.lock(), |idle| &mut idle.socket))
    }
}

impl Subscriber for SessionHandle {
    fn wake(&self) {
        self.wake.notify_one();
    }

    fn notify_feed(&self, feed: u32) {
        self.ready_feeds.lock().insert(feed);
        self.wake();
    }

    fn is_idle(&self) -> bool {
        self.idle.load(Acquire)
    }

    fn wake_if_silent(&self, now: Instant, silent: Duration) {
        let is_silent =
            |idle: &Mutex<IdleSocket>| idle.lock().position.is_some_and(|position| position.last_sent + silent <= now);
        if self.is_idle() && self.socket.as_ref().is_some_and(is_silent) {
            self.wake();
        }
    }

    fn deliver(&self, new: &NewBatches, now: Instant) -> Delivered {
        let (delivered, is_complete) =
            self.socket.as_ref().map_or_else(Default::default, |idle| idle.lock().deliver(new, now));
        if !is_complete {
            self.idle.store(false, Release);
            self.wake.notify_one();
        }
        delivered
    }
}

impl IdleSocket {
    /// Writes new batches to the viewer. Returns whether the write is complete.
    fn deliver(&mut self, new: &NewBatches, now: Instant) -> (Delivered, bool) {
        let mut delivered = Delivered::default();
        let Some(position) = self.position.as_mut() else { return (delivered, false) };
        if position.feed != new.feed {
            // The subscription to the idle feed delivers this feed's updates as well.
            return (delivered, true);
        }
        // The session's task may have sent some of the batches already.
        let next = position.next;
        let mut batches = new.batches.iter().skip_while(|batch| batch.to < next).peekable();
        if batches.peek().map_or(new.batches.is_empty(), |first| first.from > next) {
            return (delivered, false);
        }
        // If the write is incomplete, the session's task is woken and registers its own waker.
        let mut context = Context::from_waker(Waker::noop());
        let mut outcome = Poll::Ready(Ok(()));
        while let Some(batch) = batches.next() {
            position.next = batch.to + 1;
            delivered.messages += 1;
            delivered.bytes += batch.frame.len() as u64;
            // Write all batches at once.
            if batches.peek().is_some() {
                self.socket.push(&batch.frame);
            } else {
                outcome = self.socket.poll_send(&batch.frame, &mut context);
            }
        }
        position.last_sent = now;
        (delivered, matches!(outcome, Poll::Ready(Ok(()))))
    }
}
