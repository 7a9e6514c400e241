//! What the relay says about itself, for Prometheus and whoever else reads its formats.
//!
//! `prometheus-client` keeps its registry in a value instead of a global, so that tests can run several relays at once.

mod format;
mod reject_reason;

use std::collections::BTreeMap;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::format::Format;
pub use self::reject_reason::RejectReason;
use crate::runtime::console;

/// Current values, which each scrape reads anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Producers connected.
    pub producers: usize,
    /// Viewers connected.
    pub viewers: usize,
    /// Applications known.
    pub apps: usize,
    /// Topics with a ring buffer.
    pub topics: usize,
    /// Series known.
    pub series: usize,
    /// Bytes of retained history.
    pub ring_bytes: u64,
    /// Frames held back until the clock offset of their worker is known.
    pub held: u64,
    /// How far the wall clock is ahead of the relay's monotonic clock, in ns.
    pub wall_clock_offset_ns: i64,
    /// Whether this relay shares its data with others over NATS.
    pub is_clustered: bool,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The reason, one of a fixed set.
    pub reason: &'static str,
}

/// Everything that only goes up. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames that became updates.
    pub accepted: Counter,
    /// Frames refused, by reason.
    pub rejected: Family<Reason, Counter>,
    /// Updates older than everything that the ring is meant to hold.
    pub late: Counter,
    /// Updates moved by the offset of their worker's clock.
    pub moved: Counter,
    /// How often the wall clock was set while the relay ran.
    pub wall_clock_steps: Counter,
    /// Bytes read from producers.
    pub bytes_in: Counter,
    /// Producer connections accepted.
    pub producers: Counter,
    /// Connections ended by the relay, by reason.
    pub closed: Family<Reason, Counter>,
    /// Tasks that panicked.
    pub panics: Counter,
    /// Batches encoded.
    pub batches: Counter,
    /// Batches dropped early because there were too many bytes.
    pub evicted: Counter,
    /// Series that nobody has sent for longer than anybody looks back, and whose place is free again.
    pub series_let_go: Counter,
    /// Subscriptions made.
    pub subscribed: Counter,
    /// Bytes of messages handed to viewers' sockets.
    pub bytes_out: Counter,
    /// Messages handed to viewers' sockets.
    pub messages_out: Counter,
    /// Those of them that were handed out on the spot, without waking the viewer's task.
    pub messages_handed: Counter,
    /// Gaps that viewers were told about.
    pub gaps: Counter,
    /// Numbers of the log in those gaps.
    pub missed: Counter,
    /// Batches that other relays wanted and that there was no room to send.
    pub not_sent: Counter,
    /// What goes on among relays.
    pub cluster: Cluster,
}

impl Counters {
    /// Counts a refused frame.
    pub fn reject(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a connection that the relay ended.
    pub fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&Reason { reason }).inc();
    }
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InApp {
    /// Its name.
    pub app: String,
}

/// Applications that have a line of their own; there are labels for no more, whatever relays say.
const APPS_SHOWN: usize = 100;

/// What goes on among relays. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Whether there is a connection to NATS.
    pub connected: Gauge,
    /// Relays, this one among them.
    pub relays: Gauge,
    /// Viewers of all relays.
    pub viewers: Gauge,
    /// Subscriptions of viewers of all relays, by application; the most watched ones.
    pub watched: Family<InApp, Gauge>,
    /// Logs held here whose origin is gone.
    pub orphans: Gauge,
    /// Messages handed to NATS.
    pub messages_out: Counter,
    /// Their bytes.
    pub bytes_out: Counter,
    /// Messages that came from NATS.
    pub messages_in: Counter,
    /// Their bytes.
    pub bytes_in: Counter,
    /// Messages that were not handed to NATS, by reason.
    pub dropped: Family<Reason, Counter>,
    /// Messages that came and were not taken, by reason.
    pub refused: Family<Reason, Counter>,
    /// Questions for history.
    pub asked: Counter,
    /// Numbers of logs that the answers brought.
    pub filled: Counter,
}

impl Cluster {
    /// Counts a message that came and was not taken.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a message that was not handed to NATS.
    pub fn drop(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }

