//! uPlot, a fast library for charts. `cargo xtask bench ui` compares the page with it; it is not a part of the page.

use std::path::PathBuf;

use anyhow::Result;

use super::npm;
use crate::checkout::Checkout;

/// The script.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    npm::script(here, "uplot", "1.6.32", "dist/uPlot.iife.min.js", "the benchmark of the page")
}
