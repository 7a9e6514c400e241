//! The relay's measurements of itself (`--self`): publishes them once per second, as an application beside all others.
//!
//! They go directly into the log, without a connection, so neither tokens nor TLS nor the limit on producers apply to them.

use std::sync::Arc;
use std::time::Duration;

use joey_emit::{Registry, Series, Snapshot};
use joey_shared::series::{Provenance, Source, THROUGHPUT};
use prometheus_client::metrics::counter::Counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::presence::Presence;
use crate::data_point::DataPoint;
use crate::hub::Hub;
use crate::metrics::Counters;
use crate::runtime::host_name;

/// The application's name.
pub const APP: &str = "Joey relay";
/// The interval, in ns: 1 s. Periods end at whole seconds of the relay's clock, as the slots of a window do.
const PERIOD_NS: u64 = 1_000_000_000;

/// Publishes until `stop`. Does nothing if the measurements are off.
pub async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    let Some(registry) = hub.timings().registry() else { return };
    // Relays of a cluster are told apart by their address.
    let worker = format!("{}:{}", host_name(), hub.config().http.port());
    let mut reporter = Reporter {
        rates: Rate::all(hub.counters(), registry),
        presence: Presence::new(hub.clone()),
        ended_ns: hub.config().now_ns(),
        worker,
        hub: hub.clone(),
    };
    loop {
        let now_ns = hub.config().now_ns();
        let end_ns = (now_ns / PERIOD_NS + 1).saturating_mul(PERIOD_NS);
        if stop.run_until_cancelled(sleep(Duration::from_nanos(end_ns - now_ns))).await.is_none() {
            return;
        }
        // If this is late, the period ends at the last whole second.
        reporter.report(end_ns.max(hub.config().now_ns() / PERIOD_NS * PERIOD_NS));
    }
}

/// A counter whose increase is reported as a rate.
struct Rate {
    counter: Counter,
    seen: u64,
    series: Series,
}

impl Rate {
    fn all(counters: &Counters, registry: &Registry) -> Vec<Self> {
        [
            ("Frames accepted", &counters.frames_accepted),
            ("Frames late", &counters.frames_late),
            ("Batches", &counters.batches),
            ("Messages to viewers", &counters.sent_messages),
            ("Updates in gaps", &counters.gap_updates),
        ]
        .map(|(name, counter)| Self {
            counter: counter.clone(),
            seen: counter.get(),
            series: registry.series(THROUGHPUT, "", name),
        })
        .into()
    }

    fn count(&mut self) {
        let now = self.counter.get();
        self.series.count(now.saturating_sub(self.seen));
        self.seen = now;
    }
}

struct Reporter {
    hub: Arc<Hub>,
    presence: Presence,
    rates: Vec<Rate>,
    worker: String,
    /// The end of the last period, on the relay's clock.
    ended_ns: u64,
}

impl Reporter {
    /// Publishes what was measured since the last call, for the period that ends at `end_ns`.
    fn report(&mut self, end_ns: u64) {
        // The first period is shorter than a second, but a histogram of a shorter period would have a rate that is too high.
        let period_ns = end_ns.saturating_sub(self.ended_ns).next_multiple_of(PERIOD_NS).max(PERIOD_NS);
        self.ended_ns = end_ns;
        self.rates.iter_mut().for_each(Rate::count);
        let snapshots = self.hub.timings().take();
        let app = match self.hub.app(APP) {
            Ok(app) => app,
            Err(reason) => return self.hub.counters().reject_many(reason, snapshots.len() as u64),
        };
        let mut publisher = self.hub.publisher(&app, end_ns);
        for Snapshot { category, pipeline, name, histogram } in snapshots {
            let point = DataPoint {
                app: APP,
                name: &name,
                category: &category,
                worker: &self.worker,
                pipeline: &pipeline,
                id: 0,
                provenance: Provenance::exact(Source::Emit),
                histogram,
                period_ns,
                end_ns,
            };
            if let Err(reason) = publisher.publish(&point) {
                self.hub.counters().reject(reason);
            }
        }
        drop(publisher);
        self.presence.seen(&app, &self.worker, period_ns, end_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test(start_paused = true)]
    async fn measurements_become_an_application() {
        let hub = Arc::new(Hub::new(Config { self_metrics: true, ..Config::default() }, 7));
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(hub.clone(), stop.clone()));
        hub.timings().batch_wait.record_ns(1_000);
        hub.counters().frames_accepted.inc_by(3);
        tokio::time::sleep(Duration::from_secs(2)).await;
        stop.cancel();
        task.await.unwrap();
        let app = hub.own_app(APP).unwrap();
        assert_eq!(app.series_count(), 2, "one for each measurement with data");
        let (_, entries, _) = hub.catalogue_since(0);
        assert!(!entries[0].workers[0].connected, "the worker leaves when the relay stops");
    }

    #[tokio::test]
    async fn without_the_option_nothing_is_recorded() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        run(hub.clone(), CancellationToken::new()).await;
        assert!(!hub.timings().ingest.is_recording() && hub.own_app(APP).is_none());
    }
}
