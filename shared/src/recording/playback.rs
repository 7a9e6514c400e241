//! A recording that is open: the viewers of its relays at a position of the file.
//!
//! It reads the file from the beginning, because viewers depend on every message before. To move backward is to read
//! again. A page does this in parts, so that it stays responsive.

use alloc::vec::Vec;

use super::{HEADER_BYTES, Reader, RecordingError};
use crate::viewer::Viewers;

/// An open recording.
#[derive(Debug)]
pub struct Playback {
    bytes: Vec<u8>,
    viewers: Viewers,
    /// The position of the next record in the file, in bytes.
    at: usize,
    /// The end of the last whole record, in bytes.
    end: usize,
    first_ns: u64,
    last_ns: u64,
    position_ns: u64,
    records: u64,
}

impl Playback {
    /// Opens a file at its beginning, with windows of `seconds`.
    ///
    /// # Errors
    /// Fails if the bytes are not a recording, or one without a whole record.
    pub fn open(bytes: Vec<u8>, seconds: u64) -> Result<Self, RecordingError> {
        let mut reader = Reader::new(&bytes)?;
        let (mut first_ns, mut last_ns, mut records) = (u64::MAX, 0, 0);
        for record in reader.by_ref() {
            first_ns = first_ns.min(record.time_ns);
            last_ns = last_ns.max(record.time_ns);
            records += 1;
        }
        if records == 0 {
            return Err(RecordingError::Empty);
        }
        let end = reader.position();
        let viewers = Viewers::new(seconds);
        Ok(Self { bytes, viewers, at: HEADER_BYTES, end, first_ns, last_ns, position_ns: first_ns, records })
    }

    /// Reads up to the time `target_ns` since the Unix epoch, but stops after about `bytes_max` bytes. Returns whether it
    /// arrived. A target before the position starts again from the beginning.
    pub fn advance_to(&mut self, target_ns: u64, bytes_max: usize) -> bool {
        let target_ns = target_ns.clamp(self.first_ns, self.last_ns);
        if target_ns < self.position_ns {
            self.viewers = Viewers::new(self.viewers.seconds());
            (self.at, self.position_ns) = (HEADER_BYTES, self.first_ns);
        }
        let stop = self.at.saturating_add(bytes_max);
        let mut reader = Reader::resume(&self.bytes[..self.end], self.at);
        loop {
            self.at = reader.position();
            let Some(record) = reader.next().filter(|record| record.time_ns <= target_ns) else { break };
            self.position_ns = self.position_ns.max(record.time_ns);
            // The viewers count malformed entries.
            let _ = self.viewers.replay(&record);
            if reader.position() >= stop {
                self.at = reader.position();
                return false;
            }
        }
        self.position_ns = target_ns;
        self.viewers.advance(target_ns);
        true
    }

    /// Reads the whole file.
    pub fn advance_to_end(&mut self) {
        self.advance_to(u64::MAX, usize::MAX);
    }

    /// The viewers at this position.
    #[must_use]
    pub const fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    /// The same, to read windows, which slide when they are read.
    pub const fn viewers_mut(&mut self) -> &mut Viewers {
        &mut self.viewers
    }

    /// The viewers at this position, without the file.
    #[must_use]
    pub fn into_viewers(self) -> Viewers {
        self.viewers
    }

    /// The time of the relays of `app` at this position, in ns since the Unix epoch: the latest, if their clocks differ.
    #[must_use]
    pub fn app_relay_ns(&self, app: &str) -> u64 {
        self.viewers.app_relay_ns(app, self.position_ns).unwrap_or(self.position_ns)
    }

    /// The time of the position, in ns since the Unix epoch by the clock of the first relay.
    #[must_use]
    pub const fn position_ns(&self) -> u64 {
        self.position_ns
    }

    /// The times of the first and the last record, in ns since the Unix epoch by the clock of the first relay.
    #[must_use]
    pub const fn span_ns(&self) -> (u64, u64) {
        (self.first_ns, self.last_ns)
    }

    /// Number of whole records.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Number of bytes after the last whole record: the torn or damaged tail.
    #[must_use]
    pub const fn unread_bytes(&self) -> usize {
        self.bytes.len() - self.end
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
