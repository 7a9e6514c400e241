//! A viewer's WebSocket or stream, message by message. It does not use the viewer that the page and the command line
//! share.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use joey_shared::series::{Filter, SeriesKey, Topic};
use joey_shared::wire::{
    AppEntry, BatchHead, ClientMessage, ObjectiveEntry, SeriesEntry, ServerMessage, Start, SubscribeError, Subscribed,
    Update, WorkerEntry,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::stream::{Stream, record};
use super::{Relay, TIMEOUT};

/// Receive buffer of a [`connect_with_small_buffer`] connection, in bytes.
const SMALL_BUFFER_BYTES: usize = 16 * 1024;

/// A message from the relay, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The hello message: the relay's epoch.
    Hello(u64),
    /// Applications; whether the list is complete.
    Catalogue(bool, Vec<AppEntry>),
    /// A subscription was accepted.
    Subscribed(Subscribed),
    /// Updates, and the raw bytes.
    Batch(BatchHead, Vec<Update>, Vec<u8>),
    /// Rollups instead of batches.
    Rollup(BatchHead, Vec<Update>),
    /// Sequence numbers that will not be sent, first and last.
    Gap(u32, u64, u64),
    /// The connection is alive.
    Heartbeat(Vec<(u32, u64)>),
    /// A subscription was rejected.
    Rejected(u32, SubscribeError),
    /// Names of series; whether these are the last.
    Series(String, Vec<SeriesEntry>, bool),
    /// When the token expires.
    Expires(u64),
    /// The logs of an application.
    Logs(String, Vec<u64>),
    /// Cluster state of the relay: connected to NATS, number of relays, viewers of each application.
    Cluster(bool, u32, Vec<(String, u32)>),
    /// Addresses of other relays.
    Relays(Vec<String>),
    /// How far the relay's wall clock was set, and when.
    WallClock(i64, u64),
    /// The objectives that the relay watches in an application.
    Objectives(String, Vec<ObjectiveEntry>),
    /// End of the connection: its close code, 1006 if there was none.
    Closed(u16),
}

/// The connection that carries a viewer's messages.
#[derive(Debug)]
enum Connection {
    Socket(WebSocket<TcpStream>),
    Stream(Stream),
}

/// One connection.
#[derive(Debug)]
pub struct Viewer {
    connection: Connection,
    next_sub: u32,
    /// The last known entry of each application.
    pub catalogue: BTreeMap<String, AppEntry>,
    /// Messages received but not returned yet.
    queue: Vec<Received>,
}

impl Viewer {
    /// Connects and receives the hello.
    ///
    /// # Panics
    /// If the relay rejects the connection.
    #[must_use]
    pub fn connect(relay: &Relay) -> Self {
        Self::connect_to(relay.http)
    }

    /// Connects to the address of a relay or of a proxy to one, and receives the hello.
    ///
    /// # Panics
    /// If the relay rejects the connection.
    #[must_use]
    pub fn connect_to(http: SocketAddr) -> Self {
        Self::over(open(http, &[]).expect("the relay accepts viewers"))
    }

    /// Receives the hello over an open WebSocket.
    ///
    /// # Panics
    /// If another message arrives.
    #[must_use]
    pub fn over(socket: WebSocket<TcpStream>) -> Self {
        Self::with_connection(Connection::Socket(socket)).receive_hello()
    }

    /// Receives the hello over an open stream.
    ///
    /// # Panics
    /// If another message arrives.
    #[must_use]
    pub fn over_stream(stream: Stream) -> Self {
        Self::with_connection(Connection::Stream(stream)).receive_hello()
    }

    /// A viewer over an open stream that has not received the hello.
    #[must_use]
    pub fn over_stream_without_hello(stream: Stream) -> Self {
        Self::with_connection(Connection::Stream(stream))
    }

    const fn with_connection(connection: Connection) -> Self {
        Self { connection, next_sub: 1, catalogue: BTreeMap::new(), queue: Vec::new() }
    }

    fn receive_hello(mut self) -> Self {
        assert!(matches!(self.read_message(), Received::Hello(_)), "the hello comes first");
        self
    }

    /// Connects with `token` in the request.
    #[must_use]
    pub fn with_token(relay: &Relay, token: &str) -> Self {
        Self::connect_without_hello(relay, Some(token)).receive_hello()
    }

    /// Connects with or without a token; receives nothing.
    ///
    /// # Panics
    /// If the relay rejects the connection.
    #[must_use]
    pub fn connect_without_hello(relay: &Relay, token: Option<&str>) -> Self {
        let header = token.map(|token| ("Sec-WebSocket-Protocol", format!("bearer.{token}")));
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::with_connection(Connection::Socket(open(relay.http, &headers).expect("the relay accepts viewers")))
    }

    /// Sends `token` in a message.
    pub fn send_token(&mut self, token: &str) {
        self.send(&ClientMessage::Token { token: token.to_owned() });
    }

    /// Sends a message.
    ///
    /// # Panics
    /// If the connection fails.
    pub fn send(&mut self, message: &ClientMessage) {
        self.send_raw(Message::from(message.encode()));
    }

