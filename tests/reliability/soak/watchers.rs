//! The viewers of a soak, each with the state machine that the page and the command line have, and the books of what each got.

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

/// How long a viewer waits before it connects again after a connection that ended by itself.
const RETRY: Duration = Duration::from_millis(500);

/// What the kernel takes for a slow viewer, in bytes, and how long it waits after each message: a fraction of what is sent.
const SLOW_BYTES: u32 = 16 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(150);

/// How a viewer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It is connected all the time.
    Stays,
    /// It goes and comes back, after up to so many seconds each.
    Comes(u64),
    /// It reads more slowly than is sent.
    Slow,
}

/// What one viewer got of one application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// The number and the count of each update that came by itself, by its place in the log; `None` where none did.
    pub(crate) given: Vec<Option<(u32, u32)>>,
    /// The counts of each stretch of the log, first and last place, that came added up.
    pub(crate) sums: BTreeMap<(u64, u64), u128>,
    /// The first place that it was told of.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) last: u64,
    /// Updates that came again, or without a number.
    pub(crate) wrong: u64,
}

impl Book {
    fn enter(&mut self, incoming: &Incoming<'_>) {
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
        let at = usize::try_from(update.seq).expect("a place fits");
        if self.given.len() <= at {
            self.given.resize(at + 1, None);
        }
        let entry = number.zip(u32::try_from(count).ok());
        self.wrong += u64::from(entry.is_none() || self.given[at].is_some());
        self.given[at] = entry;
    }

    /// How many updates came by themselves, and how many added up.
    pub(crate) fn came(&self) -> (u64, u64) {
        let given = self.given.iter().flatten().count() as u64;
        (given, self.sums.keys().map(|(from, to)| to - from + 1).sum())
    }
}

/// A viewer and its books, by application.
#[derive(Debug)]
pub(crate) struct Eye {
    pub(crate) viewer: Viewer,
    pub(crate) books: BTreeMap<String, Book>,
    pub(crate) connections: u64,
    start: Instant,
}

impl Eye {
    fn new(apps: &[String], seconds: u64) -> Self {
        let mut viewer = Viewer::new(seconds);
        for app in apps {
            viewer.subscribe(Topic { app: app.clone(), filter: Filter::All }, Start::History);
        }
        Self { viewer, books: BTreeMap::new(), connections: 0, start: Instant::now() }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, bytes: &[u8]) {
        let (now_ns, books) = (self.now_ns(), &mut self.books);
        // What cannot be read is counted by the viewer.
        let _ = self.viewer.receive(bytes, now_ns, |incoming| {
            if !books.contains_key(incoming.app) {
                books.insert(incoming.app.to_owned(), Book::default());
            }
            if let Some(book) = books.get_mut(incoming.app) {
                book.enter(incoming);
            }
        });
    }

    /// Lets time pass, so that the newest periods become complete.
    pub(crate) fn advance(&mut self) {
        let now_ns = self.now_ns();
        self.viewer.advance(now_ns);
    }

    /// The last place in the log of each application that it was told of.
    pub(crate) fn last(&self, app: &str) -> u64 {
        self.books.get(app).map_or(0, |book| book.last)
    }
}

/// Viewers that run until they are dropped.
pub(crate) struct Watchers {
    runtime: Runtime,
    http: SocketAddr,
    ending: watch::Sender<bool>,
}

impl Watchers {
    pub(crate) fn new(http: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { runtime: runtime.expect("threads are to be had"), http, ending: watch::channel(false).0 }
    }

    /// Starts a viewer of `apps` with windows of `seconds`.
    pub(crate) fn start(&self, habit: Habit, apps: &[String], seconds: u64) -> Arc<Mutex<Eye>> {
        let eye = Arc::new(Mutex::new(Eye::new(apps, seconds)));
        self.runtime.spawn(live(eye.clone(), self.http, habit, self.ending.subscribe()));
        eye
    }

    /// From now on all stay, and read as fast as they can.
    pub(crate) fn gather(&self) {
        self.ending.send_replace(true);
    }
}

/// Connects again and again.
async fn live(eye: Arc<Mutex<Eye>>, http: SocketAddr, habit: Habit, mut ending: watch::Receiver<bool>) {
    loop {
        if let Some(socket) = open(connect(http, habit).await, http).await {
            {
                let mut eye = eye.lock();
                eye.connections += 1;
                eye.viewer.connected();
            }
            converse(&eye, socket, habit, &mut ending).await;
            eye.lock().viewer.disconnected();
        }
        let away = match habit {
            Habit::Comes(longest_s) => Duration::from_secs(fastrand::u64(1..=longest_s)),
            Habit::Stays | Habit::Slow => RETRY,
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

async fn connect(http: SocketAddr, habit: Habit) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if habit == Habit::Slow {
        // Before connecting: the window that the relay is offered is made from it.
        socket.set_recv_buffer_size(SLOW_BYTES)?;
    }
    socket.connect(http).await
}

/// One connection, until it ends or the viewer goes.
async fn converse(
    eye: &Mutex<Eye>,
    mut socket: WebSocketStream<TcpStream>,
    habit: Habit,
    ending: &mut watch::Receiver<bool>,
) {
    let stays = match habit {
        Habit::Comes(longest_s) => Duration::from_secs(fastrand::u64(1..=longest_s)),
        Habit::Stays | Habit::Slow => Duration::MAX,
    };
    let start = Instant::now();
    loop {
        let outgoing = eye.lock().viewer.outgoing();
        for message in outgoing {
            if socket.send(Message::from(message)).await.is_err() {
                return;
            }
        }
        let ends = *ending.borrow();
        if !ends && start.elapsed() >= stays {
            return;
        }
        // Not for ever, so that it is noticed when the time has come to go.
        match timeout(Duration::from_secs(1), socket.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => eye.lock().take(&bytes),
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return,
            Ok(Some(Ok(_))) | Err(_) => {}
        }
        if habit == Habit::Slow && !ends {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
    }
}
