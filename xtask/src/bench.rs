//! How light the relay is, measured beside its peers, and what the page costs ([`page`]). The harness of the former is the package
//! `joey-bench`; here it gets what it needs.

pub(crate) mod page;

use std::{env, ffi::OsString};

use anyhow::Result;
use xshell::cmd;

use crate::{checkout::Checkout, setup::Cache};

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
