//! Hours of what a relay has to live with: 2,000 frames a second of workers that come, go, are renamed, stall and have wrong
//! clocks; viewers that stay, come and go, and read slowly. Every frame must be accounted for, every rate must be the one that
//! was sent, and nothing may grow.
//!
//! `reliability soak --minutes N [--seed N] [--browser] [-- WORDS…]`; the words go to `joey serve`, such as smaller limits,
//! which are then reached within the run. Each minute the producers stop for a moment, and the books must balance.

#[cfg(feature = "browser")]
#[path = "soak/page.rs"]
mod page;
#[path = "soak/rates.rs"]
mod rates;
#[path = "soak/samples.rs"]
mod samples;
#[path = "soak/watchers.rs"]
mod watchers;
#[path = "soak/workers.rs"]
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use joey_tests::{PATIENCE, Relay, joey};
use parking_lot::Mutex;
use serde_json::Value;

use self::rates::Rates;
use self::samples::{Sample, descriptors, growth_per_hour};
use self::watchers::{Book, Eye, Habit, Watchers};
use self::workers::{APPS, Kind, Workers, app};
use crate::Figure;
use crate::usage::Usage;

/// How often producers look at what is due.
const BEAT: Duration = Duration::from_millis(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Viewers that come and go, and the most seconds that each stays or is away.
const VISITORS: [u64; 6] = [10, 20, 40, 60, 120, 400];

/// The longest window of a viewer in seconds. What nobody has sent for longer should be let go by the relay and by viewers.
const REACH_S: u64 = 3_600;
/// How long letting go may take after that.
const GRACE_S: u64 = 600;

/// How much memory may grow in an hour once the history is full, in MB: what two hours cannot tell from the noise of an allocator.
const GROWTH_MB_PER_HOUR: f64 = 6.0;

/// The reason under which the relay counts half frames.
const TRUNCATED: &str = "truncated";

/// The seconds of `joey stats` that are looked at.
const STATS_S: u64 = 60;

/// What is asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    minutes: u64,
    seed: u64,
    has_browser: bool,
    relay: Vec<String>,
}

impl Wanted {
    /// Reads the words behind `soak`.
    pub(crate) fn read(words: &[String]) -> Result<Self, String> {
        let mut wanted = Self { minutes: 120, seed: 1, has_browser: false, relay: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|&number: &u64| number > 0);
                number.ok_or_else(|| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--minutes" => wanted.minutes = number()?,
                "--seed" => wanted.seed = number()?,
                "--browser" if cfg!(feature = "browser") => wanted.has_browser = true,
                "--browser" => return Err("built without what drives a browser".to_owned()),
                "--" => wanted.relay.extend(words.by_ref().cloned()),
                _ => return Err(format!("soak knows no {word}")),
            }
        }
        Ok(wanted)
    }

    /// How long the relay's history takes until it is full: what the command line says, or what the relay does by itself.
    fn fills_after(&self) -> Duration {
        let said = |flag: &str, usual: u64| {
            let at = self.relay.iter().position(|word| word == flag);
            at.and_then(|at| self.relay.get(at + 1)?.parse().ok()).unwrap_or(usual)
        };
        Duration::from_secs(said("--ring-secs", 300).max(said("--sum-secs", 3_600)) + 120)
    }
}

/// What was not as it should be, by what it is about: how often, and what the first time.
#[derive(Debug, Default)]
struct Faults {
    found: BTreeMap<&'static str, (u64, String)>,
}

impl Faults {
    fn note(&mut self, what: &'static str, words: String) {
        let (times, _) = self.found.entry(what).or_insert_with(|| {
            println!("!! {what}: {words}");
            (0, words)
        });
        *times += 1;
    }

    fn figure(&self, what: &'static str) -> Figure {
        let times = self.found.get(what).map_or(0, |(times, _)| *times);
        Figure::holds(what, if times == 0 { "yes".to_owned() } else { format!("no, {times} times") }, times == 0)
    }
}

const BALANCE: &str = "each minute: sent is accepted or refused, by the relay";
const SAME: &str = "each minute: the viewer got what was sent, each once";
const TOTALS: &str = "each minute: totals are the sums of their workers";
const STATS: &str = "each minute: joey stats shows the even rates";
const VISITED: &str = "viewers that come and go, or are slow: all, each once";

