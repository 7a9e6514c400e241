//! The socket: opens it, drains it into the model, and comes back when it is gone.
//!
//! One task for the life of the page. Every message is merged at once, because the browser cannot be told to wait and an
//! unread message is memory. Attempts are spread by full jitter, none is made while nobody looks, and one is made at once
//! when the page is looked at again or the network returns. What the relay will not forgive is said in words, and ends it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::{SinkExt, StreamExt};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, WebSocketError};
use gloo_timers::future::TimeoutFuture;
use joey_shared::wire::{SUBPROTOCOL, VERSION};
use joey_shared::{backoff, close};

use crate::browser;
use crate::clock::{Clock, Handle};
use crate::kept::{Kept, Told};

/// A relay that says nothing for this long, in ns, is gone: it promises a heartbeat every 5 s.
const SILENCE_NS: u64 = 15_000_000_000;
/// How often silence is looked for, in ms.
const WATCH_MS: u32 = 2_500;
/// A connection that held for this long, in ns, begins counting attempts anew.
const STEADY_NS: u64 = 10_000_000_000;

/// How the page stands with its relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
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
    Final(LinkState),
}

/// The link. Copies are the same link.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the clock holds closures")]
pub struct Link {
    model: Handle,
    clock: Clock,
    bell: Kept<Bell>,
    /// How things stand.
    pub state: Told<LinkState>,
}

/// What the task is to be woken for.
#[derive(Debug, Default)]
struct Bell {
    send: bool,
    retry: bool,
    /// Shown to the relay by whatever connection comes next; empty for none.
    token: String,
    waker: Option<Waker>,
}

impl Link {
    /// Connects to the relay at `address`, for the life of the page.
    #[must_use]
    pub fn start(model: Handle, clock: Clock, address: Option<String>) -> Self {
        let bell = Bell { token: browser::kept_token(), ..Bell::default() };
        let link = Self { model, clock, bell: Kept::new(bell), state: Told::new(LinkState::NoAddress) };
        if let Some(address) = address {
            wasm_bindgen_futures::spawn_local(link.run(address));
        }
        link
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
    fn poll_bell(self, context: &Context<'_>, wanted: fn(&mut Bell) -> &mut bool) -> bool {
        let mut bell = self.bell.get();
        bell.waker = Some(context.waker().clone());
        std::mem::take(wanted(&mut bell))
    }

    async fn run(self, address: String) {
        let mut attempt = 0;
        loop {
            self.say(LinkState::Connecting);
            let opened_ns = browser::now_ns();
            let end = self.converse(&address).await;
            self.model.get().viewer().disconnected();
            if browser::now_ns().saturating_sub(opened_ns) > STEADY_NS {
                attempt = 0;
            }
            self.bell.get().retry = false;
            match end {
                End::Final(state) => {
                    self.say(state);
                    self.pause(None).await;
                }
                End::Lost => {
                    let delay_ms = backoff::delay_ms(attempt, browser::chance());
                    self.say(LinkState::Waiting(browser::now_ns() + u64::from(delay_ms) * 1_000_000));
                    self.pause(Some(delay_ms)).await;
                }
            }
            attempt += 1;
        }
    }

    fn say(self, state: LinkState) {
        self.state.set(state);
        self.clock.now();
    }

    /// Waits before the next attempt: the jittered delay, and then until somebody looks. For ever without a delay. Ends at
    /// once when somebody asks for it.
    async fn pause(self, delay_ms: Option<u32>) {
        let mut delay = delay_ms.map(TimeoutFuture::new);
        poll_fn(|context| {
            let over = delay.as_mut().is_some_and(|delay| Pin::new(delay).poll(context).is_ready());
            if over {
                delay = None;
            }
            let asked = self.poll_bell(context, |bell| &mut bell.retry);
            if asked || (over && !browser::is_hidden()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The next message, `Some(None)` at the end of the connection, or `None` when there is something else to do.
    async fn next(self, socket: &mut WebSocket) -> Option<Option<Result<Message, WebSocketError>>> {
        let mut watch = TimeoutFuture::new(WATCH_MS);
        poll_fn(|context| {
            if let Poll::Ready(message) = socket.poll_next_unpin(context) {
                return Poll::Ready(Some(message));
            }
            let otherwise =
                self.poll_bell(context, |bell| &mut bell.send) || Pin::new(&mut watch).poll(context).is_ready();
            if otherwise { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// One connection, from opening to its end.
    async fn converse(self, address: &str) -> End {
        let Some(mut socket) = self.open(address) else { return End::Lost };
        let mut heard_ns = browser::now_ns();
        let mut greeted = false;
        loop {
            match self.next(&mut socket).await {
                Some(Some(Ok(Message::Bytes(bytes)))) => {
                    heard_ns = browser::now_ns();
                    if let Some(end) = self.take(&bytes, &mut greeted) {
                        return end;
                    }
                }
                Some(Some(Ok(Message::Text(_)) | Err(WebSocketError::ConnectionError))) => {}
                Some(Some(Err(WebSocketError::ConnectionClose(event)))) if !close::may_return(event.code) => {
                    return End::Final(LinkState::Refused(event.code, event.reason));
                }
                Some(_) => return End::Lost,
                None if browser::now_ns().saturating_sub(heard_ns) > SILENCE_NS => return End::Lost,
                None => {}
            }
            // Subscriptions are asked for once the relay has said which protocol it speaks.
            let outgoing = self.model.get().viewer().outgoing();
            for bytes in outgoing {
                if socket.send(Message::Bytes(bytes)).await.is_err() {
                    return End::Lost;
                }
            }
        }
    }

    /// Opens a connection. A browser adds no header to a WebSocket, so a token goes along as one more subprotocol.
    fn open(self, address: &str) -> Option<WebSocket> {
        let protocols = js_sys::Array::of1(&SUBPROTOCOL.into());
        let token = self.bell.get().token.clone();
        if !token.is_empty() {
            protocols.push(&format!("bearer.{token}").into());
        }
        web_sys::WebSocket::new_with_str_sequence(address, &protocols).ok()?.try_into().ok()
    }

    /// Merges one message. What makes no sense is counted by the viewer and shown.
    fn take(self, bytes: &[u8], greeted: &mut bool) -> Option<End> {
        let first = !std::mem::replace(greeted, true);
        let other_version = self.merge(bytes, first);
        if let Some(state) = other_version {
            return Some(End::Final(state));
        }
        if first {
            self.say(LinkState::Connected);
        } else {
            self.clock.wake();
        }
        None
    }

    /// Puts one message into the model, and says if the relay turns out to speak another version.
    fn merge(self, bytes: &[u8], first: bool) -> Option<LinkState> {
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
        Some(LinkState::OtherVersion(relay.version, relay.release.clone()))
    }
}
