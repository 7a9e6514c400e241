//! `joey stats`: a snapshot of every view of an application, computed by the same store as on the page.

use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::series::{Provenance, Source};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::viewer::{Subscriber, Viewers};
use joey_shared::window::{SLOT_NS, Throughput};
use joey_shared::wire::{AppEntry, RejectedName, WorkerEntry};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::args::Stats;
use super::output::{self, printable};
use super::snapshot::{self, Snapshot};
use super::tap::{number, utc_time};
use super::unknown_app::no_such_app;
use crate::runtime::console;

/// The printed quantiles and their names in JSON.
const QUANTILES: [(&str, Quantile); 6] = [
    ("0.5", Quantile::P50),
    ("0.9", Quantile::P90),
    ("0.95", Quantile::P95),
    ("0.99", Quantile::P99),
    ("0.999", Quantile::P999),
    ("0.9999", Quantile::P9999),
];

/// Prints the snapshot.
pub(crate) async fn run(stats: Stats) -> anyhow::Result<Outcome> {
    let snapshot = match &stats.file {
        Some(file) => snapshot::of_file(file, stats.app.as_deref(), stats.window)?,
        None => snapshot::of_relay(&stats.target, stats.app.as_deref().unwrap_or_default(), stats.window).await?,
    };
    match snapshot {
        Ok(Snapshot { mut viewers, now_ns, app }) => print(&mut viewers, now_ns, &app, &stats),
        Err(outcome) => Ok(outcome),
    }
}

/// Prints the statistics of `app` in `viewers` at local time `now_ns`.
fn print(viewers: &mut Viewers, now_ns: u64, app: &str, stats: &Stats) -> anyhow::Result<Outcome> {
    if viewers.missing() > 0 {
        console::line(format_args!(
            "joey: {} updates are missing because the relay no longer retains them",
            viewers.missing()
        ));
    }
    viewers.advance(now_ns);
    let clocks = Clocks::of(viewers, app);
    clocks.warn();
    let entry = viewers.catalogue().get(app).cloned().unwrap_or_default();
    warn_of_rejected(&entry);
    let relay_ns = viewers.app_relay_ns(app, now_ns).unwrap_or(0);
    let Some(store) = viewers.app_mut(app) else {
        let place = if stats.file.is_some() { "this recording" } else { "this relay" };
        return Ok(no_such_app(app, place, viewers.catalogue().keys()));
    };
    if store.clock_ns() == 0 {
        return Ok(Outcome::NoData(format!("no data for {app} yet")));
    }
    let end = WindowEnd::of(store, relay_ns);
    end.warn(app);
    let views = view_stats(store);
    let text = if stats.json {
        let views: Vec<Value> = views.iter().map(ViewStats::as_json).collect();
        let through_ns = store.through_ns();
        let mut snapshot = json!({"app": app, "window_s": stats.window, "through_ns": through_ns, "views": views});
        clocks.add_to(&mut snapshot);
        end.add_to(&mut snapshot);
        add_rejected(&entry, &mut snapshot);
        snapshot["sources"] = entry.sources.iter().copied().map(Source::as_str).collect();
        format!("{snapshot}\n")
    } else {
        format!("{}{}\n", table(&views), end.line())
    };
    output::print(&text)?;
    Ok(Outcome::Done)
}

/// The end of the window, and its age.
struct WindowEnd {
    end_ns: u64,
    age_ns: u64,
    /// How long no data has arrived, in ns, if that is longer than expected.
    silent_ns: Option<u64>,
}

impl WindowEnd {
    /// The end of the window of `store`, at the time `relay_ns` of the relay's clock.
    fn of(store: &AppStore, relay_ns: u64) -> Self {
        let end_ns = store.clock_ns();
        Self { end_ns, age_ns: relay_ns.saturating_sub(end_ns), silent_ns: store.silent_for(relay_ns) }
    }

    fn warn(&self, app: &str) {
        if let Some(silent_ns) = self.silent_ns {
            let (silent, end) = (format::age(silent_ns / SLOT_NS), utc_time(self.end_ns));
            console::line(format_args!("joey: no data from {app} for {silent}; the window ends at {end}"));
        }
    }

