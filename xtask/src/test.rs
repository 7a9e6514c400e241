//! All checks of a change, cheapest first, up to the first step that fails.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{
    checkout::Checkout,
    conformance, dist, docs, guard, relay,
    setup::{self, BARE_TARGET, Browser, BundleTools},
    slow_checks, ui,
};

/// All optional parts of joey-emit.
const EMIT_FEATURES: [&str; 2] = ["--features", "joey-emit/metrics,joey-emit/tracing"];

/// Runs the checks.
pub(crate) fn test(here: &Checkout) -> Result<()> {
    let mut steps = Steps::default();
    check(here, &mut steps)?;
    steps.print();
    Ok(())
}

/// Runs the checks, builds the documentation, and runs [`slow_checks`], WebSocket conformance and the instruction
/// counts.
pub(crate) fn ci(here: &Checkout) -> Result<()> {
    let mut steps = Steps::default();
    check(here, &mut steps)?;
    steps.run("documentation", || documentation(here))?;
    steps.run("documents as a site", || docs::build(here))?;
    steps.run("supply chain", || slow_checks::supply_chain(here))?;
    steps.run("interleavings of the hub's threads", || slow_checks::schedules(here))?;
    steps.run("fuzzers", || slow_checks::fuzz(here))?;
    steps.run("WebSocket conformance", || conformance::check(here))?;
    steps.run("instructions", || guard::check(here, false))?;
    steps.print();
    Ok(())
}

fn check(here: &Checkout, steps: &mut Steps) -> Result<()> {
    let sh = &here.shell;
    let (tools, browser) = steps.run("tools", || Ok((setup::for_bundle(here)?, setup::for_tests(here)?)))?;
    let programs = steps.run("programs that the tests need", || TestPrograms::find_or_install(here))?;
    steps.run("format", || Ok(cmd!(sh, "cargo fmt --all --check").run()?))?;
    steps.run("lints", || {
        // joey-tools consists of two calls, which `setup` has compiled; checking it would check its 150 dependencies.
        let others = ["--workspace", "--exclude", "joey-ui", "--exclude", "joey-tools", "--all-targets"];
        Ok(cmd!(sh, "cargo clippy {others...} {EMIT_FEATURES...} -- -D warnings").run()?)
    })?;
    steps.run("lints of the browser app", || {
        Ok(cmd!(sh, "cargo clippy -p joey-ui --target wasm32-unknown-unknown --all-targets -- -D warnings").run()?)
    })?;
    steps.run("unit tests", || unit_tests(here))?;
    steps.run("examples in the documentation", || {
        Ok(cmd!(sh, "cargo test --doc -p joey-shared -p joey -p joey-ui -p joey-emit {EMIT_FEATURES...}").run()?)
    })?;
    steps.run("no standard library in shared", || {
        Ok(cmd!(sh, "cargo check -p joey-shared --target {BARE_TARGET}").run()?)
    })?;
    steps.run("unit tests in Chromium", || browser_tests(here, &tools, &browser))?;
    steps.run("bundle", || ui::bundle(here, &tools))?;
    steps.run("relay with the bundle embedded", || relay::build_around_bundle(here))?;
    steps.run("lints of the relay with the bundle embedded", || {
        Ok(cmd!(sh, "cargo clippy -p joey --features embed-ui --all-targets -- -D warnings").run()?)
    })?;
    steps.run("links in the documents", || docs::check_links(here).map(drop))?;
    steps.run("files for containers and Kubernetes", || dist::manifests(here, &here.joey))?;
    steps.run("end-to-end tests", || end_to_end_tests(here, &browser, &programs))?;
    Ok(())
}

/// Unit and property tests that need no browser, including those of the browser app's pure modules.
fn unit_tests(here: &Checkout) -> Result<()> {
    run_tests(here, &["joey-shared", "joey", "joey-emit", "joey-ui", "joey-bench", "xtask"], &[])
}

