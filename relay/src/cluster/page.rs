//! Assembles one history page from parts that arrive in any order, twice, or not at all.

use std::collections::BTreeMap;

use super::messages::{PARTS_MAX, PageEnd};

/// Parts of one page that have arrived.
#[derive(Debug)]
pub(super) struct Page {
    /// Number of the request.
    pub(super) request: u64,
    parts: BTreeMap<u32, Vec<u8>>,
    /// Number of parts and end of the page, once the last part has arrived.
    end: Option<(u32, PageEnd)>,
}

impl Page {
    /// Creates an empty page for the answer to request `request`.
    pub(super) const fn new(request: u64) -> Self {
        Self { request, parts: BTreeMap::new(), end: None }
    }

    /// Adds a part. A part with an impossible index is ignored, and the request is repeated later.
    pub(super) fn add(&mut self, index: u32, end: Option<PageEnd>, bytes: &[u8]) {
        if index >= PARTS_MAX || self.end.is_some_and(|(count, _)| index >= count) {
            return;
        }
        if let Some(end) = end {
            self.end = Some((index + 1, end));
        }
        self.parts.entry(index).or_insert_with(|| bytes.to_vec());
    }

    /// The complete page, or `None` while parts are missing.
    pub(super) fn complete(&self) -> Option<(Vec<u8>, PageEnd)> {
        let (count, end) = self.end?;
        let is_complete = self.parts.len() == count as usize && self.parts.keys().copied().eq(0..count);
        is_complete.then(|| (self.parts.values().flatten().copied().collect(), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: PageEnd = PageEnd { has_log: true, has_more: false };

    fn check(parts: &[(u32, Option<PageEnd>, &[u8])], expected: Option<&[u8]>) {
        let mut page = Page::new(1);
        for &(index, end, bytes) in parts {
            page.add(index, end, bytes);
        }
        assert_eq!(page.complete().map(|(bytes, _)| bytes).as_deref(), expected, "{parts:?}");
    }

    #[test]
    fn parts_may_arrive_in_any_order_and_twice() {
        check(&[(0, Some(END), b"")], Some(b""));
        check(&[(0, None, b"a"), (1, Some(END), b"b")], Some(b"ab"));
        check(&[(1, Some(END), b"b"), (0, None, b"a")], Some(b"ab"));
        check(&[(1, Some(END), b"b"), (1, Some(END), b"b"), (0, None, b"a"), (0, None, b"a")], Some(b"ab"));
    }

    #[test]
    fn a_page_with_a_gap_is_incomplete() {
        check(&[(0, None, b"a")], None);
        check(&[(1, Some(END), b"b")], None);
        check(&[(0, None, b"a"), (2, Some(END), b"c")], None);
        check(&[(PARTS_MAX, Some(END), b"z"), (0, None, b"a")], None);
        check(&[(u32::MAX, Some(END), b"z")], None);
    }
}