/// Runs for as long as is wanted.
pub(crate) fn figures(wanted: &Wanted) -> Vec<Figure> {
    let words: Vec<&str> = wanted.relay.iter().map(String::as_str).collect();
    println!("{} minutes, seed {}, joey serve {}", wanted.minutes, wanted.seed, words.join(" "));
    let relay = Relay::start_with(&words);
    let mut soak = Soak::new(&relay, wanted);
    soak.run(Duration::from_secs(60 * wanted.minutes));
    soak.finish(wanted)
}

struct Soak<'a> {
    relay: &'a Relay,
    workers: Workers,
    watchers: Watchers,
    /// The viewer that stays.
    main: Arc<Mutex<Eye>>,
    /// The others, with what they watch.
    others: Vec<(Habit, usize, Arc<Mutex<Eye>>)>,
    rates: Rates,
    faults: Faults,
    samples: Vec<Sample>,
    /// Of the viewer that stays: views, and names of series.
    known: (usize, usize),
    idle_descriptors: usize,
    begin: Usage,
    #[cfg(feature = "browser")]
    page: Option<page::Page>,
    #[cfg(feature = "browser")]
    weights: Vec<(Duration, page::Weight)>,
}

impl<'a> Soak<'a> {
    fn new(relay: &'a Relay, wanted: &Wanted) -> Self {
        let idle_descriptors = descriptors(relay);
        let mut workers = Workers::new(relay.ingest, wanted.seed);
        let watchers = Watchers::new(relay.http);
        let all: Vec<String> = (0..APPS).map(app).collect();
        let main = watchers.start(Habit::Stays, &all, REACH_S);
        let visitor = |(at, &longest_s): (usize, &u64)| (Habit::Comes(longest_s), at % APPS);
        let habits = VISITORS.iter().enumerate().map(visitor).chain([(Habit::Slow, 0)]);
        let others = habits.map(|(habit, at)| (habit, at, watchers.start(habit, &[app(at)], 300))).collect();
        let rates = Rates::new(&workers, APPS);
        workers.work();
        #[cfg(feature = "browser")]
        let page = wanted.has_browser.then(|| page::Page::open(relay, &app(0)));
        Self {
            relay,
            workers,
            watchers,
            main,
            others,
            rates,
            faults: Faults::default(),
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
            let beat = Instant::now();
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
            std::thread::sleep(BEAT.saturating_sub(beat.elapsed()));
        }
    }

    /// While nobody sends: the books of the relay and of the viewer that stays must balance.
    fn check(&mut self) {
        let refused = self.check_relay();
        self.check_main(refused);
        let mut eye = self.main.lock();
        self.rates.judge(&mut eye, &self.workers);
        check_totals(&mut eye, &mut self.faults);
        let stores = (0..APPS).filter_map(|at| eye.viewer.app(&app(at)));
        let views = stores.map(|store| store.views().len()).sum();
        self.known = (views, (0..APPS).map(|at| eye.viewer.series(&app(at)).count()).sum());
        drop(eye);
        self.check_stats();
        #[cfg(feature = "browser")]
        if let Some(page) = &self.page {
            self.weights.push((self.workers.elapsed(), page.weight()));
            if !page.draws() {
                self.faults.note(PAGE, "it draws nothing".to_owned());
            }
            for complaint in page.complaints() {
                self.faults.note(PAGE, complaint);
            }
        }
    }

    /// Everything that was sent is accepted or refused; gives how much of it is refused.
    fn check_relay(&mut self) -> u64 {
        let (sent, cut) = (self.workers.sent_in_all(), self.workers.cut);
        let start = Instant::now();
        loop {
            let (accepted, refused) = self.counted();
            if accepted + refused == sent && self.relay.rejected(TRUNCATED) == cut {
                return refused;
            }
            if accepted + refused > sent || start.elapsed() > PATIENCE {
                let truncated = self.relay.rejected(TRUNCATED);
                let words =
                    format!("{sent} sent, {accepted} accepted, {refused} refused; {cut} cut, {truncated} truncated");
                self.faults.note(BALANCE, words);
                return refused;
            }
            std::thread::sleep(BEAT);
        }
    }

