//! How light the relay is, measured beside its peers. The harness is the package `joey-bench`; here it gets what it needs.

use std::{env, ffi::OsString};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{
    checkout::{Checkout, on_path},
    setup::Cache,
};

/// Peers from npm, with the versions that the figures in `docs/benchmarks.md` are of.
const NPM: [&str; 2] = ["bun@1.4.4", "ws@8.23.0"];

/// Builds the relay and the harness as released, and measures.
pub(crate) fn run(here: &Checkout, words: &[OsString]) -> Result<()> {
    let sh = &here.shell;
    cmd!(sh, "cargo build --release --package joey --package joey-bench").run()?;
    let harness = here.joey.with_file_name(format!("joey-bench{}", env::consts::EXE_SUFFIX));
    let joey = env::var_os("JOEY_BIN").unwrap_or_else(|| here.joey.clone().into());
    let peers = Cache::open(sh)?.path("peers");
    cmd!(sh, "{harness} {words...}").env("JOEY_BIN", joey).env("JOEY_PEERS", peers).run()?;
    Ok(())
}

/// Installs the peers by the names of their packages: those of npm into the folder of tools, those of Debian for all.
pub(crate) fn install_peers(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let folder = Cache::open(sh)?.path("peers");
    sh.create_dir(&folder)?;
    on_path(&["npm"]).context("npm is not installed; Debian's package npm has it")?;
    cmd!(sh, "npm install --no-audit --no-fund --prefix {folder} {NPM...}").run()?;
    println!("peers are in {}", folder.display());
    Ok(())
}
