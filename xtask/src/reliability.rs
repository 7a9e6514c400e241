//! Figures of the released relay while things go wrong.

use std::{env, ffi::OsString};

use anyhow::Result;
use xshell::cmd;

use crate::{checkout::Checkout, relay, setup};

/// Builds what is released and what measures it, and measures; `JOEY_BIN` is measured instead, and not built, where it is set.
pub(crate) fn measure(here: &Checkout, names: &[OsString]) -> Result<()> {
    let joey = match env::var_os("JOEY_BIN") {
        Some(joey) => joey,
        None => {
            relay::build(here)?;
            here.joey.clone().into()
        }
    };
    let sh = &here.shell;
    // Without the feature `browser` it needs none of what drives Chromium.
    let with_browser = names.iter().any(|word| word == "--browser");
    let features: &[&str] = if with_browser { &[] } else { &["--no-default-features"] };
    cmd!(sh, "cargo build --release --package joey-tests {features...} --bin reliability").run()?;
    let program = here.target.join("release/reliability");
    let mut measured = cmd!(sh, "{program} {names...}").env("JOEY_BIN", joey);
    if with_browser {
        let browser = setup::for_tests(here)?;
        measured = measured.env("CHROME", browser.chrome).env("CHROMEDRIVER", browser.driver);
    }
    // A soak needs no other relay.
    if names.first().is_none_or(|first| first != "soak") {
        measured = measured.env("NATS_SERVER", setup::nats(here)?);
    }
    measured.run()?;
    Ok(())
}
