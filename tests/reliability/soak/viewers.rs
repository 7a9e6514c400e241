//! The viewers of a soak, each with the state machine of the page and the command line, and records of what each
//! received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::Start;
use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::workers::NUMBER_BASE_NS;
use crate::fleet::open;

/// Delay before a viewer reconnects after its connection has ended.
const RETRY: Duration = Duration::from_millis(500);

/// Receive buffer of a slow viewer, in bytes, and its pause after each message. It reads a fraction of what is sent.
const SLOW_BYTES: u32 = 16 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(150);

/// How a viewer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// It stays connected.
    Stays,
    /// It connects and disconnects, each time after up to this many seconds.
    Visits(u64),
    /// It reads more slowly than the relay sends.
    Slow,
}

/// What one viewer received of one application.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedUpdates {
    /// The number and the count of each update that arrived alone, by its sequence number; `None` if it did not.
    pub(crate) given: Vec<Option<(u32, u32)>>,
    /// The counts of each span of the log that arrived as a rollup, by first and last sequence number.
    pub(crate) sums: BTreeMap<(u64, u64), u128>,
    /// The first sequence number received.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) last: u64,
    /// Number of updates that arrived again, or without a number.
    pub(crate) wrong: u64,
}

impl ReceivedUpdates {
    fn record(&mut self, incoming: &Incoming<'_>) {
        let update = incoming.update;
        let last = incoming.rollup_to.unwrap_or(update.seq);
        self.first = if self.first == 0 { update.seq } else { self.first.min(update.seq) };
        self.last = self.last.max(last);
        let count = update.histogram.count();
        if let Some(to) = incoming.rollup_to {
            *self.sums.entry((update.seq, to)).or_default() += count;
            return;
        }
        let number = update.histogram.min_ns.checked_sub(NUMBER_BASE_NS).and_then(|number| u32::try_from(number).ok());
        let at = usize::try_from(update.seq).expect("a sequence number fits");
        if self.given.len() <= at {
            self.given.resize(at + 1, None);
        }
        let entry = number.zip(u32::try_from(count).ok());
        self.wrong += u64::from(entry.is_none() || self.given[at].is_some());
        self.given[at] = entry;
    }

    /// Number of updates that arrived alone, and in rollups.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let given = self.given.iter().flatten().count() as u64;
        (given, self.sums.keys().map(|(from, to)| to - from + 1).sum())
    }
}

/// A viewer and its records by application.
#[derive(Debug)]
pub(crate) struct SoakViewer {
    pub(crate) client: Viewer,
    pub(crate) updates: BTreeMap<String, ReceivedUpdates>,
    pub(crate) connections: u64,
    start: Instant,
}

impl SoakViewer {
    fn new(apps: &[String], seconds: u64) -> Self {
        let mut client = Viewer::new(seconds);
        for app in apps {
            client.subscribe(Topic { app: app.clone(), filter: Filter::All }, Start::History);
        }
        Self { client, updates: BTreeMap::new(), connections: 0, start: Instant::now() }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let (now_ns, updates) = (self.now_ns(), &mut self.updates);
        // The viewer itself counts messages that cannot be decoded.
        let _ = self.client.receive(bytes, now_ns, |incoming| {
            if !updates.contains_key(incoming.app) {
                updates.insert(incoming.app.to_owned(), ReceivedUpdates::default());
            }
            if let Some(received) = updates.get_mut(incoming.app) {
                received.record(incoming);
            }
        });
    }

    /// Updates the time, so that the newest periods become complete.
    pub(crate) fn advance(&mut self) {
        let now_ns = self.now_ns();
        self.client.advance(now_ns);
    }

    /// The last received sequence number of an application.
    pub(crate) fn last(&self, app: &str) -> u64 {
        self.updates.get(app).map_or(0, |received| received.last)
    }
}

/// Viewers that run until they are dropped.
pub(crate) struct SoakViewers {
    runtime: Runtime,
    http: SocketAddr,
    ending: watch::Sender<bool>,
}

impl SoakViewers {
    pub(crate) fn new(http: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { runtime: runtime.expect("the runtime starts"), http, ending: watch::channel(false).0 }
    }

    /// Starts a viewer of `apps` with windows of `seconds`.
    pub(crate) fn start(&self, behavior: Behavior, apps: &[String], seconds: u64) -> Arc<Mutex<SoakViewer>> {
        let viewer = Arc::new(Mutex::new(SoakViewer::new(apps, seconds)));
        self.runtime.spawn(run_viewer(viewer.clone(), self.http, behavior, self.ending.subscribe()));
        viewer
    }

    /// Makes all viewers stay connected and read as fast as they can.
    pub(crate) fn stop_disconnecting(&self) {
        self.ending.send_replace(true);
    }
}

/// Connects repeatedly.
async fn run_viewer(
    viewer: Arc<Mutex<SoakViewer>>,
    http: SocketAddr,
    behavior: Behavior,
    mut ending: watch::Receiver<bool>,
) {
    loop {
        if let Some(socket) = open(connect(http, behavior).await, http).await {
            {
                let mut viewer = viewer.lock();
                viewer.connections += 1;
                viewer.client.connected();
            }
            serve_connection(&viewer, socket, behavior, &mut ending).await;
            viewer.lock().client.disconnected();
        }
        let away = match behavior {
            Behavior::Visits(longest_s) => Duration::from_secs(fastrand::u64(1..=longest_s)),
            Behavior::Stays | Behavior::Slow => RETRY,
        };
        let ends = async { _ = ending.wait_for(|ends| *ends).await };
        tokio::select! {
            () = tokio::time::sleep(away) => {}
            () = ends => {}
        }
        if *ending.borrow() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn connect(http: SocketAddr, behavior: Behavior) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if behavior == Behavior::Slow {
        // Before connecting: the receive window that the relay sees is derived from it.
        socket.set_recv_buffer_size(SLOW_BYTES)?;
    }
    socket.connect(http).await
}

/// Serves one connection until it ends or the viewer disconnects.
async fn serve_connection(
    viewer: &Mutex<SoakViewer>,
    mut socket: WebSocketStream<TcpStream>,
    behavior: Behavior,
    ending: &mut watch::Receiver<bool>,
) {
    let stays = match behavior {
        Behavior::Visits(longest_s) => Duration::from_secs(fastrand::u64(1..=longest_s)),
        Behavior::Stays | Behavior::Slow => Duration::MAX,
    };
    let start = Instant::now();
    loop {
        let outgoing = viewer.lock().client.outgoing();
        for message in outgoing {
            if socket.send(Message::from(message)).await.is_err() {
                return;
            }
        }
        let ends = *ending.borrow();
        if !ends && start.elapsed() >= stays {
            return;
        }
        // With a timeout, so that the time to disconnect is noticed.
        match timeout(Duration::from_secs(1), socket.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => viewer.lock().receive(&bytes),
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return,
            Ok(Some(Ok(_))) | Err(_) => {}
        }
        if behavior == Behavior::Slow && !ends {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
    }
}
