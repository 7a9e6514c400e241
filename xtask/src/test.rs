//! Everything that must hold before a change lands, cheapest first, up to the first step that fails.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{
    checkout::Checkout,
    conformance, guard, proof, relay,
    setup::{self, BARE_TARGET, Browser, BundleTools},
    ui,
};

/// All checks.
pub(crate) fn test(here: &Checkout) -> Result<()> {
    let mut steps = Steps::default();
    check(here, &mut steps)?;
    steps.print();
    Ok(())
}

/// All checks, the documentation, what [`proof`] has, the WebSocket's conformance, and what an update costs.
pub(crate) fn ci(here: &Checkout) -> Result<()> {
    let mut steps = Steps::default();
    check(here, &mut steps)?;
    steps.run("documentation", || documentation(here))?;
    steps.run("supply chain", || proof::supply_chain(here))?;
    steps.run("orders of the hub's threads", || proof::schedules(here))?;
    steps.run("fuzzers", || proof::fuzz(here))?;
    steps.run("conformance of the WebSocket", || conformance::check(here))?;
    steps.run("instructions", || guard::check(here, false))?;
    steps.print();
    Ok(())
}

fn check(here: &Checkout, steps: &mut Steps) -> Result<()> {
    let sh = &here.shell;
    let (tools, browser) = steps.run("tools", || Ok((setup::for_bundle(here)?, setup::for_tests(here)?)))?;
    let parts = steps.run("parts that the tests need", || Parts::find_or_install(here))?;
    steps.run("format", || Ok(cmd!(sh, "cargo fmt --all --check").run()?))?;
    steps.run("lints", || {
        // joey-tools is two calls, which `setup` has compiled; its 150 dependencies would be checked for them here.
        let others = ["--workspace", "--exclude", "joey-ui", "--exclude", "joey-tools", "--all-targets"];
        Ok(cmd!(sh, "cargo clippy {others...} -- -D warnings").run()?)
    })?;
    steps.run("lints of the browser app", || {
        Ok(cmd!(sh, "cargo clippy -p joey-ui --target wasm32-unknown-unknown --all-targets -- -D warnings").run()?)
    })?;
    steps.run("unit tests", || unit_tests(here))?;
    steps.run("examples in the documentation", || {
        Ok(cmd!(sh, "cargo test --doc -p joey-shared -p joey -p joey-ui").run()?)
    })?;
    steps.run("no standard library in shared", || {
        Ok(cmd!(sh, "cargo check -p joey-shared --target {BARE_TARGET}").run()?)
    })?;
    steps.run("unit tests in Chromium", || browser_tests(here, &tools, &browser))?;
    steps.run("bundle", || ui::bundle(here, &tools))?;
    steps.run("relay with the bundle inside", || relay::build_around_bundle(here))?;
    steps.run("lints of the relay with the bundle inside", || {
        Ok(cmd!(sh, "cargo clippy -p joey --features embed-ui --all-targets -- -D warnings").run()?)
    })?;
    steps.run("end-to-end tests", || end_to_end_tests(here, &browser, &parts))?;
    Ok(())
}

/// All unit and property tests that need no browser; those of the browser app's pure parts among them.
fn unit_tests(here: &Checkout) -> Result<()> {
    run_tests(here, &["joey-shared", "joey", "joey-ui", "joey-bench", "xtask"], &[])
}

/// Runs in real Chromium what `#[wasm_bindgen_test]` marks.
fn browser_tests(here: &Checkout, tools: &BundleTools, browser: &Browser) -> Result<()> {
    let sh = &here.shell;
    let capabilities = here.target.join("webdriver.json");
    sh.write_file(&capabilities, webdriver_json(&browser.chrome, setup::is_root(sh)))?;
    // Not nextest: it would start a browser for each test.
    cmd!(sh, "cargo test -p joey-ui --target wasm32-unknown-unknown --tests")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", &tools.test_runner)
        .env("CHROMEDRIVER", &browser.driver)
        .env_remove("GECKODRIVER")
        .env_remove("SAFARIDRIVER")
        .env("WASM_BINDGEN_USE_BROWSER", "1")
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", &capabilities)
        // Seconds; the runner's own 20 and 5 are too few on two busy cores.
        .env("WASM_BINDGEN_TEST_TIMEOUT", "60")
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "30")
        .run()?;
    Ok(())
}

