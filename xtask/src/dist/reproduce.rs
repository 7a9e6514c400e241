//! Builds the release a second time from a clone in another folder, and compares the bytes.

use std::{env, fs};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use super::{Release, packages, programs::Target};

/// Builds `targets` here and from a clone of the commit, and compares the checksums of all files.
pub(super) fn check(release: &Release<'_>, targets: &[&'static Target]) -> Result<()> {
    let sh = &release.here.shell;
    let changed = cmd!(sh, "git status --porcelain").quiet().read()?;
    ensure!(changed.is_empty(), "commit these changes first, the clone would not have them:\n{changed}");
    super::build(release, targets)?;
    let first = fs::read_to_string(release.file("SHA256SUMS"))?;
    // Paths of another length, so that a path in a program also changes its size.
    let folder = release.work.join("second-build-in-another-folder");
    packages::remove(&folder)?;
    let (source, target) = (folder.join("source"), folder.join("target"));
    let root = &release.here.root;
    cmd!(sh, "git clone --quiet {root} {source}").run()?;
    let triples: Vec<&str> = targets.iter().map(|target| target.triple).collect();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    {
        let _folder = sh.push_dir(&source);
        cmd!(sh, "{cargo} xtask dist {triples...}").env("CARGO_TARGET_DIR", &target).run()?;
    }
    let second = fs::read_to_string(target.join("dist/SHA256SUMS")).context("the second build has no checksums")?;
    let differing: Vec<&str> = first.lines().filter(|line| !second.lines().any(|other| other == *line)).collect();
    ensure!(
        first == second,
        "two builds of this commit differ, compare {} with {}:\n{}",
        release.folder.display(),
        target.join("dist").display(),
        differing.join("\n")
    );
    println!("two builds in different folders have the same {} checksums", first.lines().count());
    packages::remove(&folder)
}
