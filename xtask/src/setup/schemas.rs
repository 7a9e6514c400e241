//! Schemas and parsers for the files for containers and Kubernetes, as packages of Python in the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::{apt, cache::Cache};
use crate::checkout::Checkout;

const PACKAGES: [&str; 3] = ["kubernetes-validate==1.37.0", "compose-spec==0.2.1", "dockerfile==3.4.0"];

/// The Python that can import them.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    let sh = &here.shell;
    let python = |folder: &Path| folder.join("venv/bin/python");
    let runs = |folder: &Path| {
        let (python, import) = (python(folder), "import dockerfile, kubernetes_validate, compose_spec");
        cmd!(sh, "{python} -c {import}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    let folder = Cache::open(sh)?.folder("manifest-schemas-1", runs, |_, result| {
        println!("setup: installing the schemas of Kubernetes and Compose, for the test of the manifests");
        let venv = result.join("venv");
        let create = || cmd!(sh, "python3 -m venv {venv}").quiet().run();
        if create().is_err() {
            apt::install(sh, &["python3-venv"])?;
            create()?;
        }
        let python = python(result);
        cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check {PACKAGES...}")
            .run()
            .context("the schemas could not be installed; they need Python 3.10 or later with pip")
    })?;
    Ok(python(&folder))
}
