//! The browser bundle: built by Trunk in `dist/`, and its compressed size.

pub(crate) mod renew;
mod weight;

use std::{env, ffi::OsString, path::Path};

use anyhow::Result;
use xshell::Cmd;

use crate::{
    checkout::Checkout,
    setup::{self, BundleTools},
};
use weight::Weight;

/// Builds the bundle in `dist/`, with the tools that are installed or after installing them.
pub(crate) fn build(here: &Checkout) -> Result<()> {
    bundle(here, &setup::for_bundle(here)?)
}

/// Builds the bundle in `dist/` and prints its compressed size.
pub(crate) fn bundle(here: &Checkout, tools: &BundleTools) -> Result<()> {
    let built = here.target.join("bundle");
    bundle_in(here, tools, &built, &here.target, &[])?;
    renew::renew(&here.dist, &built)?;
    print!("{}", Weight::of(&here.shell, &here.dist)?.table());
    Ok(())
}

/// Builds the bundle in the folder `built`, with these environment variables, and keeps what was compiled in `target`.
pub(crate) fn bundle_in(
    here: &Checkout,
    tools: &BundleTools,
    built: &Path,
    target: &Path,
    variables: &[(&str, &str)],
) -> Result<()> {
    let mut trunk = trunk_command(here, tools).args(["build", "--release", "--dist"]).arg(built);
    trunk = trunk.env("CARGO_TARGET_DIR", target).envs(variables.iter().copied());
    // Only Trunk.toml and index.html decide what is in the bundle.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TRUNK_")) {
        trunk = trunk.env_remove(name);
    }
    Ok(trunk.run()?)
}

/// Runs Trunk with `words` as its arguments.
pub(crate) fn trunk(here: &Checkout, words: &[OsString]) -> Result<()> {
    let tools = setup::for_bundle(here)?;
    Ok(trunk_command(here, &tools).args(words).run()?)
}

fn trunk_command<'a>(here: &'a Checkout, tools: &BundleTools) -> Cmd<'a> {
    // If a build fails, a backtrace of Trunk would only hide the compiler's errors.
    let trunk = here.shell.cmd(&tools.trunk).env("PATH", &tools.path).env("RUST_BACKTRACE", "0");
    // Trunk 0.21 rejects NO_COLOR=1.
    match env::var_os("NO_COLOR") {
        Some(_) => trunk.env_remove("NO_COLOR").env("CARGO_TERM_COLOR", "never").args(["--color", "never"]),
        None => trunk,
    }
}
