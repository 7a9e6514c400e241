//! Standard output of a client: detects a closed pipe, escapes names, and aligns columns.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use unicode_width::UnicodeWidthStr as _;

/// Interval of checks whether standard output is still being read.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Waits until the reader of standard output closes it. Never returns if standard output is a file.
pub(super) async fn closed_by_reader() {
    while !is_closed() {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

fn is_closed() -> bool {
    let output = io::stdout();
    // A pipe without a reader and a reset socket report an error event, which `poll` always returns.
    let mut descriptors = [PollFd::new(&output, PollFlags::empty())];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|events| events > 0)
}

/// `name` with its control characters escaped. Relays reject such names, but the server may not be one of our relays.
pub(super) fn printable(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_control) {
        return name.into();
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    name.chars().map(escaped).collect::<String>().into()
}

/// Pads `cell` with spaces to `width` columns, on the left if `is_right`, otherwise on the right.
pub(super) fn padded(cell: &str, width: usize, is_right: bool) -> String {
    let spaces = " ".repeat(width.saturating_sub(cell.width()));
    if is_right { spaces + cell } else { cell.to_owned() + &spaces }
}

/// The width of `cell` in terminal columns.
pub(super) fn width(cell: &str) -> usize {
    cell.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_names_are_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\n"), "a\\u{1b}[2Jb\\u{9b}c\\n");
        assert!(matches!(printable("解码器"), Cow::Borrowed("解码器")));
    }

    #[test]
    fn widths_are_measured_in_terminal_columns() {
        for (cell, columns) in [("plain", 5), ("解码器", 6), ("cafe\u{301}", 4), ("e\u{200d}", 1), ("", 0)] {
            assert_eq!(width(cell), columns, "{cell}");
            assert_eq!((width(&padded(cell, 8, false)), width(&padded(cell, 8, true))), (8, 8), "{cell}");
        }
        assert_eq!(
            (padded("ab", 4, false), padded("ab", 4, true), padded("ab", 1, true)),
            ("ab  ".into(), "  ab".into(), "ab".into())
        );
    }
}
