//! The file of a recording, and its rotation.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use joey_shared::recording::{Entry, Record, header};
use joey_shared::viewer::Viewer;

/// Seconds of history at the beginning of the file after a rotation. The file before has what is older.
const ROTATED_SECONDS: u64 = 300;

/// Writes records, and remembers the first failure. A recording ends with its first failure.
pub(crate) struct Recorder {
    file: RecordingFile,
    /// Number of messages written, also to earlier files.
    messages: u64,
    failure: Option<anyhow::Error>,
}

/// An open file.
pub(crate) struct RecordingFile {
    path: PathBuf,
    file: File,
    /// Length of the file: the end of the last whole record.
    bytes: u64,
    /// Length of the state at its beginning.
    state_bytes: u64,
    bytes_max: u64,
}

impl RecordingFile {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// Fails if it exists or cannot be created.
    pub(crate) fn create(path: &Path, bytes_max: u64) -> anyhow::Result<Self> {
        let file = create_new(path)?;
        let mut new = Self { path: path.to_owned(), file, bytes: 0, state_bytes: 0, bytes_max };
        new.append(&header()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(new)
    }

    /// Appends whole records. If they do not fit, removes the part that was written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A reader would leave out the torn end too.
                let _ = self.file.set_len(self.bytes);
                Err(error)
            }
        }
    }

    /// Renames the file to `NAME.1.joey`, and begins a new one with the state of `viewer` at local time `now_ns`.
    fn rotate(&mut self, viewer: &Viewer, now_ns: u64) -> anyhow::Result<()> {
        let mut state = header().to_vec();
        viewer.write_state(now_ns, ROTATED_SECONDS, &mut state);
        let previous = self.path.with_extension("1.joey");
        fs::rename(&self.path, &previous).with_context(|| format!("cannot rename to {}", previous.display()))?;
        let file = create_new(&self.path)?;
        (self.file, self.bytes) = (file, 0);
        self.append(&state).map_err(|error| describe(error, &self.path))?;
        self.state_bytes = self.bytes;
        Ok(())
    }
}

/// Creates the file at `path`, which must not exist.
///
/// # Errors
/// Fails if it exists or cannot be created.
pub(crate) fn create_new(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    File::create_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{shown} exists and is never replaced; choose another name")
        }
        _ => anyhow::Error::new(error).context(format!("cannot create {shown}")),
    })
}

impl Recorder {
    pub(crate) const fn new(file: RecordingFile) -> Self {
        Self { file, messages: 0, failure: None }
    }

    /// Writes `entry`, received at `time_ns` since the Unix epoch by the relay's clock.
    pub(crate) fn write(&mut self, time_ns: u64, entry: Entry<'_>) {
        let mut record = Vec::new();
        if self.failure.is_some() || !(Record { time_ns, entry }).write(&mut record) {
            return;
        }
        match self.file.append(&record) {
            Ok(()) => self.messages += u64::from(matches!(entry, Entry::Message(_))),
            Err(error) => self.failure = Some(describe(error, &self.file.path)),
        }
    }

    /// Begins a new file if this one has reached its maximum. A state that is longer than half of that counts as half.
    pub(crate) fn rotate_if_full(&mut self, viewer: &Viewer, now_ns: u64) {
        let is_full = self.file.bytes >= self.file.bytes_max.max(2 * self.file.state_bytes);
        if is_full && self.failure.is_none() {
            self.failure = self.file.rotate(viewer, now_ns).err();
        }
    }

    /// Why the recording has ended, if it has.
    pub(crate) const fn failure(&mut self) -> Option<anyhow::Error> {
        self.failure.take()
    }

    /// Number of messages of relays since the start.
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Length of the file.
    pub(crate) const fn bytes(&self) -> u64 {
        self.file.bytes
    }
}

fn describe(error: io::Error, path: &Path) -> anyhow::Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => anyhow::anyhow!("the disk is full"),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::recording::Reader;

    #[test]
    fn a_full_file_is_renamed_and_both_are_recordings() {
        let folder = std::env::temp_dir().join(format!("joey-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.joey");
        let mut recorder = Recorder::new(RecordingFile::create(&path, 100).unwrap());
        assert!(RecordingFile::create(&path, 100).is_err(), "it exists");
        for time_ns in 0..9 {
            recorder.write(time_ns, Entry::Forget("App"));
            recorder.rotate_if_full(&Viewer::default(), 0);
        }
        assert!(recorder.failure().is_none());
        let times = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            let records = Reader::new(&bytes).unwrap().filter(|record| matches!(record.entry, Entry::Forget(_)));
            records.map(|record| record.time_ns).collect::<Vec<_>>()
        };
        let (old, new) = (times(&folder.join("a.1.joey")), times(&path));
        assert_eq!([old, new].concat().last(), Some(&8));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_said_in_words() {
        let mut recorder = match RecordingFile::create(Path::new("/dev/full"), 100) {
            // The file exists, so it is opened here.
            Err(_) => {
                let file = File::options().write(true).open("/dev/full").unwrap();
                let path = PathBuf::from("/dev/full");
                Recorder::new(RecordingFile { path, file, bytes: 0, state_bytes: 0, bytes_max: 100 })
            }
            Ok(file) => Recorder::new(file),
        };
        recorder.write(0, Entry::Forget("App"));
        assert_eq!(recorder.failure().map(|error| error.to_string()), Some("the disk is full".to_owned()));
        assert_eq!(recorder.bytes(), 0);
    }
}
