//! Producers that send what makes no sense, and one that never stops inventing names.

use std::net::TcpStream;
use std::time::Duration;

use joey_tests::{Frame, Relay, eventually};

use crate::Figure;
use crate::fleet::{Fleet, Seen};
use crate::load::{Load, Sent};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 1_000;
/// Connections of garbage, a megabyte each.
const HOSTILE: usize = 100;
const MEGABYTE: usize = 1 << 20;

/// A relay with honest producers of two applications and two viewers of each.
struct Neighbourhood {
    relay: Relay,
    load: Load,
    fleet: Fleet,
    before: Usage,
}

impl Neighbourhood {
    fn begin(words: &[&str]) -> Self {
        let relay = Relay::start_with(words);
        let load = Load::start(&relay, 2, FRAMES_PER_SEC);
        eventually("both applications are there", || (relay.metric("joey_apps") == 2).then_some(()));
        let fleet = Fleet::start(relay.http, 4, 2, &load.clock);
        std::thread::sleep(Duration::from_secs(3));
        let before = Usage::of(&relay);
        Self { relay, load, fleet, before }
    }

    /// Ends the honest ones, and says how they and the relay fared.
    fn end(self, growth_mb: f64) -> (Relay, Vec<Figure>) {
        let after = Usage::of(&self.relay);
        let sent = self.load.finish();
        std::thread::sleep(Duration::from_secs(1));
        let harmed = self.fleet.finish().iter().enumerate().filter(|(at, seen)| !is_exact(seen, &sent, at % 2)).count();
        let panics = self.relay.metric("joey_task_panics_total");
        let figures = vec![
            Figure::holds("honest viewers that missed anything, or got it wrong", harmed, harmed == 0),
            Figure::at_most(
                "growth of the relay's memory, at its peak",
                after.rss_max_mb - self.before.rss_mb,
                growth_mb,
                "MB",
            ),
            Figure::known("share of a core", format!("{:.2}", after.cores_since(&self.before))),
            Figure::holds("panics", panics, panics == 0),
        ];
        (self.relay, figures)
    }
}

fn is_exact(seen: &Seen, sent: &Sent, app: usize) -> bool {
    let numbers = seen.numbers.values().next().map_or(&[][..], Vec::as_slice);
    seen.twice == 0 && seen.missing == 0 && sent[app].len() == 1 && numbers.iter().copied().eq(sent[app][0].clone())
}

pub(crate) fn garbage() -> Vec<Figure> {
    let here = Neighbourhood::begin(&[]);
    let ingest = here.relay.ingest;
    let senders = (0..HOSTILE).map(|at| std::thread::spawn(move || send_garbage(ingest, at)));
    let senders: Vec<_> = senders.collect();
    let written: usize = senders.into_iter().map(|sender| sender.join().expect("it only writes")).sum();
    // Those that announced a frame and stalled are waited for.
    eventually("the hostile are gone", || (here.relay.metric("joey_producers") == 2).then_some(()));
    let (relay, mut figures) = here.end(24.0);
    let (_, refused) = relay.counted();
    figures.insert(0, Figure::known("garbage written", format!("{} MB", written / MEGABYTE)));
    figures.insert(1, Figure::holds("refused, each by its reason", refused, refused >= HOSTILE as u64));
    figures
}

/// Writes a megabyte, over as many connections as it takes: plain noise, lengths that lie, or whole frames of noise. Leaves the
/// last one open within a frame of the greatest length.
fn send_garbage(ingest: std::net::SocketAddr, at: usize) -> usize {
    use std::io::{Read as _, Write as _};
    let mut chance = fastrand::Rng::with_seed(at as u64);
    let mut written = 0;
    while written < MEGABYTE {
        let Ok(mut stream) = TcpStream::connect(ingest) else { continue };
        let length = chance.usize(1..64 * 1024).min(MEGABYTE - written);
        let mut bytes: Vec<u8> = (0..length).map(|_| chance.u8(..)).collect();
        let claim = [u32::MAX, 1 << 31, 16_385, 16_384][chance.usize(..4)];
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

pub(crate) fn series() -> Vec<Figure> {
    const SERIES: u64 = 100_000;
    const MOST: u64 = 10_000;
    let here = Neighbourhood::begin(&[]);
    let mut producer = here.relay.producer("Wide", "w");
    for at in 0..SERIES {
        let name = format!("a name that nobody has had before, number {at}");
        producer.send(&Frame::new("Wide", "computation", ["p", "w", &name], 1_700_000_000).with(&[5]));
    }
    producer.finish();
    let (relay, mut figures) = here.end(24.0);
    let (refused, held) = (relay.rejected("series_limit"), relay.metric("joey_series"));
    figures.insert(0, Figure::holds("series refused and counted", refused, refused == SERIES - MOST));
    // Each of the two honest applications has fifty.
    figures.insert(1, Figure::holds("series held", held, held == MOST + 100));
    figures
}
