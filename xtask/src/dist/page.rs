//! The page for a web server or a content delivery network: the bundle, and each file compressed in advance.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use xshell::cmd;

use super::{Release, packages, programs};
use crate::{
    setup,
    ui::{self, renew::files},
};

/// The best compression. The relay uses the same for the files inside it.
const BROTLI_QUALITY: u32 = 11;
/// Base-2 logarithm of the window size in bytes.
const BROTLI_WINDOW: u32 = 22;
/// The flags of `.cargo/config.toml` for this target, which the variable `RUSTFLAGS` replaces.
const WASM_FLAGS: &str = "-Clink-arg=--keep-section=target_features";
/// Files whose contents are compressed already.
const COMPRESSED: [&str; 1] = ["png"];

/// Builds the bundle, and its archive with compressed files. Returns the folder of the bundle without them.
pub(super) fn build(release: &Release<'_>) -> Result<PathBuf> {
    let bundle = release.work.join("page");
    println!("== page");
    let tools = setup::for_bundle(release.here)?;
    let flags = format!("{} {WASM_FLAGS}", programs::flags(release)?);
    let variables = [("RUSTFLAGS", flags.as_str()), ("SOURCE_DATE_EPOCH", &release.time)];
    ui::bundle_in(release.here, &tools, &bundle, &release.work, &variables)?;
    let name = format!("joey-page-{}", release.version);
    let folder = release.work.join(&name);
    packages::remove(&folder)?;
    for file in files(&bundle)? {
        let copy = folder.join(&file);
        fs::create_dir_all(copy.parent().unwrap_or(&folder))?;
        fs::copy(bundle.join(&file), &copy)?;
        if !COMPRESSED.iter().any(|ending| file.extension().is_some_and(|extension| extension == *ending)) {
            compress(release, &copy)?;
        }
    }
    packages::tar(release, &release.work, &name)?;
    Ok(bundle)
}

/// Writes `FILE.gz` and `FILE.br`, which web servers send to browsers that accept them (`gzip_static`, `brotli_static`).
fn compress(release: &Release<'_>, file: &Path) -> Result<()> {
    let sh = &release.here.shell;
    let gzip = cmd!(sh, "gzip -9 -n -c {file}").quiet().output()?.stdout;
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, BROTLI_WINDOW);
    brotli.write_all(&fs::read(file)?)?;
    for (ending, bytes) in [("gz", gzip), ("br", brotli.into_inner())] {
        let mut name = file.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        fs::write(name, bytes)?;
    }
    Ok(())
}
