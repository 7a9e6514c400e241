//! A viewer's WebSocket or stream, message by message, without the viewer that the page and the command line share.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use joey_shared::series::{Filter, SeriesKey, Topic};
use joey_shared::wire::{
    AppEntry, BatchHead, ClientMessage, SeriesEntry, ServerMessage, Start, SubscribeError, Subscribed, Update,
    WorkerEntry,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::stream::{Stream, record};
use super::{PATIENCE, Relay};

/// What a [`narrow`] connection's kernel takes, in bytes.
const NARROW_BYTES: usize = 16 * 1024;

/// A message from the relay, or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Who the relay is: its epoch.
    Hello(u64),
    /// Applications; whether it is all of them.
    Catalogue(bool, Vec<AppEntry>),
    /// A subscription was made.
    Subscribed(Subscribed),
    /// Updates, and the very bytes.
    Batch(BatchHead, Vec<Update>, Vec<u8>),
    /// Sums in place of batches.
    Sum(BatchHead, Vec<Update>),
    /// Numbers that will not come, first and last.
    Gap(u32, u64, u64),
    /// The connection lives.
    Heartbeat(Vec<(u32, u64)>),
    /// A subscription was not made.
    Refused(u32, SubscribeError),
    /// Names of series; whether they are the last.
    Series(String, Vec<SeriesEntry>, bool),
    /// When the token ends.
    Expires(u64),
    /// Which logs there are of an application.
    Logs(String, Vec<u64>),
    /// How the relay stands with others: connected, how many, viewers of each application.
    Cluster(bool, u32, Vec<(String, u32)>),
    /// Where else to go.
    Relays(Vec<String>),
    /// How far the relay's wall clock was set, and when.
    WallClock(i64, u64),
    /// The end: its code, 1006 where there was none.
    Closed(u16),
}

/// What a viewer's messages travel over.
#[derive(Debug)]
enum Wire {
    Socket(WebSocket<TcpStream>),
    Stream(Stream),
}

/// One connection.
#[derive(Debug)]
pub struct Viewer {
    wire: Wire,
    next_sub: u32,
    /// What is known of each application.
    pub catalogue: BTreeMap<String, AppEntry>,
    /// Everything heard that was not asked for yet.
    heard: Vec<Heard>,
}

impl Viewer {
    /// Connects and takes the hello.
    ///
    /// # Panics
    /// When the relay refuses.
    #[must_use]
    pub fn connect(relay: &Relay) -> Self {
        Self::connect_to(relay.http)
    }

    /// Connects to an address, of a relay or of a wire to one, and takes the hello.
    ///
    /// # Panics
    /// When the relay refuses.
    #[must_use]
    pub fn connect_to(http: SocketAddr) -> Self {
        Self::over(open(http, &[]).expect("the relay takes viewers"))
    }

    /// Takes the hello from an open WebSocket.
    ///
    /// # Panics
    /// When something else comes.
    #[must_use]
    pub fn over(socket: WebSocket<TcpStream>) -> Self {
        Self::on(Wire::Socket(socket)).greeted()
    }

    /// Takes the hello from an open stream.
    ///
    /// # Panics
    /// When something else comes.
    #[must_use]
    pub fn streaming(stream: Stream) -> Self {
        Self::on(Wire::Stream(stream)).greeted()
    }

    /// A viewer over an open stream that has not been greeted.
    #[must_use]
    pub fn streaming_unheard(stream: Stream) -> Self {
        Self::on(Wire::Stream(stream))
    }

    const fn on(wire: Wire) -> Self {
        Self { wire, next_sub: 1, catalogue: BTreeMap::new(), heard: Vec::new() }
    }

    fn greeted(mut self) -> Self {
        assert!(matches!(self.hear(), Heard::Hello(_)), "the hello comes first");
        self
    }

