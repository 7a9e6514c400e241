//! Standard output of a client, whose reader may leave, and the columns of a terminal.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use unicode_width::UnicodeWidthStr as _;

/// How often it is looked whether somebody still reads.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until whoever read standard output has left; for ever where nobody can leave, as with a file.
pub(super) async fn reader_left() {
    while !has_left() {
        tokio::time::sleep(LOOK).await;
    }
}

fn has_left() -> bool {
    let output = io::stdout();
    // A pipe whose reader is gone, and a socket that was reset, have an error; these are told without being asked for.
    let mut looked = [PollFd::new(&output, PollFlags::empty())];
    poll(&mut looked, Some(&Timespec::default())).is_ok_and(|events| events > 0)
}

/// `name` with an escape for each control character: a relay refuses such names, but this may be no relay of ours.
pub(super) fn printable(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_control) {
        return name.into();
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    name.chars().map(escaped).collect::<String>().into()
}

/// `cell` with spaces after it, or before it, to fill `width` columns.
pub(super) fn padded(cell: &str, width: usize, is_right: bool) -> String {
    let spaces = " ".repeat(width.saturating_sub(cell.width()));
    if is_right { spaces + cell } else { cell.to_owned() + &spaces }
}

/// How many columns a terminal gives `cell`.
pub(super) fn width(cell: &str) -> usize {
    cell.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\n"), "a\\u{1b}[2Jb\\u{9b}c\\n");
        assert!(matches!(printable("解码器"), Cow::Borrowed("解码器")));
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
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
