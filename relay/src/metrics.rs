//! The relay's own metrics, for Prometheus and any client that reads its formats.
//!
//! `prometheus-client` stores its registry in a value instead of a global, so tests can run several relays at once.
//!
//! Each field of [`Counters`] has the name of its metric in `/metrics`, without `joey_` and `_total`. The values of the
//! label `reason` are enums: [`RejectReason`], [`CloseReason`], [`OtlpRefusalReason`], [`ClusterDropReason`] and
//! [`ClusterRejectReason`].

mod batch_sizes;
mod close_reason;
mod cluster_reason;
mod format;
mod jwks;
mod metric_set;
mod objectives;
mod otlp_refusal;
mod reject_reason;
mod timings;

use std::collections::BTreeMap;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::batch_sizes::BatchSizes;
pub use self::close_reason::CloseReason;
pub use self::cluster_reason::{ClusterDropReason, ClusterRejectReason};
pub use self::format::Format;
pub use self::jwks::JwksCounters;
use self::metric_set::metric_set;
pub use self::objectives::ObjectiveCounters;
pub use self::otlp_refusal::OtlpRefusalReason;
pub use self::reject_reason::RejectReason;
pub use self::timings::Timings;
use crate::runtime::console;

/// Current values, read at each scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Connected producers.
    pub producers: usize,
    /// Connected viewers.
    pub viewers: usize,
    /// Known applications.
    pub apps: usize,
    /// Topics with a ring buffer.
    pub topics: usize,
    /// Known series.
    pub series: usize,
    /// Bytes of retained history.
    pub ring_bytes: u64,
    /// Frames held back until the clock offset of their worker is known.
    pub held: u64,
    /// How far the wall clock is ahead of the relay's monotonic clock, in ns.
    pub wall_clock_offset_ns: i64,
    /// Whether this relay shares its data with others over NATS.
    pub is_clustered: bool,
    /// Whether this relay watches objectives.
    pub is_watching: bool,
}

/// The label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The reason, one of a fixed set.
    pub reason: &'static str,
}

metric_set! {
    /// All counters. Clones share the counts.
    pub struct Counters {
        /// Frames that became updates.
        pub frames_accepted: Counter,
        /// Rejected frames, by reason.
        pub frames_rejected: Family<ReasonLabel, Counter>,
        /// Updates that arrived after their period had left the ring buffer.
        pub frames_late: Counter,
        /// Updates whose period was shifted by the clock offset of their worker.
        pub frames_clock_adjusted: Counter,
        /// OTLP data points and spans that were added to a series `other`, because their attributes exceed the limit on sets.
        pub otlp_attribute_sets_over_limit: Counter,
        /// Answered OTLP requests, including those of which a part was rejected.
        pub otlp_requests: Counter,
        /// OTLP requests that were refused as a whole, by reason.
        pub otlp_requests_refused: Family<ReasonLabel, Counter>,
        /// Accepted OTLP data points and spans.
        pub otlp_points: Counter,
        /// How often the wall clock was set while the relay ran.
        pub wall_clock_steps: Counter,
        /// Data messages of Joey's own protocol that arrived again, so that they were ignored.
        pub data_duplicates: Counter,
        /// Sessions of Joey's own protocol that were forgotten early because there were too many.
        pub sessions_evicted: Counter,
        /// Bytes read from producers.
        pub ingest_bytes: Counter,
        /// Packets received over StatsD.
        pub statsd_packets: Counter,
        /// Values received over StatsD and counted.
        pub statsd_values: Counter,
        /// Values of StatsD that were counted as `other`, because their metric has too many sets of tags.
        pub statsd_values_other: Counter,
        /// Packets of StatsD that the kernel dropped because its buffer was full.
        pub statsd_packets_dropped: Counter,
        /// Packets sent to the StatsD server.
        pub statsd_out_packets: Counter,
        /// Packets for the StatsD server that could not be sent.
        pub statsd_out_packets_dropped: Counter,
        /// Updates of views that are not exported because of the limit on exported views.
        pub view_updates_dropped: Counter,
        /// Accepted producer connections.
        pub producer_connections: Counter,
        /// Connections that the relay closed or rejected, by reason.
        pub connections_closed: Family<ReasonLabel, Counter>,
        /// Tasks that panicked.
        pub task_panics: Counter,
        /// Encoded batches.
        pub batches: Counter,
        /// Numbers of updates in the batches of whole applications.
        pub batch_updates: BatchSizes,
        /// Batches evicted early because the history exceeded its byte limit.
        pub batches_evicted: Counter,
        /// Bytes written to the journal.
        pub journal_bytes: Counter,
        /// Bytes in the journal.
        pub journal_stored_bytes: Gauge,
        /// Updates that the journal could not take. They will be missing after a restart.
        pub journal_updates_lost: Counter,
        /// Failed operations on the journal's files.
        pub journal_errors: Counter,
        /// How often the disk of the journal did not respond for a second.
        pub journal_stalls: Counter,
        /// Series that expired because no producer sent them any more. They no longer count towards the limit.
        pub series_expired: Counter,
        /// Subscriptions created.
        pub subscriptions: Counter,
        /// Bytes of messages written to viewers' sockets.
        pub sent_bytes: Counter,
        /// Messages written to viewers' sockets.
        pub sent_messages: Counter,
        /// Messages written to viewers' sockets without waking the viewer's task.
        pub sent_messages_direct: Counter,
        /// Gaps reported to viewers.
        pub gaps: Counter,
        /// Log positions in the reported gaps.
        pub gap_updates: Counter,
        /// Batches for peer relays dropped because their queue was full.
        pub peer_batches_dropped: Counter,
    }
    sets {
        /// Metrics of the keys of an identity provider.
        pub jwks: JwksCounters,
        /// The relay's watcher.
        pub objectives: ObjectiveCounters,
        /// Counters of the cluster connection.
        pub cluster: ClusterCounters,
    }
}

