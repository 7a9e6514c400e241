//! Benchmarks of the relay and its peers, and of the page ([`page`]). The package `joey-bench` measures the relay; this module
//! builds it and passes the paths.

mod goals;
pub(crate) mod page;

use std::{env, ffi::OsString};

use anyhow::Result;
use xshell::cmd;

use crate::{checkout::Checkout, setup::Cache};

/// Builds the relay and the benchmarks in release mode, and runs them.
pub(crate) fn run(here: &Checkout, arguments: &[OsString]) -> Result<()> {
    let sh = &here.shell;
    cmd!(sh, "cargo build --release --package joey --package joey-bench").run()?;
    let harness = here.joey.with_file_name(format!("joey-bench{}", env::consts::EXE_SUFFIX));
    let joey = env::var_os("JOEY_BIN").unwrap_or_else(|| here.joey.clone().into());
    let peers = Cache::open(sh)?.path("peers");
    cmd!(sh, "{harness} {arguments...}").env("JOEY_BIN", joey).env("JOEY_PEERS", peers).run()?;
    Ok(())
}
