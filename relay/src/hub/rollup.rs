//! Ten seconds of a feed added up: what a viewer that reads too slowly gets, and what remains of the time before the ring.
//!
//! Histograms add, so a sum loses no count; it loses which update a count came with. It is made once, from the very batches
//! that it stands for, when the first viewer needs it or the batches leave the ring.

use hashbrown::HashMap;
use joey_shared::wire::{BatchHead, Blob, ServerMessage, Update, UpdatesWriter};

use super::batch::{Batch, SPAN_NS};
use crate::net::ws_frame::WsFrame;

/// Longest sum in bytes; what would be longer is two. A viewer's buffer holds eight, and a message of NATS two.
const BYTES_MAX: usize = 1 << 19;

/// The sums of `batches`, which follow one another in feed `feed`: one, or several where one would be too long.
pub(super) fn of(feed: u32, batches: &[Batch]) -> Vec<Batch> {
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
    let sum = encode(head, items.into_iter().map(|(_, item)| item));
    if sum.frame.len() > BYTES_MAX && batches.len() > 1 {
        let (before, after) = batches.split_at(batches.len() / 2);
        return [of(feed, before), of(feed, after)].concat();
    }
    vec![sum]
}

/// What becomes one item, in the order in which items are written: ten seconds of ends, the series, and the very end and
/// period of an update that counts more than that.
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
    // Where the offset changed within the ten seconds, the larger one of either sign.
    item.offset_ns = std::cmp::max_by_key(item.offset_ns, update.offset_ns, |offset_ns| offset_ns.unsigned_abs());
    item.histogram.merge(&update.histogram);
}

const fn start_of(update: &Update) -> u64 {
    update.end_ns.saturating_sub(update.period_ns)
}

/// Those items of the sum `whole` that `passes` lets through, as a sum of feed `feed`.
pub(super) fn part_of(feed: u32, whole: &Batch, passes: impl Fn(u32) -> bool) -> Option<Batch> {
    let Ok(ServerMessage::Sum { head, updates }) = ServerMessage::decode(&whole.frame) else { return None };
    Some(filtered(feed, &head, updates, passes))
}

/// The same for a sum that is decoded already.
pub(super) fn filtered(feed: u32, head: &BatchHead, updates: Blob<'_>, passes: impl Fn(u32) -> bool) -> Batch {
    let items: Vec<Update> = head.read(updates).filter_map(Result::ok).filter(|item| passes(item.series)).collect();
    let (end_ns, period_ns) = items.first().map_or((0, 0), |item| (item.end_ns, item.period_ns));
    // Whoever gets this subscribes after it was made, and is told all names before.
    encode(BatchHead { feed, end_ns, period_ns, series: Vec::new(), ..*head }, items.into_iter())
}

fn encode(head: BatchHead, items: impl Iterator<Item = Update>) -> Batch {
    let mut writer = UpdatesWriter::new(&head);
    for (seq, item) in (head.from..).zip(items) {
        writer.push(&Update { seq, ..item });
    }
    let (from, to, cut_ns) = (head.from, head.to, head.cut_ns);
    let frame = WsFrame::new(&ServerMessage::Sum { head, updates: writer.finish() }.encode());
    Batch { from, to, cut_ns, came_ns: cut_ns, frame }
}
