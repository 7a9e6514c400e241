//! Hours of realistic trouble for a relay: 2,000 frames per second from workers that connect, disconnect, are renamed,
//! stall and have wrong clocks; viewers that stay, come and go, and read slowly. Every frame must be accounted for,
//! every rate must be the one that was sent, and memory must not grow.
//!
//! `reliability soak --minutes N [--seed N] [--browser] [-- ARGS…]` passes the last arguments to `joey serve`, for
//! example lower limits that are reached within the run. Each minute the producers pause, and all counters are
//! compared.

#[cfg(feature = "browser")]
#[path = "soak/page.rs"]
mod page;
#[path = "soak/rates.rs"]
mod rates;
#[path = "soak/samples.rs"]
mod samples;
#[path = "soak/viewers.rs"]
mod viewers;
#[path = "soak/workers.rs"]
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use joey_tests::{Relay, TIMEOUT, joey};
use parking_lot::Mutex;
use serde_json::Value;

use self::rates::Rates;
use self::samples::{Sample, descriptors, memory_measurements};
use self::viewers::{Behavior, ReceivedUpdates, SoakViewer, SoakViewers};
use self::workers::{APPS, Kind, Workers, app};
use crate::Measurement;
use crate::usage::Usage;

/// How often producers check what is due.
const TICK: Duration = Duration::from_millis(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Viewers that come and go, and the maximum seconds that each stays or is away.
const VISITORS: [u64; 6] = [10, 20, 40, 60, 120, 400];

/// The longest window of a viewer in seconds. The relay and the viewers should expire series that are idle for longer.
const WINDOW_S_MAX: u64 = 3_600;
/// Time that expiry may take after that, in seconds.
const GRACE_S: u64 = 600;

/// The reason under which the relay counts incomplete frames.
const TRUNCATED: &str = "truncated";

/// The window of `joey stats` that is checked, in seconds.
const STATS_S: u64 = 60;

/// Options of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    minutes: u64,
    seed: u64,
    has_browser: bool,
    relay: Vec<String>,
}

impl Options {
    /// Parses the arguments after `soak`.
    pub(crate) fn read(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { minutes: 120, seed: 1, has_browser: false, relay: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let number = arguments.next().and_then(|number| number.parse().ok()).filter(|&number: &u64| number > 0);
                number.ok_or_else(|| format!("{argument} takes a number"))
            };
            match argument.as_str() {
                "--minutes" => options.minutes = number()?,
                "--seed" => options.seed = number()?,
                "--browser" if cfg!(feature = "browser") => options.has_browser = true,
                "--browser" => return Err("built without browser support".to_owned()),
                "--" => options.relay.extend(arguments.by_ref().cloned()),
                _ => return Err(format!("soak has no option {argument}")),
            }
        }
        Ok(options)
    }

    /// Time until the relay's history is full, from the relay's options or its defaults.
    fn fills_after(&self) -> Duration {
        let option = |flag: &str, default: u64| {
            let at = self.relay.iter().position(|word| word == flag);
            at.and_then(|at| self.relay.get(at + 1)?.parse().ok()).unwrap_or(default)
        };
        Duration::from_secs(option("--ring-secs", 300).max(option("--sum-secs", 3_600)) + 120)
    }
}

/// Violations by check: how many, and a description of the first.
#[derive(Debug, Default)]
struct Violations {
    found: BTreeMap<&'static str, (u64, String)>,
}

impl Violations {
    fn record(&mut self, what: &'static str, message: String) {
        let (times, _) = self.found.entry(what).or_insert_with(|| {
            println!("!! {what}: {message}");
            (0, message)
        });
        *times += 1;
    }

    fn measurement(&self, what: &'static str) -> Measurement {
        let times = self.found.get(what).map_or(0, |(times, _)| *times);
        Measurement::holds(what, if times == 0 { "yes".to_owned() } else { format!("no, {times} times") }, times == 0)
    }
}

const BALANCE: &str = "each minute: sent = accepted + rejected, at the relay";
const SAME: &str = "each minute: the viewer received everything once";
const TOTALS: &str = "each minute: totals are the sums over workers";
const STATS: &str = "each minute: joey stats shows the even rates";
const VISITED: &str = "visiting and slow viewers received everything once";

