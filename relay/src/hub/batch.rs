//! One encoded batch of a feed: the message that every viewer of the feed receives.

use joey_shared::wire::Blob;

use crate::net::ws_frame::WsFrame;

/// Time span of a rollup, in ns: 10 s. A rollup covers the batches cut within one span, and its items are aligned to
/// spans by their period ends.
pub(super) const SPAN_NS: u64 = 10_000_000_000;

/// Memory overhead of a batch in bytes.
const BATCH_OVERHEAD: u64 = 64;

/// One encoded message, a batch or a rollup. All viewers share its bytes.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) cut_ns: u64,
    /// When viewers of this relay could first read it. It is later than `cut_ns` if the batch was missed at first and
    /// then fetched from another relay.
    pub(super) received_ns: u64,
    pub(super) frame: WsFrame,
}

impl Batch {
    /// Accounted size in bytes.
    pub(super) const fn cost(&self) -> u64 {
        self.frame.bytes().len() as u64 + BATCH_OVERHEAD
    }

    /// Index of the ten-second span in which it was cut.
    pub(super) const fn span(&self) -> u64 {
        self.cut_ns / SPAN_NS
    }

    /// Whether `next` is in the same ten-second span and directly follows this batch.
    pub(super) const fn continues_in(&self, next: &Self) -> bool {
        self.span() == next.span() && self.to + 1 == next.from
    }
}

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutTime {
    /// The time of the cut, on the clock of the relay that cuts it.
    pub(super) ns: u64,
    /// When the first update of the batch arrived at this relay. `None` for history, and for data of other relays.
    pub(super) received_ns: Option<u64>,
}

impl CutTime {
    /// The time of a cut whose updates did not arrive just now.
    pub(super) const fn of_history(ns: u64) -> Self {
        Self { ns, received_ns: None }
    }
}

/// Encoded updates of a batch, and the values that the first update is encoded relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncodedUpdates<'a> {
    pub(super) end_ns: u64,
    pub(super) period_ns: u64,
    pub(super) updates: Blob<'a>,
}
