//! Recomputes every number of `joey stats --json` from the frames that were sent, in the order in which they were sent.
//!
//! It is slow and simple on purpose: it keeps no sliding windows and sums every view from scratch. If the recorded
//! durations are known, it also checks the quantiles: the value of the right rank among the sorted durations lies in
//! the reported range.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use super::{Frame, S};

/// Longest retention, in seconds.
const RETENTION_S: u64 = 3_600;
/// How long single seconds are stored, and the step in which older ones are stored, in seconds.
const FINE_S: u64 = 900;
const STEP_S: u64 = 10;

/// The quantiles of the user interface, in ten-thousandths.
const QUANTILES: [(&str, u128); 6] =
    [("0.5", 5_000), ("0.9", 9_000), ("0.95", 9_500), ("0.99", 9_900), ("0.999", 9_990), ("0.9999", 9_999)];

/// Identifies a view: its kind and the names that apply.
pub type ViewId = (String, [Option<String>; 3]);

/// What was sent for one application.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Every well-formed frame in order of arrival.
    pub frames: Vec<Frame>,
}

impl Oracle {
    /// An oracle for the frames that were sent.
    #[must_use]
    pub fn new(frames: &[Frame]) -> Self {
        Self { frames: frames.to_vec() }
    }

    /// The newest period end, in ns.
    #[must_use]
    pub fn clock_ns(&self) -> u64 {
        self.frames.iter().map(|frame| frame.end_ns).max().unwrap_or(0)
    }

    /// End of the newest complete period while the newest period is still open, which is where the open one begins, in
    /// ns.
    #[must_use]
    pub fn through_ns(&self) -> u64 {
        let (mut clock_ns, mut start_ns, mut through_ns) = (0, 0, 0);
        for frame in &self.frames {
            let start = frame.end_ns - frame.period_ns;
            if frame.end_ns > clock_ns {
                (clock_ns, start_ns) = (frame.end_ns, start);
            } else if frame.end_ns == clock_ns {
                start_ns = start_ns.min(start);
            }
            through_ns = through_ns.max(start_ns);
        }
        through_ns
    }

    /// The frames of each view without those whose period was no longer retained on arrival, and the number of those.
    fn by_view(&self) -> (BTreeMap<ViewId, Vec<&Frame>>, usize) {
        let (mut views, mut late, mut clock_ns) = (BTreeMap::<ViewId, Vec<&Frame>>::new(), 0, 0);
        for frame in &self.frames {
            clock_ns = frame.end_ns.max(clock_ns);
            let is_late = stored_second(second(frame.end_ns), second(clock_ns)) + RETENTION_S <= second(clock_ns);
            late += usize::from(is_late);
            for id in views_of(frame) {
                let frames = views.entry(id).or_default();
                if !is_late {
                    frames.push(frame);
                }
            }
        }
        (views, late)
    }

    /// The expected output of `joey stats` for a window of `window_s`, complete up to `through_ns`.
    #[must_use]
    pub fn expected(&self, window_s: u64, through_ns: u64) -> BTreeMap<ViewId, Value> {
        let clock_s = second(self.clock_ns());
        let (views, _) = self.by_view();
        let line = |(id, frames): (ViewId, Vec<&Frame>)| {
            let view = view(&id, &frames, clock_s, window_s, through_ns);
            (id, view)
        };
        views.into_iter().map(line).collect()
    }

