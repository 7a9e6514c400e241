//! The simulated applications: their workers, pipelines and steps, their rates and latencies, and their faults.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastrand::Rng;
use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{COMPUTATION, NODE_INGRESS_EGRESS, PIPELINE_INGESTION, Provenance, START_TO_END};

use super::emitter;
use super::latency_model::{Mode, count_only, sample};
use crate::data_point::DataPoint;

/// One producer process.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) app: &'static str,
    pub(super) name: &'static str,
    /// Length of a cycle in periods, and for how many of them this worker is present.
    presence: (u64, u64),
    pipelines: Vec<Pipeline>,
}

/// The part of a pipeline that runs on one worker.
#[derive(Clone, Debug)]
struct Pipeline {
    name: &'static str,
    /// Events per second on this worker.
    rate: f64,
    /// Number of outputs for each input.
    fan_out: f64,
    steps: Vec<Step>,
    /// Events per second that the sources on this worker ingest, for this worker and for the others.
    intake: Option<f64>,
}

#[derive(Clone, Debug)]
struct Step {
    name: &'static str,
    id: u16,
    modes: Vec<Mode>,
    /// Number of actors that run the step. Each reports its own histogram.
    actors: u64,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Stops for 14 s of every 150 s, then processes its backlog.
    Stalls,
    /// Ten times slower for 16 s of every 180 s.
    Spikes,
}

/// Length of the stall cycle in periods, and for how many of them the step stops.
const STALL: (u64, u64) = (75, 7);
/// Length of the spike cycle in periods, and how many of them are slow.
const SPIKE: (u64, u64) = (90, 8);

const US: f64 = 1_000.0;
const MS: f64 = 1_000_000.0;

const fn mode(share: f64, median_ns: f64, sigma: f64) -> Mode {
    Mode { share, median_ns, sigma }
}

fn step(name: &'static str, id: u16, actors: u64, modes: &[Mode], fault: Fault) -> Step {
    Step { name, id, modes: modes.to_vec(), actors, fault }
}

/// Every worker of every application.
pub(super) fn workers() -> Vec<Worker> {
    // The first worker has the sources and decodes events. The others receive their share over the network.
    let arrival = |has_source, actors, median_ns| {
        if has_source {
            step("Decode Time in TCP Source", 1, actors, &[mode(1.0, median_ns, 0.45)], Fault::None)
        } else {
            let network = [mode(1.0, 74.0 * US, 0.35)];
            step("Before receive on data channel (network time)", 1, 1, &network, Fault::None)
        }
    };
    let spread = |name, presence, share: f64, has_source: bool| Worker {
        app: "Market Spread",
        name,
        presence,
        pipelines: vec![
            Pipeline {
                name: "Orders",
                rate: 46_000.0 * share,
                fan_out: 0.12,
                intake: has_source.then_some(46_000.0),
                steps: vec![
                    arrival(has_source, 4, 310.0),
                    step(
                        "Check Order",
                        2,
                        3,
                        // A cache that mostly hits: two modes, three orders of magnitude apart.
                        &[mode(0.93, 2.6 * US, 0.4), mode(0.07, 1.9 * MS, 0.45)],
                        Fault::None,
                    ),
                    step("Settle", 3, 1, &[mode(1.0, 38.0 * US, 0.7)], Fault::Spikes),
                ],
            },
            Pipeline {
                name: "Market Data",
                rate: 128_000.0 * share,
                fan_out: 1.0,
                intake: has_source.then_some(128_000.0),
                steps: vec![
                    arrival(has_source, 4, 240.0),
                    step("Update Quote", 2, 3, &[mode(0.999, 1.1 * US, 0.5), mode(0.001, 0.4 * MS, 0.9)], Fault::None),
                ],
            },
        ],
    };
    let single = |app, pipelines| Worker { app, name: "initializer", presence: (1, 1), pipelines };
    vec![
        spread("initializer", (1, 1), 0.5, true),
        spread("worker2", (1, 1), 0.3, false),
        // Present for 100 s, absent for 40 s.
        spread("worker3", (70, 50), 0.2, false),
        single(
            "Word Count",
            vec![Pipeline {
                name: "Word Count",
                rate: 9_400.0,
                fan_out: 7.3,
                intake: Some(9_400.0),
                steps: vec![
                    step("Decode Time in Kafka Source", 1, 2, &[mode(1.0, 900.0, 0.5)], Fault::None),
                    step("Split Into Words", 2, 2, &[mode(1.0, 5.2 * US, 0.6)], Fault::None),
                    step("Count Word", 3, 3, &[mode(0.97, 700.0, 0.6), mode(0.03, 24.0 * US, 0.8)], Fault::Stalls),
                ],
            }],
        ),
        single(
            "Alerts",
            vec![Pipeline {
                name: "Alerts (windowed)",
                rate: 640.0,
                fan_out: 0.02,
                intake: Some(640.0),
                steps: vec![
                    step("Decode Time in TCP Source", 1, 1, &[mode(1.0, 420.0, 0.5)], Fault::None),
                    step("Check Transaction", 2, 1, &[mode(1.0, 96.0 * US, 1.1)], Fault::None),
                ],
            }],
        ),
    ]
}

