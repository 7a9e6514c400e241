//! The file `state` of a journal: whether the segments contain everything that viewers have seen. It also locks the
//! directory. It is overwritten in place, which works on a full disk too.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

/// Identifies the run of the kernel, so that a power failure can be told from a killed process.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug)]
pub(super) struct StateFile {
    file: File,
    boot: String,
    /// The lock orders the writes of this file.
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Whether the relay synchronizes its writes.
    is_synced: bool,
    /// Whether the relay has stopped.
    is_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The relay is running.
    Open,
    /// Something was shown to viewers before it was written.
    Incomplete,
    /// The relay has stopped, and everything is synchronized with the disk.
    Closed,
}

impl State {
    /// All states have the same length.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open      ",
            Self::Incomplete => "incomplete",
            Self::Closed => "closed    ",
        }
    }
}

impl StateFile {
    /// Opens and locks the file in `dir`. Returns also whether the segments contain everything that viewers have seen.
    pub(super) fn open(dir: &Path) -> anyhow::Result<(Self, bool)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("state"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!("another relay uses it"),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let is_complete = bytes.is_empty() || is_complete(&String::from_utf8_lossy(&bytes), &boot);
        Ok((Self { file, boot, noted: Mutex::default() }, is_complete))
    }

    /// Notes that the relay is running.
    pub(super) fn opened(&self, is_synced: bool) -> io::Result<()> {
        let mut noted = self.noted.lock();
        noted.is_synced = is_synced;
        self.write(State::Open, is_synced)
    }

    /// Notes whether the segments lack something that viewers have seen.
    pub(super) fn set(&self, is_behind: impl Fn() -> bool) -> io::Result<()> {
        let noted = self.noted.lock();
        let state = match (is_behind(), noted.is_closed) {
            (true, _) => State::Incomplete,
            (false, true) => State::Closed,
            (false, false) => State::Open,
        };
        self.write(state, noted.is_synced)
    }

    /// Notes that the relay has stopped and everything is synchronized.
    pub(super) fn closed(&self) -> io::Result<()> {
        let mut noted = self.noted.lock();
        noted.is_closed = true;
        self.write(State::Closed, noted.is_synced)
    }

    fn write(&self, state: State, is_synced: bool) -> io::Result<()> {
        let text = format!("joey-journal 1\nstate {}\nsync {}\nboot {}\n", state.as_str(), is_synced, self.boot);
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_data()
    }
}

/// Whether the journal with this state contains everything, now that the machine has been running since `boot`.
fn is_complete(text: &str, boot: &str) -> bool {
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map_or("", str::trim);
    match value("state") {
        "closed" => true,
        "open" => value("boot") == boot || value("sync") == "true",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_complete_unless_the_disk_or_the_power_failed() {
        let text = |state: State, is_synced: bool| {
            format!("joey-journal 1\nstate {}\nsync {is_synced}\nboot a\n", state.as_str())
        };
        assert!(is_complete(&text(State::Open, false), "a"));
        assert!(!is_complete(&text(State::Open, false), "b"));
        assert!(is_complete(&text(State::Open, true), "b"));
        assert!(is_complete(&text(State::Closed, false), "b"));
        assert!(!is_complete(&text(State::Incomplete, true), "a"));
        assert!(!is_complete("joey-jour", "a"));
    }

    #[test]
    fn a_directory_belongs_to_one_relay() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (state, is_complete) = StateFile::open(dir).unwrap();
        assert!(is_complete);
        assert!(StateFile::open(dir).unwrap_err().to_string().contains("another relay"));
        state.opened(false).unwrap();
        state.set(|| true).unwrap();
        drop(state);
        assert!(!StateFile::open(dir).unwrap().1);
    }
}
