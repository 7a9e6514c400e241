//! Rollups: ten seconds of a feed merged into one message. Slow viewers receive them instead of batches, and they
//! replace evicted batches in the history.
//!
//! Merging histograms loses no counts, but it loses which update a count belongs to. A rollup is computed once from its
//! batches, when the first viewer needs it or when the batches leave the ring.

use hashbrown::HashMap;
use joey_shared::wire::{BatchHead, Blob, ServerMessage, Update, UpdatesWriter};

use super::batch::{Batch, SPAN_NS};
use crate::net::ws_frame::WsFrame;

/// Maximum size of a rollup in bytes; a larger one is split in two. Eight fit into a viewer's buffer, and two into a
/// NATS message.
const ROLLUP_BYTES_MAX: usize = 1 << 19;

/// Merges consecutive `batches` of feed `feed` into one rollup, or into several if one would be too large.
pub(super) fn roll_up(feed: u32, batches: &[Batch]) -> Vec<Batch> {
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Vec::new() };
    let mut series = Vec::new();
    let mut items = HashMap::<Key, Update>::new();
    for batch in batches {
        let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&batch.frame) else { continue };
        for update in head.read(updates).filter_map(Result::ok) {
            add(&mut items, update);
        }
        series.extend(head.series);
    }
    let mut items: Vec<(Key, Update)> = items.into_iter().collect();
    items.sort_unstable_by_key(|(key, _)| *key);
    let (end_ns, period_ns) = items.first().map_or((0, 0), |(_, item)| (item.end_ns, item.period_ns));
    let head = BatchHead { feed, from: first.from, to: last.to, cut_ns: last.cut_ns, end_ns, period_ns, series };
    let rollup = encode(head, items.into_iter().map(|(_, item)| item));
    if rollup.frame.len() > ROLLUP_BYTES_MAX && batches.len() > 1 {
        let (before, after) = batches.split_at(batches.len() / 2);
        return [roll_up(feed, before), roll_up(feed, after)].concat();
    }
    vec![rollup]
}

/// Key of one item; items are written in this order. It contains the ten-second span of the period end and the series.
/// For updates longer than the span it also contains the exact end and period.
type Key = (u64, u32, u64, u64);

fn add(items: &mut HashMap<Key, Update>, update: Update) {
    let is_long = update.period_ns > SPAN_NS;
    let (end_ns, period_ns) = if is_long { (update.end_ns, update.period_ns) } else { (0, 0) };
    let key = (update.end_ns.div_ceil(SPAN_NS), update.series, end_ns, period_ns);
    let Some(item) = items.get_mut(&key) else {
        items.insert(key, update);
        return;
    };
    let start_ns = start_of(item).min(start_of(&update));
    item.end_ns = item.end_ns.max(update.end_ns);
    item.period_ns = item.end_ns - start_ns;
    // If the offset changed within the ten seconds, keep the one with the larger absolute value.
    item.offset_ns = std::cmp::max_by_key(item.offset_ns, update.offset_ns, |offset_ns| offset_ns.unsigned_abs());
    item.histogram.merge(&update.histogram);
}

const fn start_of(update: &Update) -> u64 {
    update.end_ns.saturating_sub(update.period_ns)
}

/// Filters the rollup `whole` for feed `feed`: keeps the items whose series `matches` accepts.
pub(super) fn part_of(feed: u32, whole: &Batch, matches: impl Fn(u32) -> bool) -> Option<Batch> {
    let Ok(ServerMessage::Rollup { head, updates }) = ServerMessage::decode(&whole.frame) else { return None };
    Some(filtered(feed, &head, updates, matches))
}

/// Like [`part_of`], for a decoded rollup.
pub(super) fn filtered(feed: u32, head: &BatchHead, updates: Blob<'_>, matches: impl Fn(u32) -> bool) -> Batch {
    let items: Vec<Update> = head.read(updates).filter_map(Result::ok).filter(|item| matches(item.series)).collect();
    let (end_ns, period_ns) = items.first().map_or((0, 0), |item| (item.end_ns, item.period_ns));
    // Its readers subscribe after it was created and receive all series names first.
    encode(BatchHead { feed, end_ns, period_ns, series: Vec::new(), ..*head }, items.into_iter())
}

fn encode(head: BatchHead, items: impl Iterator<Item = Update>) -> Batch {
    let mut writer = UpdatesWriter::new(&head);
    for (seq, item) in (head.from..).zip(items) {
        writer.push(&Update { seq, ..item });
    }
    let (from, to, cut_ns) = (head.from, head.to, head.cut_ns);
    let frame = WsFrame::new(&ServerMessage::Rollup { head, updates: writer.finish() }.encode());
    Batch { from, to, cut_ns, received_ns: cut_ns, frame }
}
