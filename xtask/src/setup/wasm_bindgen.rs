//! wasm-bindgen and its test runner, built from the package `joey-tools` and therefore from our own lockfile: the JavaScript they
//! generate works only with exactly their version of the wasm-bindgen library.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::cache::Cache;
use crate::checkout::Checkout;

/// Both programs, named as Trunk and Cargo expect.
const PROGRAMS: [&str; 2] = ["wasm-bindgen", "wasm-bindgen-test-runner"];

/// The folder that contains both programs.
pub(crate) fn find_or_build(here: &Checkout, cache: &Cache) -> Result<PathBuf> {
    let sh = &here.shell;
    let lockfile = sh.read_file(here.root.join("Cargo.lock"))?;
    let version = version_in(&lockfile).context("Cargo.lock has no wasm-bindgen")?;
    cache.folder(
        // Increment the last number when `joey-tools` changes.
        &format!("wasm-bindgen-{version}-3"),
        |folder| PROGRAMS.iter().all(|program| runs(sh, &folder.join(program), version)),
        |work, result| {
            println!("setup: building wasm-bindgen {version}, once, about 1 minute on 2 cores");
            // A separate target folder, because `cargo clean` would delete the checkout's.
            cmd!(sh, "cargo build --package joey-tools --profile tools --target-dir {work}")
                .quiet()
                .run()
                .context("wasm-bindgen could not be built")?;
            for program in PROGRAMS {
                sh.copy_file(work.join("tools").join(program), result)?;
            }
            Ok(())
        },
    )
}

fn runs(sh: &Shell, program: &Path, version: &str) -> bool {
    program.is_file()
        && cmd!(sh, "{program} --version")
            .quiet()
            .ignore_stderr()
            .read()
            .is_ok_and(|line| line.split_whitespace().nth(1) == Some(version))
}

/// The version of wasm-bindgen that a lockfile pins.
fn version_in(lockfile: &str) -> Option<&str> {
    let mut lines = lockfile.lines();
    lines.find(|line| *line == r#"name = "wasm-bindgen""#)?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_lockfile() {
        let lockfile = "\
[[package]]
name = \"wasm-bindgen-shared\"
version = \"0.1.0\"

[[package]]
name = \"wasm-bindgen\"
version = \"0.2.130\"
dependencies = [
 \"cfg-if\",
]
";
        assert_eq!(version_in(lockfile), Some("0.2.130"));
        assert_eq!(version_in(&lockfile.replace('\n', "\r\n")), Some("0.2.130"));
        assert_eq!(version_in("[[package]]\nname = \"other\"\nversion = \"1.0.0\"\n"), None);
    }
}
