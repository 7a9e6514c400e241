//! Runs a complete relay in the test process, so that tests can make its tasks panic.

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
use crate::runtime::panic_guard::PANIC_NAME;

/// A frame of the series `name` in the application `App`.
fn frame(name: &str) -> Vec<u8> {
    let histogram = Histogram::default();
    let [app, category, worker, pipeline] = ["App", "computation", "w", "p"];
    let (period_ns, end_ns) = (2_000_000_000, 1_700_000_000_000_000_000);
    emitter::metrics(&DataPoint {
        app,
        name,
        category,
        worker,
        pipeline,
        id: 1,
        provenance: joey_shared::series::Provenance::default(),
        histogram,
        period_ns,
        end_ns,
    })
}

/// A viewer with its socket.
struct TestViewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    state: Viewer,
    /// Number of received updates.
    updates: u64,
    /// Number of received heartbeats.
    heartbeats: u64,
}

impl TestViewer {
    async fn connect(http: SocketAddr) -> Self {
        let mut request = format!("ws://{http}/ws").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", joey_shared::wire::SUBPROTOCOL.parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut state = Viewer::default();
        state.connected();
        Self { socket, state, updates: 0, heartbeats: 0 }
    }

    /// Sends pending messages and receives one. Returns whether the connection is still open.
    async fn step(&mut self) -> bool {
        for message in self.state.outgoing() {
            self.socket.send(Message::from(message)).await.unwrap();
        }
        let Some(Ok(Message::Binary(bytes))) = self.socket.next().await else { return false };
        self.heartbeats += u64::from(matches!(ServerMessage::decode(&bytes), Ok(ServerMessage::Heartbeat { .. })));
        self.state.receive(&bytes, 0, |_| self.updates += 1).unwrap();
        true
    }

    async fn receive_updates(&mut self, updates: u64) {
        while self.updates < updates {
            assert!(self.step().await, "closed after {} updates", self.updates);
        }
    }
}

/// Starts a relay. Returns its addresses, its hub, the token that stops it, and its task.
async fn relay(config: Config) -> (SocketAddr, SocketAddr, Arc<Hub>, CancellationToken, JoinHandle<()>) {
    let [ingest, http] = [SocketAddr::from(([127, 0, 0, 1], 0)); 2];
    let relay =
        Relay::bind(Config { ingest, http, otlp_http: Listen::Off, otlp_grpc: Listen::Off, ..config }).await.unwrap();
    let (ingest, http, hub, stop) =
        (relay.ingest_addr().unwrap(), relay.http_addr().unwrap(), relay.hub.clone(), CancellationToken::new());
    let run = tokio::spawn(relay.run(stop.clone()));
    (ingest, http, hub, stop, run)
}

/// A producer that has sent a frame of the series `name`, and a viewer that has received it.
async fn connected_pair(ingest: SocketAddr, http: SocketAddr, name: &str) -> (TcpStream, TestViewer) {
    let mut producer = TcpStream::connect(ingest).await.unwrap();
    producer.write_all(&frame(name)).await.unwrap();
    let mut viewer = TestViewer::connect(http).await;
    viewer.state.subscribe(Topic { app: "App".to_owned(), filter: Filter::All }, Start::History);
    viewer.receive_updates(1).await;
    (producer, viewer)
}

#[tokio::test]
async fn an_idle_viewer_receives_heartbeats() {
    let heartbeat = Duration::from_millis(100);
    let (ingest, http, hub, ..) = relay(Config { heartbeat, ..Config::default() }).await;
    let (mut producer, mut viewer) = connected_pair(ingest, http, "one").await;
    for round in 1..=3 {
        while viewer.heartbeats < 2 * round {
            assert!(viewer.step().await);
        }
        producer.write_all(&frame("one")).await.unwrap();
        viewer.receive_updates(1 + round).await;
    }
    assert_eq!(hub.counters().sent_messages_direct.get(), 3, "the viewer was idle each time");
}

#[tokio::test]
async fn a_panic_closes_one_connection_and_affects_no_other() {
    let (ingest, http, hub, stop, run) = relay(Config::default()).await;
    let (mut healthy, mut viewer) = connected_pair(ingest, http, "healthy").await;
    for round in 1..=3 {
        // The task panics while it holds the lock that the other producer and all viewers need.
        let mut panicking = TcpStream::connect(ingest).await.unwrap();
        panicking.write_all(&frame(PANIC_NAME)).await.unwrap();
        assert_eq!(panicking.read(&mut [0]).await.unwrap(), 0, "its connection is closed");
        let mut neighbour = TestViewer::connect(http).await;
        neighbour.state.describe(PANIC_NAME);
        while neighbour.step().await {}
        healthy.write_all(&frame("healthy")).await.unwrap();
        viewer.receive_updates(1 + round).await;
        assert_eq!(hub.counters().task_panics.get(), 2 * round);
    }
    assert_eq!((hub.counters().frames_accepted.get(), viewer.state.missing()), (4, 0));
    assert_eq!(hub.gauges(0).viewers, 1, "the viewers that panicked are gone");
    stop.cancel();
    while viewer.step().await {}
    run.await.unwrap();
}
