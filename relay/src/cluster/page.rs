//! One page of history on its way in: parts in any order, some of them twice, some of them never.

use std::collections::BTreeMap;

use super::messages::{PARTS_MAX, PageEnd};

/// The parts of one answer, as far as they have come.
#[derive(Debug)]
pub(super) struct Page {
    /// The number of the question.
    pub(super) ask: u64,
    parts: BTreeMap<u32, Vec<u8>>,
    /// How many parts there are, and how the page ends, once the last part has come.
    end: Option<(u32, PageEnd)>,
}

impl Page {
    /// Nothing yet of the answer to question `ask`.
    pub(super) const fn new(ask: u64) -> Self {
        Self { ask, parts: BTreeMap::new(), end: None }
    }

    /// Takes a part. One that no page has is left; the question is then asked again.
    pub(super) fn put(&mut self, index: u32, end: Option<PageEnd>, bytes: &[u8]) {
        if index >= PARTS_MAX || self.end.is_some_and(|(count, _)| index >= count) {
            return;
        }
        if let Some(end) = end {
            self.end = Some((index + 1, end));
        }
        self.parts.entry(index).or_insert_with(|| bytes.to_vec());
    }

    /// The whole page, once every part is there.
    pub(super) fn whole(&self) -> Option<(Vec<u8>, PageEnd)> {
        let (count, end) = self.end?;
        let is_whole = self.parts.len() == count as usize && self.parts.keys().copied().eq(0..count);
        is_whole.then(|| (self.parts.values().flatten().copied().collect(), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: PageEnd = PageEnd { is_held: true, has_more: false };

    fn check(parts: &[(u32, Option<PageEnd>, &[u8])], whole: Option<&[u8]>) {
        let mut page = Page::new(1);
        for &(index, end, bytes) in parts {
            page.put(index, end, bytes);
        }
        assert_eq!(page.whole().map(|(bytes, _)| bytes).as_deref(), whole, "{parts:?}");
    }

    #[test]
    fn parts_may_come_in_any_order_and_twice() {
        check(&[(0, Some(END), b"")], Some(b""));
        check(&[(0, None, b"a"), (1, Some(END), b"b")], Some(b"ab"));
        check(&[(1, Some(END), b"b"), (0, None, b"a")], Some(b"ab"));
        check(&[(1, Some(END), b"b"), (1, Some(END), b"b"), (0, None, b"a"), (0, None, b"a")], Some(b"ab"));
    }

    #[test]
    fn a_page_with_a_hole_is_not_whole() {
        check(&[(0, None, b"a")], None);
        check(&[(1, Some(END), b"b")], None);
        check(&[(0, None, b"a"), (2, Some(END), b"c")], None);
        check(&[(PARTS_MAX, Some(END), b"z"), (0, None, b"a")], None);
        check(&[(u32::MAX, Some(END), b"z")], None);
    }
}
