//! One batch of a feed, encoded: the message that every viewer of the feed receives.

use joey_shared::wire::Blob;

use crate::net::ws_frame::WsFrame;

/// What one sum spans, by the time of arrival, and what its items are aligned to, by their period ends: 10 s, in ns.
pub(super) const SPAN_NS: u64 = 10_000_000_000;

/// What a batch costs beyond its bytes.
const BATCH_OVERHEAD: u64 = 64;

/// One message as it goes over every socket.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) cut_ns: u64,
    /// When it could first be read here: later than it was cut where it was missed and came from another relay.
    pub(super) came_ns: u64,
    pub(super) frame: WsFrame,
}

impl Batch {
    /// What it costs.
    pub(super) const fn cost(&self) -> u64 {
        self.frame.bytes().len() as u64 + BATCH_OVERHEAD
    }

    /// Which ten seconds it was cut in.
    pub(super) const fn span(&self) -> u64 {
        self.cut_ns / SPAN_NS
    }

    /// Whether `next` is of the same ten seconds and nothing is missing between the two.
    pub(super) const fn goes_on_in(&self, next: &Self) -> bool {
        self.span() == next.span() && self.to + 1 == next.from
    }
}

/// The updates of a batch, encoded, and what the first of them is relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub(super) end_ns: u64,
    pub(super) period_ns: u64,
    pub(super) updates: Blob<'a>,
}
