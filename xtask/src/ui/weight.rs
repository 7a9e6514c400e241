//! What the bundle weighs when it travels, which is gzipped. Every viewer waits for it first, so there is a limit.

use std::path::Path;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use super::renew::files;

/// What the whole bundle may weigh: 160 KiB, which 10 Mbit/s bring in an eighth of a second. It was 150 KiB until the page had to
/// let go of series that nobody sends any more.
const BYTES_MAX: u64 = 160 * 1024;

/// The kinds of files told apart, by extension.
const KINDS: [&str; 4] = ["html", "css", "js", "wasm"];

/// Bytes of each of [`KINDS`], and of all other files.
#[derive(Default)]
pub(crate) struct Weight {
    kinds: [u64; KINDS.len()],
    others: u64,
}

impl Weight {
    /// Weighs the bundle in `folder`.
    pub(crate) fn of(sh: &Shell, folder: &Path) -> Result<Self> {
        let mut weight = Self::default();
        for file in files(folder)? {
            let path = folder.join(&file);
            let gzipped = cmd!(sh, "gzip -9 -n -c {path}").quiet().output()?;
            weight.add(&file, gzipped.stdout.len() as u64);
        }
        Ok(weight)
    }

    /// Fails if it is more than [`BYTES_MAX`].
    pub(crate) fn check(&self) -> Result<()> {
        let total = self.total();
        ensure!(total <= BYTES_MAX, "the bundle weighs {total} bytes gzipped, of at most {BYTES_MAX}");
        Ok(())
    }

    /// One line for each kind, and one for all.
    pub(crate) fn table(&self) -> String {
        let line = |(name, bytes)| format!("{:>7.1} KB gzipped  {name}\n", bytes as f64 / 1000.0);
        let last = [("others", self.others), ("together", self.total())];
        KINDS.into_iter().zip(self.kinds).chain(last).map(line).collect()
    }

    fn add(&mut self, file: &Path, bytes: u64) {
        let kind = KINDS.iter().position(|kind| file.extension().is_some_and(|extension| extension == *kind));
        match kind {
            Some(kind) => self.kinds[kind] += bytes,
            None => self.others += bytes,
        }
    }

    fn total(&self) -> u64 {
        self.kinds.iter().sum::<u64>() + self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_up_by_kind() {
        let mut weight = Weight::default();
        let files =
            [("app.js", 6_000), ("more/b.js", 449), ("app.wasm", 46_000), ("index.html", 900), ("LICENSE", 500)];
        for (file, bytes) in files {
            weight.add(Path::new(file), bytes);
        }
        assert_eq!(weight.total(), 53_849);
        let expected = [
            "    0.9 KB gzipped  html",
            "    0.0 KB gzipped  css",
            "    6.4 KB gzipped  js",
            "   46.0 KB gzipped  wasm",
            "    0.5 KB gzipped  others",
            "   53.8 KB gzipped  together",
        ];
        assert_eq!(weight.table().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_bundle_of_just_the_limit_is_light_enough() {
        let mut weight = Weight::default();
        weight.add(Path::new("app.wasm"), BYTES_MAX);
        assert!(weight.check().is_ok());
        weight.add(Path::new("icon.svg"), 1);
        assert!(weight.check().is_err());
    }
}
