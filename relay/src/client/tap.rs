//! `joey tap`: every update as it comes, one line each.

use std::io::{self, Write as _};

use joey_shared::format;
use joey_shared::histogram::Quantile;
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::Start;
use serde_json::{Map, Number, Value, json};

use super::Outcome;
use super::link::Link;
use crate::cli::Tap;

/// Follows until the reader of standard output goes away.
pub(crate) async fn run(tap: Tap) -> anyhow::Result<Outcome> {
    let mut link = Link::new(&tap.target, Viewer::default())?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    // Before the first catalogue nobody knows what exists already; what appears later is followed from its beginning.
    let mut has_catalogue = false;
    let mut seen = 0;
    loop {
        let mut printed = Ok(());
        link.step(|incoming| {
            if printed.is_ok() {
                printed = if tap.json {
                    writeln!(out, "{}", as_json(incoming))
                } else {
                    writeln!(out, "{}", as_line(incoming))
                };
            }
        })
        .await?;
        match printed.and_then(|()| out.flush()) {
            // Whoever read this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::Done),
            outcome => outcome?,
        }
        if !link.viewer.has_catalogue() || link.viewer.catalogue_revision() == seen {
            continue;
        }
        seen = link.viewer.catalogue_revision();
        let apps: Vec<String> = link.viewer.catalogue().keys().cloned().collect();
        let is_old = !has_catalogue && !link.had_to_wait();
        let wanted = |app: &String| tap.app.as_ref().is_none_or(|only| only == app);
        for app in apps.into_iter().filter(wanted) {
            let start = if is_old && !tap.history { Start::Live } else { Start::History };
            link.viewer.follow(Topic { app, filter: Filter::All }, start);
        }
        has_catalogue = true;
    }
}

fn as_line(incoming: &Incoming<'_>) -> String {
    let Incoming { app, series, update, .. } = incoming;
    let key = &series.key;
    let histogram = &update.histogram;
    let rate = histogram.count() as f64 * 1e9 / update.period_ns as f64;
    let p = |q| histogram.quantile(q).map_or_else(|| "-".to_owned(), |range| format::range(range).to_string());
    format!(
        "{} {app} | {} | {} | {} | {} | {}/s  p50 {}  p99 {}",
        utc_time(update.sent_end_ns()),
        key.category,
        key.pipeline,
        key.worker,
        key.name,
        format::rate(rate),
        p(Quantile::P50),
        p(Quantile::P99),
    )
}

/// The time of day in UTC.
pub(super) fn utc_time(ns: u64) -> String {
    let seconds = ns / 1_000_000_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn as_json(incoming: &Incoming<'_>) -> Value {
    let Incoming { app, epoch, series, update, sum_to } = incoming;
    let key = &series.key;
    let histogram = &update.histogram;
    let bins: Map<String, Value> = histogram.occupied().map(|(bin, count)| (bin.to_string(), count.into())).collect();
    let extremes = histogram.extremes();
    let mut line = json!({
        "app": app,
        "category": key.category,
        "pipeline": key.pipeline,
        "worker": key.worker,
        "name": key.name,
        "id": series.id,
        "period_ns": update.period_ns,
        "period_end_ns": update.sent_end_ns(),
        "count": number(histogram.count()),
        "bins": bins,
        "min_ns": extremes.map(|(min_ns, _)| min_ns),
        "max_ns": extremes.map(|(_, max_ns)| max_ns),
        "epoch": epoch,
        "seq": update.seq,
    });
    if let Some(to) = sum_to {
        line["sum_to_seq"] = (*to).into();
    }
    line
}

/// A count as a JSON number, whatever its length.
pub(super) fn number(count: u128) -> Value {
    Number::from_u128(count).map_or(Value::Null, Value::Number)
}
