//! The relay with the bundle inside: one file that is a complete installation.

use std::{ffi::OsString, process::Command};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{checkout::Checkout, ui};

/// Builds the bundle, then the relay around it.
pub(crate) fn build(here: &Checkout) -> Result<()> {
    ui::build(here)?;
    build_around_bundle(here)
}

pub(crate) fn build_around_bundle(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    cmd!(sh, "cargo build --release --package joey --features embed-ui").run()?;
    Ok(())
}

/// Builds everything and becomes `joey demo`, or `joey WORDS…`, in the caller's folder.
pub(crate) fn run(here: &Checkout, words: &[OsString]) -> Result<()> {
    ui::build(here)?;
    build_around_bundle(here)?;
    let mut joey = Command::new(&here.joey);
    if words.is_empty() {
        joey.arg("demo");
    } else {
        joey.args(words);
    }
    become_program(joey).with_context(|| format!("cannot run {}", here.joey.display()))
}

/// Taking the program's place, rather than waiting for it, leaves nothing in between that Ctrl-C could stop too early.
#[cfg(unix)]
fn become_program(mut program: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(program.exec().into())
}

#[cfg(not(unix))]
fn become_program(mut program: Command) -> Result<()> {
    let status = program.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