impl Worker {
    /// Whether this worker runs in `period`.
    pub(super) const fn is_present(&self, period: u64) -> bool {
        period % self.presence.0 < self.presence.1
    }

    /// All frames of this worker for one period. Period number 0 begins at the Unix epoch, and each period takes `period_ns`.
    pub(super) fn frames(&self, period: u64, period_ns: u64) -> Vec<u8> {
        let mut frames = Vec::new();
        for pipeline in &self.pipelines {
            let mut rng = self.rng(pipeline.name, period);
            let load = load(period);
            let scale = load * (period_ns as f64 / 1e9) * (0.97 + 0.06 * rng.f64());
            let events = pipeline.rate * scale;
            let mut push = |category, name: &str, id, histogram: &Histogram| {
                frames.extend(emitter::metrics(&DataPoint {
                    app: self.app,
                    name,
                    category,
                    worker: self.name,
                    pipeline: pipeline.name,
                    id,
                    provenance: Provenance::default(),
                    histogram: histogram.clone(),
                    period_ns,
                    end_ns: period * period_ns,
                }));
            };
            if let Some(intake) = pipeline.intake {
                push(
                    PIPELINE_INGESTION,
                    &format!("{} source", pipeline.name),
                    0,
                    &count_only(intake * scale, &mut rng),
                );
            }
            let mut path = Vec::new();
            let mut done = events;
            for step in &pipeline.steps {
                let (throughput, slowdown) = step.fault.at(period);
                for _ in 0..step.actors {
                    let share = events * throughput / step.actors as f64;
                    push(
                        COMPUTATION,
                        step.name,
                        step.id,
                        &sample(Grid::WALLAROO, &step.modes, share, slowdown * load, &mut rng),
                    );
                }
                done *= throughput;
                path.extend(
                    step.modes
                        .iter()
                        .map(|mode| Mode { median_ns: mode.median_ns * slowdown * 1.4 + 6.0 * US, ..*mode }),
                );
            }
            // End to end, the slow modes of each step contribute once.
            let share: f64 = path.iter().map(|mode| mode.share).sum();
            path.iter_mut().for_each(|mode| mode.share /= share);
            push(NODE_INGRESS_EGRESS, self.name, 0, &sample(Grid::WALLAROO, &path, done, load, &mut rng));
            path.iter_mut().for_each(|mode| mode.median_ns = mode.median_ns * 1.6 + 40.0 * US);
            push(
                START_TO_END,
                pipeline.name,
                0,
                &sample(Grid::WALLAROO, &path, done * pipeline.fan_out, load, &mut rng),
            );
        }
        frames
    }

    /// A random number generator seeded by the worker, the pipeline and the period alone.
    fn rng(&self, pipeline: &str, period: u64) -> Rng {
        let mut hasher = DefaultHasher::new();
        (self.app, self.name, pipeline, period).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}

/// The load factor, around 1: a slow wave, a fast wave, and a periodic break.
fn load(period: u64) -> f64 {
    let at = |periods: f64| (period as f64 * std::f64::consts::TAU / periods).sin();
    1.0 + 0.18 * at(97.0) + 0.05 * at(11.0) - if period % 130 < 6 { 0.45 } else { 0.0 }
}

impl Fault {
    /// The throughput in `period` as a multiple of the usual one, and the slowdown of each event.
    const fn at(self, period: u64) -> (f64, f64) {
        match self {
            Self::Stalls if period % STALL.0 < STALL.1 => (0.0, 1.0),
            // The backlog is processed in the next two periods.
            Self::Stalls if period % STALL.0 < STALL.1 + 2 => (1.0 + STALL.1 as f64 / 2.0, 6.0),
            Self::Spikes if period % SPIKE.0 < SPIKE.1 => (1.0, 10.0),
            Self::None | Self::Stalls | Self::Spikes => (1.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_depend_on_the_time_alone() {
        for (a, b) in workers().iter().zip(workers()) {
            assert_eq!(a.frames(700_000_000, 2_000_000_000), b.frames(700_000_000, 2_000_000_000));
        }
    }
}
