//! The connection: opens a connection, drains it into the model, and comes back, here or at another relay, when it is gone.
//!
//! One task for the life of the page. Every message is merged at once, because the browser cannot be told to wait and an
//! unread message is memory. Where a WebSocket cannot be had, a stream over HTTP takes its place. Attempts are spread by full
//! jitter, none is made while nobody looks, and one is made at once when the page is looked at again or the network returns.
//! What the relay will not forgive is said in words, and ends it.

mod transport;

use std::future::poll_fn;
use std::mem::take;
use std::task::{Context, Poll, Waker};

use gloo_timers::callback::{Interval, Timeout};
use joey_shared::wire::VERSION;
use joey_shared::{address, backoff, close};

use self::transport::{Transport, TransportEvent};
use crate::browser;
use crate::frame_loop::{FrameLoop, Handle};
use crate::kept::{Kept, Told};
use crate::settings::add_relays;

/// A relay that says nothing for this long, in ns, is gone: it promises a heartbeat every 5 s.
const SILENCE_NS: u64 = 15_000_000_000;
/// How often silence is looked for, in ms.
const WATCH_MS: u32 = 2_500;
/// A connection that held for this long, in ns, begins counting attempts anew.
const STEADY_NS: u64 = 10_000_000_000;

/// WebSockets in a row that may end without a word before a stream is tried in their place.
const SILENT_MAX: u32 = 2;
/// The same where a WebSocket has worked before: then it is more likely the relay that is gone than the way to it.
const SILENT_MAX_ONCE_HEARD: u32 = 10;
/// How long a stream that works is taken again without trying a WebSocket first, in ns.
const STREAM_NS: u64 = 180_000_000_000;
/// How the page stands with its relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is no address to connect to.
    NoAddress,
    /// A connection is being opened.
    Connecting,
    /// Messages come in.
    Connected,
    /// The connection is gone; the next attempt is at this local time in ns.
    Waiting(u64),
    /// The relay speaks another version of the protocol, and its release is this.
    OtherVersion(u16, String),
    /// The relay closed the connection for good.
    Refused(u16, String),
}

/// Why a connection ended.
enum End {
    Lost,
    Final(ConnectionState),
}

/// How one relay can be reached.
#[derive(Default)]
struct Relay {
    /// WebSockets in a row that ended without a word.
    silent: u32,
    /// Whether one ever did otherwise.
    was_heard: bool,
    /// Until this local time in ns a stream is tried first.
    stream_until_ns: u64,
}

impl Relay {
    fn wants_stream(&self, now_ns: u64) -> bool {
        let most = if self.was_heard { SILENT_MAX_ONCE_HEARD } else { SILENT_MAX };
        now_ns < self.stream_until_ns || self.silent >= most
    }

    /// Learns from a connection that was opened at local time `opened_ns` and has ended.
    fn learn(&mut self, was_stream: bool, was_heard: bool, opened_ns: u64) {
        match (was_stream, was_heard) {
            // It was taken for want of a WebSocket. Later one more of these may fail before it is taken again.
            (true, true) if opened_ns >= self.stream_until_ns => {
                *self = Self { silent: SILENT_MAX - 1, was_heard: false, stream_until_ns: opened_ns + STREAM_NS };
            }
            (true, true) => {}
            (true, false) => (self.silent, self.stream_until_ns) = (0, 0),
            (false, true) => (self.silent, self.was_heard) = (0, true),
            (false, false) => self.silent += 1,
        }
    }
}

/// The connection. Copies are the same connection.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the clock holds closures")]
pub struct Connection {
    model: Handle,
    clock: FrameLoop,
    bell: Kept<Mailbox>,
    /// How things stand.
    pub state: Told<ConnectionState>,
    /// Which address is talked to, or was last; one that begins with `http` is a stream's.
    pub address: Told<String>,
    /// Why the relay that was tried last does not want this page, in its own words; empty if it does.
    pub refusal: Told<String>,
}

/// What the task is to be woken for.
#[derive(Debug, Default)]
struct Mailbox {
    send: bool,
    retry: bool,
    /// Percentile to the relay by whatever connection comes next; empty for none.
    token: String,
    /// The number of the connection that there is.
    connection: u32,
    /// What it has had to say since it was asked.
    inbox: Vec<TransportEvent>,
    waker: Option<Waker>,
}