    /// Sends any WebSocket message.
    ///
    /// # Panics
    /// If the connection fails.
    pub fn send_raw(&mut self, message: Message) {
        match &mut self.connection {
            Connection::Socket(socket) => socket.send(message).expect("the relay reads"),
            Connection::Stream(stream) => {
                assert_eq!(stream.command(&record(&message.into_data())), 204, "the relay reads")
            }
        }
    }

    /// Subscribes; returns the number of the subscription. Messages that arrive before the answer stay in the queue.
    pub fn subscribe(&mut self, app: &str, filter: Filter, start: Start) -> (u32, Subscribed) {
        let sub = self.request_subscription(app, filter, start);
        let answer = self.wait_for(|received| match received {
            Received::Subscribed(subscribed) if subscribed.sub == sub => Some(subscribed.clone()),
            Received::Rejected(rejected, reason) if *rejected == sub => panic!("refused: {reason:?}"),
            _ => None,
        });
        (sub, answer)
    }

    /// Requests the logs of an application; messages that arrive before the answer stay in the queue.
    pub fn logs(&mut self, app: &str) -> Vec<u64> {
        self.request_subscription(app, Filter::All, Start::Live);
        self.wait_for(|received| match received {
            Received::Logs(name, epochs) if name == app => Some(epochs.clone()),
            _ => None,
        })
    }

    /// Like [`Viewer::subscribe`], for one log.
    pub fn subscribe_log(&mut self, app: &str, epoch: u64, filter: Filter, start: Start) -> (u32, Subscribed) {
        let sub = self.next_sub;
        self.next_sub += 1;
        self.send(&ClientMessage::SubscribeLog { sub, epoch, topic: Topic { app: app.to_owned(), filter }, start });
        let answer = self.wait_for(|received| match received {
            Received::Subscribed(subscribed) if subscribed.sub == sub => Some(subscribed.clone()),
            Received::Rejected(rejected, reason) if *rejected == sub => panic!("refused: {reason:?}"),
            _ => None,
        });
        (sub, answer)
    }

    /// Requests a subscription without waiting for the answer.
    pub fn request_subscription(&mut self, app: &str, filter: Filter, start: Start) -> u32 {
        let sub = self.next_sub;
        self.next_sub += 1;
        self.send(&ClientMessage::Subscribe { sub, topic: Topic { app: app.to_owned(), filter }, start });
        sub
    }

    /// Waits for the first received message for which `wanted` returns a value, and removes it from the queue; the
    /// others stay.
    ///
    /// # Panics
    /// If none arrives.
    pub fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Received) -> Option<T>) -> T {
        let mut at = 0;
        let start = Instant::now();
        loop {
            if at == self.queue.len() {
                let received = self.read_message();
                self.queue.push(received);
            }
            if let Some(found) = wanted(&self.queue[at]) {
                self.queue.remove(at);
                return found;
            }
            assert!(
                self.queue[at] != Received::Closed(1006) && start.elapsed() < TIMEOUT,
                "not received: {:?}",
                self.queue
            );
            at += 1;
        }
    }

    /// The next message of any kind.
    ///
    /// # Panics
    /// If none arrives, or it cannot be decoded.
    pub fn next_message(&mut self) -> Received {
        if self.queue.is_empty() { self.read_message() } else { self.queue.remove(0) }
    }

    /// Reads the next message from the connection.
    fn read_message(&mut self) -> Received {
        let read = match &mut self.connection {
            Connection::Socket(socket) => read(socket),
            Connection::Stream(stream) => stream.read(),
        };
        match read {
            Ok(bytes) => decode(&mut self.catalogue, &bytes),
            Err(code) => Received::Closed(code),
        }
    }

    /// Answers the pings that have arrived, as a program that keeps reading does. Other messages stay in the queue.
    pub fn answer_pings(&mut self) {
        // The relay sends no pings over a stream.
        let Connection::Socket(socket) = &mut self.connection else { return };
        let _ = socket.get_ref().set_nonblocking(true);
        while let Ok(message) = socket.read() {
            if let Message::Binary(bytes) = message {
                self.queue.push(decode(&mut self.catalogue, &bytes));
            }
        }
        let _ = socket.get_ref().set_nonblocking(false);
    }

    /// Collects messages until each of `feeds` has reached `last`.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn collect(&mut self, feeds: &[u32], last: u64) -> Collected {
        let mut collected = Collected::default();
        let mut reached: BTreeMap<u32, u64> = feeds.iter().map(|&feed| (feed, 0)).collect();
        let start = Instant::now();
        while reached.values().any(|&reached| reached < last) {
            assert!(start.elapsed() < TIMEOUT, "reached {reached:?}, expected {last}: {collected:?}");
            match self.next_message() {
                Received::Batch(head, updates, bytes) => {
                    reached.entry(head.feed).and_modify(|reached| *reached = head.to);
                    collected.numbers.extend(updates.iter().map(|update| update.seq));
                    collected.updates.extend(updates);
                    collected.batches.push(bytes);
                }
                Received::Gap(feed, from, to) => {
                    reached.entry(feed).and_modify(|reached| *reached = to);
                    collected.gaps.push((from, to));
                }
                Received::Closed(code) => panic!("closed with {code}; so far {collected:?}"),
                _ => {}
            }
        }
        collected
    }

    /// Waits until the catalogue has a worker whose state `right` accepts.
    pub fn wait_for_worker(&mut self, app: &str, worker: &str, right: impl Fn(&WorkerEntry) -> bool) {
        let start = Instant::now();
        loop {
            let entry = self.catalogue.get(app);
            if entry.is_some_and(|entry| entry.workers.iter().any(|entry| entry.worker == worker && right(entry))) {
                return;
            }
            assert!(start.elapsed() < TIMEOUT, "entry of the catalogue: {entry:?}");
            let received = self.read_message();
            assert!(!matches!(received, Received::Closed(_)), "closed");
            self.queue.push(received);
        }
    }

    /// Waits for the end of the connection; returns its close code.
    pub fn wait_for_close(&mut self) -> u16 {
        self.wait_for(|received| match received {
            Received::Closed(code) => Some(*code),
            _ => None,
        })
    }
}

