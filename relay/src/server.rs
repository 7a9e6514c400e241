//! Starts a relay, runs it until it is stopped, and shuts it down gracefully.

mod watchdog;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Auth;
use crate::auth::jwks::refresh;
use crate::config::{Config, Listen};
use crate::export::{self, ViewHistograms};
use crate::hub::{Hub, Recovered};
use crate::ingest::native::Sessions;
use crate::ingest::otlp;
use crate::ingest::statsd::{self, Sockets};
use crate::journal::{Journal, OpenedJournal};
use crate::metrics::CloseReason;
use crate::net::inherited::InheritedSockets;
use crate::net::listener::{ConnectionLimit, LimitReasons, LimitedListener};
use crate::runtime::clock;
use crate::runtime::panic_guard::catch_panic;
use crate::runtime::service_manager;
use crate::session::broadcast;
use crate::watch::{WatchRules, WatchService};
use crate::{cluster, http, ingest};

/// Listen backlog for HTTP: the Linux default maximum. With the usual 128, some of a thousand viewers that reconnect at once wait
/// one second until their kernel retries.
const HTTP_BACKLOG: u32 = 4_096;
/// Listen backlog for producers, also over OTLP. There are few of them, and the limit for each address would reject more
/// anyway.
const INGEST_BACKLOG: u32 = 128;
/// Interval at which old history is evicted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Number of checks for due heartbeats in each heartbeat interval.
const CHECKS_PER_HEARTBEAT: u32 = 5;
/// After this pause, all updates that producers flushed together have arrived.
const QUIET: Duration = Duration::from_millis(5);
/// The interval between two batches is at least this many times the duration of a broadcast, so broadcasting uses at
/// most 1/6 of a core.
const BROADCAST_SHARE: u32 = 6;
/// Minimum time between two batches while updates keep arriving. The delay is invisible, and a browser has less to do.
const BATCH_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// HTTP connections that are not viewers: the page's files, health checks, scrapes.
const HTTP_CONNECTIONS_RESERVED: usize = 512;

/// The future of a background task.
type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

const PRODUCER_REASONS: LimitReasons = LimitReasons {
    total: CloseReason::ProducerLimit,
    per_address: CloseReason::ProducerAddressLimit,
    descriptors: CloseReason::ProducerFdLimit,
};
const OTLP_REASONS: LimitReasons = LimitReasons {
    total: CloseReason::OtlpLimit,
    per_address: CloseReason::OtlpAddressLimit,
    descriptors: CloseReason::OtlpFdLimit,
};
const HTTP_REASONS: LimitReasons = LimitReasons {
    total: CloseReason::ConnectionLimit,
    per_address: CloseReason::ConnectionAddressLimit,
    descriptors: CloseReason::ConnectionFdLimit,
};

/// A relay with open ports that is not running yet.
#[derive(Debug)]
pub struct Relay {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    ingest: TcpListener,
    http: TcpListener,
    otlp_http: Option<TcpListener>,
    otlp_grpc: Option<TcpListener>,
    statsd: Sockets,
    recovered: Recovered,
    watch: Option<WatchService>,
    watch_rules: Option<Arc<WatchRules>>,
}

