//! kosoku, which plays Autobahn's cases against a WebSocket server. Python's own package installer puts it into the cache; it
//! depends on nothing else.

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
        let asked = cmd!(sh, "python3 {program} --help").env("PYTHONPATH", folder);
        program.is_file() && asked.quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    Cache::open(sh)?.folder(&format!("kosoku-{VERSION}"), runs, |_, result| {
        println!("setup: installing kosoku {VERSION} for the conformance of the WebSocket");
        cmd!(sh, "python3 -m pip install --quiet --no-deps --target {result} kosoku=={VERSION}")
            .run()
            .context("kosoku could not be installed; it needs Python 3.10 or later with pip")
    })
}
