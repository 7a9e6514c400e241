//! Cost of sharing over NATS for the origin and for a relay that forwards to viewers, and how long it takes to fill a
//! gap after a NATS outage of twenty seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use joey_tests::delivery::CheckedViewer;
use joey_tests::{Nats, Relay, Viewer, eventually};

use crate::Measurement;
use crate::fleet::Fleet;
use crate::load::{Load, app};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 5_000;
const APPS: usize = 10;
const VIEWERS: usize = 50;
const PHASE: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(20);

/// Counters of a relay at one point in time.
struct Snapshot {
    usage: Usage,
    accepted: u64,
    messages: u64,
    bytes: u64,
}

impl Snapshot {
    fn of(relay: &Relay, direction: &str) -> Self {
        Self {
            usage: Usage::of(relay),
            accepted: relay.metric("joey_frames_accepted_total"),
            messages: relay.metric(&format!("joey_cluster_{direction}_messages_total")),
            bytes: relay.metric(&format!("joey_cluster_{direction}_bytes_total")),
        }
    }

    /// Cores used since `before`.
    fn cores(&self, before: &Self) -> f64 {
        self.usage.cores_since(&before.usage)
    }
}

pub(crate) fn measurements() -> Vec<Measurement> {
    let mut nats = Nats::start();
    let arguments = ["--nats", &nats.url()];
    let relays = [Relay::start_with(&arguments), Relay::start_with(&arguments), Relay::start_with(&arguments)];
    let [origin, edge, further] = &relays;
    relays.iter().for_each(|relay| relay.wait_for_relays(3));
    let phase = || {
        let before = (Snapshot::of(origin, "sent"), Snapshot::of(edge, "received"));
        std::thread::sleep(PHASE);
        (before, (Snapshot::of(origin, "sent"), Snapshot::of(edge, "received")))
    };
    let seconds = PHASE.as_secs_f64();
    let idle = phase();
    let load = Load::start(origin, APPS, FRAMES_PER_SEC);
    eventually("every application exists", || (origin.metric("joey_apps") == APPS as u64).then_some(()));
    let unwatched = phase();
    let fleet = Fleet::start(edge.http, VIEWERS, APPS, &load.clock);
    eventually("viewers are connected", || (edge.metric("joey_viewers") == VIEWERS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    let watched = phase();
    let readers: Vec<_> = (0..APPS).map(|at| read(edge, &app(at))).collect();
    let more = Fleet::start(further.http, VIEWERS, APPS, &load.clock);
    eventually("viewers are connected", || (further.metric("joey_viewers") == VIEWERS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    let twice = phase();
    // From here on only the readers that record their progress remain, so that the relays are measured and not the
    // viewers.
    more.finish();
    fleet.finish();

    let memory = Usage::of(origin).rss_mb;
    nats.kill();
    std::thread::sleep(OUTAGE);
    let grown = Usage::of(origin).rss_mb - memory;
    // Each application has one producer, and all have sent the same number of frames.
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
        let (checked, progress) = thread.join().expect("viewers do not fail");
        checked.check(&numbers);
        exact += 1;
        missing += checked.delivery.missing(checked.epoch);
        let filled = progress.iter().find(|(_, reached)| *reached >= before_back).expect("it got this far");
        filled_s = filled_s.max(filled.0.saturating_duration_since(back).as_secs_f64());
    }

    let messages_per_s =
        |((a, _), (b, _)): &((Snapshot, Snapshot), (Snapshot, Snapshot))| (b.messages - a.messages) as f64 / seconds;
    let frames = (watched.1.0.accepted - watched.0.0.accepted) as f64;
    let per_frame = |bytes: u64| bytes as f64 / frames;
    let quiet = messages_per_s(&unwatched);
    vec![
        Measurement::info("messages per second of an idle relay", format!("{:.2}", messages_per_s(&idle))),
        Measurement::info("with ten applications without viewers", format!("{quiet:.2}")),
        Measurement::info(
            "with viewers at one relay, at two",
            format!("{:.1}, {:.1}", messages_per_s(&watched), messages_per_s(&twice)),
        ),
        Measurement::info("bytes to NATS per update", {
            format!("{:.1}", per_frame(watched.1.0.bytes - watched.0.0.bytes))
        }),
        Measurement::info("bytes from NATS per update, at each relay", {
            format!("{:.1}", per_frame(watched.1.1.bytes - watched.0.1.bytes))
        }),
        Measurement::info("cores of the origin: no viewers, at one relay, at two", {
            let cores = [&unwatched, &watched, &twice].map(|phase| phase.1.0.cores(&phase.0.0));
            format!("{:.3}, {:.3}, {:.3}", cores[0], cores[1], cores[2])
        }),
        Measurement::info("cores of the other relay: no viewers, fifty", {
            let cores = [&unwatched, &watched].map(|phase| phase.1.1.cores(&phase.0.1));
            format!("{:.3}, {:.3}", cores[0], cores[1])
        }),
        Measurement::at_most("memory growth of the origin while NATS is down", grown, 16.0, "MB"),
        Measurement::at_most("time to fill the gap of 20 s after NATS is back", filled_s, 3.0, "s"),
        Measurement::holds("viewers elsewhere that received every number once", exact, exact == APPS),
        Measurement::holds("missing updates", missing, missing == 0),
        Measurement::holds("panics", panics, panics == 0),
    ]
}

/// A viewer, and the sequence number that it had reached at each time.
pub(crate) type Progress = (CheckedViewer, Vec<(Instant, u64)>);

/// A viewer that is subscribed to the only log of `app` at `relay` until a sequence number that is set later.
pub(crate) fn read(relay: &Relay, app: &str) -> (Arc<AtomicU64>, JoinHandle<Progress>) {
    let epoch = Viewer::connect(relay).logs(app)[0];
    let mut checked = CheckedViewer::subscribe_log(app, epoch, Viewer::connect(relay));
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let own = until.clone();
    let work = move || {
        let mut progress = Vec::new();
        while checked.delivery.last_seq(epoch) < own.load(Relaxed) {
            checked.next_message();
            progress.push((Instant::now(), checked.delivery.last_seq(epoch)));
        }
        (checked, progress)
    };
    (until, std::thread::spawn(work))
}