    /// Checks every number of `stats`, and every quantile whose recorded durations are known.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check(&self, stats: &Value) {
        let window_s = stats["window_s"].as_u64().expect("a window");
        let through_ns = stats["through_ns"].as_u64().expect("an end");
        // The newest period is complete two periods after it arrived. Whether that time has passed depends on the
        // clock.
        let (open, complete) = (self.through_ns(), self.clock_ns());
        assert!([open, complete].contains(&through_ns), "through {through_ns}, expected {open} or {complete}");
        if let Some(frame) = self.frames.first() {
            assert_eq!(stats["app"], frame.app.as_str());
        }
        let found = by_id(stats);
        let expected = self.expected(window_s, through_ns);
        let ids = |views: &BTreeMap<ViewId, Value>| views.keys().cloned().collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&expected), "the views themselves");
        for (id, expected) in &expected {
            let (mut found, mut expected) = (found[id].clone(), expected.clone());
            if window_s > FINE_S {
                // Steps have no rate per second to compare.
                (found["throughput"], expected["throughput"]) = (Value::Null, Value::Null);
            }
            assert_eq!(found, expected, "view {id:?} over {window_s} s");
        }
        self.check_quantiles(window_s, &found);
    }

    /// Checks that the sorted durations have the reported ranges around the right ranks.
    fn check_quantiles(&self, window_s: u64, found: &BTreeMap<ViewId, Value>) {
        let clock_s = second(self.clock_ns());
        for (id, frames) in self.by_view().0 {
            let in_window =
                frames.iter().filter(|frame| stored_second(second(frame.end_ns), clock_s) + window_s > clock_s);
            let values: Option<Vec<&Vec<u64>>> = in_window.map(|frame| frame.values.as_ref()).collect();
            let Some(values) = values else { continue };
            let mut values: Vec<u64> = values.into_iter().flatten().copied().collect();
            if values.is_empty() || found[&id]["quantiles"].is_null() {
                continue;
            }
            values.sort_unstable();
            for (name, q) in QUANTILES {
                let rank = (q * values.len() as u128).div_ceil(10_000).max(1);
                let truth = u128::from(values[usize::try_from(rank).expect("a rank fits") - 1]);
                let range = &found[&id]["quantiles"][name];
                let bound = |at: usize| range[at].to_string().parse::<u128>().expect("a bound is a number");
                assert!((bound(0)..=bound(1)).contains(&truth), "{id:?}: {name} is {truth}, reported {range}");
            }
        }
    }

    /// Number of frames that arrived too late for every window.
    #[must_use]
    pub fn late(&self) -> usize {
        self.by_view().1
    }
}

/// The views of `stats`, keyed by identity.
///
/// # Panics
/// If one occurs twice.
#[must_use]
pub fn by_id(stats: &Value) -> BTreeMap<ViewId, Value> {
    let mut views = BTreeMap::new();
    for view in stats["views"].as_array().expect("views") {
        let name = |field: &str| view.get(field).map(|name| name.as_str().expect("names are text").to_owned());
        let id = (name("kind").expect("a kind"), ["pipeline", "worker", "name"].map(name));
        assert!(views.insert(id.clone(), view.clone()).is_none(), "{id:?} twice");
    }
    views
}

/// The second that a period end belongs to: a second is named by its end.
const fn second(ns: u64) -> u64 {
    ns.div_ceil(S)
}

/// The second under which `second` is stored once the newest is `clock_s`: seconds older than 15 minutes are stored in
/// steps of ten.
const fn stored_second(second: u64, clock_s: u64) -> u64 {
    let fine = clock_s.saturating_sub(FINE_S);
    if second <= fine - fine % STEP_S { second.next_multiple_of(STEP_S) } else { second }
}

/// The views that count a frame.
fn views_of(frame: &Frame) -> Vec<ViewId> {
    let [pipeline, worker, name] = [&frame.pipeline, &frame.worker, &frame.name].map(|name| Some(name.clone()));
    let id = |kind: &str, names| (kind.to_owned(), names);
    match frame.category.as_str() {
        "start-to-end" => {
            vec![
                id("start-to-end", [pipeline.clone(), None, None]),
                id("start-to-end-by-worker", [pipeline, worker, None]),
            ]
        }
        "node-ingress-egress" => vec![
            id("node-ingress-egress", [None, worker.clone(), None]),
            id("node-ingress-egress-by-pipeline", [pipeline, worker, None]),
        ],
        "computation" => {
            vec![id("computation", [None, None, name.clone()]), id("computation-by-worker", [pipeline, worker, name])]
        }
        "pipeline-ingestion" => vec![id("pipeline-ingestion", [pipeline, None, name])],
        other => vec![id(other, [None, None, name])],
    }
}

