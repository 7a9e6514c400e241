//! Scripts of npm packages, which only tests and measurements use. No page fetches them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::apt;
use super::cache::Cache;
use crate::checkout::{Checkout, on_path};

/// The file `script` of this version of a package, which npm installs into the cache. `purpose` says what needs it.
pub(super) fn script(here: &Checkout, name: &str, version: &str, script: &str, purpose: &str) -> Result<PathBuf> {
    let sh = &here.shell;
    let script = PathBuf::from("node_modules").join(name).join(script);
    let is_usable = |folder: &Path| folder.join(&script).is_file();
    let folder = Cache::open(sh)?.folder(&format!("{name}-{version}"), is_usable, |_, result| {
        println!("setup: installing {name}, for {purpose}");
        if on_path(&["npm"]).is_none() {
            apt::install(sh, &["nodejs", "npm"])?;
        }
        let package = format!("{name}@{version}");
        cmd!(sh, "npm install --loglevel=error --no-audit --no-fund --ignore-scripts --prefix {result} {package}")
            .run()
            .with_context(|| format!("{name} could not be installed; it needs npm"))
    })?;
    Ok(folder.join(script))
}