/// Runs for as long as the options say.
pub(crate) fn measurements(options: &Options) -> Vec<Measurement> {
    let arguments: Vec<&str> = options.relay.iter().map(String::as_str).collect();
    println!("{} minutes, seed {}, joey serve {}", options.minutes, options.seed, arguments.join(" "));
    let relay = Relay::start_with(&arguments);
    let mut soak = Soak::new(&relay, options);
    soak.run(Duration::from_secs(60 * options.minutes));
    soak.finish(options)
}

struct Soak<'a> {
    relay: &'a Relay,
    workers: Workers,
    viewers: SoakViewers,
    /// The viewer that stays connected.
    main: Arc<Mutex<SoakViewer>>,
    /// The other viewers, with their application.
    others: Vec<(Behavior, usize, Arc<Mutex<SoakViewer>>)>,
    rates: Rates,
    violations: Violations,
    samples: Vec<Sample>,
    /// Of the viewer that stays: number of views, and of series names.
    known: (usize, usize),
    idle_descriptors: usize,
    begin: Usage,
    #[cfg(feature = "browser")]
    page: Option<page::Page>,
    #[cfg(feature = "browser")]
    weights: Vec<(Duration, page::Weight)>,
}

impl<'a> Soak<'a> {
    fn new(relay: &'a Relay, options: &Options) -> Self {
        let idle_descriptors = descriptors(relay);
        let mut workers = Workers::new(relay.ingest, options.seed);
        let viewers = SoakViewers::new(relay.http);
        let all: Vec<String> = (0..APPS).map(app).collect();
        let main = viewers.start(Behavior::Stays, &all, WINDOW_S_MAX);
        let visitor = |(at, &longest_s): (usize, &u64)| (Behavior::Visits(longest_s), at % APPS);
        let behaviors = VISITORS.iter().enumerate().map(visitor).chain([(Behavior::Slow, 0)]);
        let others = behaviors.map(|(behavior, at)| (behavior, at, viewers.start(behavior, &[app(at)], 300))).collect();
        let rates = Rates::new(&workers, APPS);
        workers.work();
        #[cfg(feature = "browser")]
        let page = options.has_browser.then(|| page::Page::open(relay, &app(0)));
        Self {
            relay,
            workers,
            viewers,
            main,
            others,
            rates,
            violations: Violations::default(),
            samples: Vec::new(),
            known: (0, 0),
            idle_descriptors,
            begin: Usage::of(relay),
            #[cfg(feature = "browser")]
            page,
            #[cfg(feature = "browser")]
            weights: Vec::new(),
        }
    }

    fn run(&mut self, length: Duration) {
        let (mut sample_at, mut check_at) = (SAMPLE_EVERY, CHECK_EVERY);
        while self.workers.elapsed() < length {
            let tick = Instant::now();
            self.workers.work();
            let now = self.workers.elapsed();
            if now >= sample_at {
                sample_at += SAMPLE_EVERY;
                self.samples.push(Sample::of(self.relay, now));
            }
            if now >= check_at {
                check_at += CHECK_EVERY;
                self.check();
                self.report();
            }
            std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
        }
    }

    /// While the producers pause: compares the counters of the relay and of the viewer that stays.
    fn check(&mut self) {
        let rejected = self.check_relay();
        self.check_main(rejected);
        let mut viewer = self.main.lock();
        self.rates.judge(&mut viewer, &self.workers);
        check_totals(&mut viewer, &mut self.violations);
        let stores = (0..APPS).filter_map(|at| viewer.client.app(&app(at)));
        let views = stores.map(|store| store.views().len()).sum();
        self.known = (views, (0..APPS).map(|at| viewer.client.series(&app(at)).count()).sum());
        drop(viewer);
        self.check_stats();
        #[cfg(feature = "browser")]
        if let Some(page) = &self.page {
            self.weights.push((self.workers.elapsed(), page.weight()));
            if !page.draws() {
                self.violations.record(PAGE, "it draws no chart".to_owned());
            }
            for error in page.console_errors() {
                self.violations.record(PAGE, error);
            }
        }
    }