/// Runs the tests marked `#[wasm_bindgen_test]` in Chromium.
fn browser_tests(here: &Checkout, tools: &BundleTools, browser: &Browser) -> Result<()> {
    let sh = &here.shell;
    let capabilities = here.target.join("webdriver.json");
    sh.write_file(&capabilities, webdriver_json(&browser.chrome, setup::is_root(sh)))?;
    // Not nextest, which would start a browser for each test.
    cmd!(sh, "cargo test -p joey-ui --target wasm32-unknown-unknown --tests")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", &tools.test_runner)
        .env("CHROMEDRIVER", &browser.driver)
        .env_remove("GECKODRIVER")
        .env_remove("SAFARIDRIVER")
        .env("WASM_BINDGEN_USE_BROWSER", "1")
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", &capabilities)
        // In seconds; the runner's defaults of 20 and 5 are too short on two busy cores.
        .env("WASM_BINDGEN_TEST_TIMEOUT", "60")
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "30")
        .run()?;
    Ok(())
}

/// Programs that the end-to-end tests start besides the relay and the browser.
struct TestPrograms {
    nats: PathBuf,
    faketime: PathBuf,
    nginx: PathBuf,
    prometheus: PathBuf,
    alertmanager: PathBuf,
    axe: PathBuf,
    python_exporters: PathBuf,
    node_exporters: PathBuf,
    oidc: PathBuf,
}

impl TestPrograms {
    fn find_or_install(here: &Checkout) -> Result<Self> {
        Ok(Self {
            nats: setup::nats(here)?,
            faketime: setup::faketime(here)?,
            nginx: setup::nginx(here)?,
            prometheus: setup::prometheus(here)?,
            alertmanager: setup::alertmanager(here)?,
            axe: setup::axe(here)?,
            python_exporters: setup::exporters::python(here)?,
            node_exporters: setup::exporters::node(here)?,
            oidc: setup::oidc(here)?,
        })
    }
}

/// Runs the release binary over real sockets, and the bundle in Chromium.
fn end_to_end_tests(here: &Checkout, browser: &Browser, programs: &TestPrograms) -> Result<()> {
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
            ("NATS_SERVER", &programs.nats),
            ("FAKETIME_LIB", &programs.faketime),
            ("NGINX", &programs.nginx),
            ("PROMETHEUS", &programs.prometheus),
            ("ALERTMANAGER", &programs.alertmanager),
            ("AXE_CORE", &programs.axe),
            ("OTEL_PYTHON", &programs.python_exporters),
            ("OTEL_NODE", &programs.node_exporters),
            ("OIDC_PROVIDER", &programs.oidc),
        ],
    )
}

/// Runs the tests of `packages`, with nextest if it is installed, which also prints how long each took.
fn run_tests(here: &Checkout, packages: &[&str], variables: &[(&str, &PathBuf)]) -> Result<()> {
    let sh = &here.shell;
    let has_nextest = cmd!(sh, "cargo nextest --version").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test", "--lib", "--bins", "--tests"] };
    let features: &[&str] = if packages.contains(&"joey-emit") { &EMIT_FEATURES } else { &[] };
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    // One run names all tests that fail.
    let command = cmd!(sh, "cargo {runner...} --no-fail-fast {packages...} {features...}");
    Ok(command.envs(variables.iter().copied()).run()?)
}

fn documentation(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    Ok(cmd!(sh, "cargo doc --no-deps -p joey-shared -p joey -p joey-emit {EMIT_FEATURES...}")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?)
}

/// Capabilities for ChromeDriver: a headless browser that connects to nothing outside this machine.
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
        // Chromium's sandbox does not run as root.
        arguments.push("--no-sandbox");
    }
    // The debug format of these strings, paths and lists is valid JSON.
    format!(r#"{{"goog:chromeOptions":{{"binary":{chrome:?},"args":{arguments:?}}}}}"#)
}

/// The steps so far, and the duration of each.
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
        for (name, time) in self.done.iter().chain(&[("total", total)]) {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_disables_the_sandbox() {
        let json = |is_root| webdriver_json(Path::new("/usr/bin/chromium"), is_root);
        assert!(
            json(true).starts_with(r#"{"goog:chromeOptions":{"binary":"/usr/bin/chromium","args":["--headless=new", "#)
        );
        assert!(json(true).ends_with(r#", "--no-sandbox"]}}"#));
        assert!(json(false).ends_with(r#", "--disable-quic"]}}"#));
    }

    #[test]
    fn an_error_names_the_failed_step() {
        let error = Steps::default().run("lints", || -> Result<()> { anyhow::bail!("exit code 101") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "failed at the step \"lints\": exit code 101");
    }
}