/// What the end-to-end tests start besides the relay and the browser.
struct Parts {
    nats: PathBuf,
    faketime: PathBuf,
    nginx: PathBuf,
}

impl Parts {
    fn find_or_install(here: &Checkout) -> Result<Self> {
        Ok(Self { nats: setup::nats(here)?, faketime: setup::faketime(here)?, nginx: setup::nginx(here)? })
    }
}

/// Bytes in, numbers out: the released binary over real sockets, and the bundle in real Chromium.
fn end_to_end_tests(here: &Checkout, browser: &Browser, parts: &Parts) -> Result<()> {
    let artifacts = here.target.join("e2e");
    here.shell.create_dir(&artifacts)?;
    run_tests(
        here,
        &["joey-tests"],
        &[
            ("JOEY_BIN", &here.joey),
            ("JOEY_DIST", &here.dist),
            ("JOEY_ARTIFACTS", &artifacts),
            ("CHROME", &browser.chrome),
            ("CHROMEDRIVER", &browser.driver),
            ("NATS_SERVER", &parts.nats),
            ("FAKETIME_LIB", &parts.faketime),
            ("NGINX", &parts.nginx),
        ],
    )
}

/// Runs the tests of `packages`: with nextest if it is installed, which also says how long each took.
fn run_tests(here: &Checkout, packages: &[&str], variables: &[(&str, &PathBuf)]) -> Result<()> {
    let sh = &here.shell;
    let has_nextest = cmd!(sh, "cargo nextest --version").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test", "--lib", "--bins", "--tests"] };
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    Ok(cmd!(sh, "cargo {runner...} {packages...}").envs(variables.iter().copied()).run()?)
}

fn documentation(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    Ok(cmd!(sh, "cargo doc --no-deps -p joey-shared -p joey").env("RUSTDOCFLAGS", "-D warnings").run()?)
}

/// What the test runner asks ChromeDriver for: a browser that shows nothing and asks nobody outside this machine.
fn webdriver_json(chrome: &Path, is_root: bool) -> String {
    let mut arguments = vec![
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
    ];
    if is_root {
        // Chromium refuses to run in its sandbox as root.
        arguments.push("--no-sandbox");
    }
    // Debug output of a string, a path or a list of strings is JSON for all that can stand in these.
    format!(r#"{{"goog:chromeOptions":{{"binary":{chrome:?},"args":{arguments:?}}}}}"#)
}

/// The steps so far, each with the time it took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let start = Instant::now();
        let result = step().with_context(|| format!("failed at the step \"{name}\""))?;
        self.done.push((name, start.elapsed()));
        Ok(result)
    }

    fn print(&self) {
        let total: Duration = self.done.iter().map(|(_, time)| time).sum();
        println!("\n== all {} steps passed", self.done.len());
        for (name, time) in self.done.iter().chain(&[("together", total)]) {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_gives_up_the_sandbox() {
        let json = |is_root| webdriver_json(Path::new("/usr/bin/chromium"), is_root);
        assert!(
            json(true).starts_with(r#"{"goog:chromeOptions":{"binary":"/usr/bin/chromium","args":["--headless=new", "#)
        );
        assert!(json(true).ends_with(r#", "--no-sandbox"]}}"#));
        assert!(json(false).ends_with(r#", "--disable-quic"]}}"#));
    }

    #[test]
    fn a_failure_names_its_step() {
        let error = Steps::default().run("lints", || -> Result<()> { anyhow::bail!("exit code 101") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "failed at the step \"lints\": exit code 101");
    }
}