fn view((kind, names): &ViewId, frames: &[&Frame], clock_s: u64, window_s: u64, through_ns: u64) -> Value {
    let is_inside = |frame: &Frame| stored_second(second(frame.end_ns), clock_s) + window_s > clock_s;
    let in_window = || frames.iter().filter(|frame| is_inside(frame) && frame.count() > 0);
    let mut wide = [0_u128; 65];
    let (mut min_ns, mut max_ns) = (u64::MAX, 0);
    for frame in in_window() {
        for (sum, &count) in wide.iter_mut().zip(&frame.bins) {
            *sum += u128::from(count);
        }
        min_ns = min_ns.min(frame.min_ns);
        max_ns = max_ns.max(frame.max_ns);
    }
    let bins = wide.map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    let count: u128 = bins.iter().map(|&count| u128::from(count)).sum();
    let has_latency = kind != "pipeline-ingestion" && count > 0;
    let mut view = Map::new();
    view.insert("kind".to_owned(), kind.as_str().into());
    for (field, name) in ["pipeline", "worker", "name"].into_iter().zip(names) {
        if let Some(name) = name {
            view.insert(field.to_owned(), name.as_str().into());
        }
    }
    let occupied = bins.iter().enumerate().filter(|&(_, &count)| count > 0);
    view.insert("count".to_owned(), number(count));
    // Wallaroo's bins, and no sum.
    view.extend([
        ("scale".to_owned(), 0.into()),
        ("unit".to_owned(), "ns".into()),
        ("mean_ns".to_owned(), Value::Null),
    ]);
    view.insert(
        "bins".to_owned(),
        occupied.map(|(bin, &count)| (bin.to_string(), count.into())).collect::<Map<_, _>>().into(),
    );
    // Extremes in the wrong order are ignored.
    let is_known = has_latency && min_ns <= max_ns;
    view.insert("min_ns".to_owned(), if is_known { min_ns.into() } else { Value::Null });
    view.insert("max_ns".to_owned(), if is_known { max_ns.into() } else { Value::Null });
    let quantiles = QUANTILES.into_iter().map(|(name, q)| (name.to_owned(), range(&bins, count, q, min_ns, max_ns)));
    view.insert(
        "quantiles".to_owned(),
        if has_latency { quantiles.collect::<Map<_, _>>().into() } else { Value::Null },
    );
    view.insert("throughput".to_owned(), throughput(frames, clock_s, window_s, through_ns));
    view.into()
}

/// The bin that holds rank `ceil(q * count)`, narrowed to the extremes if they lie in it.
fn range(bins: &[u64; 65], count: u128, q: u128, min_ns: u64, max_ns: u64) -> Value {
    let rank = (count * q).div_ceil(10_000).max(1);
    let mut seen = 0;
    let holds = |&bin: &usize| {
        seen += u128::from(bins[bin]);
        seen >= rank
    };
    let bin = (0..65).find(holds).expect("the rank is at most the count");
    let (mut low, mut high) = (if bin == 0 { 0 } else { 1_u128 << (bin - 1) }, 1_u128 << bin);
    let is_inside = |ns: u64| low <= u128::from(ns) && u128::from(ns) < high;
    let (min_inside, max_inside) = (is_inside(min_ns), is_inside(max_ns));
    if min_inside && min_ns <= max_ns {
        low = min_ns.into();
    }
    if max_inside && min_ns <= max_ns {
        high = max_ns.into();
    }
    json!([number(low), number(high)])
}

/// Minimum, median and maximum of events per second over the complete seconds of the window, from the first second that
/// was ever counted.
fn throughput(frames: &[&Frame], clock_s: u64, window_s: u64, through_ns: u64) -> Value {
    let begins = |frame: &&Frame| ((frame.end_ns - frame.period_ns) / S + 1).min(second(frame.end_ns));
    let Some(first) = frames.iter().map(begins).min() else { return Value::Null };
    let seconds = first.max((clock_s + 1).saturating_sub(window_s))..=(through_ns / S).min(clock_s);
    let mut rates: Vec<f64> = seconds.map(|second| rate(frames, second)).collect();
    rates.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (rates.first(), rates.last()) else { return Value::Null };
    let median = (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0;
    json!({"min": min, "median": median, "max": max})
}

/// Events of one second: each frame contributes its share, added as fractions and divided once.
fn rate(frames: &[&Frame], second: u64) -> f64 {
    let (from_ns, to_ns) = ((second - 1) * S, second * S);
    let (mut over, mut under) = (0_u128, 1_u128);
    for frame in frames {
        let start_ns = frame.end_ns - frame.period_ns;
        let overlap_ns = to_ns.min(frame.end_ns).saturating_sub(from_ns.max(start_ns));
        if overlap_ns > 0 {
            let common = gcd(overlap_ns, frame.period_ns);
            let (part, parts) = (u128::from(overlap_ns / common), u128::from(frame.period_ns / common));
            (over, under) = (over * parts + frame.count() * part * under, under * parts);
            let common = gcd_wide(over, under);
            (over, under) = (over / common, under / common);
        }
    }
    // A second holds at most 2^64 events; the counter saturates.
    (over as f64 / under as f64).min(18_446_744_073_709_551_616.0)
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

const fn gcd_wide(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd_wide(b, a % b) }
}

fn number(value: u128) -> Value {
    Value::Number(Number::from_u128(value).expect("JSON has numbers of any length"))
}