    /// Connects and shows `token` with the request.
    #[must_use]
    pub fn with_token(relay: &Relay, token: &str) -> Self {
        Self::opened(relay, Some(token)).greeted()
    }

    /// Connects, with or without a token, and takes nothing.
    ///
    /// # Panics
    /// When the relay refuses.
    #[must_use]
    pub fn opened(relay: &Relay, token: Option<&str>) -> Self {
        let shown = token.map(|token| ("Sec-WebSocket-Protocol", format!("bearer.{token}")));
        let headers: Vec<_> = shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::on(Wire::Socket(open(relay.http, &headers).expect("the relay takes viewers")))
    }

    /// Shows `token` in a message.
    pub fn show(&mut self, token: &str) {
        self.say(&ClientMessage::Token { token: token.to_owned() });
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn say(&mut self, message: &ClientMessage) {
        self.say_raw(Message::from(message.encode()));
    }

    /// Sends anything.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn say_raw(&mut self, message: Message) {
        match &mut self.wire {
            Wire::Socket(socket) => socket.send(message).expect("the relay reads"),
            Wire::Stream(stream) => assert_eq!(stream.command(&record(&message.into_data())), 204, "the relay reads"),
        }
    }

    /// Subscribes; gives the number of the subscription. What comes before the answer stays to be heard.
    pub fn follow(&mut self, app: &str, filter: Filter, start: Start) -> (u32, Subscribed) {
        let sub = self.ask(app, filter, start);
        let answer = self.wait_for(|heard| match heard {
            Heard::Subscribed(subscribed) if subscribed.sub == sub => Some(subscribed.clone()),
            Heard::Refused(refused, reason) if *refused == sub => panic!("refused: {reason:?}"),
            _ => None,
        });
        (sub, answer)
    }

    /// Asks which logs there are of an application; what comes before the answer stays to be heard.
    pub fn logs(&mut self, app: &str) -> Vec<u64> {
        self.ask(app, Filter::All, Start::Live);
        self.wait_for(|heard| match heard {
            Heard::Logs(name, epochs) if name == app => Some(epochs.clone()),
            _ => None,
        })
    }

    /// As [`Viewer::follow`], in one log.
    pub fn follow_log(&mut self, app: &str, epoch: u64, filter: Filter, start: Start) -> (u32, Subscribed) {
        let sub = self.next_sub;
        self.next_sub += 1;
        self.say(&ClientMessage::SubscribeLog { sub, epoch, topic: Topic { app: app.to_owned(), filter }, start });
        let answer = self.wait_for(|heard| match heard {
            Heard::Subscribed(subscribed) if subscribed.sub == sub => Some(subscribed.clone()),
            Heard::Refused(refused, reason) if *refused == sub => panic!("refused: {reason:?}"),
            _ => None,
        });
        (sub, answer)
    }

    /// Asks for a subscription, without waiting.
    pub fn ask(&mut self, app: &str, filter: Filter, start: Start) -> u32 {
        let sub = self.next_sub;
        self.next_sub += 1;
        self.say(&ClientMessage::Subscribe { sub, topic: Topic { app: app.to_owned(), filter }, start });
        sub
    }

