//! The connection to one relay: it receives messages into the model and reconnects, to this address or another.
//!
//! One task runs until the connection is stopped. It merges every message at once, because a browser cannot apply
//! backpressure and an unread message only takes memory. If WebSockets fail, it uses a stream over HTTP. Reconnects are
//! delayed with full jitter. No attempt is made while the page is hidden, and one is made at once when the page is
//! shown again or the network returns. After a rejection that a retry cannot fix, the task waits for the user.

pub mod probe;
mod transport;

use std::future::poll_fn;
use std::mem::take;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gloo_timers::callback::Timeout;
use joey_shared::viewer::Subscriber;
use joey_shared::wire::VERSION;
use joey_shared::{address, backoff, close};
use leptos::prelude::{LocalStorage, ReadValue, RwSignal, Set, StoredValue, Update, UpdateValue, WriteValue};
use leptos::reactive::spawn_local_scoped_with_cancellation;

use self::transport::{Transport, TransportEvent};
use crate::browser;
use crate::frame_loop::{FrameLoop, ModelHandle};
use crate::settings::add_relays;

/// A relay that sends nothing for this long, in ns, is considered lost: it sends a heartbeat every 5 s.
const SILENCE_NS: u64 = 15_000_000_000;
/// How often [`Connection::send`] must be called, so that the silence is noticed.
pub const SILENCE_CHECK_PERIOD: Duration = Duration::from_millis(2_500);
/// After a connection of this length, in ns, the reconnect delay starts from its minimum again.
const STABLE_NS: u64 = 10_000_000_000;

/// Number of WebSockets in a row that may fail without a message before a stream is tried.
const FAILURES_MAX: u32 = 2;
/// The same for a relay to which a WebSocket has worked: there the relay is more likely down than the WebSocket blocked.
const FAILURES_MAX_AFTER_SUCCESS: u32 = 10;
/// How long, in ns, a stream that works is preferred to another WebSocket attempt.
const STREAM_NS: u64 = 180_000_000_000;

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is no address to connect to.
    NoAddress,
    /// A connection is being opened.
    Connecting,
    /// Messages arrive.
    Connected,
    /// The connection is lost; the next attempt is at this local time in ns.
    Reconnecting(u64),
    /// The relay uses another version of the protocol: its version and its release.
    VersionMismatch(u16, String),
    /// The relay closed the connection for good: close code and reason.
    Rejected(u16, String),
}

/// Why a connection ended.
enum End {
    /// It can be opened again.
    Lost,
    /// Opening it again would not help.
    Final(ConnectionState),
}

/// What is known about how one relay can be reached.
#[derive(Default)]
struct Reachability {
    /// WebSockets in a row that ended without a message.
    failures: u32,
    /// Whether a WebSocket has ever worked.
    has_worked: bool,
    /// Until this local time in ns a stream is tried first.
    stream_until_ns: u64,
}

impl Reachability {
    fn prefers_stream(&self, now_ns: u64) -> bool {
        let failures_max = if self.has_worked { FAILURES_MAX_AFTER_SUCCESS } else { FAILURES_MAX };
        now_ns < self.stream_until_ns || self.failures >= failures_max
    }

    /// Records the outcome of a connection that was opened at local time `opened_ns`.
    fn record(&mut self, was_stream: bool, succeeded: bool, opened_ns: u64) {
        match (was_stream, succeeded) {
            // The stream replaced a WebSocket. When the preference ends, one more WebSocket may fail before the next stream.
            (true, true) if opened_ns >= self.stream_until_ns => {
                *self = Self { failures: FAILURES_MAX - 1, has_worked: false, stream_until_ns: opened_ns + STREAM_NS };
            }
            (true, true) => {}
            (true, false) => (self.failures, self.stream_until_ns) = (0, 0),
            (false, true) => (self.failures, self.has_worked) = (0, true),
            (false, false) => self.failures += 1,
        }
    }
}

/// The connection. Copies share the same connection.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the frame loop holds closures")]
pub struct Connection {
    /// The id of its relay in the model.
    pub relay: u32,
    model: ModelHandle,
    frame_loop: FrameLoop,
    mailbox: StoredValue<Mailbox, LocalStorage>,
    /// The state.
    pub state: RwSignal<ConnectionState>,
    /// The address of the current or last attempt. An address that begins with `http` belongs to a stream.
    pub address: RwSignal<String>,
    /// Why the last relay rejected this page, in the relay's words; empty if it did not.
    pub rejection: RwSignal<String>,
    /// How often a connection that had worked was lost.
    pub losses: RwSignal<u32>,
    /// The newest round trip, in ns: how long the relay took to answer a subscription.
    pub round_trip_ns: RwSignal<Option<u64>>,
}

