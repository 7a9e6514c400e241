//! `joey tap`: prints each update in one line as it arrives.

use std::io::{self, Write as _};
use std::pin::pin;

use joey_shared::format;
use joey_shared::histogram::Quantile;
use joey_shared::series::{Filter, PIPELINE_INGESTION, SeriesKey, THROUGHPUT, Topic};
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::{AppEntry, Start};
use serde_json::{Map, Number, Value, json};

use super::Outcome;
use super::args::Tap;
use super::connection::Connection;
use super::output::{self, printable};
use super::unknown_app::AbsentApps;

/// Prints updates until the reader closes standard output.
pub(crate) async fn run(tap: Tap) -> anyhow::Result<Outcome> {
    let mut connection = Connection::new(&tap.target, Viewer::default());
    let mut out = io::BufWriter::new(io::stdout().lock());
    // Applications in the first catalogue may be old. Those that appear later are printed from their beginning.
    let mut has_catalogue = false;
    let mut revision = 0;
    let mut closed_by_reader = pin!(output::closed_by_reader());
    let mut absent = AbsentApps::default();
    loop {
        let mut printed = Ok(());
        let step = connection.step(|incoming| {
            if printed.is_ok() {
                printed = if tap.json {
                    writeln!(out, "{}", as_json(incoming))
                } else {
                    writeln!(out, "{}", as_line(incoming))
                };
            }
        });
        tokio::select! {
            outcome = step => outcome?,
            // Without updates, no write fails that would detect the closed pipe.
            () = &mut closed_by_reader => return Ok(Outcome::Done),
        }
        match printed.and_then(|()| out.flush()) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::Done),
            outcome => outcome?,
        }
        if !connection.viewer.has_catalogue() || connection.viewer.catalogue_revision() == revision {
            continue;
        }
        revision = connection.viewer.catalogue_revision();
        absent.tell(tap.app.as_slice(), &connection.viewer);
        let now_ns = connection.now_ns();
        let relay_ns = connection.viewer.relay_ns(now_ns).unwrap_or(0);
        // When this program started, by the relay's clock. Applications that began later are printed from their beginning.
        let started_ns = relay_ns.saturating_sub(now_ns);
        let may_be_old = !has_catalogue && !connection.had_to_wait() && !tap.history;
        let wanted = connection
            .viewer
            .catalogue()
            .values()
            .filter(|entry| tap.app.as_ref().is_none_or(|only| *only == entry.app));
        let start = |entry: &AppEntry| {
            let is_old = may_be_old && !is_younger(entry, started_ns);
            (entry.app.clone(), if is_old { Start::Live } else { Start::History })
        };
        let starts: Vec<(String, Start)> = wanted.map(start).collect();
        for (app, start) in starts {
            connection.viewer.subscribe(Topic { app, filter: Filter::All }, start);
        }
        has_catalogue = true;
    }
}

/// Whether all workers of an application joined after `ns` by the relay's clock.
fn is_younger(entry: &AppEntry, ns: u64) -> bool {
    !entry.workers.is_empty() && entry.workers.iter().all(|worker| worker.reconnects == 0 && worker.since_ns >= ns)
}

fn as_line(incoming: &Incoming<'_>) -> String {
    let Incoming { app, series, update, .. } = incoming;
    let key = &series.key;
    let histogram = &update.histogram;
    let rate = histogram.count() as f64 * 1e9 / update.period_ns as f64;
    let line = format!(
        "{} {} | {} | {} | {} | {} | {}/s",
        utc_time(update.producer_end_ns()),
        printable(app),
        printable(&key.category),
        printable(&key.pipeline),
        printable(&key.worker),
        printable(&key.name),
        format::rate(rate),
    );
    if !has_latency(key) {
        return line;
    }
    let p = |q| histogram.quantile(q).map_or_else(|| "-".to_owned(), |range| format::range(range).to_string());
    format!("{line}  p50 {}  p99 {}", p(Quantile::P50), p(Quantile::P99))
}

/// Whether the values of this series are latencies. Some series contain counts only.
fn has_latency(key: &SeriesKey) -> bool {
    key.category != PIPELINE_INGESTION && key.category != THROUGHPUT
}

/// The time of day in UTC.
pub(super) fn utc_time(ns: u64) -> String {
    let seconds = ns / 1_000_000_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn as_json(incoming: &Incoming<'_>) -> Value {
    let Incoming { app, epoch, series, update, rollup_to } = incoming;
    let key = &series.key;
    let histogram = &update.histogram;
    let bins: Map<String, Value> = histogram.occupied().map(|(bin, count)| (bin.to_string(), count.into())).collect();
    let extremes = histogram.extremes().filter(|_| has_latency(key) && series.provenance.has_extremes);
    let mut line = json!({
        "app": app,
        "category": key.category,
        "pipeline": key.pipeline,
        "worker": key.worker,
        "name": key.name,
        "id": series.id,
        "period_ns": update.period_ns,
        "period_end_ns": update.producer_end_ns(),
        "count": number(histogram.count()),
        "bins": bins,
        "scale": histogram.grid().scale(),
        "unit": histogram.grid().unit().symbol(),
        "min_ns": extremes.map(|(min_ns, _)| min_ns),
        "max_ns": extremes.map(|(_, max_ns)| max_ns),
        "sum_ns": histogram.sum_ns,
        "source": series.provenance.source.as_str(),
        "epoch": epoch,
        "seq": update.seq,
    });
    if let Some(to) = rollup_to {
        line["sum_to_seq"] = (*to).into();
    }
    line
}

/// A count as a JSON number with all digits.
pub(super) fn number(count: u128) -> Value {
    Number::from_u128(count).map_or(Value::Null, Value::Number)
}
