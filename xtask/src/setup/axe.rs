//! axe-core, the accessibility rules that the browser tests apply to every page. npm installs it into the cache; the tests inject
//! the file, so that no page fetches it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::apt;
use super::cache::Cache;
use crate::checkout::{Checkout, on_path};

const PACKAGE: &str = "axe-core@4.14.1";
/// The script in the package's folder.
const SCRIPT: &str = "node_modules/axe-core/axe.min.js";

/// The script.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    let sh = &here.shell;
    let is_usable = |folder: &Path| folder.join(SCRIPT).is_file();
    let folder = Cache::open(sh)?.folder("axe-core-4.14.1", is_usable, |_, result| {
        println!("setup: installing axe-core, for the tests of accessibility");
        if on_path(&["npm"]).is_none() {
            apt::install(sh, &["nodejs", "npm"])?;
        }
        cmd!(sh, "npm install --loglevel=error --no-audit --no-fund --ignore-scripts --prefix {result} {PACKAGE}")
            .run()
            .context("axe-core could not be installed; it needs npm")
    })?;
    Ok(folder.join(SCRIPT))
}
