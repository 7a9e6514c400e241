//! Standard output of a client: detects a closed pipe, escapes names, and aligns columns.

use std::borrow::Cow;
use std::io::{self, Write as _};
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

/// Aligns the cells of `rows`: those of the first `left` columns at the left, numbers at the right. Ends each row with a line
/// break.
pub(super) fn table<R: AsRef<[String]>>(rows: &[R], left: usize) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let widest = |column: usize| rows.iter().filter_map(|row| row.as_ref().get(column)).map(|cell| width(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells.map(|(column, (cell, &width))| padded(cell, width, column >= left)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Writes `text` to standard output. A reader that has closed the pipe is not an error.
///
/// # Errors
/// Fails if standard output cannot be written.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
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
