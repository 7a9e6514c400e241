//! Which rows of a long table are in the document: those near the viewport, and those that the keyboard can reach from there.
//!
//! Gaps take the place of all others, so that the table has its full height. Where the rows are on the screen is measured in
//! `view/table.rs`.

use core::ops::Range;

/// Maximum number of rows that are all rendered, in or out of sight: few enough to stay fast, and the browser can search them.
pub const ALL_MAX: usize = 100;

/// Maximum number of rows of a table that are printed: about 40 pages.
pub const PRINTED_MAX: usize = 2_000;

/// Number of rows that are rendered before and after the visible ones, so that scrolling does not show gaps.
const MARGIN: usize = 8;

/// A part of a table's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The row at this position.
    Row(usize),
    /// This many rows, from this position on, that are not rendered.
    Gap {
        /// The position of the first one.
        from: usize,
        /// Their number.
        rows: usize,
    },
}

/// The parts of a table of `count` rows, of which `visible` are in the viewport and `focused` has, or last had, the keyboard
/// focus.
#[must_use]
pub fn parts(count: usize, visible: &Range<usize>, focused: Option<usize>) -> Vec<Part> {
    if count <= ALL_MAX { (0..count).map(Part::Row).collect() } else { parts_of_many(count, visible, focused) }
}

/// The same for any number of rows, even for few.
#[must_use]
pub fn parts_of_many(count: usize, visible: &Range<usize>, focused: Option<usize>) -> Vec<Part> {
    if count == 0 {
        return Vec::new();
    }
    let near = visible.start.saturating_sub(MARGIN)..visible.end.saturating_add(MARGIN);
    // The focus moves from the focused row to its neighbours, and into the table at its first and last row.
    let focusable = focused.map_or(0..0, |at| at.saturating_sub(1)..at.saturating_add(2));
    let mut parts = Vec::new();
    let mut next = 0;
    for range in
        merged([0..1, near, focusable, count - 1..count].map(|range| range.start.min(count)..range.end.min(count)))
    {
        if range.start > next {
            parts.push(Part::Gap { from: next, rows: range.start - next });
        }
        parts.extend(range.clone().map(Part::Row));
        next = range.end;
    }
    parts
}

/// The ranges in order, without overlaps and empty ones.
fn merged(mut ranges: [Range<usize>; 4]) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The rows of a table of `count` rows that are in a viewport of `height`, where the table's body begins at `top`. `top` is
/// negative if it has been scrolled out of the viewport.
#[must_use]
pub fn visible_rows(count: usize, top: f64, height: f64, row_height: f64) -> Range<usize> {
    let row_at = |y: f64| ((y - top) / row_height).clamp(0.0, count as f64);
    row_at(0.0).floor() as usize..row_at(height).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a table as text: `0 … 5-7 … 999`.
    fn check(count: usize, visible: Range<usize>, focused: Option<usize>, expected: &str) {
        let parts = parts(count, &visible, focused);
        let rows = |part: &Part| if let Part::Gap { rows, .. } = part { *rows } else { 1 };
        assert_eq!(parts.iter().map(rows).sum::<usize>(), count, "every row is rendered or in a gap");
        let mut text: Vec<String> = Vec::new();
        for run in parts.chunk_by(|a, b| matches!((a, b), (Part::Row(_), Part::Row(_)))) {
            text.push(match (run[0], run[run.len() - 1]) {
                (Part::Row(first), Part::Row(last)) if first < last => format!("{first}-{last}"),
                (Part::Row(only), _) => only.to_string(),
                (Part::Gap { .. }, _) => "…".to_owned(),
            });
        }
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn short_tables_are_rendered_in_full() {
        check(0, 0..0, None, "");
        check(100, 0..10, None, "0-99");
    }

    #[test]
    fn long_tables_are_rendered_near_the_viewport() {
        check(1000, 0..20, None, "0-27 … 999");
        check(1000, 500..520, None, "0 … 492-527 … 999");
        check(1000, 980..1000, None, "0 … 972-999");
    }

    #[test]
    fn a_table_out_of_sight_can_be_entered() {
        check(1000, 0..0, None, "0-7 … 999");
        check(1000, 1000..1000, None, "0 … 992-999");
    }

    #[test]
    fn the_focused_row_stays_with_its_neighbours() {
        check(1000, 500..520, Some(100), "0 … 99-101 … 492-527 … 999");
        check(1000, 500..520, Some(999), "0 … 492-527 … 998-999");
        check(1000, 500..520, Some(0), "0-1 … 492-527 … 999");
        // The filter has removed it.
        check(200, 0..0, Some(5000), "0-7 … 199");
    }

    #[test]
    fn visible_rows_follow_from_the_position_of_the_table() {
        assert_eq!(visible_rows(1000, 100.0, 900.0, 40.0), 0..20);
        assert_eq!(visible_rows(1000, -4000.0, 900.0, 40.0), 100..123);
        assert_eq!(visible_rows(1000, 2000.0, 900.0, 40.0), 0..0);
        assert_eq!(visible_rows(1000, -50_000.0, 900.0, 40.0), 1000..1000);
    }
}
