//! Puts a relay together, runs it until it is told to stop, and takes it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Access;
use crate::config::Config;
use crate::hub::Hub;
use crate::net::listener::{Door, Labels, Places};
use crate::runtime::clock;
use crate::runtime::panic_guard::contained;
use crate::session::broadcast::hand_out;
use crate::{cluster, http, ingest};

/// Viewers that may wait to be accepted: as many as Linux allows by default. With the usual 128, some of a thousand that come
/// back at once wait a second until their kernel asks again.
const VIEWERS_WAITING: u32 = 4_096;
/// The same for producers, of whom there are few; more from one address would only be turned away once they are in.
const PRODUCERS_WAITING: u32 = 128;
/// How often old history is looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is looked for who wants a heartbeat: so often in the time in which somebody comes to want one.
const HEARTBEAT_SHARE: u32 = 5;
/// What producers flush together has come when nothing more comes for this long.
const QUIET: Duration = Duration::from_millis(5);
/// One part in how many of a core handing out may take before batches are cut less often.
const SHARE: u32 = 6;
/// The least time between two batches while updates keep coming. To nobody's eye it matters, and a browser has less to do.
const FLOW_MIN: Duration = Duration::from_millis(20);
/// HTTP connections that are not viewers: the page's files, health checks, scrapes.
const PLACES_BESIDES_VIEWERS: usize = 512;

/// A task of the relay's own.
type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

const PRODUCER_LABELS: Labels =
    Labels { full: "producer_limit", address: "producer_address_limit", descriptors: "producer_descriptors" };
const VIEWER_LABELS: Labels =
    Labels { full: "connection_limit", address: "connection_address_limit", descriptors: "connection_descriptors" };

/// A relay with its ports open, not yet running.
#[derive(Debug)]
pub struct Relay {
    hub: Arc<Hub>,
    access: Arc<Access>,
    ingest: TcpListener,
    http: TcpListener,
}

impl Relay {
    /// Opens both ports. Port 0 takes any free one.
    ///
    /// # Errors
    /// When a port cannot be had, or what decides who may come in cannot be read.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let access = Access::new(&config)?;
        let open = |what, address: SocketAddr, backlog| {
            listen(address, backlog).with_context(|| format!("cannot listen for {what} on {address}"))
        };
        let ingest = open("producers", config.ingest, PRODUCERS_WAITING)?;
        let http = open("viewers", config.http, VIEWERS_WAITING)?;
        // Zero is never an epoch; more than 53 bits would not survive a JavaScript number.
        let epoch = fastrand::u64(1..1 << 53);
        // Where port 0 was asked for, viewers are told the one that it became.
        let config = Config { ingest: ingest.local_addr()?, http: http.local_addr()?, ..config };
        Ok(Self { hub: Arc::new(Hub::new(config, epoch)), access, ingest, http })
    }

    /// Who may come in; the rules may change while the relay runs.
    #[must_use]
    pub const fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Where producers connect.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ingest_addr(&self) -> std::io::Result<SocketAddr> {
        self.ingest.local_addr()
    }

    /// Where viewers connect.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Runs until `stop` is cancelled; then every viewer gets a close code, and this returns.
    pub async fn run(self, stop: CancellationToken) {
        let Self { hub, access, ingest, http } = self;
        let config = hub.config();
        let (producers, connections) = (
            Places::new(config.producers_max, config.per_address_max),
            // Health checks and the page itself need places besides the viewers'.
            Places::new(config.viewers_max.saturating_add(PLACES_BESIDES_VIEWERS), config.per_address_max),
        );
        let door = |listener, places: &Arc<Places>, labels| {
            Door::new(listener, places.clone(), labels, hub.counters().clone())
        };
        let ingest = door(ingest, &producers, PRODUCER_LABELS);
        let http = door(http, &connections, VIEWER_LABELS);
        let goodbye = CancellationToken::new();
        let (tasks, viewers) = (TaskTracker::new(), TaskTracker::new());
        let ingest = tasks.spawn(ingest::run(hub.clone(), access.clone(), ingest, stop.clone()));
        // Without either of these nothing would reach a viewer; should one fail, the relay stops for all to see.
        let guard = |what, work| contained(hub.counters().panics.clone(), what, work);
        let cutter = tasks.spawn(guard("cutter", Box::pin(cut_batches(hub.clone(), goodbye.clone())) as Work));
        let rounds = tasks.spawn(guard("rounds", Box::pin(hand_out(hub.clone(), goodbye.clone())) as Work));
        let sweeper = tasks.spawn(guard("sweeper", Box::pin(sweep(hub.clone(), goodbye.clone())) as Work));
        if hub.is_clustered() {
            // Should it fail, this relay goes on by itself.
            tasks.spawn(guard("cluster", Box::pin(cluster::run(hub.clone(), goodbye.clone())) as Work));
        }
        let router =
            http::router(hub.clone(), access.clone(), producers, viewers.clone(), stop.clone(), goodbye.clone());
        tasks.spawn(http::accept::serve(http, router, hub.clone(), access, goodbye.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = cutter => tracing::error!("batches are no longer cut"),
            _ = rounds => tracing::error!("batches are no longer handed out"),
            _ = sweeper => tracing::error!("history is no longer swept"),
        }
        stop.cancel();
        let drain = hub.config().drain;
        // What producers had sent is taken and cut before viewers are told to leave.
        tokio::time::timeout(drain, ingest).await.ok();
        hub.release_held(u64::MAX, hub.config().now_ns());
        hub.cut_all(hub.config().now_ns());
        goodbye.cancel();
        tasks.close();
        viewers.close();
        let graceful = tokio::time::timeout(drain, async { tokio::join!(tasks.wait(), viewers.wait()) }).await.is_ok();
        tracing::info!(graceful, "stopped");
    }
}

