//! What is too slow to ask of every change: fuzzing, the orders in which threads may take turns, and what the crates are that
//! everything is built from.

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::checkout::{Checkout, before_path};
use crate::setup::crates::{CARGO_DENY, CARGO_FUZZ, find_or_install};

/// How long each way in is fuzzed.
const FUZZ_SECS: u32 = 30;

/// Fuzzes every way in. What is found stays in `fuzz/artifacts`; what it learned, in `target/fuzz`.
pub(crate) fn fuzz(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let path = before_path(&find_or_install(here, CARGO_FUZZ)?)?;
    let targets = cmd!(sh, "cargo fuzz list").env("PATH", &path).quiet().read()?;
    ensure!(targets.lines().count() > 0, "there is nothing to fuzz");
    for target in targets.lines() {
        let (learned, known) = (here.target.join("fuzz").join(target), here.root.join("fuzz/corpus").join(target));
        sh.create_dir(&learned)?;
        let limits = [
            format!("-max_total_time={FUZZ_SECS}"),
            "-timeout=5".into(),
            "-rss_limit_mb=512".into(),
            "-max_len=4096".into(),
        ];
        // A sanitizer would need a nightly Rust; what is fuzzed has no unsafe code that one could find fault with.
        cmd!(sh, "cargo fuzz run --sanitizer none {target} {learned} {known} -- {limits...}")
            .env("PATH", &path)
            .run()
            .with_context(|| format!("the fuzzer broke {target}"))?;
    }
    Ok(())
}

/// Has the hub's threads take turns in many orders: those that `relay/src/hub/tests/schedules.rs` decides.
pub(crate) fn schedules(here: &Checkout) -> Result<()> {
    // Every crate is compiled anew for the flag, so this has a folder of its own; nothing else would find its crates again.
    let target = here.target.join("shuttle");
    cmd!(here.shell, "cargo test --package joey --lib --target-dir {target} hub::tests::schedules")
        .env("RUSTFLAGS", "--cfg shuttle -D warnings")
        .run()
        .context("the schedule that failed stands above; SHUTTLE_RANDOM_SEED repeats it")
}

/// Checks where the crates come from, under which licences, and what is known against them. `deny.toml` has the rules.
pub(crate) fn supply_chain(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let path = before_path(&find_or_install(here, CARGO_DENY)?)?;
    cmd!(sh, "cargo deny check --hide-inclusion-graph bans licenses sources").env("PATH", &path).run()?;
    if cmd!(sh, "cargo deny fetch db").env("PATH", &path).quiet().ignore_stderr().run().is_err() {
        println!("not checked: known vulnerabilities, since their database cannot be fetched from here");
        return Ok(());
    }
    Ok(cmd!(sh, "cargo deny --offline check --hide-inclusion-graph advisories").env("PATH", &path).run()?)
}