/// A subscription that the relay has not answered.
#[derive(Default)]
struct Question {
    /// When it was sent, in local ns; `None` if there is none.
    asked_ns: Option<u64>,
    /// The number of answers at that time.
    answers: u64,
}

/// What the task waits for.
#[derive(Debug, Default)]
struct Mailbox {
    /// The viewer has commands to send.
    send: bool,
    /// The user wants the next attempt now.
    retry: bool,
    /// The connection is not wanted any more.
    stop: bool,
    /// The token for the next connection; empty for none.
    token: String,
    /// The number of the current connection.
    connection: u32,
    /// Events of the current connection that the task has not handled.
    events: Vec<TransportEvent>,
    waker: Option<Waker>,
}

impl Connection {
    /// Connects to the first reachable one of `addresses`, which all lead to `relay`. `token` is empty for none. The task ends
    /// when the connection is stopped or the current reactive owner is disposed.
    #[must_use]
    pub fn start(model: ModelHandle, frame_loop: FrameLoop, relay: u32, addresses: Vec<String>, token: String) -> Self {
        let connection = Self {
            relay,
            model,
            frame_loop,
            mailbox: StoredValue::new_local(Mailbox { token, ..Mailbox::default() }),
            state: RwSignal::new(ConnectionState::NoAddress),
            address: RwSignal::new(addresses.first().cloned().unwrap_or_default()),
            rejection: RwSignal::new(String::new()),
            losses: RwSignal::new(0),
            round_trip_ns: RwSignal::new(None),
        };
        if !addresses.is_empty() {
            spawn_local_scoped_with_cancellation(connection.run(addresses));
        }
        connection
    }

    /// Closes the connection for good.
    pub fn stop(self) {
        self.notify(|mailbox| mailbox.stop = true);
    }

    fn is_stopped(self) -> bool {
        self.mailbox.read_value().stop
    }

    /// Sends the viewer's pending commands.
    pub fn send(self) {
        self.notify(|mailbox| mailbox.send = true);
    }

    /// Tries again now if the connection is lost.
    pub fn retry(self) {
        self.notify(|mailbox| mailbox.retry = true);
    }

    /// Replaces the token, on the current connection or with a new one.
    pub fn set_token(self, token: &str) {
        token.clone_into(&mut self.mailbox.write_value().token);
        self.change_relay(|relay| relay.set_token(token));
        self.send();
        self.retry();
    }

    /// Changes the state of the relay in the model, unless it was removed.
    fn change_relay(self, change: impl FnOnce(&mut Subscriber)) {
        if let Some(relay) = self.model.write_value().relay_mut(self.relay) {
            change(relay);
        }
    }

    /// Reads the state of the relay in the model; the default after it was removed.
    fn read_relay<R: Default>(self, read: impl FnOnce(&Subscriber) -> R) -> R {
        self.model.read_value().relay(self.relay).map(read).unwrap_or_default()
    }

    /// Changes the mailbox and wakes the task. Does nothing after the page was unmounted.
    fn notify(self, change: impl FnOnce(&mut Mailbox)) {
        let waker = self.mailbox.try_update_value(|mailbox| {
            change(mailbox);
            mailbox.waker.take()
        });
        if let Some(waker) = waker.flatten() {
            waker.wake();
        }
    }

    /// Takes the `flag` of the mailbox; if it is not set, the task is woken at the next change.
    fn poll_flag(self, context: &Context<'_>, flag: fn(&mut Mailbox) -> &mut bool) -> bool {
        let mut mailbox = self.mailbox.write_value();
        mailbox.waker = Some(context.waker().clone());
        take(flag(&mut mailbox))
    }

    /// Receives an event of connection `number`; events of an earlier connection are dropped.
    fn receive_event(self, number: u32, event: TransportEvent) {
        self.notify(|mailbox| {
            if mailbox.connection == number {
                mailbox.events.push(event);
            }
        });
    }