impl Connection {
    /// Connects to the first of the relays at `addresses` that can be reached, for the life of the page.
    #[must_use]
    pub fn start(model: Handle, clock: FrameLoop, addresses: Vec<String>) -> Self {
        let bell = Mailbox { token: browser::kept_token(), ..Mailbox::default() };
        let address = Told::new(addresses.first().cloned().unwrap_or_default());
        let connection = Self {
            model,
            clock,
            bell: Kept::new(bell),
            state: Told::new(ConnectionState::NoAddress),
            address,
            refusal: Told::new(String::new()),
        };
        if !addresses.is_empty() {
            Interval::new(WATCH_MS, move || connection.send()).forget();
            wasm_bindgen_futures::spawn_local(connection.run(addresses));
        }
        connection
    }

    /// Sends what the viewer wants to say.
    pub fn send(self) {
        self.bell.get().send = true;
        self.ring();
    }

    /// Shows the relay `token` in place of the one before, over the connection that there is or by coming back.
    pub fn show_token(self, token: &str) {
        browser::keep_token(token);
        token.clone_into(&mut self.bell.get().token);
        self.model.get().viewer().show_token(token);
        self.send();
        self.retry();
    }

    /// Tries again now, if the connection is gone.
    pub fn retry(self) {
        self.bell.get().retry = true;
        self.ring();
    }

