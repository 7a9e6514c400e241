//! Tools of the slow checks, each built once from its crate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::cache::Cache;
use crate::checkout::{Checkout, before_path};

/// Runs the fuzzers; without a sanitizer it works with any Rust.
pub(crate) const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// Checks the dependencies of a build.
pub(crate) const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// Builds Debian packages, with the scripts that debhelper would generate.
pub(crate) const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");
/// Builds the documents as a site.
pub(crate) const MDBOOK: (&str, &str) = ("mdbook", "0.5.4");

/// The folder of the program that the crate `name` installs, in `version`.
pub(crate) fn find_or_install(here: &Checkout, (name, version): (&str, &str)) -> Result<PathBuf> {
    let sh = &here.shell;
    let folder = Cache::open(sh)?.folder(
        &format!("{name}-{version}"),
        |folder| runs(here, &folder.join("bin").join(name)),
        |work, result| {
            println!("setup: building {name} {version}, once, a few minutes on 2 cores");
            let target = work.join("target");
            let options = ["--locked", "--profile", "dev"];
            // Cargo warns about an installed program that is not on PATH.
            let path = before_path(&result.join("bin"))?;
            cmd!(sh, "cargo install {name} --version {version} {options...} --root {result} --target-dir {target}")
                .env("CARGO_PROFILE_DEV_DEBUG", "false")
                .env("PATH", path)
                .quiet()
                .run()
                .with_context(|| format!("{name} could not be built"))
        },
    )?;
    Ok(folder.join("bin"))
}

fn runs(here: &Checkout, program: &Path) -> bool {
    let sh = &here.shell;
    program.is_file() && cmd!(sh, "{program} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}
