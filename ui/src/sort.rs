//! Sorting, once.
//!
//! The standard library's sort is compiled anew for every type and every comparison, at some 5 KB each; a page that sorts a
//! few hundred rows a second does well with one that puts positions where they belong.

use std::cmp::Ordering;

/// `items` in the order of `compare`; equal ones stay as they were.
pub(crate) fn sorted<T>(items: Vec<T>, compare: &dyn Fn(&T, &T) -> Ordering) -> Vec<T> {
    let order = positions(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| items[at].take()).collect()
}

/// The positions below `len` in the order of `compare`.
#[inline(never)]
fn positions(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = Vec::with_capacity(len);
    for new in 0..len {
        let at = positions.partition_point(|&known| compare(known, new) != Ordering::Greater);
        positions.insert(at, new);
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_keeps_equals_in_place() {
        let sorted = sorted(vec![(2, 'a'), (1, 'b'), (2, 'c'), (0, 'd')], &|a, b| a.0.cmp(&b.0));
        assert_eq!(sorted, [(0, 'd'), (1, 'b'), (2, 'a'), (2, 'c')]);
    }
}
