//! The files of a release, in `target/dist/`: programs, Debian packages, the page for a web server, a list of all
//! dependencies, and their checksums.
//!
//! The same commit gives the same bytes, wherever and whenever it is built: paths are replaced in programs, and all
//! times in archives are that of the commit. [`reproduce`] checks it.

mod bill_of_materials;
mod check;
mod debian_root;
mod image;
mod packages;
mod page;
mod programs;
mod reproduce;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::checkout::Checkout;
use programs::{TARGETS, Target};

pub(crate) use check::manifests;

/// What a release consists of.
struct Release<'a> {
    here: &'a Checkout,
    version: String,
    /// Time of the commit, in s since the Unix epoch.
    time: String,
    /// The folder of the files.
    folder: PathBuf,
    /// The folder in which they are built, which keeps what later builds can use.
    work: PathBuf,
}

impl<'a> Release<'a> {
    fn new(here: &'a Checkout) -> Result<Self> {
        let sh = &here.shell;
        let time = cmd!(sh, "git log -1 --format=%ct").quiet().read().context("a release is built from a commit")?;
        let id = cmd!(sh, "cargo pkgid --package joey").quiet().read()?;
        let version = id.rsplit(['#', '@']).next().context("cargo pkgid prints a version")?.to_owned();
        let folder = here.target.join("dist");
        Ok(Self { here, version, time, work: folder.join("build"), folder })
    }

    /// The path of a file of the release.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Runs `cargo xtask dist` with these arguments.
pub(crate) fn dist(here: &Checkout, arguments: &[OsString]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    match words.split_first() {
        Some((&"--check", [])) => check::packages(&Release::new(here)?),
        Some((&"--reproduce", names)) => reproduce::check(&Release::new(here)?, &chosen(names)?),
        _ => build(&Release::new(here)?, &chosen(&words)?),
    }
}

/// The targets with these names, or all.
fn chosen(names: &[&str]) -> Result<Vec<&'static Target>> {
    let known = |name: &&str| TARGETS.iter().any(|target| target.triple == *name);
    let unknown: Vec<&str> = names.iter().filter(|name| !known(name)).copied().collect();
    let all: Vec<&str> = TARGETS.iter().map(|target| target.triple).collect();
    ensure!(unknown.is_empty(), "{} is not one of {}", unknown.join(" "), all.join(" "));
    Ok(TARGETS.iter().filter(|target| names.is_empty() || names.contains(&target.triple)).collect())
}

/// Builds everything for `targets`.
fn build(release: &Release<'_>, targets: &[&'static Target]) -> Result<()> {
    let sh = &release.here.shell;
    clear(&release.folder)?;
    let page = page::build(release)?;
    let mut skipped = Vec::new();
    let mut documents = None;
    for target in targets {
        if let Err(error) = programs::prepare(release.here, target) {
            skipped.push(format!("{}: {error:#}", target.triple));
            continue;
        }
        let program = programs::build(release, target, &page)?;
        if documents.is_none() && programs::runs_here(target) {
            documents = Some(packages::documents(release, &program)?);
        }
        let documents =
            documents.as_deref().context("the first target must run on this machine: it writes the man pages")?;
        packages::archive(release, target, &program, documents)?;
        if target.debian.is_some() {
            packages::deb(release, target, documents)?;
        }
        if let Err(error) = image::build(release, target, &program) {
            skipped.push(format!("the image for {}: {error:#}", target.triple));
        }
    }
    bill_of_materials::write(release)?;
    packages::checksums(release)?;
    for file in packages::files(release)? {
        println!("{:>12}  {}", sh.read_binary_file(&file)?.len(), file.display());
    }
    for reason in &skipped {
        println!("skipped {reason}");
    }
    ensure!(documents.is_some(), "no target could be built");
    Ok(())
}

/// Removes the files of an earlier release and keeps the folders.
fn clear(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name() {
        let triples =
            |names: &[&str]| chosen(names).map(|targets| targets.iter().map(|t| t.triple).collect::<Vec<_>>());
        assert_eq!(triples(&[]).unwrap().len(), TARGETS.len());
        assert_eq!(triples(&["x86_64-unknown-linux-musl"]).unwrap(), ["x86_64-unknown-linux-musl"]);
        assert!(triples(&["x86_64-pc-windows-msvc"]).unwrap_err().to_string().contains("is not one of"));
    }
}
