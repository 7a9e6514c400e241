//! The views of two applications, ordered by how much their latency changed.

use alloc::vec::Vec;

use super::{Change, Comparison};
use crate::histogram::Histogram;
use crate::store::AppStore;
use crate::view::ViewKey;
use crate::window::Throughput;

/// One side of a view: what its window contains.
#[derive(Clone, Debug)]
pub struct ViewSide {
    /// The latencies.
    pub histogram: Histogram,
    /// Events per second over the complete seconds.
    pub throughput: Option<Throughput>,
}

/// A view on both sides.
#[derive(Clone, Debug)]
pub struct ViewChange {
    /// The view.
    pub key: ViewKey,
    /// The current side; `None` if it does not have the view.
    pub current: Option<ViewSide>,
    /// The reference; `None` if it does not have the view.
    pub reference: Option<ViewSide>,
    /// How far the latency changed; `None` if a side lacks the view, or the view has no latency.
    pub change: Option<Change>,
}

/// The views of both applications, those whose latency changed most first. Views without a change beyond chance are last,
/// by key. A view that only one side has is listed, with nothing on the other side.
#[must_use]
pub fn changes(current: &mut AppStore, reference: &mut AppStore) -> Vec<ViewChange> {
    let mut keys: Vec<ViewKey> = [&*current, &*reference]
        .into_iter()
        .flat_map(|store| store.views_by_key().map(|(_, view)| view.key.clone()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut views: Vec<ViewChange> = keys
        .into_iter()
        .map(|key| {
            let (current, reference) = (side(current, &key), side(reference, &key));
            let sides = current.as_ref().zip(reference.as_ref()).filter(|_| key.kind.has_latency());
            let change =
                sides.map(|(current, reference)| Comparison::new(&current.histogram, &reference.histogram).change());
            ViewChange { key, current, reference, change }
        })
        .collect();
    // The sort is stable.
    views.sort_by(|a, b| Change::compare_rank(a.change.as_ref(), b.change.as_ref()));
    views
}

fn side(store: &mut AppStore, key: &ViewKey) -> Option<ViewSide> {
    let at = store.find(key)?;
    Some(ViewSide { histogram: store.histogram(at), throughput: store.throughput(at) })
}