    /// Whole frames that the relay accepted and refused.
    fn counted(&self) -> (u64, u64) {
        let (accepted, refused) = self.relay.counted();
        (accepted, refused.saturating_sub(self.relay.rejected(TRUNCATED)))
    }

    /// What the viewer got is what was sent: by itself, or added up with others, or named as missing, or refused by the relay.
    fn check_main(&mut self, refused: u64) {
        let sent = self.workers.sent_in_all();
        let start = Instant::now();
        let is_all = |eye: &Eye| {
            let came: u64 = eye.books.values().map(Book::came).map(|(given, summed)| given + summed).sum();
            came + eye.viewer.missing() + refused >= sent
        };
        while !is_all(&self.main.lock()) && start.elapsed() < PATIENCE {
            std::thread::sleep(BEAT);
        }
        let eye = self.main.lock();
        let (mut open, mut summed) = (0, 0);
        for (at, sent) in self.workers.sent.iter().enumerate() {
            let none = Book::default();
            let book = eye.books.get(&app(at)).unwrap_or(&none);
            let mut is_there = vec![false; sent.len()];
            for &(number, count) in book.given.iter().flatten() {
                let index = usize::try_from(number).expect("numbers fit");
                if sent.get(index) != Some(&count) {
                    self.faults.note(SAME, format!("{}: {number} has {count}, not {:?}", app(at), sent.get(index)));
                } else if std::mem::replace(&mut is_there[index], true) {
                    self.faults.note(SAME, format!("{}: {number} came twice", app(at)));
                }
            }
            if book.wrong > 0 {
                self.faults
                    .note(SAME, format!("{}: {} came under the same stamp, or without a number", app(at), book.wrong));
            }
            open += is_there.iter().filter(|is_there| !**is_there).count() as u64;
            summed += book.came().1;
        }
        let (missing, unreadable) = (eye.viewer.missing(), eye.viewer.malformed());
        if open != summed + missing + refused {
            let words =
                format!("{open} did not come; {summed} came added up, {missing} are missing, {refused} refused");
            self.faults.note(SAME, words);
        }
        if unreadable > 0 {
            self.faults.note(SAME, format!("{unreadable} messages make no sense"));
        }
    }

