//! Installs what a build needs and a fresh machine lacks. Each tool is installed only when it is needed and missing,
//! and each installation prints one line. Downloads are limited to crates, Rust components, Debian packages, and
//! packages of Python and Node that only tests use.

mod alertmanager;
mod apt;
mod axe;
mod browser;
mod cache;
pub(crate) mod crates;
pub(crate) mod exporters;
mod faketime;
mod kosoku;
mod nats;
mod nginx;
mod npm;
mod oidc;
mod peers;
mod prometheus;
mod rust;
mod schemas;
mod trunk;
mod uplot;
mod valgrind;
mod wasm_bindgen;

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;

pub(crate) use alertmanager::find_or_install as alertmanager;
pub(crate) use apt::is_root;
pub(crate) use axe::find_or_install as axe;
pub(crate) use browser::Browser;
pub(crate) use cache::Cache;
pub(crate) use faketime::find_or_install as faketime;
pub(crate) use kosoku::find_or_install as kosoku;
pub(crate) use nats::find_or_install as nats;
pub(crate) use nginx::find_or_install as nginx;
pub(crate) use oidc::find_or_install as oidc;
pub(crate) use peers::install as peers;
pub(crate) use prometheus::find_or_install as prometheus;
pub(crate) use rust::target as rust_target;
pub(crate) use schemas::find_or_install as manifest_schemas;
pub(crate) use uplot::find_or_install as uplot;
pub(crate) use valgrind::find_or_install as valgrind;

use crate::checkout::{Checkout, before_path};

/// The tools that build the bundle.
pub(crate) struct BundleTools {
    pub(crate) trunk: PathBuf,
    /// `PATH` with our wasm-bindgen first. Trunk uses the one it finds if its version matches the lockfile, and would
    /// otherwise download one.
    pub(crate) path: OsString,
    /// The program with which Cargo runs browser tests.
    pub(crate) test_runner: PathBuf,
}

/// Installs packages of Debian.
pub(crate) fn debian(here: &Checkout, packages: &[&str]) -> Result<()> {
    apt::install(&here.shell, packages)
}

/// Installs everything that any verb needs.
pub(crate) fn everything(here: &Checkout) -> Result<()> {
    let tools = for_bundle(here)?;
    let browser = for_tests(here)?;
    let nats = nats(here)?;
    let faketime = faketime(here)?;
    let nginx = nginx(here)?;
    let prometheus = prometheus(here)?;
    let alertmanager = alertmanager(here)?;
    let (axe, uplot) = (axe(here)?, uplot(here)?);
    let oidc = oidc(here)?;
    let (python, node) = (exporters::python(here)?, exporters::node(here)?);
    println!("everything is installed:");
    println!("  trunk         {}", tools.trunk.display());
    println!("  wasm-bindgen  {}", tools.test_runner.with_file_name("wasm-bindgen").display());
    println!("  chrome        {}", browser.chrome.display());
    println!("  chromedriver  {}", browser.driver.display());
    println!("  nats-server   {}", nats.display());
    println!("  libfaketime   {}", faketime.display());
    println!("  nginx         {}", nginx.display());
    println!("  prometheus    {}", prometheus.display());
    println!("  alertmanager  {}", alertmanager.display());
    println!("  axe-core      {}", axe.display());
    println!("  uPlot         {}", uplot.display());
    println!("  OIDC provider {}", oidc.display());
    println!("  exporters     {} and {}", python.display(), node.display());
    Ok(())
}

/// The tools that `run`, `build`, `ui` and `trunk` need.
pub(crate) fn for_bundle(here: &Checkout) -> Result<BundleTools> {
    rust::target(here, "wasm32-unknown-unknown")?;
    let cache = Cache::open(&here.shell)?;
    let trunk = trunk::find_or_install(here, &cache)?;
    let wasm_bindgen = wasm_bindgen::find_or_build(here, &cache)?;
    Ok(BundleTools {
        trunk,
        path: before_path(&wasm_bindgen)?,
        test_runner: wasm_bindgen.join("wasm-bindgen-test-runner"),
    })
}

/// What `test` needs in addition to [`for_bundle`].
pub(crate) fn for_tests(here: &Checkout) -> Result<Browser> {
    rust::component(here, "rustfmt", "fmt")?;
    rust::component(here, "clippy", "clippy")?;
    rust::target(here, BARE_TARGET)?;
    browser::find_or_install(here)
}

/// A target without any standard library, so that a build proves that `shared` is `no_std`.
pub(crate) const BARE_TARGET: &str = "thumbv7em-none-eabi";