    fn line(&self) -> String {
        let age = match self.age_ns / SLOT_NS {
            0 => "now".to_owned(),
            seconds => format!("{} ago", format::age(seconds)),
        };
        format!("Window ends at {}, {age}.", utc_time(self.end_ns))
    }

    fn add_to(&self, snapshot: &mut Value) {
        snapshot["end_ns"] = self.end_ns.into();
        // To the millisecond.
        snapshot["age_s"] = ((self.age_ns / 1_000_000) as f64 / 1e3).into();
        snapshot["stale"] = self.silent_ns.is_some().into();
    }
}

/// Prints on standard error which frames of the application the relay rejected.
fn warn_of_rejected(entry: &AppEntry) {
    if entry.rejected_for_name > 0 {
        let rejected = format::rejected_names(entry.rejected_for_name, &entry.rejected_names);
        console::line(format_args!("joey: {rejected}"));
    }
    if entry.over_limit > 0 {
        console::line(format_args!("joey: the relay rejected {} frames because a limit is reached", entry.over_limit));
    }
}

fn add_rejected(entry: &AppEntry, snapshot: &mut Value) {
    let name = |name: &RejectedName| json!({"name": name.escaped, "why": name.reason.to_string()});
    let names: Vec<Value> = entry.rejected_names.iter().map(name).collect();
    snapshot["refused"] = json!({"for_name": entry.rejected_for_name, "names": names, "for_limit": entry.over_limit});
}

/// Clock offsets reported by the relay, and late updates.
struct Clocks {
    /// Workers whose periods are shifted by their clock offset.
    workers: Vec<WorkerEntry>,
    /// Updates that arrived after their period had left the ring buffer.
    late: u64,
    /// Length of the ring buffer, in ns.
    ring_ns: u64,
    /// How far the relay's wall clock was set, in ns.
    wall_step_ns: i64,
}

impl Clocks {
    fn of(viewers: &Viewers, app: &str) -> Self {
        let entry = viewers.catalogue().get(app);
        let mut workers = entry.map_or_else(Vec::new, |entry| entry.workers.clone());
        workers.retain(|worker| worker.offset_ns != 0);
        Self {
            workers,
            late: entry.map_or(0, |entry| entry.late),
            ring_ns: viewers.ring_ns(),
            wall_step_ns: viewers.relays().find_map(Subscriber::wall_clock).map_or(0, |(step_ns, _)| step_ns),
        }
    }

    /// Prints them on standard error.
    fn warn(&self) {
        for WorkerEntry { worker, offset_ns, offset_since_ns, .. } in &self.workers {
            let (off, since) = (format::clock_offset(*offset_ns), utc_time(*offset_since_ns));
            console::line(format_args!(
                "joey: the clock of {worker} is {off} since {since}; its periods are shifted accordingly"
            ));
        }
        if self.late > 0 {
            let (late, ring) = (self.late, format::age(self.ring_ns / SLOT_NS));
            console::line(format_args!(
                "joey: {late} updates arrived more than {ring} late; windows up to {ring} do not include them"
            ));
        }
        if self.wall_step_ns != 0 {
            let off = format::clock_offset(self.wall_step_ns);
            console::line(format_args!(
                "joey: the clock of the relay's machine was set; times are {off}, counts are not affected"
            ));
        }
    }

    fn add_to(&self, snapshot: &mut Value) {
        let clocks: Vec<Value> = self
            .workers
            .iter()
            .map(|entry| {
                json!({"worker": entry.worker, "offset_ns": entry.offset_ns, "since_ns": entry.offset_since_ns})
            })
            .collect();
        snapshot["clocks"] = clocks.into();
        snapshot["late"] = self.late.into();
        snapshot["wall_clock_step_ns"] = self.wall_step_ns.into();
    }
}

/// The statistics of one view.
struct ViewStats {
    key: ViewKey,
    provenance: Provenance,
    histogram: Histogram,
    throughput: Option<Throughput>,
}

