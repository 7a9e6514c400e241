//! Trunk, which builds the bundle from index.html and the app. Trunk 0.22 needs a newer Rust than ours.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::cache::Cache;
use crate::checkout::{Checkout, before_path, on_path};

const VERSION: &str = "0.21.14";

/// The path of a Trunk that can build our bundle.
pub(crate) fn find_or_install(here: &Checkout, cache: &Cache) -> Result<PathBuf> {
    let sh = &here.shell;
    if let Some(trunk) = on_path(&["trunk"]).filter(|trunk| runs(sh, trunk)) {
        return Ok(trunk);
    }
    let folder = cache.folder(
        &format!("trunk-{VERSION}"),
        |folder| runs(sh, &folder.join("bin/trunk")),
        |work, result| {
            println!("setup: building Trunk {VERSION}, once, about 3 minutes on 2 cores");
            let target = work.join("target");
            // Without optimisation it builds in a third of the time and bundles an app of our size just as fast. Its
            // default features are TLS and an update check, which we do not need. Without `--locked` it does not
            // compile.
            let options = ["--locked", "--no-default-features", "--profile", "dev"];
            // Cargo warns about an installed program that is not on PATH.
            let path = before_path(&result.join("bin"))?;
            cmd!(sh, "cargo install trunk --version {VERSION} {options...} --root {result} --target-dir {target}")
                .env("CARGO_PROFILE_DEV_DEBUG", "false")
                .env("PATH", path)
                .quiet()
                .run()
                .context("Trunk could not be built")
        },
    )?;
    Ok(folder.join("bin/trunk"))
}

fn runs(sh: &Shell, trunk: &Path) -> bool {
    trunk.is_file()
        && cmd!(sh, "{trunk} --version")
            .env_remove("NO_COLOR")
            .quiet()
            .ignore_stderr()
            .read()
            .is_ok_and(|line| is_supported(&line))
}

/// Whether this is the 0.21 that Trunk.toml requires.
fn is_supported(version_line: &str) -> bool {
    version_line
        .strip_prefix("trunk 0.21.")
        .and_then(|patch| patch.trim().parse().ok())
        .is_some_and(|patch: u32| patch >= 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_trunk_0_21_is_supported() {
        assert!(is_supported("trunk 0.21.14"));
        assert!(!is_supported("trunk 0.21.9"));
        assert!(!is_supported("trunk 0.22.1"));
        assert!(!is_supported("trunk 0.21.14-beta"));
        assert!(!is_supported(""));
    }
}
