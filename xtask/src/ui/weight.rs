//! The size of the bundle as it is sent: compressed with gzip and with brotli.
//!
//! There is no limit. `cargo xtask bench ui` records the sizes with the time to the first row; a commit that adds more than 5 %
//! says why.

use std::{io::Write as _, path::Path};

use anyhow::Result;
use xshell::{Shell, cmd};

use super::renew::files;

/// The kinds of files, by extension.
const KINDS: [&str; 4] = ["html", "css", "js", "wasm"];
/// The best compression, which the relay uses for the files inside it.
const BROTLI_QUALITY: u32 = 11;
/// Base-2 logarithm of the window size in bytes: brotli's default.
const BROTLI_WINDOW: u32 = 22;

/// Compressed sizes in bytes.
#[derive(Clone, Copy, Default)]
struct Size {
    gzip: usize,
    brotli: usize,
}

impl Size {
    fn of(sh: &Shell, file: &Path) -> Result<Self> {
        let gzip = cmd!(sh, "gzip -9 -n -c {file}").quiet().output()?.stdout.len();
        let mut compressor = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, BROTLI_WINDOW);
        compressor.write_all(&std::fs::read(file)?)?;
        Ok(Self { gzip, brotli: compressor.into_inner().len() })
    }

    fn add(&mut self, other: Self) {
        self.gzip += other.gzip;
        self.brotli += other.brotli;
    }
}

/// The sizes of each of [`KINDS`], and of all other files.
#[derive(Default)]
pub(crate) struct Weight {
    kinds: [Size; KINDS.len()],
    others: Size,
}

impl Weight {
    /// Compresses the files in `folder`.
    ///
    /// # Errors
    /// A file cannot be read, or there is no `gzip`.
    pub(crate) fn of(sh: &Shell, folder: &Path) -> Result<Self> {
        let mut weight = Self::default();
        for file in files(folder)? {
            weight.add(&file, Size::of(sh, &folder.join(&file))?);
        }
        Ok(weight)
    }

    /// A line for each kind, and one for the total.
    pub(crate) fn table(&self) -> String {
        let mut total = self.others;
        self.kinds.iter().for_each(|size| total.add(*size));
        let kilobytes = |bytes: usize| bytes as f64 / 1000.0;
        let line = |(name, size): (&str, Size)| {
            format!("{:>7.1} KB gzip {:>7.1} KB brotli  {name}\n", kilobytes(size.gzip), kilobytes(size.brotli))
        };
        KINDS.into_iter().zip(self.kinds).chain([("others", self.others), ("total", total)]).map(line).collect()
    }

    fn add(&mut self, file: &Path, size: Size) {
        match KINDS.iter().position(|kind| file.extension().is_some_and(|extension| extension == *kind)) {
            Some(kind) => self.kinds[kind].add(size),
            None => self.others.add(size),
        }
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
        for (file, gzip) in files {
            weight.add(Path::new(file), Size { gzip, brotli: gzip / 2 });
        }
        let expected = [
            "    0.9 KB gzip     0.5 KB brotli  html",
            "    0.0 KB gzip     0.0 KB brotli  css",
            "    6.4 KB gzip     3.2 KB brotli  js",
            "   46.0 KB gzip    23.0 KB brotli  wasm",
            "    0.5 KB gzip     0.2 KB brotli  others",
            "   53.8 KB gzip    26.9 KB brotli  total",
        ];
        assert_eq!(weight.table().lines().collect::<Vec<_>>(), expected);
    }
}
