//! Wallaroo captures: the bytes that workers wrote to their metrics connections, one connection after the other.
//!
//! Only the lengths of frames and the times at their end are read here. Everything else reaches the relay as it was
//! captured, also what the relay rejects.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use joey_shared::histogram::Grid;
use joey_shared::series::Provenance;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::Outcome;
use super::super::args::Replay;
use super::super::record::create_new;
use super::super::sending::with_advice;
use super::load::Updates;
use super::{PERIOD_NS_MIN, Pace, Progress, nanos};
use crate::data_point::DataPoint;
use crate::demo::emitter;
use crate::runtime::console;

/// Maximum length of a frame, in bytes. A longer one means that the file is not a capture.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// The types of the frames that begin a connection and that contain metrics.
const CONNECT: u8 = 1;
const PAYLOAD: u8 = 3;
/// The last bytes of metrics: minimum, maximum, period and end of the period, each 8 bytes.
const TIMES_BYTES: usize = 16;
/// Length of the shortest frame of metrics, in bytes: 574 of the data without names, and 24 around it.
const METRICS_BYTES_MIN: usize = 598;

/// A frame of a capture, with its length prefix.
struct Frame<'a> {
    connection: usize,
    bytes: &'a [u8],
    /// The end of its period in ns since the Unix epoch, or that of the metrics before it.
    end_ns: u64,
    is_metrics: bool,
}

/// Sends a capture, with one connection for each that it contains.
pub(super) async fn send(replay: &Replay) -> anyhow::Result<Outcome> {
    let name = replay.file.display();
    let bytes = std::fs::read(&replay.file).with_context(|| format!("cannot read {name}"))?;
    let (mut frames, unread) = split(&bytes);
    anyhow::ensure!(frames.iter().any(|frame| frame.is_metrics), "{name} is not a capture of Wallaroo's metrics");
    if unread > 0 {
        console::line(format_args!("joey: the last {unread} bytes of {name} are incomplete or damaged"));
    }
    let first_ns = frames.iter().filter(|frame| frame.is_metrics).map(|frame| frame.end_ns).min().unwrap_or(0);
    let [from, to] = [replay.from, replay.to].map(|time| time.map(nanos));
    let range = first_ns.saturating_add(from.unwrap_or(0))..=first_ns.saturating_add(to.unwrap_or(u64::MAX));
    frames.retain(|frame| !frame.is_metrics || range.contains(&frame.end_ns));
    // Frames before the first metrics have no time. The sort is stable, so each connection keeps its order.
    frames.sort_by_key(|frame| frame.end_ns);
    let metrics = || frames.iter().filter(|frame| frame.is_metrics).map(|frame| frame.end_ns);
    let (Some(first_ns), Some(last_ns)) = (metrics().min(), metrics().max()) else {
        return Ok(Outcome::NoData(format!("{name} has no metrics in this time")));
    };
    let relay = replay.relay.first().map(String::as_str).unwrap_or_default();
    let mut progress = Progress::new((first_ns, last_ns));
    let mut sent = 0_u64;
    loop {
        let pace = Pace::new(first_ns, replay.speed);
        let mut connections: BTreeMap<usize, TcpStream> = BTreeMap::new();
        for frame in &frames {
            pace.wait(frame.end_ns).await;
            let stream = match connections.entry(frame.connection) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let stream = TcpStream::connect(relay).await;
                    let advice = |error| anyhow::anyhow!(with_advice(&format!("cannot connect to {relay}: {error}")));
                    entry.insert(stream.map_err(advice)?)
                }
            };
            stream.write_all(&frame.shifted(&pace)).await.context("the relay has closed the connection")?;
            sent += u64::from(frame.is_metrics);
            progress.show(frame.end_ns);
        }
        for stream in connections.values_mut() {
            stream.shutdown().await.context("the relay has closed the connection")?;
        }
        if !replay.repeat {
            progress.finish(last_ns);
            // Wallaroo's protocol has no acknowledgements.
            console::line(format_args!("joey: sent {sent} histograms"));
            return Ok(Outcome::Done);
        }
    }
}

/// Splits a capture into its frames. Returns the number of bytes after the last whole one.
fn split(bytes: &[u8]) -> (Vec<Frame<'_>>, usize) {
    let (mut frames, mut rest, mut connection) = (Vec::new(), bytes, 0);
    // The end of the last period on this connection.
    let mut last_ns = 0;
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((bytes, after)) = rest.split_at_checked(4 + length).filter(|_| length <= FRAME_BYTES_MAX) else {
            break;
        };
        let kind = bytes.get(4).copied().unwrap_or(0);
        let is_metrics = kind == PAYLOAD && bytes.len() >= METRICS_BYTES_MIN;
        if kind == CONNECT && !frames.is_empty() {
            (connection, last_ns) = (connection + 1, 0);
        }
        if is_metrics && let Some(end) = bytes.last_chunk() {
            last_ns = u64::from_be_bytes(*end);
        }
        frames.push(Frame { connection, bytes, end_ns: last_ns, is_metrics });
        rest = after;
    }
    (frames, rest.len())
}

impl Frame<'_> {
    /// The frame with its period moved to now.
    fn shifted(&self, pace: &Pace) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        if self.is_metrics
            && let Some(times) = bytes.last_chunk_mut::<TIMES_BYTES>()
        {
            let (mut period, mut end) = ([0; 8], [0; 8]);
            period.copy_from_slice(&times[..8]);
            end.copy_from_slice(&times[8..]);
            let period_ns = pace.shorten(u64::from_be_bytes(period)).max(PERIOD_NS_MIN);
            times[..8].copy_from_slice(&period_ns.to_be_bytes());
            times[8..].copy_from_slice(&pace.shifted(u64::from_be_bytes(end)).to_be_bytes());
        }
        bytes
    }
}

/// Writes the updates of a recording as a capture. Bins that are finer than Wallaroo's are merged, so the counts stay exact.
pub(super) fn write(updates: &Updates, file: &Path) -> anyhow::Result<Outcome> {
    let mut workers: BTreeMap<(&str, &str), Vec<u8>> = BTreeMap::new();
    for piece in &updates.pieces {
        let series = updates.series(piece);
        let stream = workers
            .entry((&series.app, &series.worker))
            .or_insert_with(|| [emitter::connect(), emitter::join(&series.app, &series.worker)].concat());
        stream.extend(emitter::metrics(&DataPoint {
            app: &series.app,
            name: &series.name.name,
            category: &series.name.category,
            worker: &series.worker,
            pipeline: &series.name.pipeline,
            id: series.id,
            provenance: Provenance::default(),
            histogram: piece.histogram.in_grid(Grid::WALLAROO),
            period_ns: piece.period_ns,
            end_ns: piece.end_ns,
        }));
    }
    let mut out = create_new(file)?;
    let written = (|| -> io::Result<()> {
        workers.values().try_for_each(|stream| out.write_all(stream))?;
        out.sync_all()
    })();
    written.with_context(|| format!("cannot write {}", file.display()))?;
    let (histograms, workers) = (updates.pieces.len(), workers.len());
    console::line(format_args!("joey: {}: {histograms} histograms of {workers} workers", file.display()));
    Ok(Outcome::Done)
}
