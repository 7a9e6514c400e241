//! Runs the relay's own code and the viewer's on a simulated network in simulated time. Producers and viewers connect
//! and disconnect, links hold, lose and delay data, and the relay crashes, all decided by one seed. In every case each
//! number of the relay's log reaches each viewer exactly once, or the viewer reports it missing.
//!
//! `JOEY_SEEDS` sets the number of seeds; `JOEY_SEED` runs the one seed that a failure named.

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

/// Number of seeds by default.
const SEEDS: u64 = 100;
/// The step in which simulated time advances.
const TICK: Duration = Duration::from_millis(100);
/// How long faults occur, and the maximum time to recover afterwards: a viewer notices a dead connection after 15 s,
/// the relay after 40 s.
const FAULT_PHASE: Duration = Duration::from_secs(60);
const RECOVERY_PHASE: Duration = Duration::from_secs(60);

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
    assert_eq!(seed, u64::MAX, "run again: JOEY_SEED={seed} cargo test -p joey-tests --test simulation");
    // Without faults the test would prove nothing.
    let [missing, sums, restarts] = [missing, sums, restarts].map(AtomicU64::into_inner);
    println!("{seeds} seeds: {missing} updates reported missing, {sums} rollups, {restarts} restarts");
    assert!(seeds < SEEDS || missing > 0 && sums > 0 && restarts > 0);
}

/// Runs one simulation from beginning to end.
fn run(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(rng.u64(2..300)))
        .tcp_capacity(rng.usize(32..96))
        .enable_random_order()
        .simulation_duration(FAULT_PHASE + RECOVERY_PHASE + RECOVERY_PHASE)
        .build();
    let world = World::new(seed, &mut rng);
    world.populate(&mut sim);
    while sim.elapsed() < FAULT_PHASE {
        let faults: Vec<Fault> = (0..rng.u8(1..4)).map(|_| Fault::any(&mut rng)).collect();
        let until = sim.elapsed() + Duration::from_millis(rng.u64(100..30_000));
        faults.iter().for_each(|fault| fault.begin(&mut sim));
        run_until(&mut sim, until.min(FAULT_PHASE));
        faults.iter().for_each(|fault| fault.end(&mut sim));
        let until = sim.elapsed() + Duration::from_millis(rng.u64(0..8_000));
        run_until(&mut sim, until);
    }
    world.shared.is_recovery.set(true);
    let until = sim.elapsed() + RECOVERY_PHASE;
    run_until(&mut sim, until);
    check(&world);
    world
}

fn run_until(sim: &mut Sim<'_>, until: Duration) {
    while sim.elapsed() < until {
        sim.step().expect("no host fails");
    }
}

/// A fault that lasts for a while.
#[derive(Debug)]
enum Fault {
    /// No fault.
    None,
    /// Packets between the relay and a host are lost, in both directions or in one.
    Partition(&'static str),
    Deaf(&'static str),
    Mute(&'static str),
    /// Packets are held and arrive later.
    Hold(&'static str),
    /// Packets take long.
    Slow(&'static str, Duration),
    /// The relay crashes and restarts with empty memory.
    Crash,
}

impl Fault {
    fn any(rng: &mut Rng) -> Self {
        let hosts = [&PRODUCERS[..], &VIEWERS[..]].concat();
        let host = hosts[rng.usize(..hosts.len())];
        match rng.u8(..12) {
            0 => Self::None,
            1 => Self::Deaf(host),
            2 => Self::Mute(host),
            3 => Self::Partition(host),
            4..7 => Self::Hold(host),
            7..11 => Self::Slow(host, Duration::from_millis(rng.u64(500..5_000))),
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

/// Compares what every viewer received with what the relays cut.
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
            // A viewer of several topics receives a restart notice for each of them.
            assert_eq!(seen.unknown_gaps, seen.restarts, "{name}: a restart is a gap of unknown size");
        }
        let (epoch, log) = (logs.len() as u64, logs.last().expect("there was a relay"));
        assert_eq!(log.hub.counters().frames_accepted.get(), log.numbers.len() as u64, "every accepted update was cut");
        let began = *seen.began.get(&epoch).unwrap_or_else(|| panic!("{name} has not reconnected"));
        let passes = |frame: u64| name != &"part" || category(frame) == "computation";
        let wanted = log.numbers.range(began..).filter(|(_, cut)| passes(cut.frame)).count() as u64;
        let got = seen.got.get(&epoch).map_or(0, |got| got.range(began..).count()) as u64;
        let missing = seen.missing.get(&epoch).copied().unwrap_or(0);
        let all = format!("{name}: {got} of {wanted} arrived, {missing} were reported missing");
        if name == &"whole" {
            assert_eq!(got + missing, wanted, "{all}");
        } else {
            // A gap also counts updates that the filter would exclude, and each topic has its own gaps.
            assert!(got <= wanted && got + missing >= wanted, "{all}");
        }
    }
}