fn listen(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Cuts batches: after a pause as soon as nothing more has come for a moment; while updates keep coming, so often that handing
/// out takes a sixth of a core. So what comes seldom hardly waits, what is flushed together stays together, few viewers get
/// it soon and many at little cost; and nothing waits longer than the delay that is set.
pub async fn cut_batches(hub: Arc<Hub>, stop: CancellationToken) {
    let delay_max = hub.config().batch_delay;
    let work = async {
        let mut cut = Instant::now();
        loop {
            hub.wait_for_work().await;
            let now = Instant::now();
            let next = cut + (SHARE * hub.rounds().took()).clamp(FLOW_MIN.min(delay_max), delay_max);
            if now < next {
                sleep_until(next).await;
            } else {
                until_quiet(&hub, now + delay_max).await;
            }
            cut = Instant::now();
            hub.cut_all(hub.config().now_ns());
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Waits until nothing has come for [`QUIET`], at most until `latest`.
async fn until_quiet(hub: &Hub, latest: Instant) {
    loop {
        let (accepted, next) = (hub.counters().accepted.get(), (Instant::now() + QUIET).min(latest));
        sleep_until(next).await;
        if next == latest || hub.counters().accepted.get() == accepted {
            return;
        }
    }
}

/// Gives a place to frames that waited for one, drops what is too old, and tells viewers that wait of changes in the catalogue, or that it is time for a heartbeat.
pub async fn sweep(hub: Arc<Hub>, stop: CancellationToken) {
    let remind = hub.config().heartbeat / HEARTBEAT_SHARE;
    let work = async {
        let mut told = 0;
        let (mut evicted, mut reminded) = (Instant::now(), Instant::now());
        loop {
            sleep((SWEEP / 4).min(remind)).await;
            if evicted.elapsed() >= SWEEP {
                evicted = Instant::now();
                let now_ns = hub.config().now_ns();
                hub.note_wall_clock(clock::wall_step_ns(), now_ns);
                hub.release_held(now_ns, now_ns);
                hub.evict_old(now_ns);
            }
            if reminded.elapsed() >= remind {
                reminded = Instant::now();
                hub.remind_all();
            }
            let version = hub.catalogue_version();
            if version != told {
                told = version;
                hub.wake_all();
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests;
