//! Many viewers in one process, with the state machine and the reconnect delays of the page and the command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::backoff;
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::Viewer;
use joey_shared::wire::Start;
use joey_tests::delivery::number_in;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::load::{Clock, app};

/// What one viewer received.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// For each epoch, the numbers in the order of the log; 0 where an update did not arrive.
    pub(crate) numbers: BTreeMap<u64, Vec<u64>>,
    /// When the first update of each epoch arrived.
    pub(crate) first: BTreeMap<u64, Instant>,
    /// Number of updates that arrived a second time.
    pub(crate) twice: u64,
    /// Number of updates that were reported missing.
    pub(crate) missing: u64,
    /// Number of gaps of unknown size, each from a relay restart.
    pub(crate) restarts: usize,
    /// Delay from sending to arrival, and the time of arrival.
    pub(crate) delays: Vec<(Instant, Duration)>,
}

/// Viewers that run until they are stopped.
pub(crate) struct Fleet {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    viewers: Vec<JoinHandle<Seen>>,
}

impl Fleet {
    /// Starts `viewers` viewers, distributed over `apps` applications.
    pub(crate) fn start(http: SocketAddr, viewers: usize, apps: usize, clock: &Arc<Clock>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the runtime starts");
        let (stop, stopped) = watch::channel(false);
        let start = |at: usize| {
            let (clock, stopped) = (clock.clone(), stopped.clone());
            runtime.spawn(async move { Watcher::new(at % apps, clock).run(http, stopped).await })
        };
        let viewers = (0..viewers).map(start).collect();
        Self { runtime, stop, viewers }
    }

    /// Stops all viewers, and returns what each of them received.
    pub(crate) fn finish(self) -> Vec<Seen> {
        self.stop.send(true).expect("viewers run until now");
        let seen = async {
            let mut all = Vec::new();
            for viewer in self.viewers {
                all.push(viewer.await.expect("viewers do not fail"));
            }
            all
        };
        self.runtime.block_on(seen)
    }
}

struct Watcher {
    app: usize,
    clock: Arc<Clock>,
    viewer: Viewer,
    seen: Seen,
}

impl Watcher {
    fn new(app_at: usize, clock: Arc<Clock>) -> Self {
        let mut viewer = Viewer::default();
        viewer.subscribe(Topic { app: app(app_at), filter: Filter::All }, Start::History);
        Self { app: app_at, clock, viewer, seen: Seen::default() }
    }

    async fn run(mut self, http: SocketAddr, mut stopped: watch::Receiver<bool>) -> Seen {
        let mut attempt = 0;
        while !*stopped.borrow() {
            if let Some(socket) = open(TcpStream::connect(http).await, http).await {
                self.viewer.connected();
                tokio::select! {
                    () = self.serve_connection(socket, &mut attempt) => {}
                    _ = stopped.changed() => break,
                }
                self.viewer.disconnected();
            }
            let delay_ms = backoff::delay_ms(attempt, fastrand::u32(..));
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(delay_ms.into())) => {}
                _ = stopped.changed() => break,
            }
        }
        self.seen.missing = self.viewer.missing();
        let gaps = self.viewer.app(&app(self.app)).map_or(&[][..], |store| store.gaps());
        self.seen.restarts = gaps.iter().filter(|gap| gap.updates.is_none()).count();
        self.seen
    }

    async fn serve_connection(&mut self, mut socket: WebSocketStream<TcpStream>, attempt: &mut u32) {
        loop {
            for message in self.viewer.outgoing() {
                if socket.send(Message::from(message)).await.is_err() {
                    return;
                }
            }
            match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    *attempt = 0;
                    self.receive(&bytes);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let (seen, now) = (&mut self.seen, Instant::now());
        let received = self.viewer.receive(bytes, 0, |incoming| {
            let numbers = seen.numbers.entry(incoming.epoch).or_default();
            seen.first.entry(incoming.epoch).or_insert(now);
            let at = usize::try_from(incoming.update.seq).expect("it fits") - 1;
            if numbers.len() <= at {
                numbers.resize(at + 1, 0);
            }
            let number = number_in(incoming.update);
            seen.twice += u64::from(numbers[at] != 0);
            numbers[at] = number;
            seen.delays.push((now, self.clock.age(self.app, number)));
        });
        received.expect("the relay sends valid messages");
    }
}

/// Opens a WebSocket over a connection, with buffers small enough for ten thousand of them.
pub(crate) async fn open(
    connection: std::io::Result<TcpStream>,
    http: SocketAddr,
) -> Option<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://{http}/ws").into_client_request().expect("it is an address");
    let name = joey_shared::wire::SUBPROTOCOL.parse().expect("it is a header");
    request.headers_mut().insert("Sec-WebSocket-Protocol", name);
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(0);
    Some(client_async_with_config(request, connection.ok()?, Some(config)).await.ok()?.0)
}
