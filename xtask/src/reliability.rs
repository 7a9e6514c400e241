//! Figures of the released relay while things go wrong.

use std::ffi::OsString;

use anyhow::Result;
use xshell::cmd;

use crate::{checkout::Checkout, relay, setup};

/// Builds what is released and what measures it, and measures.
pub(crate) fn measure(here: &Checkout, names: &[OsString]) -> Result<()> {
    relay::build(here)?;
    let sh = &here.shell;
    // Without the feature `browser` it needs none of what drives Chromium.
    cmd!(sh, "cargo build --release --package joey-tests --no-default-features --bin reliability").run()?;
    let program = here.target.join("release/reliability");
    let nats = setup::nats(here)?;
    cmd!(sh, "{program} {names...}").env("JOEY_BIN", &here.joey).env("NATS_SERVER", nats).run()?;
    Ok(())
}
