//! The files of the journal: `00000000000000000001.segment` and so on. The number is also in the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::record::{Record, next_record};

/// The first bytes of a segment. The last of them is the version of the format.
const MAGIC: [u8; 8] = *b"JOEYJRN1";
/// Magic and number, in little endian.
const HEADER_BYTES: usize = 16;
const EXTENSION: &str = "segment";
/// Segments have smaller numbers, so that there is always a next one.
const GENERATION_MAX: u64 = u64::MAX >> 1;

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) generation: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When the newest batch in it was cut, in ns; 0 if there is none.
    pub(super) newest_ns: u64,
}

/// The segments in `dir`, the oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(generation) = number {
            if generation >= GENERATION_MAX {
                return Err(io::Error::other(format!("{} is not a segment of a journal", path.display())));
            }
            segments.push(Segment { generation, path, bytes: file.metadata()?.len(), newest_ns: 0 });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.generation);
    Ok(segments)
}

impl Segment {
    /// Creates the segment `generation` in `dir` with `content`.
    pub(super) fn create(dir: &Path, generation: u64, content: &[u8]) -> io::Result<(Self, File)> {
        let path = dir.join(format!("{generation:020}.{EXTENSION}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let bytes = [&MAGIC[..], &generation.to_le_bytes(), content].concat();
        if let Err(error) = file.write_all(&bytes) {
            // If this fails too, the next start finds an incomplete segment.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok((Self { generation, path, bytes: bytes.len() as u64, newest_ns: 0 }, file))
    }

    /// Reads all records. Returns the number of bytes at the end that cannot be read; in the newest segment they are
    /// removed, so `bytes` becomes 0 if nothing can be read.
    pub(super) fn replay(&mut self, is_newest: bool, mut each: impl FnMut(&Record<'_>)) -> io::Result<u64> {
        let content = fs::read(&self.path)?;
        if content.starts_with(&MAGIC[..7]) && content.get(7).is_some_and(|version| *version != MAGIC[7]) {
            return Err(io::Error::other("it was written by another release of Joey"));
        }
        let is_segment = content.starts_with(&MAGIC) && content.len() >= HEADER_BYTES;
        let mut at = if is_segment { HEADER_BYTES } else { 0 };
        while is_segment && let Some((record, length)) = content.get(at..).and_then(next_record) {
            if let Record::Batch(batch) = &record {
                self.newest_ns = self.newest_ns.max(batch.cut_ns);
            }
            each(&record);
            at += length;
        }
        let bad_bytes = (content.len() - at) as u64;
        if is_newest && bad_bytes > 0 {
            self.bytes = at as u64;
            if at == 0 {
                fs::remove_file(&self.path)?;
            } else {
                OpenOptions::new().write(true).open(&self.path)?.set_len(self.bytes)?;
            }
        }
        Ok(bad_bytes)
    }
}
