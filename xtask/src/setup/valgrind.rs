//! Valgrind, which counts instructions for `cargo xtask guard`.

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// Installs Debian's package if valgrind is missing.
pub(crate) fn find_or_install(here: &Checkout) -> Result<()> {
    if on_path(&["valgrind"]).is_some() {
        return Ok(());
    }
    println!("setup: installing Debian's valgrind to count instructions");
    apt::install(&here.shell, &["valgrind"])?;
    on_path(&["valgrind"]).map(drop).context("counting instructions needs valgrind: install it")
}
