//! Checks that each second of each view shows the rate that was sent.

use std::collections::BTreeMap;

use joey_shared::store::AppStore;

use super::viewers::SoakViewer;
use super::workers::{Expected, IDLE_S_MAX, Kind, Workers, app};
use crate::Measurement;

/// The kinds of workers, and the name of their measurement.
const MEASUREMENTS: [(&str, &str); 7] = [
    ("healthy", "healthy: seconds checked, shifted, wrong"),
    ("reconnecting", "reconnecting: the same"),
    ("ahead", "clock ahead: the same"),
    ("behind", "clock behind: the same"),
    ("drifting", "clock drifts: the same"),
    ("stepping", "clock steps: the same"),
    ("stalling", "stalls and bursts: the same"),
];

/// Age in seconds below which a second is not checked: longer than any worker stalls, and than a wrong clock stays
/// undetected.
const YOUNG_S: u64 = 30;

/// Seconds around a clock step in which the rate is not checked.
const STEP_S: u64 = 20;

/// Clock error that the relay tolerates, in seconds, or in periods if that is more.
const TOLERANCE_S: u64 = 2;
const TOLERANCE_PERIODS: u64 = 3;

/// The checked seconds of one kind of worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// Seconds that show exactly the rate.
    pub(crate) exact: u64,
    /// Seconds that show zero or twice the rate, which is allowed occasionally while a clock drifts.
    pub(crate) shifted: u64,
    /// Deviation of the other seconds, as a fraction of the rate.
    pub(crate) off: Vec<f32>,
    /// Description of the first of them.
    pub(crate) first: Option<String>,
}

impl Judged {
    pub(crate) fn seconds(&self) -> u64 {
        self.exact + self.shifted + self.off.len() as u64
    }

    /// Deviation of the seconds in percent of the rate: minimum, median and maximum. Shifted seconds count as exact.
    pub(crate) fn deviations(&self) -> [f64; 3] {
        let exact = usize::try_from(self.exact + self.shifted).unwrap_or(usize::MAX);
        let mut off = self.off.clone();
        off.sort_unstable_by(f32::total_cmp);
        let at =
            |rank: usize| f64::from(rank.checked_sub(exact).and_then(|rank| off.get(rank)).copied().unwrap_or(0.0));
        let all = exact + off.len();
        [at(0), at(all / 2), at(all.saturating_sub(1))].map(|part| part * 100.0)
    }
}

/// Checks all rates.
#[derive(Debug)]
pub(crate) struct Rates {
    views: Vec<Watched>,
    /// The second in which the workers started.
    begin_s: u64,
    /// The last second of each application that has been checked.
    through_s: Vec<u64>,
    /// Number of checked frames of idle series, and of those that are misplaced.
    pub(crate) idle: (u64, u64),
    idle_at: usize,
    pub(crate) judged: BTreeMap<&'static str, Judged>,
}

#[derive(Debug)]
struct Watched {
    expected: Expected,
    /// Number of its seconds that may still be empty or double.
    shifts: f64,
}

impl Rates {
    pub(crate) fn new(workers: &Workers, apps: usize) -> Self {
        let watched = |expected: Expected| {
            let shifts = if matches!(expected.kind, Kind::Drifting(_)) { tolerance_s(expected.period_s) } else { 0 };
            Watched { expected, shifts: shifts as f64 }
        };
        let views = workers.expected().into_iter().map(watched).collect();
        Self {
            views,
            begin_s: workers.begin_s(),
            through_s: vec![workers.begin_s(); apps],
            idle: (0, 0),
            idle_at: 0,
            judged: BTreeMap::new(),
        }
    }

