//! The buffer of a producer's connection: the bytes that were read and not processed yet.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

/// Buffer for one read, about 25 frames.
const READ_BYTES: usize = 16 * 1024;
/// Buffer for one read of a busy producer, which has just filled the smaller one: about 200 frames for one system call. With half
/// of it a frame takes 6 % longer; with twice as much there is no measurable gain.
const BUSY_BYTES: usize = 128 * 1024;

/// The bytes that were read and not processed yet.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Completely initialized, so a read need not clear it first.
    bytes: Vec<u8>,
    length: usize,
    /// The size that `bytes` should have.
    target: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], length: 0, target: READ_BYTES }
    }
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The free part, for the next read. Buffered bytes count towards the size, so a steady stream always uses the same memory.
    fn free(&mut self) -> &mut [u8] {
        let needed = self.target.max(self.length + READ_BYTES / 4);
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        &mut self.bytes[self.length..]
    }

    /// Marks `bytes` of the free part as filled.
    fn advance(&mut self, bytes: usize) {
        self.length += bytes;
        // An incomplete frame takes up a part of the buffer, so a read that fills the rest may be shorter than
        // `READ_BYTES`. Checking for this saves a third of the reads of a producer that never pauses.
        let is_busy = bytes >= READ_BYTES || self.length == self.bytes.len();
        self.target = if is_busy { BUSY_BYTES } else { READ_BYTES };
    }

    /// Removes `bytes` from the start. Frees the memory of a long frame or of a busy period.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.bytes.copy_within(bytes..self.length, 0);
        self.length -= bytes;
        self.bytes.truncate(self.target.max(self.length));
        self.bytes.shrink_to(self.target);
    }
}

/// Why a read failed.
pub(super) enum ReadError {
    /// The incomplete frame did not arrive in time.
    Timeout,
    /// The connection failed.
    Socket,
}

impl Buffer {
    /// Reads some bytes from `stream`, until `deadline`. Returns their number; 0 at the end of the stream.
    pub(super) async fn read_from(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        deadline: Option<Instant>,
    ) -> Result<usize, ReadError> {
        let read = stream.read(self.free());
        let bytes = match deadline {
            Some(deadline) => timeout_at(deadline, read).await.map_err(|_| ReadError::Timeout)?,
            None => read.await,
        }
        .map_err(|_| ReadError::Socket)?;
        self.advance(bytes);
        Ok(bytes)
    }
}
