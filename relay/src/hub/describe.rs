//! The names of an application's series as messages, encoded once for all who ask while nothing changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use joey_shared::series::Filter;
use joey_shared::wire::{SeriesEntry, ServerMessage};

use super::App;
use crate::net::ws_frame::WsFrame;

/// Series named in one message.
const SERIES_PER_MESSAGE: usize = 500;

/// All names of one log, at one moment.
#[derive(Debug)]
pub(super) struct Description {
    /// The version of the table of series.
    version: u64,
    /// How many series had been added by then.
    added: u64,
    /// By category.
    parts: BTreeMap<String, Vec<WsFrame>>,
    /// Ends a list.
    end: WsFrame,
}

impl App {
    /// The names of every series that `filter` admits, and what ends the list.
    #[must_use]
    pub fn names(&self, filter: &Filter) -> Vec<WsFrame> {
        match filter {
            Filter::All => self.names_of(|_| true).0,
            Filter::Category(category) => self.names_of(|other| other == category).0,
            Filter::Series(_) => {
                let names = self.log.lock().series().names_since(0, filter);
                self.messages(&names.entries).map(|message| WsFrame::new(&message.encode())).collect()
            }
        }
    }

    /// The names of every series of those categories that `admits`, and what ends the list; and how many series had been added.
    #[must_use]
    pub fn names_of(&self, admits: impl Fn(&str) -> bool) -> (Vec<WsFrame>, u64) {
        let all = self.description();
        let parts = all.parts.iter().filter(|(category, _)| admits(category));
        let mut frames: Vec<WsFrame> = parts.flat_map(|(_, frames)| frames).cloned().collect();
        frames.push(all.end.clone());
        (frames, all.added)
    }

    /// The same of the series that were added after the first `added`.
    #[must_use]
    pub fn names_since(&self, added: u64, admits: impl Fn(&str) -> bool) -> (Vec<WsFrame>, u64) {
        let mut names = self.log.lock().series().names_since(added, &Filter::All);
        names.entries.retain(|entry| admits(&entry.key.category));
        let frames = self.messages(&names.entries).map(|message| WsFrame::new(&message.encode()));
        (frames.collect(), names.added)
    }

    /// Names of series as messages: one at least, and no more series in one than a message should hold.
    pub(super) fn messages<'a>(
        &'a self,
        series: &'a [SeriesEntry],
    ) -> impl Iterator<Item = ServerMessage<'static>> + 'a {
        let messages = series.len().div_ceil(SERIES_PER_MESSAGE).max(1);
        (1..=messages).zip(series.chunks(SERIES_PER_MESSAGE).chain([&[][..]])).map(move |(at, part)| {
            let (app, epoch) = (self.name.clone(), self.epoch);
            ServerMessage::Series { app, epoch, series: part.to_vec(), last: at == messages }
        })
    }

    fn description(&self) -> Arc<Description> {
        let mut known = self.description.lock();
        let (version, names) = {
            let log = self.log.lock();
            let version = log.series().version();
            if let Some(known) = known.as_ref().filter(|known| known.version == version) {
                return known.clone();
            }
            (version, log.series().names_since(0, &Filter::All))
        };
        let mut by_category = BTreeMap::<String, Vec<SeriesEntry>>::new();
        for entry in names.entries {
            by_category.entry(entry.key.category.clone()).or_default().push(entry);
        }
        let frame = |series: &[SeriesEntry], last: bool| {
            let (app, epoch) = (self.name.clone(), self.epoch);
            WsFrame::new(&ServerMessage::Series { app, epoch, series: series.to_vec(), last }.encode())
        };
        let frames =
            |series: &Vec<SeriesEntry>| series.chunks(SERIES_PER_MESSAGE).map(|part| frame(part, false)).collect();
        let parts = by_category.iter().map(|(category, series)| (category.clone(), frames(series))).collect();
        let description = Arc::new(Description { version, added: names.added, parts, end: frame(&[], true) });
        *known = Some(description.clone());
        description
    }
}
