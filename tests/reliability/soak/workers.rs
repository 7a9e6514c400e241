//! The workers of a soak: 2,000 frames per second from workers that are healthy, connect and disconnect, are renamed,
//! stall, or have clocks that are ahead, behind, drift or step.
//!
//! A worker sends one frame for each of its series and each period of its own clock, always with the same count, so
//! that its rate is constant whatever its clock does. The minimum of a frame is its number within the application,
//! which identifies it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use joey_shared::series::SeriesKey;
use joey_shared::view::ViewKey;
use joey_tests::{Frame, Producer, S, now_ns};

/// Number of applications.
pub(crate) const APPS: usize = 4;

/// The minimum of frame number 0, in ns. The difference to it is the frame's number.
pub(crate) const NUMBER_BASE_NS: u64 = 1 << 31;

/// The bins of each frame: the one of its number, and another.
const BINS: [usize; 2] = [32, 34];

/// Maximum distance between the edge of a period and the sending of its frame, in either direction.
const JITTER_NS: u64 = 40_000_000;

/// How long a worker keeps its name, and how long a restless one keeps its connection.
const NAME_LASTS: Duration = Duration::from_secs(15);
const CONNECTION_LASTS: Duration = Duration::from_secs(20);

/// Delay of the frame of an idle series, in seconds.
const IDLE_S: std::ops::RangeInclusive<u64> = 60..=150;
/// Its maximum.
pub(crate) const IDLE_S_MAX: u64 = *IDLE_S.end();
/// Interval between such frames.
const IDLE_EVERY: Duration = Duration::from_secs(20);

/// How a worker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Well-behaved.
    Healthy,
    /// Its connection ends, often in the middle of a frame, and it reconnects at once.
    Restless,
    /// Its clock is wrong by this many seconds.
    Off(i64),
    /// Its clock gains this many ns in each ms.
    Drifting(i64),
    /// Its clock steps by seconds or minutes, forward or back.
    Stepping,
    /// It sends nothing for up to 20 s, then everything at once; its clock is wrong by this many seconds.
    Stalling(i64),
    /// It disconnects and reconnects under a new name.
    Renamed,
}

/// The workers of each application: kind, number of workers, series of each, and period in seconds. Together they send
/// 500 frames per second.
const WORKERS: [(Kind, usize, usize, u64); 17] = [
    (Kind::Healthy, 6, 25, 1),
    (Kind::Healthy, 4, 20, 2),
    (Kind::Restless, 2, 20, 1),
    (Kind::Off(30), 1, 25, 1),
    (Kind::Off(3_600), 1, 10, 1),
    (Kind::Off(-30), 1, 25, 1),
    (Kind::Off(-3_600), 1, 10, 1),
    (Kind::Drifting(200), 1, 20, 1),
    (Kind::Drifting(-1_000), 1, 20, 1),
    (Kind::Drifting(10_000), 1, 20, 1),
    (Kind::Drifting(-10_000), 1, 20, 1),
    (Kind::Drifting(5_000), 1, 20, 2),
    (Kind::Stepping, 2, 15, 1),
    (Kind::Stalling(0), 1, 15, 1),
    (Kind::Stalling(45), 1, 20, 1),
    (Kind::Stalling(-45), 1, 15, 1),
    (Kind::Renamed, 6, 5, 1),
];

/// The offsets of a stepping clock in seconds, chosen at random.
const STEPS_S: [i64; 8] = [0, 5, -5, 30, -30, 600, -600, 0];

/// Name of an application.
pub(crate) fn app(at: usize) -> String {
    format!("App{at}")
}

/// One view of a worker that keeps its name, and what it must show.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) app: usize,
    pub(crate) kind: Kind,
    pub(crate) key: ViewKey,
    /// Events per second.
    pub(crate) rate: f64,
    pub(crate) period_s: u64,
    /// Index of the worker for [`Workers::steps`].
    pub(crate) worker: usize,
}

/// A frame of an idle series: application, second in which its period ended, and count.
pub(crate) type Idle = (usize, u64, u64);