/// The next message of a WebSocket, or its close code.
fn read(socket: &mut WebSocket<TcpStream>) -> Result<Vec<u8>, u16> {
    loop {
        return match socket.read() {
            Ok(Message::Binary(bytes)) => Ok(bytes.into()),
            Ok(Message::Close(frame)) => Err(frame.map_or(1005, |frame| frame.code.into())),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(other) => panic!("the relay sends binary messages only, not {other:?}"),
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the relay has stopped sending")
            }
            Err(_) => Err(1006),
        };
    }
}

/// Decodes one message and updates the catalogue.
fn decode(catalogue: &mut BTreeMap<String, AppEntry>, bytes: &[u8]) -> Received {
    match ServerMessage::decode(bytes).expect("the relay sends valid messages") {
        ServerMessage::Hello(hello) => Received::Hello(hello.epoch),
        ServerMessage::Catalogue { full, apps, last: _ } => {
            if full {
                catalogue.clear();
            }
            catalogue.extend(apps.iter().map(|entry| (entry.app.clone(), entry.clone())));
            Received::Catalogue(full, apps)
        }
        ServerMessage::Subscribed(subscribed) => Received::Subscribed(subscribed),
        ServerMessage::Batch { head, updates } => {
            let updates = head.read(updates).collect::<Result<_, _>>().expect("batches can be read");
            Received::Batch(head, updates, bytes.to_vec())
        }
        ServerMessage::Rollup { head, updates } => {
            let items = head.read(updates).collect::<Result<_, _>>().expect("sums can be read");
            Received::Rollup(head, items)
        }
        ServerMessage::Gap { feed, from, to } => Received::Gap(feed, from, to),
        ServerMessage::Heartbeat { sent, .. } => Received::Heartbeat(sent),
        ServerMessage::SubscribeFailed { sub, reason } => Received::Rejected(sub, reason),
        ServerMessage::Series { app, series, last, .. } => Received::Series(app, series, last),
        ServerMessage::Expires { at_ns } => Received::Expires(at_ns),
        ServerMessage::Logs { app, epochs } => Received::Logs(app, epochs),
        ServerMessage::Cluster { connected, relays, watching } => Received::Cluster(connected, relays, watching),
        ServerMessage::Relays { addresses } => Received::Relays(addresses),
        ServerMessage::WallClock { step_ns, at_ns } => Received::WallClock(step_ns, at_ns),
        ServerMessage::Objectives { app, objectives } => Received::Objectives(app, objectives),
    }
}

/// What a viewer received.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The sequence number of every update, in order of arrival.
    pub numbers: Vec<u64>,
    /// Every update.
    pub updates: Vec<Update>,
    /// The bytes of every batch.
    pub batches: Vec<Vec<u8>>,
    /// First and last sequence number of every gap.
    pub gaps: Vec<(u64, u64)>,
}

/// Opens a WebSocket with more headers.
///
/// # Errors
/// The status, if the relay rejects the request.
///
/// # Panics
/// If nothing listens.
pub fn open(http: SocketAddr, headers: &[(&'static str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
    open_over(TcpStream::connect(http).expect("the relay listens"), http, headers)
}

/// Opens a WebSocket over an existing connection.
///
/// # Errors
/// The status, if the relay rejects the request.
///
/// # Panics
/// If nothing answers.
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
        Err(error) => panic!("the handshake failed: {error}"),
    }
}

/// A connection with a small receive buffer for a client that does not read, optionally from its own source address.
///
/// # Panics
/// If nothing listens.
#[must_use]
pub fn connect_with_small_buffer(to: SocketAddr, from: Option<[u8; 4]>) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket can be created");
    // Before connecting: the receive window that the relay sees is derived from it.
    socket.set_recv_buffer_size(SMALL_BUFFER_BYTES).expect("buffers can be small");
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
