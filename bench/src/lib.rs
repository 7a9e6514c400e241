//! Fixed work on fixed data, one step of an update's path each. `cargo xtask guard` counts its instructions, and `cargo
//! bench -p joey-bench` measures its time.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use joey::config::Config;
use joey::data_point::DataPoint;
use joey::demo::emitter;
use joey::hub::Hub;
use joey::ingest;
use joey::ingest::wallaroo::{Frame, decode};
use joey::journal::{JournalConfig, OpenedJournal};
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::window::{Window, second_of};
use joey_shared::wire::{BatchHead, ServerMessage, Update, UpdatesWriter};
use tokio::io::{AsyncRead, ReadBuf};

/// Number of repetitions of a step in one round.
pub const REPETITIONS: usize = 100;
/// Rounds before the journal is flushed.
const ROUNDS_PER_FLUSH: usize = 256;
const S: u64 = 1_000_000_000;
/// The time of all updates, in ns since the Unix epoch.
const NOW: u64 = 1_544_101_820 * S;

/// A step with its data prepared, which runs a number of rounds.
pub type Ready = Box<dyn FnMut(usize) -> Result<()>>;

/// One step: its name, and a function that prepares its data.
pub type Step = (&'static str, fn() -> Result<Ready>);

/// The steps in the order in which an update passes them.
pub const STEPS: [Step; 8] = [
    ("decode", decode_frames),
    ("publish", publish),
    ("ingest", ingest_frames),
    ("encode", encode),
    ("read", read),
    ("merge", merge),
    ("slide", slide),
    ("quantile", quantile),
];

/// Steps whose instructions are not counted, because threads and the disk take part.
pub const TIMED_STEPS: [Step; 1] = [("publish-journal", publish_with_journal)];

/// Histograms of about 15 neighbouring bins, as a second of a computation has.
fn histograms() -> Vec<Histogram> {
    let mut rng = Rng::with_seed(1);
    let mut histogram = |at: usize| {
        let mut histogram = Histogram::default();
        (0..1_000).for_each(|_| histogram.record(1 << (10 + at % 5) << rng.u32(..15) | rng.u64(..1_000)));
        histogram
    };
    (0..REPETITIONS).map(&mut histogram).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let frame = |(at, histogram)| {
        let name = format!("computation {at:05}");
        let [app, category, worker, pipeline] = ["bench", "computation", "initializer", "Alerts"];
        let (period_ns, end_ns) = (2 * S, NOW);
        emitter::metrics(&DataPoint {
            app,
            name: &name,
            category,
            worker,
            pipeline,
            id: 1,
            provenance: joey_shared::series::Provenance::default(),
            histogram,
            period_ns,
            end_ns,
        })
    };
    histograms().into_iter().enumerate().map(frame).collect()
}

fn updates() -> Vec<Update> {
    let update = |(at, histogram)| {
        let (seq, series) = (at as u64 + 1, at as u32);
        Update { seq, series, period_ns: 2 * S, end_ns: NOW, offset_ns: 0, histogram }
    };
    histograms().into_iter().enumerate().map(update).collect()
}

fn head() -> BatchHead {
    let to = REPETITIONS as u64;
    BatchHead { feed: 1, from: 1, to, cut_ns: NOW, end_ns: NOW, period_ns: 2 * S, series: Vec::new() }
}

/// Decodes a frame with all its names, as the first frame of a series on a connection.
fn decode_frames() -> Result<Ready> {
    let frames = frames();
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            frames.iter().for_each(|frame| _ = black_box(decode(black_box(&frame[4..]))));
        }
        Ok(())
    }))
}

/// Publishes a decoded frame to the log, including its share of cutting a batch.
fn publish() -> Result<Ready> {
    let (hub, frames) = (Hub::new(Config::default(), 7), frames());
    publish_to(Arc::new(hub), frames)
}

/// Like [`publish`], including the time until the frame is in the journal.
fn publish_with_journal() -> Result<Ready> {
    let folder = tempfile::tempdir()?;
    let config = JournalConfig { dir: folder.path().to_owned(), bytes_max: 256 << 20, is_synced: false };
    let hub = Hub::new(Config { clock: || NOW, ..Config::default() }, 7);
    let (hub, _) = hub.with_journal(OpenedJournal::open(config)?)?;
    let mut publish = publish_to(hub.clone(), frames())?;
    Ok(Box::new(move |rounds| {
        // As many as fit the queue of the journal.
        for at in (0..rounds).step_by(ROUNDS_PER_FLUSH) {
            publish(ROUNDS_PER_FLUSH.min(rounds - at))?;
            while hub.journal().is_some_and(|journal| !journal.is_flushed()) {
                std::thread::yield_now();
            }
        }
        ensure!(
            hub.counters().journal_updates_lost.get() == 0,
            "the journal lost updates in {}",
            folder.path().display()
        );
        Ok(())
    }))
}