/// All workers, and what they have sent.
#[derive(Debug)]
pub(crate) struct Workers {
    ingest: SocketAddr,
    start: Instant,
    start_ns: u64,
    rng: Rng,
    workers: Vec<Worker>,
    /// The count of each frame of each application, by its number.
    pub(crate) sent: Vec<Vec<u32>>,
    /// Number of connections that the relay closed.
    pub(crate) broken: u64,
    /// Number of connections that ended in the middle of a frame, which the relay rejects as truncated.
    pub(crate) cut: u64,
    /// Number of names and of series that were ever used.
    pub(crate) names: u64,
    pub(crate) series: u64,
    /// When each series of a renamed worker was created. It counts for an hour.
    begun: Vec<(Duration, u64)>,
    /// Frames of idle series.
    pub(crate) idle: Vec<Idle>,
    next_idle: Duration,
}

#[derive(Debug)]
struct Worker {
    app: usize,
    kind: Kind,
    name: String,
    /// One for each series, with names and counts.
    frames: Vec<Frame>,
    period_ns: u64,
    /// Time between the end of a period and the sending of its frame.
    phase_ns: u64,
    jitter_ns: u64,
    /// Current offset of a stepping clock, in ns.
    offset_ns: i64,
    /// End of the next period to send, by its own clock.
    next_end_ns: u64,
    producer: Option<Producer>,
    /// Time of its next action, which depends on its kind.
    next_action: Duration,
    /// End of its current stall.
    silent_until: Duration,
    /// When its clock stepped, in seconds since the Unix epoch.
    steps_s: Vec<u64>,
}

impl Workers {
    /// Workers that have not connected yet.
    pub(crate) fn new(ingest: SocketAddr, seed: u64) -> Self {
        let (start, start_ns) = (Instant::now(), now_ns());
        let mut all = Self {
            ingest,
            start,
            start_ns,
            rng: Rng::with_seed(seed),
            workers: Vec::new(),
            sent: vec![Vec::new(); APPS],
            broken: 0,
            cut: 0,
            names: 0,
            series: 0,
            begun: Vec::new(),
            idle: Vec::new(),
            next_idle: IDLE_EVERY,
        };
        for app_at in 0..APPS {
            for (kind, workers, series, period_s) in WORKERS {
                (0..workers).for_each(|_| all.add_worker(app_at, kind, series, period_s));
            }
        }
        all
    }

    fn add_worker(&mut self, app_at: usize, kind: Kind, series: usize, period_s: u64) {
        let period_ns = period_s * S;
        let number = self.workers.len();
        let name = format!("{}-{number}", label(kind));
        let offset_ns = match kind {
            Kind::Off(seconds) | Kind::Stalling(seconds) => seconds * S as i64,
            _ => 0,
        };
        let mut worker = Worker {
            app: app_at,
            kind,
            frames: (0..series).map(|at| frame(app_at, &name, number, at, period_ns)).collect(),
            name,
            period_ns,
            phase_ns: JITTER_NS + self.rng.u64(0..period_ns - 4 * JITTER_NS),
            jitter_ns: 0,
            offset_ns,
            next_end_ns: 0,
            producer: None,
            next_action: Duration::from_secs(self.rng.u64(5..30)),
            silent_until: Duration::ZERO,
            steps_s: Vec::new(),
        };
        worker.begin_period(self.start_ns, Duration::ZERO);
        (self.names, self.series) = (self.names + 1, self.series + series as u64);
        self.workers.push(worker);
    }

    /// Time since the workers started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The second since the Unix epoch in which the workers started.
    pub(crate) const fn begin_s(&self) -> u64 {
        self.start_ns / S
    }

    /// Number of frames sent in total.
    pub(crate) fn sent_in_all(&self) -> u64 {
        self.sent.iter().map(|sent| sent.len() as u64).sum()
    }

    /// Number of workers.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Number of series that sent something in the last `reach`.
    pub(crate) fn series_within(&self, reach: Duration) -> u64 {
        let since = self.elapsed().saturating_sub(reach + NAME_LASTS);
        let lasting: usize =
            self.workers.iter().filter(|worker| worker.kind != Kind::Renamed).map(|worker| worker.frames.len()).sum();
        let first: usize =
            self.workers.iter().filter(|worker| worker.kind == Kind::Renamed).map(|worker| worker.frames.len()).sum();
        let renamed: u64 = self.begun.iter().filter(|(at, _)| *at >= since).map(|(_, series)| series).sum();
        lasting as u64 + first as u64 + renamed + APPS as u64
    }