impl Relay {
    /// Opens all ports. Port 0 selects a free one. A port that is only wanted if it is free stays closed otherwise.
    ///
    /// # Errors
    /// Fails if a port cannot be opened, the policy's keys or certificate cannot be read, or the journal cannot be used.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        Self::bind_except(config, InheritedSockets::default()).await
    }

    /// Opens all ports except those that are `inherited`, whose addresses `config` must have.
    ///
    /// # Errors
    /// As for [`Relay::bind`].
    pub async fn bind_except(config: Config, inherited: InheritedSockets) -> anyhow::Result<Self> {
        let auth = Auth::new(&config)?;
        let open = |what, inherited, address: SocketAddr, backlog| {
            let opened = match inherited {
                Some(socket) => TcpListener::from_std(socket),
                None => listen(address, backlog),
            };
            opened.with_context(|| format!("cannot listen for {what} on {address}"))
        };
        let ingest = open("producers", inherited.ingest, config.ingest, INGEST_BACKLOG)?;
        let http = open("viewers", inherited.http, config.http, HTTP_BACKLOG)?;
        let otlp_http = match inherited.otlp_http {
            Some(socket) => Some(TcpListener::from_std(socket)?),
            None => listen_optional("OTLP over HTTP", "--otlp-http", config.otlp_http)?,
        };
        let otlp_grpc = match inherited.otlp_grpc {
            Some(socket) => Some(TcpListener::from_std(socket)?),
            None => listen_optional("OTLP over gRPC", "--otlp-grpc", config.otlp_grpc)?,
        };
        let statsd = Sockets::bind(&config.statsd)?;
        // 0 is not a valid epoch, and a JavaScript number holds 53 bits.
        let epoch = fastrand::u64(1..1 << 53);
        // If port 0 was configured, viewers receive the real port.
        let config = Config { ingest: ingest.local_addr()?, http: http.local_addr()?, ..config };
        let journal = config.journal.clone();
        let hub = Hub::new(config, epoch);
        let (hub, recovered) = match journal {
            // Producers and viewers that connect meanwhile wait in the queue of their port.
            Some(journal) => tokio::task::spawn_blocking(|| hub.with_journal(OpenedJournal::open(journal)?)).await??,
            None => (Arc::new(hub), Recovered::default()),
        };
        let (watch, watch_rules) = match &hub.config().watch {
            Some(watch) => {
                let (watch, rules) = WatchService::new(watch.clone(), &hub)?;
                (Some(watch), Some(Arc::new(rules)))
            }
            None => (None, None),
        };
        Ok(Self { hub, auth, ingest, http, otlp_http, otlp_grpc, statsd, recovered, watch, watch_rules })
    }

    /// The relay's policy, which can be replaced while the relay runs.
    #[must_use]
    pub const fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// The objectives that the relay watches, which can be replaced while the relay runs.
    #[must_use]
    pub const fn watch_rules(&self) -> Option<&Arc<WatchRules>> {
        self.watch_rules.as_ref()
    }

    /// The address that producers connect to.
    ///
    /// # Errors
    /// Fails if the operating system does not return the address.
    pub fn ingest_addr(&self) -> std::io::Result<SocketAddr> {
        self.ingest.local_addr()
    }

    /// The address that viewers connect to.
    ///
    /// # Errors
    /// Fails if the operating system does not return the address.
    pub fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// The UDP address that StatsD is received on, if it is configured.
    #[must_use]
    pub fn statsd_addr(&self) -> Option<SocketAddr> {
        self.statsd.udp_addr()
    }

    /// The address for OTLP over HTTP, or `None` if this port is closed.
    #[must_use]
    pub fn otlp_http_addr(&self) -> Option<SocketAddr> {
        self.otlp_http.as_ref()?.local_addr().ok()
    }

    /// The address for OTLP over gRPC, or `None` if this port is closed.
    #[must_use]
    pub fn otlp_grpc_addr(&self) -> Option<SocketAddr> {
        self.otlp_grpc.as_ref()?.local_addr().ok()
    }

    /// Runs until `stop` is cancelled. Then sends a close code to every viewer and returns.
    pub async fn run(self, stop: CancellationToken) {
        let Self { hub, auth, ingest, http, otlp_http, otlp_grpc, statsd, recovered, watch, watch_rules: _ } = self;
        let config = hub.config();
        let (producers, http_connections) = (
            ConnectionLimit::new(config.producers_max, config.per_address_max),
            // Health checks and the page itself need connections too.
            ConnectionLimit::new(config.viewers_max.saturating_add(HTTP_CONNECTIONS_RESERVED), config.per_address_max),
        );
        let limited = |listener, limit: &Arc<ConnectionLimit>, reasons| {
            LimitedListener::new(listener, limit.clone(), reasons, hub.counters().clone())
        };
        let ingest = limited(ingest, &producers, PRODUCER_REASONS);
        // As for other producers, the limit on one address is for each port.
        let otlp = [otlp_http, otlp_grpc].map(|listener| {
            let limit = ConnectionLimit::new(config.producers_max, config.per_address_max);
            listener.map(|listener| limited(listener, &limit, OTLP_REASONS))
        });
        let http = limited(http, &http_connections, HTTP_REASONS);
        let close_viewers = CancellationToken::new();
        let (tasks, viewers) = (TaskTracker::new(), TaskTracker::new());
        let sessions = Arc::new(Sessions::recovered(recovered.sessions, config.now_ns()));
        let ingest = tasks.spawn(ingest::run(hub.clone(), auth.clone(), ingest, sessions, stop.clone()));
        let [otlp_http, otlp_grpc] = otlp;
        let otlp = otlp::server::Listeners { http: otlp_http, grpc: otlp_grpc };
        let otlp = tasks.spawn(otlp::server::run(hub.clone(), auth.clone(), otlp, stop.clone()));
        let statsd = (!statsd.is_empty()).then(|| {
            let work = statsd::run(hub.clone(), auth.clone(), statsd, stop.clone());
            tasks.spawn(catch_panic(hub.counters().task_panics.clone(), "statsd", work))
        });
        let measurements = ingest::self_metrics::run(hub.clone(), stop.clone());
        tasks.spawn(catch_panic(hub.counters().task_panics.clone(), "self metrics", measurements));
        // Without one of these tasks no data would reach a viewer. If one fails, the relay stops, so that the failure is visible.
        let guard = |what, work| catch_panic(hub.counters().task_panics.clone(), what, work);
        let cutter = tasks.spawn(guard("cutter", Box::pin(cut_batches(hub.clone(), close_viewers.clone())) as Work));
        let broadcast =
            tasks.spawn(guard("broadcast", Box::pin(broadcast::run(hub.clone(), close_viewers.clone())) as Work));
        let sweeper = tasks.spawn(guard("sweeper", Box::pin(sweep(hub.clone(), close_viewers.clone())) as Work));
        if hub.is_clustered() {
            // If it fails, this relay continues on its own.
            tasks.spawn(guard("cluster", Box::pin(cluster::run(hub.clone(), close_viewers.clone())) as Work));
        }
        // If it fails, the keys that were fetched last stay in force.
        let keys = refresh::run(auth.clone(), hub.counters().clone(), close_viewers.clone());
        tasks.spawn(guard("token keys", Box::pin(keys) as Work));
        if let Some(interval) = service_manager::alive_interval() {
            tasks.spawn(watchdog::run(hub.clone(), interval, service_manager::alive, close_viewers.clone()));
        }
        let views = (!config.metrics_views.is_empty()).then(|| Arc::new(ViewHistograms::new(hub.clone())));
        if let Some(views) = &views {
            let work = Box::pin(follow_views(views.clone(), close_viewers.clone())) as Work;
            tasks.spawn(guard("views", work));
        }
        if let Some(server) = config.statsd.out.clone() {
            let work = Box::pin(export::run_statsd(hub.clone(), server, close_viewers.clone())) as Work;
            tasks.spawn(guard("statsd out", work));
        }
        if let Some(watch) = watch {
            // If it fails, the relay continues without a watcher.
            let work = Box::pin(watch.run(hub.clone(), close_viewers.clone())) as Work;
            tasks.spawn(guard("watch", work));
        }
        let router = http::router(
            hub.clone(),
            auth.clone(),
            producers,
            viewers.clone(),
            stop.clone(),
            close_viewers.clone(),
            views,
        );
        tasks.spawn(http::accept::serve(http, router, hub.clone(), auth, close_viewers.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = cutter => tracing::error!("the task that cuts batches has ended"),
            _ = broadcast => tracing::error!("the broadcast task has ended"),
            _ = sweeper => tracing::error!("the task that evicts old history has ended"),
        }
        stop.cancel();
        let timeout = hub.config().shutdown_timeout;
        // Receives and cuts the remaining updates of producers before the viewers are closed.
        let statsd = async {
            if let Some(statsd) = statsd {
                statsd.await.ok();
            }
        };
        tokio::time::timeout(timeout, async { tokio::join!(ingest, otlp, statsd) }).await.ok();
        hub.release_held(u64::MAX, hub.config().now_ns());
        hub.cut_all(hub.config().now_ns());
        tokio::time::timeout(timeout, wait_until_journaled(&hub)).await.ok();
        close_viewers.cancel();
        tasks.close();
        viewers.close();
        let graceful =
            tokio::time::timeout(timeout, async { tokio::join!(tasks.wait(), viewers.wait()) }).await.is_ok();
        let closing = hub.clone();
        let closed = tokio::task::spawn_blocking(move || closing.journal().map(Journal::close));
        // A disk that hangs must not keep the relay from stopping.
        tokio::time::timeout(timeout, closed).await.ok();
        tracing::info!(graceful, "stopped");
    }
}

