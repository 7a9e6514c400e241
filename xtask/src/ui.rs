//! The browser bundle: built by Trunk, put into `dist/`, and weighed.

mod renew;
mod weight;

use std::{env, ffi::OsString};

use anyhow::Result;
use xshell::Cmd;

use crate::{
    checkout::Checkout,
    setup::{self, BundleTools},
};
use weight::Weight;

/// Builds the bundle in `dist/`.
///
/// # Errors
/// Fails if it weighs too much.
pub(crate) fn build(here: &Checkout) -> Result<()> {
    bundle(here, &setup::for_bundle(here)?)?.check()
}

/// Builds the bundle in `dist/` and prints what it weighs.
pub(crate) fn bundle(here: &Checkout, tools: &BundleTools) -> Result<Weight> {
    let built = here.target.join("bundle");
    let mut trunk = trunk_command(here, tools).args(["build", "--release", "--dist"]).arg(&built);
    // The bundle is what Trunk.toml and index.html say, whoever builds it.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TRUNK_")) {
        trunk = trunk.env_remove(name);
    }
    trunk.run()?;
    renew::renew(&here.dist, &built)?;
    let weight = Weight::of(&here.shell, &here.dist)?;
    print!("{}", weight.table());
    Ok(weight)
}

/// Runs Trunk with `words`.
pub(crate) fn trunk(here: &Checkout, words: &[OsString]) -> Result<()> {
    let tools = setup::for_bundle(here)?;
    Ok(trunk_command(here, &tools).args(words).run()?)
}

fn trunk_command<'a>(here: &'a Checkout, tools: &BundleTools) -> Cmd<'a> {
    // When a build fails, a backtrace of Trunk itself would only hide what the compiler said.
    let trunk = here.shell.cmd(&tools.trunk).env("PATH", &tools.path).env("RUST_BACKTRACE", "0");
    // Trunk 0.21 takes NO_COLOR=1 for a mistake on its command line.
    match env::var_os("NO_COLOR") {
        Some(_) => trunk.env_remove("NO_COLOR").env("CARGO_TERM_COLOR", "never").args(["--color", "never"]),
        None => trunk,
    }
}