    /// Measurements of all kinds of workers, and of the idle series. Prints the first wrong second of each kind.
    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        let mut measurements = Vec::new();
        for (kind, name) in MEASUREMENTS {
            let none = Judged::default();
            let judged = self.judged.get(kind).unwrap_or(&none);
            if let Some(first) = &judged.first {
                println!("!! rate of a worker, {kind}: {first}");
            }
            let [least, median, most] = judged.deviations();
            let value = format!("{}, {}, {}", judged.seconds(), judged.shifted, judged.off.len());
            measurements.push(Measurement::holds(name, value, judged.off.is_empty()));
            measurements.push(Measurement::info(
                "  deviation: minimum, median, maximum",
                format!("{least:.1}, {median:.1}, {most:.1} %"),
            ));
        }
        measurements.push(Measurement::holds(
            "histograms of idle series, and misplaced ones",
            format!("{}, {}", self.idle.0, self.idle.1),
            self.idle.1 == 0,
        ));
        measurements
    }

    /// Checks the seconds that are old enough and have not been checked.
    pub(crate) fn judge(&mut self, viewer: &mut SoakViewer, workers: &Workers) {
        viewer.advance();
        for at in 0..self.through_s.len() {
            let Some(store) = viewer.client.app_mut(&app(at)) else { continue };
            let through_s = store.through_second().saturating_sub(YOUNG_S);
            let from_s = self.through_s[at] + 1;
            if through_s < from_s {
                continue;
            }
            for view in self.views.iter_mut().filter(|view| view.expected.app == at) {
                let steps = workers.steps(view.expected.worker);
                let judged = self.judged.entry(name_of(view.expected.kind)).or_default();
                // The first period ends within two periods, whatever the clock.
                let grace_s = if from_s == self.begin_s + 1 { 2 * view.expected.period_s } else { 0 };
                judge_view(view, store, (from_s, grace_s, through_s), steps, judged);
            }
            self.through_s[at] = through_s;
        }
        self.judge_idle(viewer, workers);
    }

    /// Checks idle series: a histogram belongs to its period, however late it arrives.
    fn judge_idle(&mut self, viewer: &mut SoakViewer, workers: &Workers) {
        for &(at, second, count) in &workers.idle[self.idle_at..] {
            let Some(store) = viewer.client.app_mut(&app(at)) else { return };
            if second + IDLE_S_MAX + YOUNG_S > store.through_second() {
                return;
            }
            let mut found = None;
            if let Some(view) = store.find(&workers.idle_view(at)) {
                store.window_at(view).for_each_rate(second..=second, |_, rate| found = Some(rate));
            }
            // Several frames may belong to the same second.
            let expected = workers.idle.iter().filter(|idle| (idle.0, idle.1) == (at, second)).map(|idle| idle.2);
            let expected = expected.sum::<u64>().max(count);
            self.idle_at += 1;
            self.idle.0 += 1;
            self.idle.1 += u64::from(found != Some(expected as f64));
        }
    }
}

fn tolerance_s(period_s: u64) -> u64 {
    TOLERANCE_S.max(TOLERANCE_PERIODS * period_s) + period_s
}

/// Name of a kind of worker in the table.
fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Healthy => "healthy",
        Kind::Restless => "reconnecting",
        Kind::Off(..0) => "behind",
        Kind::Off(_) => "ahead",
        Kind::Drifting(_) => "drifting",
        Kind::Stepping => "stepping",
        Kind::Stalling(_) => "stalling",
        Kind::Renamed => "renamed",
    }
}

fn judge_view(
    view: &mut Watched,
    store: &mut AppStore,
    (from_s, grace_s, through_s): (u64, u64, u64),
    steps: &[u64],
    judged: &mut Judged,
) {
    let Expected { kind, key, rate: even, .. } = &view.expected;
    if let Kind::Drifting(ns_per_ms) = kind {
        view.shifts += ns_per_ms.unsigned_abs() as f64 * (through_s + 1 - from_s) as f64 / 1e6;
    }
    let Some(at) = store.find(key) else {
        judged.off.push(1.0);
        judged.first.get_or_insert_with(|| format!("{key:?} is missing"));
        return;
    };
    let window = store.window_at(at);
    let from_s = window.first_second().map_or(from_s, |first_s| first_s.clamp(from_s, from_s + grace_s));
    window.for_each_rate(from_s..=through_s, |second, rate| {
        let is_near_step = steps.iter().any(|step| step.abs_diff(second) <= STEP_S);
        let off = (rate - even).abs() / even;
        if off < 1e-9 {
            judged.exact += 1;
        } else if is_near_step {
            judged.shifted += 1;
        } else if (off - 1.0).abs() < 1e-9 && view.shifts >= 1.0 {
            view.shifts -= 1.0;
            judged.shifted += 1;
        } else {
            judged.off.push(off as f32);
            judged.first.get_or_insert_with(|| format!("{key:?} shows {rate} instead of {even} at {second} s"));
        }
    });
}