    /// Every view whose rate is known, of workers that keep their name.
    pub(crate) fn expected(&self) -> Vec<Expected> {
        let lasting = self.workers.iter().enumerate().filter(|(_, worker)| worker.kind != Kind::Renamed);
        let views = lasting.flat_map(|(at, worker)| {
            worker.frames.iter().map(move |frame| Expected {
                app: worker.app,
                kind: worker.kind,
                key: view_of(frame),
                rate: frame.count() as f64 * S as f64 / worker.period_ns as f64,
                period_s: worker.period_ns / S,
                worker: at,
            })
        });
        views.collect()
    }

    /// The view of an application's idle series.
    pub(crate) fn idle_view(&self, app_at: usize) -> ViewKey {
        view_of(&idle_frame(app_at, self.idle_worker(app_at), 0))
    }

    /// The worker of that series.
    fn idle_worker(&self, app_at: usize) -> &str {
        self.workers.iter().find(|worker| worker.app == app_at).map_or("", |worker| &worker.name)
    }

    /// When the clock of `worker` stepped, in seconds since the Unix epoch.
    pub(crate) fn steps(&self, worker: usize) -> &[u64] {
        &self.workers[worker].steps_s
    }

    /// Total number of clock steps.
    pub(crate) fn steps_in_all(&self) -> usize {
        self.workers.iter().map(|worker| worker.steps_s.len()).sum()
    }

    /// Sends what is due.
    pub(crate) fn work(&mut self) {
        for at in 0..self.workers.len() {
            let now = self.start.elapsed();
            // First what is due: a clock that steps right after a pause would skip the periods of the pause.
            self.send_due(at, now);
            if self.workers[at].next_action <= now {
                self.act(at, now);
            }
        }
        let now = self.start.elapsed();
        if self.next_idle <= now {
            self.next_idle = now + IDLE_EVERY;
            self.flush_idle(now);
        }
    }

    /// Performs the periodic action of this kind of worker.
    fn act(&mut self, at: usize, now: Duration) {
        let (rng, worker, ingest) = (&mut self.rng, &mut self.workers[at], self.ingest);
        match worker.kind {
            Kind::Healthy | Kind::Off(_) | Kind::Drifting(_) => worker.next_action = Duration::MAX,
            Kind::Restless => {
                self.cut += worker.disconnect(rng.bool());
                worker.next_action = now + CONNECTION_LASTS.mul_f64(0.5 + rng.f64());
            }
            Kind::Stepping => {
                worker.offset_ns = *rng.choice(&STEPS_S).unwrap_or(&0) * S as i64;
                worker.begin_period(self.start_ns, now);
                worker.steps_s.push((self.start_ns + nanos(now)) / S);
                worker.next_action = now + Duration::from_secs(rng.u64(60..150));
            }
            Kind::Stalling(_) => {
                worker.silent_until = now + Duration::from_secs(rng.u64(3..20));
                worker.next_action = worker.silent_until + Duration::from_secs(rng.u64(20..60));
            }
            Kind::Renamed => {
                self.cut += worker.disconnect(rng.bool());
                self.names += 1;
                self.series += worker.frames.len() as u64;
                self.begun.push((now, worker.frames.len() as u64));
                worker.name = format!("renamed-{}", self.names);
                let name = worker.name.clone();
                worker.frames.iter_mut().for_each(|frame| frame.worker.clone_from(&name));
                worker.next_action = now + NAME_LASTS.mul_f64(0.5 + rng.f64());
                worker.producer = Some(Producer::connect_and_join(ingest, &app(worker.app), &worker.name));
            }
        }
    }

    fn send_due(&mut self, at: usize, now: Duration) {
        let worker = &mut self.workers[at];
        if now < worker.silent_until {
            return;
        }
        let clock_ns = worker.clock_ns(self.start_ns, now);
        while worker.next_end_ns + worker.phase_ns + worker.jitter_ns <= clock_ns + JITTER_NS {
            let sent = &mut self.sent[worker.app];
            let mut bytes = Vec::new();
            for frame in &mut worker.frames {
                frame.end_ns = worker.next_end_ns;
                frame.min_ns = NUMBER_BASE_NS + sent.len() as u64;
                sent.push(u32::try_from(frame.count()).expect("counts are small"));
                bytes.extend(frame.encode());
            }
            let name = &worker.name;
            let producer =
                worker.producer.get_or_insert_with(|| Producer::connect_and_join(self.ingest, &app(worker.app), name));
            if !producer.try_write(&bytes) {
                self.broken += 1;
                worker.producer = None;
            }
            worker.next_end_ns += worker.period_ns;
            worker.jitter_ns = self.rng.u64(0..=2 * JITTER_NS);
        }
    }