    /// The first thing heard, now or earlier, that `wanted` makes something of. It is taken; the rest stays.
    ///
    /// # Panics
    /// When it never comes.
    pub fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Heard) -> Option<T>) -> T {
        let mut at = 0;
        let start = Instant::now();
        loop {
            if at == self.heard.len() {
                let heard = self.hear();
                self.heard.push(heard);
            }
            if let Some(found) = wanted(&self.heard[at]) {
                self.heard.remove(at);
                return found;
            }
            assert!(
                self.heard[at] != Heard::Closed(1006) && start.elapsed() < PATIENCE,
                "never heard: {:?}",
                self.heard
            );
            at += 1;
        }
    }

    /// The next message, whatever it is.
    ///
    /// # Panics
    /// When none comes, or none that can be read.
    pub fn take(&mut self) -> Heard {
        if self.heard.is_empty() { self.hear() } else { self.heard.remove(0) }
    }

    /// The next message from the wire.
    fn hear(&mut self) -> Heard {
        let read = match &mut self.wire {
            Wire::Socket(socket) => read(socket),
            Wire::Stream(stream) => stream.read(),
        };
        match read {
            Ok(bytes) => heard(&mut self.catalogue, &bytes),
            Err(code) => Heard::Closed(code),
        }
    }

    /// Answers the pings that have come, as a program that goes on reading does. Nothing is lost: it stays to be heard.
    pub fn answers_pings(&mut self) {
        // Nobody is asked over a stream.
        let Wire::Socket(socket) = &mut self.wire else { return };
        let _ = socket.get_ref().set_nonblocking(true);
        while let Ok(message) = socket.read() {
            if let Message::Binary(bytes) = message {
                self.heard.push(heard(&mut self.catalogue, &bytes));
            }
        }
        let _ = socket.get_ref().set_nonblocking(false);
    }

    /// Collects what comes until each of `feeds` has covered `last`.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn collect(&mut self, feeds: &[u32], last: u64) -> Collected {
        let mut collected = Collected::default();
        let mut reached: BTreeMap<u32, u64> = feeds.iter().map(|&feed| (feed, 0)).collect();
        let start = Instant::now();
        while reached.values().any(|&reached| reached < last) {
            assert!(start.elapsed() < PATIENCE, "came no farther than {reached:?}, wanted {last}: {collected:?}");
            match self.take() {
                Heard::Batch(head, updates, bytes) => {
                    reached.entry(head.feed).and_modify(|reached| *reached = head.to);
                    collected.numbers.extend(updates.iter().map(|update| update.seq));
                    collected.updates.extend(updates);
                    collected.batches.push(bytes);
                }
                Heard::Gap(feed, from, to) => {
                    reached.entry(feed).and_modify(|reached| *reached = to);
                    collected.gaps.push((from, to));
                }
                Heard::Closed(code) => panic!("closed with {code}; so far {collected:?}"),
                _ => {}
            }
        }
        collected
    }

    /// Waits until the catalogue has a worker in a state that `right` accepts.
    pub fn wait_for_worker(&mut self, app: &str, worker: &str, right: impl Fn(&WorkerEntry) -> bool) {
        let start = Instant::now();
        loop {
            let entry = self.catalogue.get(app);
            if entry.is_some_and(|entry| entry.workers.iter().any(|entry| entry.worker == worker && right(entry))) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the catalogue says {entry:?}");
            let heard = self.hear();
            assert!(!matches!(heard, Heard::Closed(_)), "closed");
            self.heard.push(heard);
        }
    }

    /// Waits for the end; gives its code.
    pub fn closes(&mut self) -> u16 {
        self.wait_for(|heard| match heard {
            Heard::Closed(code) => Some(*code),
            _ => None,
        })
    }
}

/// The next message from a WebSocket, or the code of its end.
fn read(socket: &mut WebSocket<TcpStream>) -> Result<Vec<u8>, u16> {
    loop {
        return match socket.read() {
            Ok(Message::Binary(bytes)) => Ok(bytes.into()),
            Ok(Message::Close(frame)) => Err(frame.map_or(1005, |frame| frame.code.into())),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(other) => panic!("the relay sends binary messages only, not {other:?}"),
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the relay has gone silent")
            }
            Err(_) => Err(1006),
        };
    }
}