fn view_stats(store: &mut AppStore) -> Vec<ViewStats> {
    let keys: Vec<_> = store.views_by_key().map(|(at, view)| (at, view.key.clone(), view.provenance)).collect();
    let stats = |(at, key, provenance)| {
        let (histogram, throughput) = (store.histogram(at), store.throughput(at));
        ViewStats { key, provenance, histogram, throughput }
    };
    keys.into_iter().map(stats).collect()
}

impl ViewStats {
    fn as_json(&self) -> Value {
        let Self { key, provenance, histogram, throughput } = self;
        let mut view = Map::new();
        view.insert("kind".to_owned(), key.kind.as_str().into());
        for (field, value) in [("pipeline", &key.pipeline), ("worker", &key.worker), ("name", &key.name)] {
            if let Some(value) = value {
                view.insert(field.to_owned(), value.as_str().into());
            }
        }
        let bins: Map<String, Value> =
            histogram.occupied().map(|(bin, count)| (bin.to_string(), count.into())).collect();
        view.insert("count".to_owned(), number(histogram.count()));
        view.insert("bins".to_owned(), bins.into());
        view.insert("scale".to_owned(), histogram.grid().scale().into());
        view.insert("unit".to_owned(), histogram.grid().unit().symbol().into());
        for (mark, is_set) in [("approximate", provenance.is_approximate), ("sampled", provenance.is_sampled)] {
            if is_set {
                view.insert(mark.to_owned(), true.into());
            }
        }
        let has_latency = key.kind.has_latency();
        let extremes = histogram.extremes().filter(|_| has_latency && provenance.has_extremes);
        view.insert("min_ns".to_owned(), extremes.map(|(min_ns, _)| min_ns).into());
        view.insert("max_ns".to_owned(), extremes.map(|(_, max_ns)| max_ns).into());
        view.insert("mean_ns".to_owned(), histogram.mean_ns().filter(|_| has_latency).into());
        let quantile = |(name, q)| {
            let range = histogram.quantile(q)?;
            Some((String::from(name), json!([range.low, number(range.high)])))
        };
        let quantiles: Option<Map<String, Value>> =
            has_latency.then(|| QUANTILES.into_iter().map(quantile).collect()).flatten();
        view.insert("quantiles".to_owned(), quantiles.into());
        let throughput = throughput.map(|rates| json!({"min": rates.min, "median": rates.median, "max": rates.max}));
        view.insert("throughput".to_owned(), throughput.into());
        view.into()
    }

    fn cells(&self) -> [String; 11] {
        let Self { key, provenance, histogram, throughput } = self;
        let name = |name: &Option<String>| printable(name.as_deref().unwrap_or_default()).into_owned();
        let p = |q| {
            let range = histogram.quantile(q).filter(|_| key.kind.has_latency());
            // As on the page: a bin is not where the durations are if the source's buckets are others.
            let mark = if provenance.is_approximate { "≈ " } else { "" };
            range.map_or_else(|| "-".to_owned(), |range| format!("{mark}{}", format::range(range)))
        };
        let rate = |of: fn(&Throughput) -> f64| {
            throughput.as_ref().map_or_else(|| "-".to_owned(), |rates| format::rate(of(rates)).to_string())
        };
        [
            printable(key.kind.as_str()).into_owned(),
            name(&key.pipeline),
            name(&key.worker),
            name(&key.name),
            histogram.count().to_string(),
            p(Quantile::P50),
            p(Quantile::P95),
            p(Quantile::P99),
            rate(|rates| rates.min),
            rate(|rates| rates.median),
            rate(|rates| rates.max),
        ]
    }
}

fn table(views: &[ViewStats]) -> String {
    let head = ["VIEW", "PIPELINE", "WORKER", "NAME", "COUNT", "P50", "P95", "P99", "MIN/S", "MEDIAN/S", "MAX/S"];
    let rows: Vec<[String; 11]> =
        std::iter::once(head.map(str::to_owned)).chain(views.iter().map(ViewStats::cells)).collect();
    output::table(&rows, 4)
}
