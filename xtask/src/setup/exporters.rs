//! OpenTelemetry's exporters for Python and Node, with which the tests prove that unmodified services can send to Joey.
//! pip and npm install them into the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::apt;
use super::cache::Cache;
use crate::checkout::{Checkout, on_path};

const PYTHON: [&str; 6] = [
    "opentelemetry-distro==0.66b2",
    "opentelemetry-exporter-otlp==1.45.2",
    "opentelemetry-instrumentation-fastapi==0.66b2",
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
    "setuptools==84.2.1",
];
// The last release line for the Node of Debian 12.
const NODE: [&str; 3] =
    ["@opentelemetry/api@1.9.1", "@opentelemetry/sdk-node@0.223.0", "@opentelemetry/instrumentation-http@0.223.0"];

/// The folder of Python's packages, for `PYTHONPATH`.
pub(crate) fn python(here: &Checkout) -> Result<PathBuf> {
    let sh = &here.shell;
    let runs = |folder: &Path| {
        let import = "import fastapi, uvicorn, opentelemetry.exporter.otlp.proto.grpc, opentelemetry.distro";
        cmd!(sh, "python3 -c {import}").env("PYTHONPATH", folder).quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    Cache::open(sh)?.folder("otel-python-1.45.2", runs, |_, result| {
        println!("setup: installing OpenTelemetry's SDK for Python, for the tests of its exporters");
        if cmd!(sh, "python3 -m pip --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
            apt::install(sh, &["python3-pip"])?;
        }
        cmd!(sh, "python3 -m pip install --quiet --target {result} {PYTHON...}")
            .run()
            .context("OpenTelemetry for Python could not be installed; it needs Python 3.10 or later with pip")
    })
}

/// The folder that contains `node_modules`.
pub(crate) fn node(here: &Checkout) -> Result<PathBuf> {
    let sh = &here.shell;
    let runs = |folder: &Path| {
        let packages = folder.join("node_modules");
        let require = "require('@opentelemetry/sdk-node'); require('@opentelemetry/instrumentation-http')";
        cmd!(sh, "node -e {require}").env("NODE_PATH", packages).quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    Cache::open(sh)?.folder("otel-node-0.223.0", runs, |_, result| {
        println!("setup: installing OpenTelemetry's SDK for Node, for the tests of its exporters");
        if on_path(&["npm"]).is_none() || on_path(&["node"]).is_none() {
            apt::install(sh, &["nodejs", "npm"])?;
        }
        cmd!(sh, "npm install --loglevel=error --no-audit --no-fund --ignore-scripts --prefix {result} {NODE...}")
            .run()
            .context("OpenTelemetry for Node could not be installed; it needs Node 18.19 or later with npm")
    })
}
