//! A short recording of what is shown of one application: its windows and nothing after them.

use alloc::vec::Vec;

use super::{Entry, Record, header};
use crate::store::AppStore;
use crate::view::ViewKey;
use crate::viewer::catalogue_messages;
use crate::wire::{AppEntry, Hello, ServerMessage, VERSION, encode};

/// How much of each window an excerpt has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The latencies and events of each second.
    Seconds,
    /// The events of each second, and the sum of the latencies. Percentiles and throughput are the same, but not how the
    /// latencies changed.
    Sum,
}

/// A recording of the windows of those views of an application for which `keep` returns true. `now_ns` is the relay's time
/// in ns since the Unix epoch.
#[must_use]
pub fn excerpt(
    entry: &AppEntry,
    store: &AppStore,
    now_ns: u64,
    detail: Detail,
    keep: impl Fn(&ViewKey) -> bool,
) -> Vec<u8> {
    let mut file = header().to_vec();
    let mut write = |entry: Entry<'_>| {
        Record { time_ns: now_ns, entry }.write(&mut file);
    };
    let hello = Hello {
        version: VERSION,
        release: "",
        epoch: 0,
        now_ns,
        ring_ns: 0,
        series_retention_ns: u64::MAX,
        demo: false,
        ingest_port: 0,
    };
    write(Entry::Message(&ServerMessage::Hello(hello).encode()));
    catalogue_messages(core::iter::once(entry)).iter().for_each(|message| write(Entry::Message(message)));
    write(Entry::App(&encode(&store.state(&entry.app, false))));
    let from = store.first_second();
    for (view, _) in store.views().iter().enumerate().filter(|(_, view)| keep(&view.key)) {
        let state = match detail {
            Detail::Seconds => store.view_state(&entry.app, view, from),
            Detail::Sum => store.view_sum(&entry.app, view),
        };
        write(Entry::View(&encode(&state)));
    }
    file
}