    fn ring(self) {
        let waker = self.bell.get().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether `wanted` was rung for; if not, the task is woken when something is.
    fn poll_bell(self, context: &Context<'_>, wanted: fn(&mut Mailbox) -> &mut bool) -> bool {
        let mut bell = self.bell.get();
        bell.waker = Some(context.waker().clone());
        take(wanted(&mut bell))
    }

    /// Takes what connection `number` has to say, unless there is another by now.
    fn put(self, number: u32, news: TransportEvent) {
        let mut bell = self.bell.get();
        if bell.connection == number {
            bell.inbox.push(news);
            drop(bell);
            self.ring();
        }
    }

    async fn run(self, mut addresses: Vec<String>) {
        let mut relays: Vec<Relay> = Vec::new();
        let (mut at, mut tried, mut round) = (0, 0, 0);
        let given = addresses.len();
        loop {
            // Those told earlier may be gone for good, and would take the places of others.
            addresses.truncate(given);
            add_relays(&mut addresses, self.model.get().seen().relays(), browser::is_encrypted());
            relays.resize_with(addresses.len(), Relay::default);
            let (Some(relay), Some(address)) = (relays.get_mut(at), addresses.get(at)) else {
                at = 0;
                continue;
            };
            self.say(ConnectionState::Connecting);
            let opened_ns = browser::now_ns();
            let is_stream = relay.wants_stream(opened_ns);
            let socket = address.clone();
            let address = if is_stream { address::stream(address) } else { address.clone() };
            self.address.set(address.clone());
            let mut greeted = false;
            let end = self.converse(&address, &mut greeted).await;
            self.model.get().viewer().disconnected();
            let now_ns = browser::now_ns();
            // Who is refused has been heard.
            relay.learn(is_stream, greeted || matches!(end, End::Final(_)), opened_ns);
            if now_ns.saturating_sub(opened_ns) > STEADY_NS {
                (tried, round) = (0, 0);
            }
            if !greeted && matches!(end, End::Lost) {
                self.refusal.set(transport::refusal(&socket).await.unwrap_or_default());
            }
            self.bell.get().retry = false;
            if let End::Final(state) = end {
                self.say(state);
                self.pause(None).await;
                continue;
            }
            at += 1;
            tried += 1;
            // Once nobody was there, everybody is tried again, after a pause.
            let delay_ms = if tried < addresses.len() {
                backoff::to_another_ms(browser::chance())
            } else {
                tried = 0;
                round += 1;
                backoff::delay_ms(round - 1, browser::chance())
            };
            self.say(ConnectionState::Waiting(browser::now_ns() + u64::from(delay_ms) * 1_000_000));
            self.pause(Some(delay_ms)).await;
        }
    }

    fn say(self, state: ConnectionState) {
        self.state.set(state);
        self.clock.now();
    }

    /// Waits before the next attempt: the jittered delay, and then until somebody looks. For ever without a delay. Ends at
    /// once when somebody asks for it.
    async fn pause(self, delay_ms: Option<u32>) {
        // A browser's alarm may be a little early by its own clock.
        let _alarm = delay_ms.map(|delay_ms| Timeout::new(delay_ms + 5, move || self.ring()));
        let over_ns = delay_ms.map(|delay_ms| browser::now_ns() + u64::from(delay_ms) * 1_000_000);
        poll_fn(|context| {
            let asked = self.poll_bell(context, |bell| &mut bell.retry);
            let over = over_ns.is_some_and(|over_ns| browser::now_ns() >= over_ns);
            if asked || (over && !browser::is_hidden()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What the connection has had to say, or nothing when there is something else to do.
    async fn next(self) -> Vec<TransportEvent> {
        poll_fn(|context| {
            let asked = self.poll_bell(context, |bell| &mut bell.send);
            let news = take(&mut self.bell.get().inbox);
            if asked || !news.is_empty() { Poll::Ready(news) } else { Poll::Pending }
        })
        .await
    }

    /// One connection, from opening to its end; says whether the relay has `greeted` it.
    async fn converse(self, address: &str, greeted: &mut bool) -> End {
        let (number, token) = {
            let mut bell = self.bell.get();
            bell.connection += 1;
            bell.inbox.clear();
            (bell.connection, bell.token.clone())
        };
        let Some(mut wire) = Transport::open(self, number, address, &token) else { return End::Lost };
        let mut heard_ns = browser::now_ns();
        loop {
            for news in self.next().await {
                heard_ns = browser::now_ns();
                match news {
                    TransportEvent::Message(bytes) => {
                        if let Some(end) = self.take(&bytes, greeted) {
                            return end;
                        }
                    }
                    TransportEvent::Opened(id) => wire.opened(&id),
                    TransportEvent::Sent => wire.sent(),
                    TransportEvent::Closed(code, reason) if !close::may_return(code) => {
                        return End::Final(ConnectionState::Refused(code, reason));
                    }
                    TransportEvent::Closed(..) => return End::Lost,
                }
            }
            if browser::now_ns().saturating_sub(heard_ns) > SILENCE_NS {
                return End::Lost;
            }
            // Subscriptions are asked for once the relay has said which protocol it speaks.
            if wire.is_ready() {
                let outgoing = self.model.get().viewer().outgoing();
                wire.send(&outgoing);
            }
        }
    }

    /// Merges one message. What makes no sense is counted by the viewer and shown.
    fn take(self, bytes: &[u8], greeted: &mut bool) -> Option<End> {
        let first = !std::mem::replace(greeted, true);
        let other_version = self.merge(bytes, first);
        if let Some(state) = other_version {
            return Some(End::Final(state));
        }
        if first {
            self.refusal.set(String::new());
            self.say(ConnectionState::Connected);
        } else {
            self.clock.wake();
        }
        None
    }

    /// Puts one message into the model, and says if the relay turns out to speak another version.
    fn merge(self, bytes: &[u8], first: bool) -> Option<ConnectionState> {
        let (mut model, now_ns) = (self.model.get(), browser::now_ns());
        if first {
            model.viewer().connected();
        }
        let apps = model.seen().catalogue().len();
        let _ = model.viewer().receive(bytes, now_ns, |_| {});
        if model.seen().catalogue().len() != apps {
            model.refollow(now_ns);
        }
        let relay = model.seen().relay().filter(|relay| relay.version != VERSION)?;
        Some(ConnectionState::OtherVersion(relay.version, relay.release.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays connections at these times in seconds, a WebSocket being heard or not; gives which of them were streams.
    fn play(relay: &mut Relay, hears_socket: bool, hears_stream: bool, times_s: &[u64]) -> Vec<bool> {
        let connect = |time_s: &u64| {
            let now_ns = time_s * 1_000_000_000;
            let is_stream = relay.wants_stream(now_ns);
            relay.learn(is_stream, if is_stream { hears_stream } else { hears_socket }, now_ns);
            is_stream
        };
        times_s.iter().map(connect).collect()
    }

    #[test]
    fn a_stream_is_taken_after_two_silent_sockets_and_a_socket_tried_again_after_a_while() {
        let mut relay = Relay::default();
        let taken = play(&mut relay, false, true, &[0, 1, 2, 100, 181, 183, 184, 362, 364]);
        assert_eq!(taken, [false, false, true, true, true, false, true, true, false]);
        assert_eq!(play(&mut relay, true, true, &[365, 600, 601]), [true, false, false]);
    }

    #[test]
    fn where_neither_is_heard_both_are_tried() {
        let taken = play(&mut Relay::default(), false, false, &[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(taken, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn where_a_socket_was_heard_it_is_missed_for_longer() {
        let mut relay = Relay::default();
        assert_eq!(play(&mut relay, true, true, &[0]), [false]);
        let taken = play(&mut relay, false, true, &(1..=11).collect::<Vec<_>>());
        assert_eq!(taken, [[false; 10].to_vec(), vec![true]].concat());
    }
}
