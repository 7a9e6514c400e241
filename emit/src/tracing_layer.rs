//! A layer that times the spans of the crate `tracing`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::registry::Registry;
use crate::series::Series;

/// Records the durations of spans.
///
/// The name of the series is that of the span, and its pipeline is the target, usually the module. Spans with the field
/// `otel.kind` `server` or `consumer` are operations (`start-to-end`), as in the crate `tracing-opentelemetry`; all
/// others are steps (`computation`).
///
/// A filter of the layer decides which spans are timed, by level, target or name. Below it is a level.
///
/// ```
/// use std::sync::Arc;
/// use joey_emit::{Registry, TracingLayer};
/// use tracing_subscriber::filter::LevelFilter;
/// use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
///
/// let registry = Arc::new(Registry::default());
/// let layer = TracingLayer::new(registry.clone()).with_filter(LevelFilter::INFO);
/// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
///     tracing::info_span!("check").in_scope(|| { /* work */ });
///     tracing::debug_span!("detail").in_scope(|| { /* work */ });
/// });
/// let snapshots = registry.take();
/// assert_eq!((snapshots.len(), &*snapshots[0].name), (1, "check"));
/// ```
#[derive(Debug)]
pub struct TracingLayer {
    registry: Arc<Registry>,
    counts_busy_time: bool,
    /// The series of spans, by callsite and whether it is an operation.
    known: RwLock<HashMap<(Identifier, bool), Series>>,
}

impl TracingLayer {
    /// Creates a layer that adds to `registry` the time from the creation of each span to its end.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, counts_busy_time: false, known: RwLock::default() }
    }

    /// Records only the time in which a span was entered. For an asynchronous task this excludes the time in which it
    /// waited.
    #[must_use]
    pub const fn busy_time(mut self) -> Self {
        self.counts_busy_time = true;
        self
    }

    fn series(&self, metadata: &'static Metadata<'static>, is_operation: bool) -> Series {
        let key = (metadata.callsite(), is_operation);
        if let Some(series) = self.known.read().get(&key) {
            return series.clone();
        }
        let series = if is_operation {
            self.registry.start_to_end(metadata.name())
        } else {
            self.registry.computation(metadata.target(), metadata.name())
        };
        // Callsites are part of the program, so there is a bounded number of them.
        self.known.write().insert(key, series.clone());
        series
    }
}

/// The state of one span.
struct Timing {
    series: Series,
    start: Instant,
    entered: Option<Instant>,
    busy: Duration,
}

/// Finds the field `otel.kind`.
#[derive(Default)]
struct Kind {
    is_operation: bool,
}

impl Visit for Kind {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "otel.kind" {
            self.is_operation = ["server", "consumer"].iter().any(|kind| value.eq_ignore_ascii_case(kind));
        }
    }

    /// For `otel.kind = ?SpanKind::Server`.
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "otel.kind" {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TracingLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut kind = Kind::default();
        attributes.record(&mut kind);
        let series = self.series(attributes.metadata(), kind.is_operation);
        let timing = Timing { series, start: Instant::now(), entered: None, busy: Duration::ZERO };
        span.extensions_mut().insert(timing);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if self.counts_busy_time
            && let Some(span) = context.span(id)
            && let Some(timing) = span.extensions_mut().get_mut::<Timing>()
        {
            timing.entered = Some(Instant::now());
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if self.counts_busy_time
            && let Some(span) = context.span(id)
            && let Some(timing) = span.extensions_mut().get_mut::<Timing>()
            && let Some(entered) = timing.entered.take()
        {
            timing.busy += entered.elapsed();
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(timing) = span.extensions_mut().remove::<Timing>()
        {
            timing.series.record(if self.counts_busy_time { timing.busy } else { timing.start.elapsed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use joey_shared::series::{COMPUTATION, START_TO_END};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const WAIT: Duration = Duration::from_millis(20);

    #[derive(Debug)]
    enum Kind {
        Consumer,
    }

    /// Records a span that waits while it is not entered, and one of a server. Returns the categories and durations by
    /// name.
    fn record(layer: impl FnOnce(TracingLayer) -> TracingLayer) -> HashMap<String, (String, u64)> {
        let registry = Arc::new(Registry::default());
        let subscriber = tracing_subscriber::registry().with(layer(TracingLayer::new(registry.clone())));
        tracing::subscriber::with_default(subscriber, || {
            let waiting = tracing::info_span!("waiting");
            waiting.in_scope(|| {});
            sleep(WAIT);
            drop(waiting);
            tracing::info_span!("GET /", otel.kind = "SERVER").in_scope(|| sleep(WAIT));
            tracing::info_span!("poll", otel.kind = ?Kind::Consumer).in_scope(|| sleep(WAIT));
        });
        let snapshots = registry.take();
        assert!(snapshots.iter().all(|snapshot| snapshot.histogram.count() == 1));
        let entry = |snapshot: &crate::Snapshot| {
            (snapshot.name.to_string(), (snapshot.category.to_string(), snapshot.histogram.max_ns))
        };
        snapshots.iter().map(entry).collect()
    }

    #[test]
    fn spans_are_timed_from_their_creation_to_their_end() {
        let found = record(|layer| layer);
        let wait_ns = u64::try_from(WAIT.as_nanos()).unwrap();
        let category = |name: &str| &*found[name].0;
        assert_eq!(
            [category("waiting"), category("GET /"), category("poll")],
            [COMPUTATION, START_TO_END, START_TO_END]
        );
        assert!(found.values().all(|&(_, ns)| ns >= wait_ns), "{found:?}");
    }

    #[test]
    fn busy_time_excludes_waiting() {
        let found = record(TracingLayer::busy_time);
        let (waiting, busy) = (found["waiting"].1, found["GET /"].1);
        assert!(waiting < busy && busy >= u64::try_from(WAIT.as_nanos()).unwrap(), "{found:?}");
    }
}
