//! The relay's own code and the viewer's on a simulated network, in simulated time: producers and viewers come and go while
//! links hold, lose and delay what they carry and the relay crashes, all of it decided by one seed. Whatever happens, every
//! number of the relay's log has in the end reached each viewer exactly once, or the viewer says that it is missing.
//!
//! `JOEY_SEEDS` says how many seeds are tried; `JOEY_SEED` tries the one that a failure named.

#[path = "simulation/hosts.rs"]
mod hosts;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::{env, thread};

use fastrand::Rng;
use turmoil::Sim;

use self::hosts::{PRODUCERS, RELAY, VIEWERS, World, category};

/// Seeds tried when nobody says how many.
const SEEDS: u64 = 100;
/// The step in which simulated time advances.
const TICK: Duration = Duration::from_millis(100);
/// How long things go wrong, and how long at most everything then takes to come right: a viewer notices a dead connection
/// after 15 s, the relay after 40 s.
const TROUBLE: Duration = Duration::from_secs(60);
const PEACE: Duration = Duration::from_secs(60);

#[test]
fn every_number_is_delivered_once_or_reported_missing() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("JOEY_SEED") {
        run(seed);
        return;
    }
    let seeds = number("JOEY_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let (missing, sums, restarts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while failed.load(Relaxed) == u64::MAX {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(world) => {
                    let seen = world.seen.iter().map(|seen| seen.borrow());
                    seen.for_each(|seen| {
                        missing.fetch_add(seen.missing.values().sum(), Relaxed);
                        sums.fetch_add(seen.sums, Relaxed);
                        restarts.fetch_add(seen.restarts as u64, Relaxed);
                    });
                }
                Err(_) => _ = failed.fetch_min(seed, Relaxed),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    let seed = failed.into_inner();
    assert_eq!(seed, u64::MAX, "again: JOEY_SEED={seed} cargo test -p joey-tests --test simulation");
    // In a world without trouble all this would prove nothing.
    let [missing, sums, restarts] = [missing, sums, restarts].map(AtomicU64::into_inner);
    println!("{seeds} seeds: {missing} numbers reported missing, {sums} sums, {restarts} restarts");
    assert!(seeds < SEEDS || missing > 0 && sums > 0 && restarts > 0);
}

/// One simulation from beginning to end.
fn run(seed: u64) -> World {
    let mut chance = Rng::with_seed(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(chance.u64(2..300)))
        .tcp_capacity(chance.usize(32..96))
        .enable_random_order()
        .simulation_duration(TROUBLE + PEACE + PEACE)
        .build();
    let world = World::new(seed, &mut chance);
    world.populate(&mut sim);
    while sim.elapsed() < TROUBLE {
        let faults: Vec<Fault> = (0..chance.u8(1..4)).map(|_| Fault::any(&mut chance)).collect();
        let until = sim.elapsed() + Duration::from_millis(chance.u64(100..30_000));
        faults.iter().for_each(|fault| fault.begin(&mut sim));
        pass(&mut sim, until.min(TROUBLE));
        faults.iter().for_each(|fault| fault.end(&mut sim));
        let until = sim.elapsed() + Duration::from_millis(chance.u64(0..8_000));
        pass(&mut sim, until);
    }
    world.shared.is_peace.set(true);
    let until = sim.elapsed() + PEACE;
    pass(&mut sim, until);
    check(&world);
    world
}

fn pass(sim: &mut Sim<'_>, until: Duration) {
    while sim.elapsed() < until {
        sim.step().expect("no host fails");
    }
}

/// What goes wrong for a while.
#[derive(Debug)]
enum Fault {
    /// Nothing.
    None,
    /// What travels between the relay and a host is lost, in both directions or in one.
    Partition(&'static str),
    Deaf(&'static str),
    Mute(&'static str),
    /// It is held, and arrives later.
    Hold(&'static str),
    /// It takes long.
    Slow(&'static str, Duration),
    /// The relay dies and comes back with nothing.
    Crash,
}

impl Fault {
    fn any(chance: &mut Rng) -> Self {
        let hosts = [&PRODUCERS[..], &VIEWERS[..]].concat();
        let host = hosts[chance.usize(..hosts.len())];
        match chance.u8(..12) {
            0 => Self::None,
            1 => Self::Deaf(host),
            2 => Self::Mute(host),
            3 => Self::Partition(host),
            4..7 => Self::Hold(host),
            7..11 => Self::Slow(host, Duration::from_millis(chance.u64(500..5_000))),
            _ => Self::Crash,
        }
    }

    fn begin(&self, sim: &mut Sim<'_>) {
        match *self {
            Self::None => {}
            Self::Partition(host) => sim.partition(host, RELAY),
            Self::Deaf(host) => sim.partition_oneway(RELAY, host),
            Self::Mute(host) => sim.partition_oneway(host, RELAY),
            Self::Hold(host) => sim.hold(host, RELAY),
            Self::Slow(host, latency) => sim.set_link_latency(host, RELAY, latency),
            Self::Crash => sim.crash(RELAY),
        }
    }

    fn end(&self, sim: &mut Sim<'_>) {
        match *self {
            Self::None => {}
            Self::Partition(host) => sim.repair(host, RELAY),
            Self::Deaf(host) => sim.repair_oneway(RELAY, host),
            Self::Mute(host) => sim.repair_oneway(host, RELAY),
            Self::Hold(host) => sim.release(host, RELAY),
            Self::Slow(host, _) => sim.set_link_latency(host, RELAY, Duration::from_millis(10)),
            Self::Crash => sim.bounce(RELAY),
        }
    }
}

/// Compares what every viewer was told with what the relays had cut.
fn check(world: &World) {
    let logs = world.shared.logs.borrow();
    assert!(logs.iter().all(|log| log.hub.counters().task_panics.get() == 0), "no task panics");
    for (name, seen) in VIEWERS.iter().zip(&world.seen) {
        let seen = seen.borrow();
        for (&epoch, got) in &seen.got {
            let log = &logs[usize::try_from(epoch).expect("there were few") - 1];
            for (number, frame) in got {
                let cut = log.numbers.get(number).map(|cut| cut.frame);
                assert_eq!(cut, Some(*frame), "{name}: number {number} of relay {epoch}");
            }
        }
        if name != &"both" {
            // Whoever follows several topics is told of a restart for each of them.
            assert_eq!(seen.unknown_holes, seen.restarts, "{name}: a restart is a hole of unknown size");
        }
        let (epoch, log) = (logs.len() as u64, logs.last().expect("there was a relay"));
        assert_eq!(log.hub.counters().frames_accepted.get(), log.numbers.len() as u64, "what was taken was cut");
        let began = *seen.began.get(&epoch).unwrap_or_else(|| panic!("{name} has not come back"));
        let passes = |frame: u64| name != &"part" || category(frame) == "computation";
        let wanted = log.numbers.range(began..).filter(|(_, cut)| passes(cut.frame)).count() as u64;
        let got = seen.got.get(&epoch).map_or(0, |got| got.range(began..).count()) as u64;
        let missing = seen.missing.get(&epoch).copied().unwrap_or(0);
        let all = format!("{name}: {got} of {wanted} came, {missing} are said to be missing");
        if name == &"whole" {
            assert_eq!(got + missing, wanted, "{all}");
        } else {
            // A gap counts what would not have passed, too, and each topic has its own.
            assert!(got <= wanted && got + missing >= wanted, "{all}");
        }
    }
}
