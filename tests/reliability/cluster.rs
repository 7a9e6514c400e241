//! What sharing over NATS costs a relay that takes in and one that passes on, and how long a gap takes to fill after NATS was
//! away for twenty seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use joey_tests::ledger::Witness;
use joey_tests::{Nats, Relay, Viewer, eventually};

use crate::Figure;
use crate::fleet::Fleet;
use crate::load::{Load, app};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 5_000;
const APPS: usize = 10;
const VIEWERS: usize = 50;
const PHASE: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(20);

/// Counters of a relay at one moment.
struct Moment {
    usage: Usage,
    accepted: u64,
    messages: u64,
    bytes: u64,
}

impl Moment {
    fn of(relay: &Relay, way: &str) -> Self {
        Self {
            usage: Usage::of(relay),
            accepted: relay.metric("joey_frames_accepted_total"),
            messages: relay.metric(&format!("joey_cluster_{way}_messages_total")),
            bytes: relay.metric(&format!("joey_cluster_{way}_bytes_total")),
        }
    }

    /// Cores used since `before`.
    fn cores(&self, before: &Self) -> f64 {
        self.usage.cores_since(&before.usage)
    }
}

pub(crate) fn figures() -> Vec<Figure> {
    let mut nats = Nats::start();
    let words = ["--nats", &nats.url()];
    let relays = [Relay::start_with(&words), Relay::start_with(&words), Relay::start_with(&words)];
    let [origin, edge, further] = &relays;
    relays.iter().for_each(|relay| relay.knows(3));
    let phase = || {
        let before = (Moment::of(origin, "sent"), Moment::of(edge, "received"));
        std::thread::sleep(PHASE);
        (before, (Moment::of(origin, "sent"), Moment::of(edge, "received")))
    };
    let seconds = PHASE.as_secs_f64();
    let idle = phase();
    let load = Load::start(origin, APPS, FRAMES_PER_SEC);
    eventually("every application is there", || (origin.metric("joey_apps") == APPS as u64).then_some(()));
    let unwatched = phase();
    let fleet = Fleet::start(edge.http, VIEWERS, APPS, &load.clock);
    eventually("viewers are there", || (edge.metric("joey_viewers") == VIEWERS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    let watched = phase();
    let readers: Vec<_> = (0..APPS).map(|at| read(edge, &app(at))).collect();
    let more = Fleet::start(further.http, VIEWERS, APPS, &load.clock);
    eventually("viewers are there", || (further.metric("joey_viewers") == VIEWERS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    let twice = phase();
    // From here on nobody reads but those who say how far they are, so that it is the relays who are measured.
    more.finish();
    fleet.finish();

    let memory = Usage::of(origin).rss_mb;
    nats.kill();
    std::thread::sleep(OUTAGE);
    let grown = Usage::of(origin).rss_mb - memory;
    // Each application has one producer, which has sent as much as the others.
    let before_back = origin.metric("joey_frames_accepted_total") / APPS as u64;
    nats.restart();
    let back = Instant::now();
    std::thread::sleep(Duration::from_secs(8));
    let panics: u64 = relays.iter().map(|relay| relay.metric("joey_task_panics_total")).sum();
    let sent = load.finish();
    let mut filled_s: f64 = 0.0;
    let (mut exact, mut missing) = (0, 0);
    for (at, (until, thread)) in readers.into_iter().enumerate() {
        let numbers: Vec<u64> = sent[at][0].clone().collect();
        until.store(numbers.len() as u64, Relaxed);
        let (witness, progress) = thread.join().expect("viewers do not fail");
        witness.check(&numbers);
        exact += 1;
        missing += witness.ledger.missing(witness.epoch);
        let filled = progress.iter().find(|(_, reached)| *reached >= before_back).expect("it came so far");
        filled_s = filled_s.max(filled.0.saturating_duration_since(back).as_secs_f64());
    }

    let said = |((a, _), (b, _)): &((Moment, Moment), (Moment, Moment))| (b.messages - a.messages) as f64 / seconds;
    let frames = (watched.1.0.accepted - watched.0.0.accepted) as f64;
    let per_frame = |bytes: u64| bytes as f64 / frames;
    let quiet = said(&unwatched);
    vec![
        Figure::known("messages a second of a relay that has nothing", format!("{:.2}", said(&idle))),
        Figure::known("and of one with ten applications that nobody watches", format!("{quiet:.2}")),
        Figure::known("and watched by one relay, by two", format!("{:.1}, {:.1}", said(&watched), said(&twice))),
        Figure::known("bytes to NATS for each update, once", {
            format!("{:.1}", per_frame(watched.1.0.bytes - watched.0.0.bytes))
        }),
        Figure::known("bytes from NATS for each update, at each relay", {
            format!("{:.1}", per_frame(watched.1.1.bytes - watched.0.1.bytes))
        }),
        Figure::known("cores of the origin: unwatched, by one relay, by two", {
            let cores = [&unwatched, &watched, &twice].map(|phase| phase.1.0.cores(&phase.0.0));
            format!("{:.3}, {:.3}, {:.3}", cores[0], cores[1], cores[2])
        }),
        Figure::known("cores of the other relay: no viewers, fifty", {
            let cores = [&unwatched, &watched].map(|phase| phase.1.1.cores(&phase.0.1));
            format!("{:.3}, {:.3}", cores[0], cores[1])
        }),
        Figure::at_most("growth of the origin's memory while NATS is away", grown, 16.0, "MB"),
        Figure::at_most("the gap of 20 s is filled after NATS is back", filled_s, 3.0, "s"),
        Figure::holds("viewers elsewhere that got every number, once", exact, exact == APPS),
        Figure::holds("updates that were missing", missing, missing == 0),
        Figure::holds("panics", panics, panics == 0),
    ]
}

/// Somebody who reads, and when it had come how far.
pub(crate) type Progress = (Witness, Vec<(Instant, u64)>);

/// Somebody who follows the only log of `app` at `relay` until a number that is set later.
pub(crate) fn read(relay: &Relay, app: &str) -> (Arc<AtomicU64>, JoinHandle<Progress>) {
    let epoch = Viewer::connect(relay).logs(app)[0];
    let mut witness = Witness::of_log(app, epoch, Viewer::connect(relay));
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let own = until.clone();
    let work = move || {
        let mut progress = Vec::new();
        while witness.ledger.reached(epoch) < own.load(Relaxed) {
            witness.take();
            progress.push((Instant::now(), witness.ledger.reached(epoch)));
        }
        (witness, progress)
    };
    (until, std::thread::spawn(work))
}
