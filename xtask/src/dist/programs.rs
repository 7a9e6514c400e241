//! The program for each target, with the page in it.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::cmd;

use super::Release;
use crate::{
    checkout::{Checkout, on_path},
    setup,
};

/// A platform that programs are built for.
pub(super) struct Target {
    pub(super) triple: &'static str,
    /// The compiler for C and the Debian package that contains it. `None`: the one with which Rust links here.
    compiler: Option<(&'static str, &'static str)>,
    /// Whether this compiler also links. musl-gcc would link to its own C library instead of Rust's.
    links: bool,
    /// Debian's name of the architecture, if there is a package for it.
    pub(super) debian: Option<&'static str>,
    /// The name of the architecture of a container image, if there is one.
    pub(super) image: Option<&'static str>,
}

/// The compiler for 64-bit ARM.
const ARM64: Option<(&str, &str)> = Some(("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"));

/// All targets. The first one runs here and writes the man pages.
pub(super) const TARGETS: [Target; 4] = [
    Target { triple: "x86_64-unknown-linux-gnu", compiler: None, links: false, debian: Some("amd64"), image: None },
    Target {
        triple: "x86_64-unknown-linux-musl",
        compiler: Some(("musl-gcc", "musl-tools")),
        links: false,
        debian: None,
        image: Some("amd64"),
    },
    Target { triple: "aarch64-unknown-linux-gnu", compiler: ARM64, links: true, debian: Some("arm64"), image: None },
    // Rust brings musl itself, and the C code in `ring` uses no C library, so glibc's compiler does.
    Target { triple: "aarch64-unknown-linux-musl", compiler: ARM64, links: true, debian: None, image: Some("arm64") },
];

/// Whether this machine runs the programs of `target`.
pub(super) fn runs_here(target: &Target) -> bool {
    target.triple.split('-').next() == Some(env::consts::ARCH)
}

/// Installs what a build for `target` needs.
///
/// # Errors
/// Rust's standard library or the C compiler for it cannot be installed on this machine.
pub(super) fn prepare(here: &Checkout, target: &Target) -> Result<()> {
    setup::rust_target(here, target.triple)?;
    if let Some((compiler, package)) = target.compiler
        && on_path(&[compiler]).is_none()
    {
        println!("setup: installing Debian's {package}");
        // Debian's compilers for other architectures only recommend the C library.
        let library: &[&str] = if target.links { &["libc6-dev-arm64-cross"] } else { &[] };
        setup::debian(here, &[&[package], library].concat())?;
    }
    Ok(())
}

/// Builds the program with the page in the folder `page`.
pub(super) fn build(release: &Release<'_>, target: &Target, page: &Path) -> Result<PathBuf> {
    let sh = &release.here.shell;
    let triple = target.triple;
    let variable = triple.replace('-', "_");
    println!("\n== {triple}");
    let options = ["--locked", "--profile", "dist", "--package", "joey", "--features", "embed-ui"];
    let mut build = cmd!(sh, "cargo build {options...} --target {triple}")
        .env("CARGO_TARGET_DIR", &release.work)
        .env("RUSTFLAGS", flags(release)?)
        .env("SOURCE_DATE_EPOCH", &release.time)
        .env("JOEY_DIST", page);
    if let Some((compiler, _)) = target.compiler {
        build = build.env(format!("CC_{variable}"), compiler);
        if target.links {
            build = build.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), compiler);
        }
    }
    build.run()?;
    Ok(release.work.join(triple).join("dist").join("joey"))
}

/// Options of rustc that replace the paths of this machine in programs, for example in the messages of panics.
pub(super) fn flags(release: &Release<'_>) -> Result<String> {
    let cargo = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("there is no home directory")?;
    let replaced = [(&release.here.root, "/joey"), (&release.here.target, "/target"), (&cargo, "/cargo")];
    // The last one that applies counts, and the target folder may be in the checkout.
    let options = replaced.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
    Ok(options.join(" "))
}