    /// What `joey stats` says of one application's healthy workers.
    fn check_stats(&mut self) {
        if self.workers.elapsed() < Duration::from_secs(2 * STATS_S) {
            return;
        }
        let name = app(usize::try_from(self.workers.elapsed().as_secs() / 60).unwrap_or(0) % APPS);
        let (address, window) = (self.relay.http.to_string(), format!("{STATS_S}s"));
        let done = joey(&["stats", &name, "--json", "--once", "--relay", &address, "--window", &window]);
        let Ok(stats) = serde_json::from_str::<Value>(&done.out) else {
            return self.faults.note(STATS, format!("{} with {}: {}", name, done.code, done.err));
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
                self.faults.note(STATS, format!("{id:?}: {median:?} instead of {}", expected.rate));
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

    fn finish(mut self, wanted: &Wanted) -> Vec<Figure> {
        let end = Usage::of(self.relay);
        let secs = self.workers.elapsed().as_secs_f64();
        self.watchers.gather();
        self.workers.leave();
        self.check();
        self.report();
        self.check_others();
        let (accepted, refused) = self.counted();
        let Self { relay, workers, main, rates, faults, samples, .. } = &self;
        let (given, summed) = {
            let eye = main.lock();
            eye.books.values().map(Book::came).fold((0, 0), |sum, came| (sum.0 + came.0, sum.1 + came.1))
        };
        let (missing, late) = {
            let eye = main.lock();
            let late: u64 = (0..APPS).filter_map(|at| eye.viewer.app(&app(at))).map(|store| store.late()).sum();
            (eye.viewer.missing(), late)
        };
        let (sent, panics) = (workers.sent_in_all(), relay.metric("joey_task_panics_total"));
        let reach = Duration::from_secs(REACH_S + GRACE_S);
        let (series, most) = (relay.metric("joey_series"), workers.series_within(reach));
        // Each series has a view of its own, and most of them one that it shares.
        let views_most = usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(2);
        let mut figures = vec![
            Figure::known("minutes", wanted.minutes),
            Figure::known("frames sent, each second", format!("{sent}, {:.0}", sent as f64 / secs)),
            Figure::known("workers at once, names in all", format!("{}, {}", workers.len(), workers.names)),
            Figure::known("series in all, steps of clocks", format!("{}, {}", workers.series, workers.steps_in_all())),
            Figure::known("accepted, refused by the relay", format!("{accepted}, {refused}")),
            Figure::known("frames cut off in the middle", workers.cut),
            Figure::known("came alone, added up, named missing", format!("{given}, {summed}, {missing}")),
            faults.figure(BALANCE),
            faults.figure(SAME),
            faults.figure(TOTALS),
            faults.figure(STATS),
            faults.figure(VISITED),
            Figure::holds("refused by a limit or as malformed", refused, refused == 0),
            Figure::holds("missing at the viewer that stays", missing, missing == 0),
            Figure::holds("late for its windows of an hour", late, late == 0),
            Figure::known("late for the ring, by the relay", relay.metric("joey_frames_late_total")),
            Figure::holds("connections of producers that the relay ended", workers.broken, workers.broken == 0),
            Figure::holds("panics", panics, panics == 0),
        ];
        figures.extend(rate_figures(rates));
        figures.push(Figure::holds(
            "histograms of idle series, and those not in their place",
            format!("{}, {}", rates.idle.0, rates.idle.1),
            rates.idle.1 == 0,
        ));
        figures.extend([
            Figure::holds("series at the relay, of how many in reach", format!("{series}, {most}"), series <= most),
            Figure::holds(
                "views at the viewer, names that it knows",
                format!("{}, {}", self.known.0, self.known.1),
                self.known.0 <= views_most,
            ),
        ]);
        figures.extend(memory_figures(samples, wanted));
        figures.push(Figure::known("share of a core", format!("{:.2}", end.cores_since(&self.begin))));
        #[cfg(feature = "browser")]
        figures.extend(self.page_figures());
        figures.push(self.descriptors_left());
        figures
    }

    /// The other viewers got what the one that stays got.
    fn check_others(&mut self) {
        let start = Instant::now();
        // Nothing is locked for long while they still read: whoever waits for a lock holds up a thread that others need.
        let is_behind = |(_, at, other): &(Habit, usize, Arc<Mutex<Eye>>)| {
            let last = self.main.lock().last(&app(*at));
            other.lock().last(&app(*at)) < last
        };
        while self.others.iter().any(is_behind) && start.elapsed() < PATIENCE {
            std::thread::sleep(BEAT);
        }
        let eye = self.main.lock();
        for (habit, at, other) in &self.others {
            let name = app(*at);
            let other = other.lock();
            let none = Book::default();
            let (all, book) = (eye.books.get(&name).unwrap_or(&none), other.books.get(&name).unwrap_or(&none));
            if let Err(words) = compare(all, book, other.viewer.missing()) {
                self.faults.note(VISITED, format!("{habit:?}, {} connections: {words}", other.connections));
            }
        }
    }

    /// Descriptors that are still open when everybody has gone.
    fn descriptors_left(self) -> Figure {
        let Self { relay, watchers, idle_descriptors, .. } = self;
        drop(watchers);
        #[cfg(feature = "browser")]
        drop(self.page);
        let left = || descriptors(relay).saturating_sub(idle_descriptors);
        let start = Instant::now();
        while left() > 0 && start.elapsed() < PATIENCE {
            std::thread::sleep(BEAT);
        }
        Figure::holds("descriptors left over when all have gone", left(), left() == 0)
    }

    #[cfg(feature = "browser")]
    fn page_figures(&self) -> Vec<Figure> {
        if self.page.is_none() {
            return Vec::new();
        }
        let half = self.weights.len() / 2;
        let last = self.weights.last().map_or_else(page::Weight::default, |(_, weight)| *weight);
        let growth = |of: fn(&page::Weight) -> f64| {
            let points = self.weights[half..].iter().map(|(at, weight)| (*at, of(weight)));
            growth_per_hour(points).unwrap_or(f64::NAN)
        };
        vec![
            Figure::known("heap of the page, growth an hour", {
                format!("{:.1} MB, {:.1} MB", last.heap_mb, growth(|weight| weight.heap_mb))
            }),
            Figure::known("nodes of the page, growth an hour", {
                format!("{:.0}, {:.0}", last.nodes, growth(|weight| weight.nodes))
            }),
            Figure::known("memory of its process, growth an hour", {
                format!("{:.0} MB, {:.1} MB", last.process_mb, growth(|weight| weight.process_mb))
            }),
            self.faults.figure(PAGE),
        ]
    }
}

#[cfg(feature = "browser")]
const PAGE: &str = "the page draws, without an error on its console";

/// Totals are the sums of their parts, in the window of an hour.
fn check_totals(eye: &mut Eye, faults: &mut Faults) {
    for at in 0..APPS {
        let Some(store) = eye.viewer.app_mut(&app(at)) else { continue };
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
            faults.note(TOTALS, format!("{}, {name}: {total}, of parts {:?}", app(at), parts.get(name)));
        }
    }
}

/// Whether a viewer that came later, and was away, got what one got that was there all the time.
fn compare(all: &Book, own: &Book, missing: u64) -> Result<(), String> {
    if own.wrong > 0 {
        return Err(format!("{} came twice, or without a number", own.wrong));
    }
    if own.last != all.last {
        return Err(format!("it came to {}, of {}", own.last, all.last));
    }
    let at = |seq: u64| usize::try_from(seq).expect("a place fits");
    let other = own.given.iter().zip(&all.given).position(|(own, all)| own.is_some() && all.is_some() && own != all);
    if let Some(other) = other {
        return Err(format!("place {other} has other contents"));
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
            return Err(format!("{from} to {to} came alone and added up"));
        }
    }
    let (given, summed) = own.came();
    let span = if own.first == 0 { 0 } else { own.last + 1 - own.first };
    if given + summed + missing != span {
        return Err(format!("of {span}, {given} came alone, {summed} added up, {missing} are named as missing"));
    }
    Ok(())
}

