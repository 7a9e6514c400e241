//! Parts of the Rust toolchain. rust-toolchain.toml names them too, but rustup adds them only when it installs the
//! whole toolchain, and never with `RUSTUP_AUTO_INSTALL=0`.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::checkout::Checkout;

/// Adds the compiled standard library for `triple`.
pub(crate) fn target(here: &Checkout, triple: &str) -> Result<()> {
    let sh = &here.shell;
    let library = cmd!(sh, "rustc --print target-libdir --target {triple}").quiet().read()?;
    if Path::new(&library).is_dir() {
        return Ok(());
    }
    println!("setup: adding Rust's target {triple}");
    cmd!(sh, "rustup target add {triple}").run().with_context(|| {
        format!("this Rust has no target {triple}; without rustup, add it the way this Rust was installed")
    })
}

/// Adds `component`, which is installed if `cargo SUBCOMMAND` works.
pub(crate) fn component(here: &Checkout, component: &str, subcommand: &str) -> Result<()> {
    let sh = &here.shell;
    if cmd!(sh, "cargo {subcommand} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        return Ok(());
    }
    println!("setup: adding Rust's component {component}");
    cmd!(sh, "rustup component add {component}").run().with_context(|| {
        format!("this Rust has no {component}; without rustup, add it the way this Rust was installed")
    })
}