/// Opens a port that the relay may be able to do without.
fn listen_optional(what: &str, option: &str, wanted: Listen) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = wanted.address() else { return Ok(None) };
    match listen(address, INGEST_BACKLOG) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(wanted, Listen::IfFree(_)) => {
            tracing::warn!(%address, %error, "cannot listen for {what}: set {option} to another address, or to off");
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen for {what} on {address}")),
    }
}

fn listen(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Cuts batches. After a pause it cuts as soon as no update has arrived for [`QUIET`]. While updates keep arriving, it
/// cuts as often as broadcasting fits into 1/6 of a core. So rare updates are sent almost at once, updates that are
/// flushed together stay in one batch, and the cost stays low with many viewers. No update waits longer than the
/// configured delay.
pub async fn cut_batches(hub: Arc<Hub>, stop: CancellationToken) {
    let delay_max = hub.config().batch_delay;
    let work = async {
        let mut last_cut = Instant::now();
        loop {
            hub.wait_for_work().await;
            let now = Instant::now();
            let next = last_cut
                + (BROADCAST_SHARE * hub.broadcast_queue().last_duration())
                    .clamp(BATCH_INTERVAL_MIN.min(delay_max), delay_max);
            if now < next {
                sleep_until(next).await;
            } else {
                wait_until_quiet(&hub, now + delay_max).await;
            }
            last_cut = Instant::now();
            hub.cut_all(hub.config().now_ns());
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Waits until all batches are in the journal, or no longer wait for it.
async fn wait_until_journaled(hub: &Hub) {
    while hub.journal().is_some_and(|journal| !journal.is_flushed()) {
        hub.check_journal(hub.config().now_ns());
        sleep(QUIET).await;
    }
}

/// Waits until no update has arrived for [`QUIET`], at most until `latest`.
async fn wait_until_quiet(hub: &Hub, latest: Instant) {
    loop {
        let (accepted, next) = (hub.counters().frames_accepted.get(), (Instant::now() + QUIET).min(latest));
        sleep_until(next).await;
        if next == latest || hub.counters().frames_accepted.get() == accepted {
            return;
        }
    }
}

/// Periodically releases held frames, evicts old history, and wakes viewers when the catalogue changes or a heartbeat is due.
pub async fn sweep(hub: Arc<Hub>, stop: CancellationToken) {
    let check_interval = hub.config().heartbeat / CHECKS_PER_HEARTBEAT;
    let work = async {
        let mut announced = 0;
        let (mut evicted, mut checked) = (Instant::now(), Instant::now());
        loop {
            sleep((SWEEP_INTERVAL / 4).min(check_interval)).await;
            if evicted.elapsed() >= SWEEP_INTERVAL {
                evicted = Instant::now();
                let now_ns = hub.config().now_ns();
                hub.update_wall_clock(clock::wall_clock_offset_ns(), now_ns);
                hub.release_held(now_ns, now_ns);
                hub.evict_old(now_ns);
            }
            hub.check_journal(hub.config().now_ns());
            if checked.elapsed() >= check_interval {
                checked = Instant::now();
                hub.wake_silent_viewers();
            }
            let version = hub.catalogue_version();
            if version != announced {
                announced = version;
                hub.wake_all();
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Reads the views for Prometheus regularly, so that they miss nothing however rarely they are scraped.
async fn follow_views(views: Arc<ViewHistograms>, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(SWEEP_INTERVAL)).await.is_some() {
        views.catch_up();
    }
}

#[cfg(test)]
mod tests;