fn publish_to(hub: Arc<Hub>, frames: Vec<Vec<u8>>) -> Result<Ready> {
    let app = hub.app("bench").ok().context("the limits are not reached")?;
    Ok(Box::new(move |rounds| {
        let decoded: Vec<DataPoint<'_>> = frames
            .iter()
            .filter_map(|frame| match decode(&frame[4..]) {
                Ok(Frame::Metrics(metrics)) => Some(metrics),
                _ => None,
            })
            .collect();
        for _ in 0..rounds {
            for metrics in &decoded {
                hub.publish(&app, black_box(metrics), NOW).ok().context("the limits are not reached")?;
            }
            hub.cut_all(NOW);
        }
        Ok(())
    }))
}

/// Reads a frame from a connection and publishes it, including its share of cutting a batch.
fn ingest_frames() -> Result<Ready> {
    // Without a rate limit, which would reject frames at this speed.
    let config = Config { frames_per_sec_max: NonZeroU32::MAX, ..Config::default() };
    let hub = Arc::new(Hub::new(config, 7));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let frames = frames().concat();
    Ok(Box::new(move |rounds| {
        let again = RepeatedBytes { bytes: frames.clone(), at: 0, left: rounds };
        runtime.block_on(ingest::read_producer(Arc::clone(&hub), peer, again));
        Ok(())
    }))
}

/// Encodes an update into a message.
fn encode() -> Result<Ready> {
    let updates = updates();
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            let head = head();
            let mut writer = UpdatesWriter::new(&head);
            updates.iter().for_each(|update| writer.push(black_box(update)));
            black_box(ServerMessage::Batch { head, updates: writer.finish() }.encode());
        }
        Ok(())
    }))
}

/// Decodes an update from a message.
fn read() -> Result<Ready> {
    let mut writer = UpdatesWriter::new(&head());
    updates().iter().for_each(|update| writer.push(update));
    let bytes = ServerMessage::Batch { head: head(), updates: writer.finish() }.encode();
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            match ServerMessage::decode(black_box(&bytes)) {
                Ok(ServerMessage::Batch { head, updates }) => {
                    head.read(updates).for_each(|update| _ = black_box(update));
                }
                _ => bail!("not a batch"),
            }
        }
        Ok(())
    }))
}

/// Adds a histogram to another.
fn merge() -> Result<Ready> {
    let (mut sum, histograms) = (Histogram::default(), histograms());
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            histograms.iter().for_each(|histogram| black_box(&mut sum).merge(black_box(histogram)));
        }
        Ok(())
    }))
}

/// Slides a window by a second and adds an update, while another update leaves it.
fn slide() -> Result<Ready> {
    let (mut window, mut updates) = (Window::new(50), updates());
    let mut end_ns = NOW;
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            for update in &mut updates {
                end_ns += S;
                update.end_ns = end_ns;
                window.slide(second_of(end_ns));
                window.add(black_box(update));
            }
        }
        black_box(window.histogram());
        Ok(())
    }))
}

/// Computes the four quantiles that a table shows.
fn quantile() -> Result<Ready> {
    let histograms = histograms();
    Ok(Box::new(move |rounds| {
        for _ in 0..rounds {
            for histogram in &histograms {
                for quantile in [Quantile::P50, Quantile::P95, Quantile::P99, Quantile::P999] {
                    black_box(black_box(histogram).quantile(quantile));
                }
            }
        }
        Ok(())
    }))
}

/// A connection that delivers the same bytes a number of times without pausing.
struct RepeatedBytes {
    bytes: Vec<u8>,
    at: usize,
    left: usize,
}

impl AsyncRead for RepeatedBytes {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.left > 0 && buffer.remaining() > 0 {
            let end = self.bytes.len().min(self.at + buffer.remaining());
            buffer.put_slice(&self.bytes[self.at..end]);
            self.at = end % self.bytes.len();
            self.left -= usize::from(self.at == 0);
        }
        Poll::Ready(Ok(()))
    }
}