    /// Sets what there is now: relays, viewers of all of them, and how many watch each application.
    pub fn show(&self, relays: usize, viewers: u64, apps: BTreeMap<String, u64>) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.relays.set(whole(relays as u64));
        self.viewers.set(whole(viewers));
        let mut apps: Vec<(String, u64)> = apps.into_iter().collect();
        apps.sort_by_key(|(_, viewers)| std::cmp::Reverse(*viewers));
        self.watched.clear();
        for (app, viewers) in apps.into_iter().take(APPS_SHOWN) {
            self.watched.get_or_create_owned(&InApp { app }).set(whole(viewers));
        }
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cluster");
        registry.register("connected", "Whether there is a connection to NATS", self.connected.clone());
        registry.register("relays", "Relays, this one among them", self.relays.clone());
        registry.register("viewers", "Viewers of all relays", self.viewers.clone());
        registry.register(
            "watched",
            "Subscriptions of all relays' viewers, of the most watched applications",
            self.watched.clone(),
        );
        registry.register("orphans", "Logs held here whose origin is gone", self.orphans.clone());
        registry.register("sent_messages", "Messages handed to NATS", self.messages_out.clone());
        registry.register("sent_bytes", "Their bytes", self.bytes_out.clone());
        registry.register("received_messages", "Messages that came from NATS", self.messages_in.clone());
        registry.register("received_bytes", "Their bytes", self.bytes_in.clone());
        registry.register("dropped", "Messages not handed to NATS, by reason", self.dropped.clone());
        registry.register("refused", "Messages from NATS that were not taken, by reason", self.refused.clone());
        registry.register("asked", "Questions for history", self.asked.clone());
        registry.register("filled_updates", "Numbers of logs that the answers brought", self.filled.clone());
    }
}

/// The text of `/metrics`, in OpenMetrics.
#[must_use]
pub fn render(counters: &Counters, gauges: &Gauges) -> String {
    let Gauges { producers, viewers, apps, topics, series, ring_bytes, held, wall_clock_offset_ns, is_clustered } =
        *gauges;
    let mut registry = Registry::with_prefix("joey");
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let gauge = |number: usize| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
    let release = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running release", release);
    registry.register("frames_accepted", "Frames that became updates", counters.accepted.clone());
    registry.register("frames_rejected", "Frames refused, by reason", counters.rejected.clone());
    registry.register("frames_late", "Updates older than the ring's span", counters.late.clone());
    registry.register(
        "frames_moved",
        "Updates whose period was moved, since the clock of their worker is off",
        counters.moved.clone(),
    );
    registry.register("frames_held", "Frames that wait until it is known where they belong", gauge(to_usize(held)));
    registry.register(
        "wall_clock_steps",
        "How often the wall clock was set while the relay ran",
        counters.wall_clock_steps.clone(),
    );
    registry.register(
        "wall_clock_offset_seconds",
        "How far the wall clock is ahead of the relay's own clock, which nobody can set",
        ConstGauge::new(wall_clock_offset_ns as f64 / 1e9),
    );
    registry.register("ingest_bytes", "Bytes read from producers", counters.bytes_in.clone());
    registry.register("producer_connections", "Producer connections accepted", counters.producers.clone());
    registry.register("connections_closed", "Connections ended by the relay, by reason", counters.closed.clone());
    registry.register("task_panics", "Tasks that panicked", counters.panics.clone());
    registry.register(
        "log_lines_dropped",
        "Lines of the log that could not be written to standard error",
        ConstCounter::new(console::dropped()),
    );
    registry.register("batches", "Batches encoded", counters.batches.clone());
    registry.register(
        "series_let_go",
        "Series that nobody sent any more, whose place under the limit is free again",
        counters.series_let_go.clone(),
    );
    registry.register("batches_evicted", "Batches dropped early for want of room", counters.evicted.clone());
    registry.register("subscriptions", "Subscriptions made", counters.subscribed.clone());
    registry.register("sent_bytes", "Bytes of messages handed to viewers", counters.bytes_out.clone());
    registry.register("sent_messages", "Messages handed to viewers", counters.messages_out.clone());
    registry.register(
        "sent_messages_on_the_spot",
        "Those of them that woke no viewer's task",
        counters.messages_handed.clone(),
    );
    registry.register("gaps", "Gaps that viewers were told about", counters.gaps.clone());
    registry.register("gap_updates", "Numbers of the log in those gaps", counters.missed.clone());
    registry.register(
        "batches_not_sent",
        "Batches for other relays dropped for want of room",
        counters.not_sent.clone(),
    );
    registry.register("producers", "Producers connected now", gauge(producers));
    registry.register("viewers", "Viewers connected now", gauge(viewers));
    registry.register("apps", "Applications known", gauge(apps));
    registry.register("topics", "Topics with a ring", gauge(topics));
    registry.register("series", "Series known", gauge(series));
    registry.register("ring_bytes", "Bytes of history held", gauge(to_usize(ring_bytes)));
    if is_clustered {
        counters.cluster.register(&mut registry);
    }
    let mut text = String::new();
    // Writing to a string cannot fail; were it to, a scrape would be short.
    let _ = encode(&mut text, &registry);
    text
}

/// The label values of a family that has any.
#[cfg(test)]
pub(crate) fn text_of(family: &Family<Reason, Counter>) -> String {
    let mut registry = Registry::default();
    registry.register("family", "For a test", family.clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}
