//! Passes the commit to the program, and embeds the built page if the feature `embed-ui` is enabled.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pass_commit();
    #[cfg(feature = "embed-ui")]
    {
        let dist = std::env::var("JOEY_DIST").unwrap_or_else(|_| "../dist".to_owned());
        println!("cargo::rerun-if-env-changed=JOEY_DIST");
        println!("cargo::rerun-if-changed={dist}");
        assert!(
            std::path::Path::new(&dist).join("index.html").is_file(),
            "the feature embed-ui requires the built page in {dist}; build it with `cargo xtask ui`"
        );
        // The content security policy is derived from the text of `index.html`.
        let index = std::path::absolute(std::path::Path::new(&dist).join("index.html")).unwrap_or_default();
        println!("cargo::rustc-env=JOEY_INDEX={}", index.display());
        memory_serve::load_directory(dist);
    }
}

/// Sets `JOEY_VERSION` and `JOEY_COMMIT` for the compiler. The commit comes from the variable `JOEY_COMMIT`, for builds from an
/// archive, or from git. Without both, it is empty. It depends on nothing else, so that two builds of a commit are equal.
fn pass_commit() {
    println!("cargo::rerun-if-env-changed=JOEY_COMMIT");
    let commit = std::env::var("JOEY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let commit = commit.filter(|commit| commit.bytes().all(|byte| byte.is_ascii_alphanumeric())).unwrap_or_default();
    // A commit changes one of these. In a worktree they are outside the checkout.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let release = env!("CARGO_PKG_VERSION");
    let version = if commit.is_empty() { release.to_owned() } else { format!("{release} ({commit})") };
    println!("cargo::rustc-env=JOEY_COMMIT={commit}");
    println!("cargo::rustc-env=JOEY_VERSION={version}");
}

/// What git prints, if it is installed and this is a checkout of Joey rather than a folder in that of another project.
fn git(arguments: &[&str]) -> Option<String> {
    let run = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).output().ok().filter(|done| done.status.success())?;
        Some(String::from_utf8(done.stdout).ok()?.trim().to_owned())
    };
    // The folder of this package within the checkout.
    (run(&["rev-parse", "--show-prefix"])? == "relay/").then(|| run(arguments))?
}
