//! Producers that send invalid bytes, and one that sends ever new names.

use std::net::TcpStream;
use std::time::Duration;

use joey_tests::{Frame, Relay, eventually};

use crate::Measurement;
use crate::fleet::{Fleet, Seen};
use crate::load::{Load, Sent};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 1_000;
/// Connections of garbage, a megabyte each.
const HOSTILE: usize = 100;
const MEGABYTE: usize = 1 << 20;

/// A relay with well-behaved producers of two applications and two viewers of each.
struct HealthyClients {
    relay: Relay,
    load: Load,
    fleet: Fleet,
    before: Usage,
}

impl HealthyClients {
    fn begin(arguments: &[&str]) -> Self {
        let relay = Relay::start_with(arguments);
        let load = Load::start(&relay, 2, FRAMES_PER_SEC);
        eventually("both applications exist", || (relay.metric("joey_apps") == 2).then_some(()));
        let fleet = Fleet::start(relay.http, 4, 2, &load.clock);
        std::thread::sleep(Duration::from_secs(3));
        let before = Usage::of(&relay);
        Self { relay, load, fleet, before }
    }

    /// Stops the well-behaved producers and viewers, and returns measurements of them and the relay.
    fn end(self, growth_mb: f64) -> (Relay, Vec<Measurement>) {
        let after = Usage::of(&self.relay);
        let sent = self.load.finish();
        std::thread::sleep(Duration::from_secs(1));
        let harmed = self.fleet.finish().iter().enumerate().filter(|(at, seen)| !is_exact(seen, &sent, at % 2)).count();
        let panics = self.relay.metric("joey_task_panics_total");
        let measurements = vec![
            Measurement::holds("honest viewers that missed anything or received wrong data", harmed, harmed == 0),
            Measurement::at_most(
                "peak memory growth of the relay",
                after.rss_max_mb - self.before.rss_mb,
                growth_mb,
                "MB",
            ),
            Measurement::info("share of a core", format!("{:.2}", after.cores_since(&self.before))),
            Measurement::holds("panics", panics, panics == 0),
        ];
        (self.relay, measurements)
    }
}

fn is_exact(seen: &Seen, sent: &Sent, app: usize) -> bool {
    let numbers = seen.numbers.values().next().map_or(&[][..], Vec::as_slice);
    seen.twice == 0 && seen.missing == 0 && sent[app].len() == 1 && numbers.iter().copied().eq(sent[app][0].clone())
}

pub(crate) fn garbage() -> Vec<Measurement> {
    let clients = HealthyClients::begin(&[]);
    let ingest = clients.relay.ingest;
    let senders = (0..HOSTILE).map(|at| std::thread::spawn(move || send_garbage(ingest, at)));
    let senders: Vec<_> = senders.collect();
    let written: usize = senders.into_iter().map(|sender| sender.join().expect("it only writes")).sum();
    // Wait for the connections that announced a frame and stalled.
    eventually("the hostile producers are disconnected", || {
        (clients.relay.metric("joey_producers") == 2).then_some(())
    });
    let (relay, mut measurements) = clients.end(24.0);
    let (_, rejected) = relay.frame_counts();
    measurements.insert(0, Measurement::info("garbage written", format!("{} MB", written / MEGABYTE)));
    measurements
        .insert(1, Measurement::holds("frames rejected, counted by reason", rejected, rejected >= HOSTILE as u64));
    measurements
}

/// Writes a megabyte over as many connections as it takes: noise, false lengths, or whole frames of noise. Leaves the
/// last connection open within a frame of the maximum length.
fn send_garbage(ingest: std::net::SocketAddr, at: usize) -> usize {
    use std::io::{Read as _, Write as _};
    let mut rng = fastrand::Rng::with_seed(at as u64);
    let mut written = 0;
    while written < MEGABYTE {
        let Ok(mut stream) = TcpStream::connect(ingest) else { continue };
        let length = rng.usize(1..64 * 1024).min(MEGABYTE - written);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        let claim = [u32::MAX, 1 << 31, 16_385, 16_384][rng.usize(..4)];
        match at % 3 {
            0 => {}
            1 => bytes.splice(..0, claim.to_be_bytes()).for_each(drop),
            _ => bytes.chunks_exact_mut(1_024).for_each(|frame| frame[..4].copy_from_slice(&1_020_u32.to_be_bytes())),
        }
        let _ = stream.write_all(&bytes);
        written += bytes.len();
        if written >= MEGABYTE {
            let _ = stream.write_all(&16_384_u32.to_be_bytes());
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let _ = stream.read(&mut [0]);
        }
    }
    written
}

pub(crate) fn series() -> Vec<Measurement> {
    const SERIES: u64 = 100_000;
    const MOST: u64 = 10_000;
    let clients = HealthyClients::begin(&[]);
    let mut producer = clients.relay.producer("Wide", "w");
    for at in 0..SERIES {
        let name = format!("a name that nobody has had before, number {at}");
        producer.send(&Frame::new("Wide", "computation", ["p", "w", &name], 1_700_000_000).with(&[5]));
    }
    producer.finish();
    let (relay, mut measurements) = clients.end(24.0);
    let (rejected, held) = (relay.rejected("series_limit"), relay.metric("joey_series"));
    measurements.insert(0, Measurement::holds("series rejected and counted", rejected, rejected == SERIES - MOST));
    // Each of the two well-behaved applications has fifty.
    measurements.insert(1, Measurement::holds("series held", held, held == MOST + 100));
    measurements
}
