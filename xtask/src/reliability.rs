//! Measurements of a release build under faults.

use std::ffi::OsString;

use anyhow::Result;
use xshell::cmd;

use crate::{checkout::Checkout, relay, setup};

/// Builds the relay and the measuring program in release mode, and runs it. If `JOEY_BIN` is set, it measures that
/// program without building the relay.
pub(crate) fn measure(here: &Checkout, names: &[OsString]) -> Result<()> {
    let joey = relay::to_measure(here)?;
    let sh = &here.shell;
    // Without the feature `browser` it needs no Chromium.
    let with_browser = names.iter().any(|argument| argument == "--browser");
    let features: &[&str] = if with_browser { &[] } else { &["--no-default-features"] };
    cmd!(sh, "cargo build --release --package joey-tests {features...} --bin reliability").run()?;
    let program = here.target.join("release/reliability");
    let mut measured = cmd!(sh, "{program} {names...}").env("JOEY_BIN", joey);
    if with_browser {
        let browser = setup::for_tests(here)?;
        measured = measured.env("CHROME", browser.chrome).env("CHROMEDRIVER", browser.driver);
    }
    // A soak needs no NATS.
    if names.first().is_none_or(|first| first != "soak") {
        measured = measured.env("NATS_SERVER", setup::nats(here)?);
    }
    measured.run()?;
    Ok(())
}
