//! `joey compare`: the views of an application before and after, those whose latency changed most first.
//!
//! All figures are those of the page's comparison (`shared/src/compare.rs`): ranges of bins, counts, and whether chance explains
//! the difference.

mod condition;
mod source;

use std::borrow::Cow;

use joey_shared::compare::{Comparison, Evidence, QuantileChange, RateChange, ViewChange, ViewSide, changes};
use joey_shared::format;
use joey_shared::histogram::Quantile;
use joey_shared::objective::{glob_matches, parse_percentile, view_path};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use serde_json::{Map, Value, json};

use self::condition::Findings;
pub(super) use self::condition::{Condition, parse_condition};
pub(super) use self::source::{Source, parse_source};
use super::Outcome;
use super::args::Compare;
use super::output::{self, printable};
use super::snapshot::Snapshot;
use super::tap::{number, utc_time};

/// Prints the comparison.
///
/// # Errors
/// Fails if a side cannot be read, or if a condition of `--fail-if` holds.
pub(crate) async fn run(compare: Compare) -> anyhow::Result<Outcome> {
    let mut before = match compare.before.load(&compare.target, compare.window).await? {
        Ok(snapshot) => snapshot,
        Err(outcome) => return Ok(outcome),
    };
    let mut after = match compare.after.load(&compare.target, compare.window).await? {
        Ok(snapshot) => snapshot,
        Err(outcome) => return Ok(outcome),
    };
    for (snapshot, source) in [(&mut before, &compare.before), (&mut after, &compare.after)] {
        if let Some(outcome) = prepare(snapshot, source) {
            return Ok(outcome);
        }
    }
    let side = |snapshot: &Snapshot, source: &Source| {
        let store = snapshot.viewers.app(&snapshot.app);
        let end_ns = store.map_or(0, AppStore::clock_ns);
        json!({"source": source.text(), "app": snapshot.app, "end_ns": end_ns})
    };
    let ends = (side(&before, &compare.before), side(&after, &compare.after));
    let (Some(current), Some(reference)) = (after.viewers.app_mut(&after.app), before.viewers.app_mut(&before.app))
    else {
        return Ok(Outcome::NoData(format!("no data for {}", printable(&after.app))));
    };
    let mut views = changes(current, reference);
    views.retain(|view| compare.view.is_empty() || compare.view.iter().any(|glob| is_of(glob, &view.key)));
    let findings: Vec<Findings> = compare.fail_if.iter().map(|condition| condition.findings(&views)).collect();
    let text = if compare.json {
        let views: Vec<Value> = views.iter().map(|view| as_json(view, &compare.percentile)).collect();
        let fail_if: Vec<Value> = findings.iter().map(Findings::as_json).collect();
        let (before, after) = ends;
        let seconds = compare.window;
        let all = json!({"before": before, "after": after, "window_s": seconds, "views": views, "fail_if": fail_if});
        format!("{all}\n")
    } else {
        let (before, after) = (summary("Before:", &ends.0), summary("After: ", &ends.1));
        format!("{}{before}{after}", table(&views, &compare.percentile))
    };
    output::print(&text)?;
    judge(&views, &findings)
}

/// Completes the windows. Returns the outcome if there is nothing in them.
fn prepare(snapshot: &mut Snapshot, source: &Source) -> Option<Outcome> {
    snapshot.viewers.advance(snapshot.now_ns);
    let Some(store) = snapshot.viewers.app(&snapshot.app) else {
        return Some(Outcome::NoData(format!("no such application in {}: {}", source.text(), snapshot.app)));
    };
    (store.clock_ns() == 0).then(|| Outcome::NoData(format!("no data for {} in {} yet", snapshot.app, source.text())))
}

fn is_of(glob: &str, key: &ViewKey) -> bool {
    glob_matches(glob, &view_path(key))
}

/// Fails with one line if a condition holds for any view. If no view could be judged, there is no data.
fn judge(views: &[ViewChange], findings: &[Findings]) -> anyhow::Result<Outcome> {
    if views.is_empty() {
        return Ok(Outcome::NoData(
            "no view has this path; --view is compared with paths such as start-to-end/Orders".into(),
        ));
    }
    let violated: Vec<String> = findings.iter().filter_map(Findings::line).collect();
    anyhow::ensure!(violated.is_empty(), "{}", violated.join("; "));
    match findings.iter().find(|findings| findings.judged() == 0) {
        Some(findings) => Ok(Outcome::NoData(format!("no view has enough events on both sides for {}", findings.text))),
        None => Ok(Outcome::Done),
    }
}

/// The change of one percentile of a view.
fn quantile_change(view: &ViewChange, q: Quantile) -> Option<QuantileChange> {
    let (current, reference) = view.current.as_ref().zip(view.reference.as_ref())?;
    Comparison::new(&current.histogram, &reference.histogram).quantile(q).filter(|_| view.key.kind.has_latency())
}

fn table(views: &[ViewChange], percentiles: &[Percentile]) -> String {
    let head = ["VIEW", "PIPELINE", "WORKER", "NAME", "BEFORE", "AFTER", "CHANGE"].map(str::to_owned);
    let named = |percentile: &Percentile| percentile.text.to_uppercase();
    let head: Vec<String> = head.into_iter().chain(percentiles.iter().map(named)).chain(["MEDIAN/S".into()]).collect();
    let rows = views.iter().map(|view| cells(view, percentiles));
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 4)
}