fn rate_figures(rates: &Rates) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (what, kind) in [
        ("healthy", "healthy"),
        ("reconnecting", "reconnecting"),
        ("ahead", "ahead"),
        ("behind", "behind"),
        ("drifting", "drifting"),
        ("stepping", "stepping"),
        ("stalling", "stalling"),
    ] {
        let none = rates::Judged::default();
        let judged = rates.judged.get(kind).unwrap_or(&none);
        if let Some(first) = &judged.first {
            println!("!! rate of a worker, {what}: {first}");
        }
        let [least, median, most] = judged.deviations();
        let name = match what {
            "healthy" => "healthy: seconds of rates judged, shifted, wrong",
            "reconnecting" => "reconnecting: the same",
            "ahead" => "clock ahead: the same",
            "behind" => "clock behind: the same",
            "drifting" => "clock drifts: the same",
            "stepping" => "clock steps: the same",
            _ => "stalls and bursts: the same",
        };
        let value = format!("{}, {}, {}", judged.seconds(), judged.shifted, judged.off.len());
        figures.push(Figure::holds(name, value, judged.off.is_empty()));
        figures.push(Figure::known("  off by, least, median, most", format!("{least:.1}, {median:.1}, {most:.1} %")));
    }
    figures
}

fn memory_figures(samples: &[Sample], wanted: &Wanted) -> Vec<Figure> {
    let end = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let from = wanted.fills_after().max(end / 2);
    let points = |from: Duration| samples.iter().filter(move |sample| sample.at >= from);
    let memory = |from: Duration| growth_per_hour(points(from).map(|sample| (sample.at, sample.usage.rss_mb)));
    let rss = |sample: &Sample| format!("{:.1} MB, {:.1} MB", sample.usage.rss_mb, sample.usage.rss_max_mb);
    let growth = "growth of memory in an hour, once history is full";
    let flat = match memory(from) {
        // A line through less than ten minutes says nothing.
        Some(mb) if end.saturating_sub(from) >= Duration::from_secs(600) => {
            Figure::at_most(growth, mb, GROWTH_MB_PER_HOUR, "MB")
        }
        _ => Figure::known(growth, "too short a run"),
    };
    vec![
        Figure::known("memory at the end, at most", samples.last().map_or_else(String::new, rss)),
        Figure::known("growth of memory in an hour, second half", {
            format!("{:.1} MB", memory(end / 2).unwrap_or(f64::NAN))
        }),
        flat,
        Figure::known("descriptors, at most", samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0)),
    ]
}
