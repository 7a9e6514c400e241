//! kosoku, which runs Autobahn's cases against a WebSocket server. pip installs it into the cache; it has no
//! dependencies.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::cmd;

use super::cache::Cache;
use crate::checkout::Checkout;

const VERSION: &str = "0.1.0";

/// The folder from which Python can run it.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    let sh = &here.shell;
    let runs = |folder: &std::path::Path| {
        let program = folder.join("bin/kosoku");
        let help = cmd!(sh, "python3 {program} --help").env("PYTHONPATH", folder);
        program.is_file() && help.quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    Cache::open(sh)?.folder(&format!("kosoku-{VERSION}"), runs, |_, result| {
        println!("setup: installing kosoku {VERSION} for WebSocket conformance");
        cmd!(sh, "python3 -m pip install --quiet --no-deps --target {result} kosoku=={VERSION}")
            .run()
            .context("kosoku could not be installed; it needs Python 3.10 or later with pip")
    })
}
