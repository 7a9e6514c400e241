//! The relay with the bundle embedded: one file that is a complete installation.

use std::{env, ffi::OsString, process::Command};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{checkout::Checkout, ui};

/// Builds the bundle, then the relay that contains it.
pub(crate) fn build(here: &Checkout) -> Result<()> {
    ui::build(here)?;
    build_around_bundle(here)
}

/// The program to measure: `JOEY_BIN` if it is set, otherwise a release build.
pub(crate) fn to_measure(here: &Checkout) -> Result<OsString> {
    if let Some(joey) = env::var_os("JOEY_BIN") {
        return Ok(joey);
    }
    build(here)?;
    Ok(here.joey.clone().into())
}

pub(crate) fn build_around_bundle(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    cmd!(sh, "cargo build --release --package joey --features embed-ui").run()?;
    Ok(())
}

/// Builds everything and runs `joey demo`, or `joey ARGS…`, in the caller's folder.
pub(crate) fn run(here: &Checkout, arguments: &[OsString]) -> Result<()> {
    build(here)?;
    let mut joey = Command::new(&here.joey);
    if arguments.is_empty() {
        joey.arg("demo");
    } else {
        joey.args(arguments);
    }
    become_program(joey).with_context(|| format!("cannot run {}", here.joey.display()))
}

/// Replaces this process instead of waiting for a child, so that Ctrl-C reaches the program only.
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
