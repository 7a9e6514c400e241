//! Checks that are too slow for every change: fuzzing, thread interleavings, and the dependencies' licences, sources
//! and vulnerabilities.

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::checkout::{Checkout, before_path};
use crate::setup::crates::{CARGO_DENY, CARGO_FUZZ, find_or_install};

/// Time for which each target is fuzzed, in seconds.
const FUZZ_SECS: u32 = 30;

/// Runs every fuzz target. Failing inputs are stored in `fuzz/artifacts`, new corpus entries in `target/fuzz`.
pub(crate) fn fuzz(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let path = before_path(&find_or_install(here, CARGO_FUZZ)?)?;
    let targets = cmd!(sh, "cargo fuzz list").env("PATH", &path).quiet().read()?;
    ensure!(targets.lines().count() > 0, "there are no fuzz targets");
    for target in targets.lines() {
        let (learned, known) = (here.target.join("fuzz").join(target), here.root.join("fuzz/corpus").join(target));
        sh.create_dir(&learned)?;
        let limits = [
            format!("-max_total_time={FUZZ_SECS}"),
            "-timeout=5".into(),
            "-rss_limit_mb=512".into(),
            "-max_len=4096".into(),
        ];
        // A sanitizer would need a nightly Rust, and the fuzzed code has no unsafe code for it to check.
        cmd!(sh, "cargo fuzz run --sanitizer none {target} {learned} {known} -- {limits...}")
            .env("PATH", &path)
            .run()
            .with_context(|| format!("{target} failed"))?;
    }
    Ok(())
}

/// Runs the hub's threads in many interleavings, which `relay/src/hub/tests/schedules.rs` decides.
pub(crate) fn schedules(here: &Checkout) -> Result<()> {
    // The flag recompiles every crate, so this uses a separate target folder.
    let target = here.target.join("shuttle");
    cmd!(here.shell, "cargo test --package joey --lib --target-dir {target} hub::tests::schedules")
        .env("RUSTFLAGS", "--cfg shuttle -D warnings")
        .run()
        .context("the failing schedule is printed above; SHUTTLE_RANDOM_SEED repeats it")
}

/// Checks the sources, licences and known vulnerabilities of the dependencies. `deny.toml` has the rules.
pub(crate) fn supply_chain(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let path = before_path(&find_or_install(here, CARGO_DENY)?)?;
    cmd!(sh, "cargo deny check --hide-inclusion-graph bans licenses sources").env("PATH", &path).run()?;
    if cmd!(sh, "cargo deny fetch db").env("PATH", &path).quiet().ignore_stderr().run().is_err() {
        println!("not checked: known vulnerabilities, because their database cannot be fetched");
        return Ok(());
    }
    Ok(cmd!(sh, "cargo deny --offline check --hide-inclusion-graph advisories").env("PATH", &path).run()?)
}