    /// Sends a late histogram of a rarely used series of the first worker of each application.
    fn flush_idle(&mut self, now: Duration) {
        let now_s = (self.start_ns + nanos(now)) / S;
        for app_at in 0..APPS {
            let end_s = now_s - self.rng.u64(IDLE_S);
            let mut frame = idle_frame(app_at, self.idle_worker(app_at), end_s);
            let Some(worker) = self.workers.iter_mut().find(|worker| worker.app == app_at) else { continue };
            frame.min_ns = NUMBER_BASE_NS + self.sent[app_at].len() as u64;
            let Some(producer) = &mut worker.producer else { continue };
            let count = u32::try_from(frame.count()).expect("counts are small");
            self.sent[app_at].push(count);
            self.idle.push((app_at, frame.end_ns / S, count.into()));
            if !producer.try_write(&frame.encode()) {
                self.broken += 1;
                worker.producer = None;
            }
        }
    }

    /// Disconnects all workers once the relay has read what they sent.
    pub(crate) fn disconnect(&mut self) {
        self.cut += self.workers.iter_mut().map(|worker| worker.disconnect(false)).sum::<u64>();
    }
}

impl Worker {
    /// Current time of its own clock, in ns.
    fn clock_ns(&self, start_ns: u64, now: Duration) -> u64 {
        let gained_ns = match self.kind {
            Kind::Drifting(ns_per_ms) => i64::try_from(nanos(now) / 1_000_000).unwrap_or(0) * ns_per_ms,
            _ => 0,
        };
        (start_ns + nanos(now)).saturating_add_signed(self.offset_ns + gained_ns)
    }

    /// Starts a period: at the beginning, and when the clock has stepped.
    fn begin_period(&mut self, start_ns: u64, now: Duration) {
        self.next_end_ns = (self.clock_ns(start_ns, now) / self.period_ns + 1) * self.period_ns;
    }

    /// Disconnects once the relay has read everything; if `in_frame`, in the middle of one more frame. Returns the
    /// number of truncated frames.
    fn disconnect(&mut self, in_frame: bool) -> u64 {
        let Some(mut producer) = self.producer.take() else { return 0 };
        let bytes = self.frames[0].encode();
        let is_cut = in_frame && producer.try_write(&bytes[..bytes.len() / 2]);
        producer.finish();
        is_cut.into()
    }
}

fn label(kind: Kind) -> String {
    match kind {
        Kind::Healthy => "healthy".to_owned(),
        Kind::Restless => "restless".to_owned(),
        Kind::Off(seconds) => format!("off{seconds}s"),
        Kind::Drifting(ns_per_ms) => format!("drift{ns_per_ms}ppm"),
        Kind::Stepping => "stepping".to_owned(),
        Kind::Stalling(seconds) => format!("stalling{seconds}s"),
        Kind::Renamed => "renamed".to_owned(),
    }
}

/// A frame of series number `at` of a worker, from a category with a view for each worker, with its own count.
fn frame(app_at: usize, worker: &str, number: usize, at: usize, period_ns: u64) -> Frame {
    let category = ["node-ingress-egress", "start-to-end", "computation"][at.min(2)];
    let count = 3 + ((number * 31 + at * 17 + app_at * 7) % 97) as u64;
    let frame = Frame::new(&app(app_at), category, ["p", worker, &format!("n{at}")], 0).lasting(period_ns);
    frame.with_bins(&[(BINS[0], 2), (BINS[1], count - 2)], 0, (1 << BINS[1]) - 1)
}

fn idle_frame(app_at: usize, worker: &str, end_s: u64) -> Frame {
    let frame = Frame::new(&app(app_at), "computation", ["p", worker, "idle"], end_s).lasting(S);
    frame.with_bins(&[(BINS[0], 2), (BINS[1], end_s % 50)], 0, (1 << BINS[1]) - 1)
}

fn view_of(frame: &Frame) -> ViewKey {
    let [category, pipeline, worker, name] =
        [&frame.category, &frame.pipeline, &frame.worker, &frame.name].map(ToString::to_string);
    ViewKey::of_series(&SeriesKey { category, pipeline, worker, name }).0
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