    /// Checks that everything that was sent was accepted or rejected; returns how much was rejected.
    fn check_relay(&mut self) -> u64 {
        let (sent, cut) = (self.workers.sent_in_all(), self.workers.cut);
        let start = Instant::now();
        loop {
            let (accepted, rejected) = self.frame_counts();
            if accepted + rejected == sent && self.relay.rejected(TRUNCATED) == cut {
                return rejected;
            }
            if accepted + rejected > sent || start.elapsed() > TIMEOUT {
                let truncated = self.relay.rejected(TRUNCATED);
                let message =
                    format!("{sent} sent, {accepted} accepted, {rejected} rejected; {cut} cut, {truncated} truncated");
                self.violations.record(BALANCE, message);
                return rejected;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Number of complete frames that the relay accepted and rejected.
    fn frame_counts(&self) -> (u64, u64) {
        let (accepted, rejected) = self.relay.frame_counts();
        (accepted, rejected.saturating_sub(self.relay.rejected(TRUNCATED)))
    }

    /// Checks that the viewer received what was sent: as single updates, in rollups, reported missing, or rejected by
    /// the relay.
    fn check_main(&mut self, rejected: u64) {
        let sent = self.workers.sent_in_all();
        let start = Instant::now();
        let is_all = |viewer: &SoakViewer| {
            let received: u64 =
                viewer.updates.values().map(ReceivedUpdates::counts).map(|(given, summed)| given + summed).sum();
            received + viewer.client.missing() + rejected >= sent
        };
        while !is_all(&self.main.lock()) && start.elapsed() < TIMEOUT {
            std::thread::sleep(TICK);
        }
        let viewer = self.main.lock();
        let (mut open, mut summed) = (0, 0);
        for (at, sent) in self.workers.sent.iter().enumerate() {
            let none = ReceivedUpdates::default();
            let received = viewer.updates.get(&app(at)).unwrap_or(&none);
            let mut is_there = vec![false; sent.len()];
            for &(number, count) in received.given.iter().flatten() {
                let index = usize::try_from(number).expect("numbers fit");
                if sent.get(index) != Some(&count) {
                    self.violations
                        .record(SAME, format!("{}: {number} has {count}, not {:?}", app(at), sent.get(index)));
                } else if std::mem::replace(&mut is_there[index], true) {
                    self.violations.record(SAME, format!("{}: {number} arrived twice", app(at)));
                }
            }
            if received.wrong > 0 {
                self.violations.record(
                    SAME,
                    format!(
                        "{}: {} arrived under the same sequence number, or without a number",
                        app(at),
                        received.wrong
                    ),
                );
            }
            open += is_there.iter().filter(|is_there| !**is_there).count() as u64;
            summed += received.counts().1;
        }
        let (missing, unreadable) = (viewer.client.missing(), viewer.client.malformed());
        if open != summed + missing + rejected {
            let message = format!(
                "{open} did not arrive alone; {summed} arrived in rollups, {missing} are missing, {rejected} rejected"
            );
            self.violations.record(SAME, message);
        }
        if unreadable > 0 {
            self.violations.record(SAME, format!("{unreadable} messages could not be decoded"));
        }
    }

    /// Checks the output of `joey stats` for the healthy workers of one application.
    fn check_stats(&mut self) {
        if self.workers.elapsed() < Duration::from_secs(2 * STATS_S) {
            return;
        }
        let name = app(usize::try_from(self.workers.elapsed().as_secs() / 60).unwrap_or(0) % APPS);
        let (address, window) = (self.relay.http.to_string(), format!("{STATS_S}s"));
        let done = joey(&["stats", &name, "--json", "--once", "--relay", &address, "--window", &window]);
        let Ok(stats) = serde_json::from_str::<Value>(&done.out) else {
            return self.violations.record(STATS, format!("{} with {}: {}", name, done.code, done.err));
        };
        let views = joey_tests::oracle::by_id(&stats);
        for expected in self.workers.expected() {
            if expected.kind != Kind::Healthy || app(expected.app) != name {
                continue;
            }
            let key = &expected.key;
            let id = (key.kind.as_str().to_owned(), [key.pipeline.clone(), key.worker.clone(), key.name.clone()]);
            let median = views.get(&id).and_then(|view| view["throughput"]["median"].as_f64());
            if median != Some(expected.rate) {
                self.violations.record(STATS, format!("{id:?}: {median:?} instead of {}", expected.rate));
            }
        }
    }

    fn report(&self) {
        let Some(sample) = self.samples.last() else { return };
        println!(
            "{:>4} min  {:>9} sent  {:>6} names  {:>6} series at the relay  {:>6} views  {:>6.1} MB  {} descriptors",
            self.workers.elapsed().as_secs() / 60,
            self.workers.sent_in_all(),
            self.workers.names,
            self.relay.metric("joey_series"),
            self.known.0,
            sample.usage.rss_mb,
            sample.descriptors,
        );
    }

    fn finish(mut self, options: &Options) -> Vec<Measurement> {
        let end = Usage::of(self.relay);
        let secs = self.workers.elapsed().as_secs_f64();
        self.viewers.stop_disconnecting();
        self.workers.disconnect();
        self.check();
        self.report();
        self.check_others();
        let (accepted, rejected) = self.frame_counts();
        let Self { relay, workers, main, rates, violations, samples, .. } = &self;
        let (given, summed) = {
            let viewer = main.lock();
            viewer
                .updates
                .values()
                .map(ReceivedUpdates::counts)
                .fold((0, 0), |sum, came| (sum.0 + came.0, sum.1 + came.1))
        };
        let (missing, late) = {
            let viewer = main.lock();
            let late: u64 = (0..APPS).filter_map(|at| viewer.client.app(&app(at))).map(|store| store.late()).sum();
            (viewer.client.missing(), late)
        };
        let (sent, panics) = (workers.sent_in_all(), relay.metric("joey_task_panics_total"));
        let reach = Duration::from_secs(WINDOW_S_MAX + GRACE_S);
        let (series, most) = (relay.metric("joey_series"), workers.series_within(reach));
        // Each series has its own view, and most series share another one.
        let views_most = usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(2);
        let mut measurements = vec![
            Measurement::info("minutes", options.minutes),
            Measurement::info("frames sent, per second", format!("{sent}, {:.0}", sent as f64 / secs)),
            Measurement::info("concurrent workers, names in total", format!("{}, {}", workers.len(), workers.names)),
            Measurement::info(
                "series in total, clock steps",
                format!("{}, {}", workers.series, workers.steps_in_all()),
            ),
            Measurement::info("accepted, rejected by the relay", format!("{accepted}, {rejected}")),
            Measurement::info("truncated frames", workers.cut),
            Measurement::info("received alone, in rollups, reported missing", format!("{given}, {summed}, {missing}")),
            violations.measurement(BALANCE),
            violations.measurement(SAME),
            violations.measurement(TOTALS),
            violations.measurement(STATS),
            violations.measurement(VISITED),
            Measurement::holds("rejected by a limit or as malformed", rejected, rejected == 0),
            Measurement::holds("missing at the viewer that stays", missing, missing == 0),
            Measurement::holds("late for its one-hour windows", late, late == 0),
            Measurement::info("late for the relay's ring", relay.metric("joey_frames_late_total")),
            Measurement::holds("producer connections closed by the relay", workers.broken, workers.broken == 0),
            Measurement::holds("panics", panics, panics == 0),
        ];
        measurements.extend(rates.measurements());
        measurements.extend([
            Measurement::holds("series at the relay, and in the window", format!("{series}, {most}"), series <= most),
            Measurement::holds(
                "views at the viewer, series names",
                format!("{}, {}", self.known.0, self.known.1),
                self.known.0 <= views_most,
            ),
        ]);
        measurements.extend(memory_measurements(samples, options.fills_after()));
        measurements.push(Measurement::info("share of a core", format!("{:.2}", end.cores_since(&self.begin))));
        #[cfg(feature = "browser")]
        measurements.extend(self.page_measurements());
        measurements.push(self.descriptors_left());
        measurements
    }

    /// Checks that the other viewers received what the one that stays received.
    fn check_others(&mut self) {
        let start = Instant::now();
        // Hold locks only briefly while the viewers still read: a blocked task occupies a runtime thread that others
        // need.
        let is_behind = |(_, at, other): &(Behavior, usize, Arc<Mutex<SoakViewer>>)| {
            let last = self.main.lock().last(&app(*at));
            other.lock().last(&app(*at)) < last
        };
        while self.others.iter().any(is_behind) && start.elapsed() < TIMEOUT {
            std::thread::sleep(TICK);
        }
        let viewer = self.main.lock();
        for (behavior, at, other) in &self.others {
            let name = app(*at);
            let other = other.lock();
            let none = ReceivedUpdates::default();
            let (all, received) =
                (viewer.updates.get(&name).unwrap_or(&none), other.updates.get(&name).unwrap_or(&none));
            if let Err(message) = compare(all, received, other.client.missing()) {
                self.violations.record(VISITED, format!("{behavior:?}, {} connections: {message}", other.connections));
            }
        }
    }

    /// Number of descriptors that are still open after all clients have disconnected.
    fn descriptors_left(self) -> Measurement {
        let Self { relay, viewers, idle_descriptors, .. } = self;
        drop(viewers);
        #[cfg(feature = "browser")]
        drop(self.page);
        let left = || descriptors(relay).saturating_sub(idle_descriptors);
        let start = Instant::now();
        while left() > 0 && start.elapsed() < TIMEOUT {
            std::thread::sleep(TICK);
        }
        Measurement::holds("open descriptors after all clients have left", left(), left() == 0)
    }

    #[cfg(feature = "browser")]
    fn page_measurements(&self) -> Vec<Measurement> {
        if self.page.is_none() {
            return Vec::new();
        }
        let half = self.weights.len() / 2;
        let last = self.weights.last().map_or_else(page::Weight::default, |(_, weight)| *weight);
        let growth = |of: fn(&page::Weight) -> f64| {
            let points = self.weights[half..].iter().map(|(at, weight)| (*at, of(weight)));
            samples::growth_per_hour(points).unwrap_or(f64::NAN)
        };
        vec![
            Measurement::info("heap of the page, growth per hour", {
                format!("{:.1} MB, {:.1} MB", last.heap_mb, growth(|weight| weight.heap_mb))
            }),
            Measurement::info("nodes of the page, growth per hour", {
                format!("{:.0}, {:.0}", last.nodes, growth(|weight| weight.nodes))
            }),
            Measurement::info("memory of its process, growth per hour", {
                format!("{:.0} MB, {:.1} MB", last.process_mb, growth(|weight| weight.process_mb))
            }),
            self.violations.measurement(PAGE),
        ]
    }
}

#[cfg(feature = "browser")]
const PAGE: &str = "the page draws without console errors";

/// Checks that totals are the sums of their parts, in the one-hour window.
fn check_totals(viewer: &mut SoakViewer, violations: &mut Violations) {
    for at in 0..APPS {
        let Some(store) = viewer.client.app_mut(&app(at)) else { continue };
        let keys: Vec<_> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
        let (mut parts, mut totals) = (BTreeMap::<String, u128>::new(), BTreeMap::<String, u128>::new());
        for (view, key) in keys {
            let sums = match key.kind.as_str() {
                "computation" => &mut totals,
                "computation-by-worker" => &mut parts,
                _ => continue,
            };
            *sums.entry(key.name.unwrap_or_default()).or_default() += store.histogram(view).count();
        }
        let wrong = totals.iter().find(|(name, total)| parts.get(*name).copied().unwrap_or(0) != **total);
        if let Some((name, total)) = wrong {
            violations.record(TOTALS, format!("{}, {name}: {total}, of parts {:?}", app(at), parts.get(name)));
        }
    }
}

/// Checks that a viewer that was temporarily disconnected received the same as one that was always connected.
fn compare(all: &ReceivedUpdates, own: &ReceivedUpdates, missing: u64) -> Result<(), String> {
    if own.wrong > 0 {
        return Err(format!("{} arrived twice, or without a number", own.wrong));
    }
    if own.last != all.last {
        return Err(format!("it reached {} of {}", own.last, all.last));
    }
    let at = |seq: u64| usize::try_from(seq).expect("a sequence number fits");
    let other = own.given.iter().zip(&all.given).position(|(own, all)| own.is_some() && all.is_some() && own != all);
    if let Some(other) = other {
        return Err(format!("update {other} has other contents"));
    }
    for (&(from, to), &sum) in &own.sums {
        let counts: Option<u128> = all
            .given
            .get(at(from)..=at(to))
            .and_then(|given| given.iter().map(|one| one.map(|(_, count)| u128::from(count))).sum());
        if counts.is_some_and(|counts| counts != sum) {
            return Err(format!("{from} to {to} add up to {counts:?}, it got {sum}"));
        }
        let given = &own.given[at(from).min(own.given.len())..(at(to) + 1).min(own.given.len())];
        if given.iter().any(Option::is_some) {
            return Err(format!("{from} to {to} arrived alone and in a rollup"));
        }
    }
    let (given, summed) = own.counts();
    let span = if own.first == 0 { 0 } else { own.last + 1 - own.first };
    if given + summed + missing != span {
        return Err(format!("of {span}, {given} arrived alone, {summed} in rollups, {missing} were reported missing"));
    }
    Ok(())
}
