//! Prometheus, for the tests of exported histograms. An installed one is used, otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// Finds or installs the server for the tests.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(prometheus) = find() {
        return Ok(prometheus);
    }
    let by_hand = "the tests of exported histograms need prometheus: install it, or set PROMETHEUS";
    println!("setup: installing Debian's prometheus for the tests of exported histograms");
    apt::install_stopped(&here.shell, &["prometheus"], &["prometheus"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("PROMETHEUS").map(PathBuf::from).filter(|file| file.is_file());
    set.or_else(|| on_path(&["prometheus"]))
}
