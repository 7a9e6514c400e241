//! A whole relay in the test's own process, so that its tasks can be broken on purpose.

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::histogram::Histogram;
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::Viewer;
use joey_shared::wire::{ServerMessage, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::data_point::DataPoint;
use crate::demo::emitter;
use crate::runtime::panic_guard::BROKEN;

/// A frame of the series `name` of `App`.
fn frame(name: &str) -> Vec<u8> {
    let histogram = Histogram::default();
    let [app, category, worker, pipeline] = ["App", "computation", "w", "p"];
    let (period_ns, end_ns) = (2_000_000_000, 1_700_000_000_000_000_000);
    emitter::metrics(&DataPoint { app, name, category, worker, pipeline, id: 1, histogram, period_ns, end_ns })
}

/// A viewer and its socket.
struct Watcher {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    viewer: Viewer,
    /// How many updates came.
    updates: u64,
    /// How many heartbeats.
    heartbeats: u64,
}

impl Watcher {
    async fn connect(http: SocketAddr) -> Self {
        let mut request = format!("ws://{http}/ws").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", joey_shared::wire::SUBPROTOCOL.parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut viewer = Viewer::default();
        viewer.connected();
        Self { socket, viewer, updates: 0, heartbeats: 0 }
    }

    /// Sends what there is to say and takes one message; says whether there was one.
    async fn step(&mut self) -> bool {
        for message in self.viewer.outgoing() {
            self.socket.send(Message::from(message)).await.unwrap();
        }
        let Some(Ok(Message::Binary(bytes))) = self.socket.next().await else { return false };
        self.heartbeats += u64::from(matches!(ServerMessage::decode(&bytes), Ok(ServerMessage::Heartbeat { .. })));
        self.viewer.receive(&bytes, 0, |_| self.updates += 1).unwrap();
        true
    }

    async fn gets(&mut self, updates: u64) {
        while self.updates < updates {
            assert!(self.step().await, "closed after {} updates", self.updates);
        }
    }
}

/// A relay that runs until it is told to stop, and who waits for its end.
async fn relay(config: Config) -> (SocketAddr, SocketAddr, Arc<Hub>, CancellationToken, JoinHandle<()>) {
    let [ingest, http] = [SocketAddr::from(([127, 0, 0, 1], 0)); 2];
    let relay = Relay::bind(Config { ingest, http, ..config }).await.unwrap();
    let (ingest, http, hub, stop) =
        (relay.ingest_addr().unwrap(), relay.http_addr().unwrap(), relay.hub.clone(), CancellationToken::new());
    let run = tokio::spawn(relay.run(stop.clone()));
    (ingest, http, hub, stop, run)
}

/// A producer that has sent a frame of the series `name`, and a viewer that has it.
async fn begun(ingest: SocketAddr, http: SocketAddr, name: &str) -> (TcpStream, Watcher) {
    let mut producer = TcpStream::connect(ingest).await.unwrap();
    producer.write_all(&frame(name)).await.unwrap();
    let mut watcher = Watcher::connect(http).await;
    watcher.viewer.follow(Topic { app: "App".to_owned(), filter: Filter::All }, Start::History);
    watcher.gets(1).await;
    (producer, watcher)
}

#[tokio::test]
async fn a_viewer_that_stands_by_hears_that_nothing_comes() {
    let heartbeat = Duration::from_millis(100);
    let (ingest, http, hub, ..) = relay(Config { heartbeat, ..Config::default() }).await;
    let (mut producer, mut watcher) = begun(ingest, http, "one").await;
    for round in 1..=3 {
        while watcher.heartbeats < 2 * round {
            assert!(watcher.step().await);
        }
        producer.write_all(&frame("one")).await.unwrap();
        watcher.gets(1 + round).await;
    }
    assert_eq!(hub.counters().messages_handed.get(), 3, "it did stand by each time");
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_nobody_else_notices() {
    let (ingest, http, hub, stop, run) = relay(Config::default()).await;
    let (mut sound, mut watcher) = begun(ingest, http, "sound").await;
    for round in 1..=3 {
        // Under the lock that the other producer needs, and everybody who watches.
        let mut broken = TcpStream::connect(ingest).await.unwrap();
        broken.write_all(&frame(BROKEN)).await.unwrap();
        assert_eq!(broken.read(&mut [0]).await.unwrap(), 0, "its connection ends");
        let mut neighbour = Watcher::connect(http).await;
        neighbour.viewer.describe(BROKEN);
        while neighbour.step().await {}
        sound.write_all(&frame("sound")).await.unwrap();
        watcher.gets(1 + round).await;
        assert_eq!(hub.counters().panics.get(), 2 * round);
    }
    assert_eq!((hub.counters().accepted.get(), watcher.viewer.missing()), (4, 0));
    assert_eq!(hub.gauges(0).viewers, 1, "those that broke have left");
    stop.cancel();
    while watcher.step().await {}
    run.await.unwrap();
}