    async fn run(self, mut addresses: Vec<String>) {
        let mut relays: Vec<Reachability> = Vec::new();
        let (mut index, mut tried, mut round) = (0, 0, 0);
        let configured = addresses.len();
        while !self.is_stopped() {
            // Relays announced earlier may be gone. Dropping them makes room for new ones.
            addresses.truncate(configured);
            let announced = self.read_relay(|relay| relay.relays().to_vec());
            add_relays(&mut addresses, &announced, browser::is_encrypted());
            relays.resize_with(addresses.len(), Reachability::default);
            let (Some(relay), Some(address)) = (relays.get_mut(index), addresses.get(index)) else {
                index = 0;
                continue;
            };
            self.set_state(ConnectionState::Connecting);
            let opened_ns = browser::now_ns();
            let is_stream = relay.prefers_stream(opened_ns);
            let socket = address.clone();
            let address = if is_stream { address::stream(address) } else { address.clone() };
            self.address.set(address.clone());
            let mut greeted = false;
            let end = self.run_once(&address, &mut greeted).await;
            self.change_relay(Subscriber::disconnected);
            if self.is_stopped() {
                return;
            }
            if greeted {
                self.losses.update(|losses| *losses += 1);
            }
            let now_ns = browser::now_ns();
            // A rejection is an answer too.
            relay.record(is_stream, greeted || matches!(end, End::Final(_)), opened_ns);
            if now_ns.saturating_sub(opened_ns) > STABLE_NS {
                (tried, round) = (0, 0);
            }
            if !greeted && matches!(end, End::Lost) {
                self.rejection.set(transport::rejection_reason(&socket).await.unwrap_or_default());
            }
            self.mailbox.write_value().retry = false;
            if let End::Final(state) = end {
                self.set_state(state);
                self.wait(None).await;
                continue;
            }
            index += 1;
            tried += 1;
            // After all relays have failed, the next round starts with a longer delay.
            let delay_ms = if tried < addresses.len() {
                backoff::failover_delay_ms(browser::random_u32())
            } else {
                tried = 0;
                round += 1;
                backoff::delay_ms(round - 1, browser::random_u32())
            };
            self.set_state(ConnectionState::Reconnecting(browser::now_ns() + u64::from(delay_ms) * 1_000_000));
            self.wait(Some(delay_ms)).await;
        }
    }

    fn set_state(self, state: ConnectionState) {
        self.state.set(state);
        self.frame_loop.tick_now();
    }