impl Counters {
    /// Counts a rejected frame.
    pub fn reject(&self, reason: RejectReason) {
        self.reject_many(reason, 1);
    }

    /// Counts several rejected frames, data points or spans.
    pub fn reject_many(&self, reason: RejectReason, count: u64) {
        self.frames_rejected.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc_by(count);
    }

    /// Counts an OTLP request that was refused as a whole.
    pub fn refuse_otlp(&self, reason: OtlpRefusalReason) {
        self.otlp_requests_refused.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Counts a connection that the relay closed or rejected.
    pub fn close(&self, reason: CloseReason) {
        self.connections_closed.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}

/// The label `app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AppLabel {
    /// The application's name.
    pub app: String,
}

/// Maximum number of applications with a time series of their own in `/metrics`. Peer relays cannot exceed it.
const APP_LABELS_MAX: usize = 100;

metric_set! {
    /// Metrics of the cluster. Clones share the counts.
    pub struct ClusterCounters {
        /// Whether this relay is connected to NATS.
        pub connected: Gauge,
        /// Relays in the cluster, including this one.
        pub relays: Gauge,
        /// Viewers of all relays.
        pub viewers: Gauge,
        /// Subscriptions of all relays' viewers, for the applications with the most subscriptions.
        pub subscriptions: Family<AppLabel, Gauge>,
        /// Replicated logs whose origin relay is gone.
        pub ownerless_logs: Gauge,
        /// Messages sent to NATS.
        pub sent_messages: Counter,
        /// Bytes sent to NATS.
        pub sent_bytes: Counter,
        /// Messages received from NATS.
        pub received_messages: Counter,
        /// Bytes received from NATS.
        pub received_bytes: Counter,
        /// Messages not sent to NATS, by reason.
        pub messages_dropped: Family<ReasonLabel, Counter>,
        /// Rejected messages from NATS, by reason.
        pub messages_rejected: Family<ReasonLabel, Counter>,
        /// Requests for history.
        pub history_requests: Counter,
        /// Log positions covered by the replies to history requests.
        pub backfilled_updates: Counter,
    }
}

impl ClusterCounters {
    /// Counts a rejected message from NATS.
    pub fn reject(&self, reason: ClusterRejectReason) {
        self.messages_rejected.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Counts a message that was not sent to NATS.
    pub fn drop(&self, reason: ClusterDropReason) {
        self.messages_dropped.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Sets the number of relays, their viewers, and the subscriptions to each application.
    pub fn set_presence(&self, relays: usize, viewers: u64, apps: BTreeMap<String, u64>) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.relays.set(whole(relays as u64));
        self.viewers.set(whole(viewers));
        let mut apps: Vec<(String, u64)> = apps.into_iter().collect();
        apps.sort_by_key(|(_, subscriptions)| std::cmp::Reverse(*subscriptions));
        self.subscriptions.clear();
        for (app, subscriptions) in apps.into_iter().take(APP_LABELS_MAX) {
            self.subscriptions.get_or_create_owned(&AppLabel { app }).set(whole(subscriptions));
        }
    }
}

/// Renders `/metrics` in OpenMetrics.
#[must_use]
pub fn render(counters: &Counters, gauges: &Gauges) -> String {
    let Gauges {
        producers, viewers, apps, topics, series, ring_bytes, held, wall_clock_offset_ns, is_clustered, ..
    } = *gauges;
    let mut registry = Registry::with_prefix("joey");
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let gauge = |number: usize| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
    let release = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("commit", env!("JOEY_COMMIT"))]);
    registry.register("build", "The running release", release);
    counters.register(&mut registry);
    registry.register(
        "frames_held",
        "Frames held back until the clock offset of their worker is known",
        gauge(to_usize(held)),
    );
    registry.register(
        "wall_clock_offset_seconds",
        "How far the wall clock is ahead of the relay's monotonic clock",
        ConstGauge::new(wall_clock_offset_ns as f64 / 1e9),
    );
    registry.register(
        "log_lines_dropped",
        "Log lines that could not be written to standard error",
        ConstCounter::new(console::dropped()),
    );
    registry.register("producers", "Connected producers", gauge(producers));
    registry.register("viewers", "Connected viewers", gauge(viewers));
    registry.register("apps", "Known applications", gauge(apps));
    registry.register("topics", "Topics with a ring buffer", gauge(topics));
    registry.register("series", "Known series", gauge(series));
    registry.register("ring_bytes", "Bytes of retained history", gauge(to_usize(ring_bytes)));
    if counters.jwks.fetches.get() > 0 {
        counters.jwks.register(registry.sub_registry_with_prefix("jwks"));
    }
    if gauges.is_watching {
        counters.objectives.register(&mut registry);
    }
    if is_clustered {
        counters.cluster.register(registry.sub_registry_with_prefix("cluster"));
    }
    let mut text = String::new();
    // Writing to a string cannot fail. If it did, the scrape would be incomplete.
    let _ = encode(&mut text, &registry);
    text
}

/// The OpenMetrics text of one family, for tests.
#[cfg(test)]
pub(crate) fn text_of(family: &Family<ReasonLabel, Counter>) -> String {
    let mut registry = Registry::default();
    registry.register("family", "For a test", family.clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}
