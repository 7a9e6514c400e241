//! Series lists of an application as messages. They are encoded once and cached until the series change.

use std::collections::BTreeMap;
use std::sync::Arc;

use joey_shared::series::Filter;
use joey_shared::wire::{SeriesEntry, ServerMessage};

use super::App;
use crate::net::ws_frame::WsFrame;

/// Maximum number of series in one message.
const SERIES_PER_MESSAGE: usize = 500;

/// Cached series list of one log.
#[derive(Debug)]
pub(super) struct SeriesMessages {
    /// Version of the series table.
    version: u64,
    /// Number of series that had been added when the list was built.
    added: u64,
    /// Encoded messages, by category.
    by_category: BTreeMap<String, Vec<WsFrame>>,
    /// Message that ends the list.
    end: WsFrame,
}

impl App {
    /// Messages with every series that `filter` admits, including the message that ends the list.
    #[must_use]
    pub fn series_messages(&self, filter: &Filter) -> Vec<WsFrame> {
        match filter {
            Filter::All => self.series_messages_of(|_| true).0,
            Filter::Category(category) => self.series_messages_of(|other| other == category).0,
            Filter::Series(_) => {
                let names = self.log.lock().series().names_since(0, filter);
                self.encode_series(&names.entries).map(|message| WsFrame::new(&message.encode())).collect()
            }
        }
    }

    /// Messages with every series of the categories that `admits` accepts, including the message that ends the list.
    /// Also returns how many series have been added so far.
    #[must_use]
    pub fn series_messages_of(&self, admits: impl Fn(&str) -> bool) -> (Vec<WsFrame>, u64) {
        let all = self.all_series_messages();
        let matching = all.by_category.iter().filter(|(category, _)| admits(category));
        let mut frames: Vec<WsFrame> = matching.flat_map(|(_, frames)| frames).cloned().collect();
        frames.push(all.end.clone());
        (frames, all.added)
    }

    /// Like [`App::series_messages_of`], for the series added after the first `added`.
    #[must_use]
    pub fn series_messages_since(&self, added: u64, admits: impl Fn(&str) -> bool) -> (Vec<WsFrame>, u64) {
        let mut names = self.log.lock().series().names_since(added, &Filter::All);
        names.entries.retain(|entry| admits(&entry.key.category));
        let frames = self.encode_series(&names.entries).map(|message| WsFrame::new(&message.encode()));
        (frames.collect(), names.added)
    }

    /// Splits a series list into messages of limited size. Returns at least one message.
    pub(super) fn encode_series<'a>(
        &'a self,
        series: &'a [SeriesEntry],
    ) -> impl Iterator<Item = ServerMessage<'static>> + 'a {
        let messages = series.len().div_ceil(SERIES_PER_MESSAGE).max(1);
        (1..=messages).zip(series.chunks(SERIES_PER_MESSAGE).chain([&[][..]])).map(move |(at, part)| {
            let (app, epoch) = (self.name.clone(), self.epoch);
            ServerMessage::Series { app, epoch, series: part.to_vec(), last: at == messages }
        })
    }

    fn all_series_messages(&self) -> Arc<SeriesMessages> {
        let mut known = self.series_messages.lock();
        let (version, names) = {
            let log = self.log.lock();
            let version = log.series().version();
            if let Some(known) = known.as_ref().filter(|known| known.version == version) {
                return known.clone();
            }
            (version, log.series().names_since(0, &Filter::All))
        };
        let mut entries_by_category = BTreeMap::<String, Vec<SeriesEntry>>::new();
        for entry in names.entries {
            entries_by_category.entry(entry.key.category.clone()).or_default().push(entry);
        }
        let frame = |series: &[SeriesEntry], last: bool| {
            let (app, epoch) = (self.name.clone(), self.epoch);
            WsFrame::new(&ServerMessage::Series { app, epoch, series: series.to_vec(), last }.encode())
        };
        let frames =
            |series: &Vec<SeriesEntry>| series.chunks(SERIES_PER_MESSAGE).map(|part| frame(part, false)).collect();
        let by_category =
            entries_by_category.iter().map(|(category, series)| (category.clone(), frames(series))).collect();
        let built = Arc::new(SeriesMessages { version, added: names.added, by_category, end: frame(&[], true) });
        *known = Some(built.clone());
        built
    }
}
