//! axe-core, the accessibility rules that the browser tests apply to every page. The tests inject the script.

use std::path::PathBuf;

use anyhow::Result;

use super::npm;
use crate::checkout::Checkout;

/// The script.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    npm::script(here, "axe-core", "4.14.1", "axe.min.js", "the tests of accessibility")
}
