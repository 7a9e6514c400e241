//! The updates of a recording in the order of their times.
//!
//! A recording begins with history, whose messages have the time at which they were received. The updates themselves have the
//! times of their periods, so a replay is in their order. The windows with which a rotated recording begins contain no
//! updates; what is only in them is not replayed.

use std::collections::HashMap;
use std::path::Path;

use joey_emit::send::SeriesName;
use joey_shared::histogram::Histogram;
use joey_shared::recording::Reader;
use joey_shared::viewer::Viewers;

use super::super::snapshot;

/// A series and who sends it.
pub(super) struct Series {
    pub(super) app: String,
    pub(super) worker: String,
    /// The position in the pipeline.
    pub(super) id: u16,
    pub(super) name: SeriesName,
}

/// One update.
pub(super) struct Piece {
    /// The end of its period, in ns since the Unix epoch by the relay's clock.
    pub(super) end_ns: u64,
    pub(super) period_ns: u64,
    /// The position of its series.
    series: usize,
    pub(super) histogram: Histogram,
}

/// All updates, by the end of their periods.
pub(super) struct Updates {
    series: Vec<Series>,
    pub(super) pieces: Vec<Piece>,
}

/// Reads the updates of `apps` in a file, or of all if there are none.
///
/// # Errors
/// Fails if the file cannot be read or is not a recording.
pub(super) fn read(file: &Path, apps: &[String]) -> anyhow::Result<Updates> {
    let playback = snapshot::open(file, 1)?;
    let mut viewers = Viewers::new(1);
    let mut updates = Updates { series: Vec::new(), pieces: Vec::new() };
    // By application, epoch of the log and number of the series.
    let mut known: HashMap<(String, u64, u32), usize> = HashMap::new();
    for record in Reader::new(playback.bytes())? {
        // The viewers count malformed entries.
        let _ = viewers.replay_with(&record, |incoming| {
            let (app, update) = (incoming.app, incoming.update);
            if !apps.is_empty() && !apps.iter().any(|wanted| wanted == app) {
                return;
            }
            let series = *known.entry((app.to_owned(), incoming.epoch, update.series)).or_insert_with(|| {
                let (key, provenance) = (&incoming.series.key, incoming.series.provenance);
                updates.series.push(Series {
                    app: app.to_owned(),
                    worker: key.worker.clone(),
                    id: incoming.series.id,
                    name: SeriesName {
                        category: key.category.as_str().into(),
                        pipeline: key.pipeline.as_str().into(),
                        name: key.name.as_str().into(),
                        is_approximate: provenance.is_approximate,
                        is_sampled: provenance.is_sampled,
                        has_extremes: provenance.has_extremes,
                    },
                });
                updates.series.len() - 1
            });
            let (end_ns, period_ns, histogram) = (update.end_ns, update.period_ns, update.histogram.clone());
            updates.pieces.push(Piece { end_ns, period_ns, series, histogram });
        });
    }
    updates.sort();
    Ok(updates)
}

impl Updates {
    /// Orders by time. What one worker sends for one period is together.
    fn sort(&mut self) {
        let Self { series, pieces } = self;
        let names = |piece: &Piece| (&series[piece.series].app, &series[piece.series].worker);
        pieces.sort_by(|a, b| {
            a.end_ns.cmp(&b.end_ns).then_with(|| names(a).cmp(&names(b))).then_with(|| a.period_ns.cmp(&b.period_ns))
        });
    }

    /// Keeps what ends from `from` to `to`, in ns after the first update.
    pub(super) fn keep(&mut self, from: Option<u64>, to: Option<u64>) {
        let (first, _) = self.span();
        let range = first.saturating_add(from.unwrap_or(0))..=first.saturating_add(to.unwrap_or(u64::MAX));
        self.pieces.retain(|piece| range.contains(&piece.end_ns));
    }

    /// Gives all series to one application.
    pub(super) fn rename(&mut self, app: &str) {
        self.series.iter_mut().for_each(|series| app.clone_into(&mut series.app));
        self.sort();
    }

    /// The ends of the first and of the last period, in ns since the Unix epoch.
    pub(super) fn span(&self) -> (u64, u64) {
        let ends = [self.pieces.first(), self.pieces.last()].map(|piece| piece.map_or(0, |piece| piece.end_ns));
        (ends[0], ends[1])
    }

    pub(super) fn series(&self, piece: &Piece) -> &Series {
        &self.series[piece.series]
    }

    /// Whether one worker sends both for the same period.
    pub(super) fn is_same_message(&self, a: &Piece, b: &Piece) -> bool {
        let (first, second) = (self.series(a), self.series(b));
        (a.end_ns, a.period_ns) == (b.end_ns, b.period_ns)
            && (&first.app, &first.worker) == (&second.app, &second.worker)
    }
}