    /// Waits for `delay_ms`, and then until the page is visible; without a delay, for ever. A retry ends it at once.
    async fn wait(self, delay_ms: Option<u32>) {
        // A browser's timer may fire slightly early.
        let _timer = delay_ms.map(|delay_ms| Timeout::new(delay_ms + 5, move || self.notify(|_| {})));
        let end_ns = delay_ms.map(|delay_ms| browser::now_ns() + u64::from(delay_ms) * 1_000_000);
        poll_fn(|context| {
            let retry = self.poll_flag(context, |mailbox| &mut mailbox.retry);
            let is_over = end_ns.is_some_and(|end_ns| browser::now_ns() >= end_ns);
            if retry || self.is_stopped() || (is_over && !browser::is_hidden()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// The next events of the connection. Returns none if there is something to send.
    async fn next_events(self) -> Vec<TransportEvent> {
        poll_fn(|context| {
            let send = self.poll_flag(context, |mailbox| &mut mailbox.send);
            let events = take(&mut self.mailbox.write_value().events);
            if send || !events.is_empty() || self.is_stopped() { Poll::Ready(events) } else { Poll::Pending }
        })
        .await
    }

    /// Runs one connection from opening to its end. Sets `greeted` once the relay has sent a message.
    async fn run_once(self, address: &str, greeted: &mut bool) -> End {
        let (number, token) = {
            let mut mailbox = self.mailbox.write_value();
            mailbox.connection += 1;
            mailbox.events.clear();
            (mailbox.connection, mailbox.token.clone())
        };
        let Some(mut transport) = Transport::open(self, number, address, &token) else { return End::Lost };
        let mut last_event_ns = browser::now_ns();
        let mut question = Question::default();
        while !self.is_stopped() {
            for event in self.next_events().await {
                last_event_ns = browser::now_ns();
                match event {
                    TransportEvent::Message(bytes) => {
                        if let Some(end) = self.receive_message(&bytes, greeted) {
                            return end;
                        }
                        self.measure_round_trip(&mut question, false);
                    }
                    TransportEvent::Opened(id) => transport.opened(&id),
                    TransportEvent::Sent => transport.sent(),
                    TransportEvent::Closed(code, reason) if !close::allows_reconnect(code) => {
                        return End::Final(ConnectionState::Rejected(code, reason));
                    }
                    TransportEvent::Closed(..) => return End::Lost,
                }
            }
            if browser::now_ns().saturating_sub(last_event_ns) > SILENCE_NS {
                return End::Lost;
            }
            // The viewer has no commands before the relay has announced its protocol version.
            if transport.is_ready() {
                let commands = self.model.write_value().outgoing(self.relay, browser::now_ns());
                self.measure_round_trip(&mut question, !commands.is_empty());
                transport.send(&commands);
            }
        }
        End::Lost
    }

    /// Measures how long the relay takes to answer a subscription. `sends` tells that commands are about to be sent.
    fn measure_round_trip(self, question: &mut Question, sends: bool) {
        let (answers, awaits_answer) = self.read_relay(|relay| (relay.answers(), relay.awaits_answer()));
        match question.asked_ns {
            Some(asked_ns) if answers != question.answers => {
                self.round_trip_ns.set(Some(browser::now_ns().saturating_sub(asked_ns)));
                question.asked_ns = None;
            }
            None if sends && awaits_answer => *question = Question { asked_ns: Some(browser::now_ns()), answers },
            _ => {}
        }
    }

    /// Merges one message. The viewer counts unreadable ones.
    fn receive_message(self, bytes: &[u8], greeted: &mut bool) -> Option<End> {
        let is_first = !std::mem::replace(greeted, true);
        let was_caught_up = self.read_relay(Subscriber::is_caught_up);
        if let Some(state) = self.merge(bytes, is_first) {
            return Some(End::Final(state));
        }
        if is_first {
            self.rejection.set(String::new());
            self.set_state(ConnectionState::Connected);
        } else if !was_caught_up && self.read_relay(Subscriber::is_caught_up) {
            // The history of a new page is complete. Waiting for the next tick would delay its first rows by up to half a second.
            self.frame_loop.tick_now();
        } else {
            self.frame_loop.request_due_tick();
        }
        None
    }

    /// Merges one message into the model. Returns the final state if the relay uses another version of the protocol.
    fn merge(self, bytes: &[u8], is_first: bool) -> Option<ConnectionState> {
        if is_first {
            self.change_relay(Subscriber::connected);
        }
        let mut model = self.model.write_value();
        let _ = model.receive(self.relay, bytes, browser::now_ns());
        let relay = model.relay(self.relay)?.relay().filter(|relay| relay.version != VERSION)?;
        Some(ConnectionState::VersionMismatch(relay.version, relay.release.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes attempts at these times in seconds, with the given outcomes. Returns which of them were streams.
    fn attempts(relay: &mut Reachability, socket_works: bool, stream_works: bool, times_s: &[u64]) -> Vec<bool> {
        let connect = |time_s: &u64| {
            let now_ns = time_s * 1_000_000_000;
            let is_stream = relay.prefers_stream(now_ns);
            relay.record(is_stream, if is_stream { stream_works } else { socket_works }, now_ns);
            is_stream
        };
        times_s.iter().map(connect).collect()
    }

    #[test]
    fn a_stream_follows_two_failed_sockets_and_a_socket_is_tried_again_later() {
        let mut relay = Reachability::default();
        let streams = attempts(&mut relay, false, true, &[0, 1, 2, 100, 181, 183, 184, 362, 364]);
        assert_eq!(streams, [false, false, true, true, true, false, true, true, false]);
        assert_eq!(attempts(&mut relay, true, true, &[365, 600, 601]), [true, false, false]);
    }

    #[test]
    fn both_are_tried_while_neither_works() {
        let streams = attempts(&mut Reachability::default(), false, false, &[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(streams, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_socket_that_has_worked_is_tried_for_longer() {
        let mut relay = Reachability::default();
        assert_eq!(attempts(&mut relay, true, true, &[0]), [false]);
        let streams = attempts(&mut relay, false, true, &(1..=11).collect::<Vec<_>>());
        assert_eq!(streams, [[false; 10].to_vec(), vec![true]].concat());
    }
}