/// What one message says; the catalogue learns from it.
fn heard(catalogue: &mut BTreeMap<String, AppEntry>, bytes: &[u8]) -> Heard {
    match ServerMessage::decode(bytes).expect("the relay speaks the protocol") {
        ServerMessage::Hello(hello) => Heard::Hello(hello.epoch),
        ServerMessage::Catalogue { full, apps, last: _ } => {
            if full {
                catalogue.clear();
            }
            catalogue.extend(apps.iter().map(|entry| (entry.app.clone(), entry.clone())));
            Heard::Catalogue(full, apps)
        }
        ServerMessage::Subscribed(subscribed) => Heard::Subscribed(subscribed),
        ServerMessage::Batch { head, updates } => {
            let updates = head.read(updates).collect::<Result<_, _>>().expect("batches can be read");
            Heard::Batch(head, updates, bytes.to_vec())
        }
        ServerMessage::Rollup { head, updates } => {
            let items = head.read(updates).collect::<Result<_, _>>().expect("sums can be read");
            Heard::Sum(head, items)
        }
        ServerMessage::Gap { feed, from, to } => Heard::Gap(feed, from, to),
        ServerMessage::Heartbeat { sent, .. } => Heard::Heartbeat(sent),
        ServerMessage::SubscribeFailed { sub, reason } => Heard::Refused(sub, reason),
        ServerMessage::Series { app, series, last, .. } => Heard::Series(app, series, last),
        ServerMessage::Expires { at_ns } => Heard::Expires(at_ns),
        ServerMessage::Logs { app, epochs } => Heard::Logs(app, epochs),
        ServerMessage::Cluster { connected, relays, watching } => Heard::Cluster(connected, relays, watching),
        ServerMessage::Relays { addresses } => Heard::Relays(addresses),
        ServerMessage::WallClock { step_ns, at_ns } => Heard::WallClock(step_ns, at_ns),
    }
}

/// What a viewer got.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The number of every update, in order of arrival.
    pub numbers: Vec<u64>,
    /// Every update.
    pub updates: Vec<Update>,
    /// The bytes of every batch.
    pub batches: Vec<Vec<u8>>,
    /// First and last number of every gap.
    pub gaps: Vec<(u64, u64)>,
}

/// Opens a WebSocket with more headers.
///
/// # Errors
/// The status, when the relay answers otherwise.
///
/// # Panics
/// When nobody listens.
pub fn open(http: SocketAddr, headers: &[(&'static str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
    open_over(TcpStream::connect(http).expect("the relay listens"), http, headers)
}

/// Opens a WebSocket over a connection that is there already.
///
/// # Errors
/// The status, when the relay answers otherwise.
///
/// # Panics
/// When nobody answers.
pub fn open_over(
    stream: TcpStream,
    http: SocketAddr,
    headers: &[(&'static str, &str)],
) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://{http}/ws").into_client_request().expect("it is an address");
    let fixed = [("Sec-WebSocket-Protocol", joey_shared::wire::SUBPROTOCOL)];
    for &(name, value) in fixed.iter().chain(headers) {
        let value = value.parse().expect("it is a header");
        if name == "Host" {
            request.headers_mut().insert(name, value);
        } else {
            request.headers_mut().append(name, value);
        }
    }
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("the socket is open");
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("the handshake fails: {error}"),
    }
}

/// A connection whose kernel takes little for who does not read, from an address of its own if one is given.
///
/// # Panics
/// When nobody listens.
#[must_use]
pub fn narrow(to: SocketAddr, from: Option<[u8; 4]>) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("sockets are to be had");
    // Before connecting: the window that the relay is offered is made from it.
    socket.set_recv_buffer_size(NARROW_BYTES).expect("buffers can be small");
    if let Some(from) = from {
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("all of 127/8 is ours");
    }
    socket.connect(&to.into()).expect("the relay listens");
    socket.into()
}

/// The filter of one category.
#[must_use]
pub fn category(name: &str) -> Filter {
    Filter::Category(name.to_owned())
}

/// The filter of one series.
#[must_use]
pub fn series(category: &str, pipeline: &str, worker: &str, name: &str) -> Filter {
    let [category, pipeline, worker, name] = [category, pipeline, worker, name].map(str::to_owned);
    Filter::Series(SeriesKey { category, pipeline, worker, name })
}