fn cells(view: &ViewChange, percentiles: &[Percentile]) -> Vec<String> {
    let ViewChange { key, current, reference, .. } = view;
    let name = |name: &Option<String>| printable(name.as_deref().unwrap_or_default()).into_owned();
    let count = |side: &Option<ViewSide>| side.as_ref().map_or_else(dash, |side| side.histogram.count().to_string());
    let mut cells = vec![
        printable(key.kind.as_str()).into_owned(),
        name(&key.pipeline),
        name(&key.worker),
        name(&key.name),
        count(reference),
        count(current),
        change_text(view).into_owned(),
    ];
    cells.extend(percentiles.iter().map(|percentile| {
        let side = |side: &Option<ViewSide>| {
            let range = side.as_ref().filter(|_| key.kind.has_latency())?.histogram.quantile(percentile.quantile)?;
            Some(format::range(range).to_string())
        };
        match [reference, current].map(side) {
            [None, None] => dash(),
            [before, after] if before == after => before.unwrap_or_else(dash),
            [before, after] => format!("{} → {}", before.unwrap_or_else(dash), after.unwrap_or_else(dash)),
        }
    }));
    let rate = |side: &Option<ViewSide>| {
        side.as_ref().and_then(|side| side.throughput).map_or_else(dash, |rates| format::rate(rates.median).to_string())
    };
    cells.push(match [reference, current].map(rate) {
        [before, after] if before == after => before,
        [before, after] => format!("{before} → {after}"),
    });
    cells
}

fn dash() -> String {
    "-".to_owned()
}

/// What happened to the latency of a view, in one or two words.
fn change_text(view: &ViewChange) -> Cow<'static, str> {
    match (&view.change, &view.reference, &view.current) {
        (_, None, _) => "new".into(),
        (_, _, None) => "gone".into(),
        (None, ..) => "-".into(),
        (Some(change), ..) => match (change.evidence, change.distance) {
            (Evidence::TooFew, _) | (_, None) => "too few".into(),
            (Evidence::Chance, _) => "chance".into(),
            (Evidence::Changed, Some(distance)) => {
                let direction = if distance.is_slower { "slower" } else { "faster" };
                format!("{direction} {:.1} %", distance.share * 100.0).into()
            }
        },
    }
}

/// One line about a side.
fn summary(name: &str, side: &Value) -> String {
    let text = |field: &str| printable(side[field].as_str().unwrap_or_default()).into_owned();
    let end = utc_time(side["end_ns"].as_u64().unwrap_or(0));
    format!("{name} {} in {}, window ends at {end}.\n", text("app"), text("source"))
}

fn as_json(view: &ViewChange, percentiles: &[Percentile]) -> Value {
    let mut out = Map::new();
    out.insert("kind".to_owned(), view.key.kind.as_str().into());
    let names = [("pipeline", &view.key.pipeline), ("worker", &view.key.worker), ("name", &view.key.name)];
    for (field, value) in names {
        if let Some(value) = value {
            out.insert(field.to_owned(), value.as_str().into());
        }
    }
    out.insert("path".to_owned(), view_path(&view.key).into());
    let side = |side: &Option<ViewSide>| {
        side.as_ref().map(|side| {
            let quantile = |percentile: &Percentile| {
                let range = side.histogram.quantile(percentile.quantile).filter(|_| view.key.kind.has_latency())?;
                Some((percentile.text.clone(), json!([range.low, number(range.high)])))
            };
            let quantiles: Map<String, Value> = percentiles.iter().filter_map(quantile).collect();
            let rates = side.throughput.map(|rate| json!({"min": rate.min, "median": rate.median, "max": rate.max}));
            json!({"count": number(side.histogram.count()), "percentiles": quantiles, "throughput": rates})
        })
    };
    out.insert("before".to_owned(), side(&view.reference).into());
    out.insert("after".to_owned(), side(&view.current).into());
    let change = view.change.as_ref().map(|change| {
        let distance = change.distance.map(|distance| {
            json!({
                "share": distance.share,
                "slower": distance.is_slower,
                "edge_ns": number(distance.edge_ns),
                "before_below": distance.reference_below,
                "after_below": distance.current_below,
            })
        });
        json!({"evidence": change.evidence.name(), "distance": distance})
    });
    out.insert("change".to_owned(), change.into());
    let moved = |percentile: &Percentile| {
        let change = quantile_change(view, percentile.quantile)?;
        // JSON has no infinity.
        let (low, high) = change.ratio;
        let high = high.is_finite().then_some(high);
        let ratio = json!({"bins": change.bins, "scale": change.scale, "ratio": [low, high], "nominal": change.nominal_ratio()});
        Some((percentile.text.clone(), ratio))
    };
    out.insert("percentiles".to_owned(), percentiles.iter().filter_map(moved).collect::<Map<String, Value>>().into());
    let sides = [&view.current, &view.reference].map(|side| side.as_ref().and_then(|side| side.throughput));
    let ratio = RateChange::between(sides[0], sides[1]).and_then(|change| change.ratio());
    out.insert("throughput_ratio".to_owned(), ratio.into());
    out.into()
}

/// A percentile as the user wrote it, with its quantile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Percentile {
    /// Its name, such as `p99.9`.
    text: String,
    quantile: Quantile,
}

/// Parses `p99.9` or `99.9`.
pub(super) fn parse_one_percentile(text: &str) -> Result<Percentile, String> {
    let text = if text.starts_with('p') { text.to_owned() } else { format!("p{text}") };
    let quantile = parse_percentile(&text).filter(|quantile| (1..1_000_000).contains(&quantile.millionths()));
    let quantile = quantile.ok_or("the percentile must be above 0 and below 100, such as p99 or 99.95")?;
    Ok(Percentile { text, quantile })
}
