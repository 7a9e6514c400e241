//! Developer commands: `cargo xtask VERB`. Each verb first installs what it needs, so `cargo xtask run` and `cargo
//! xtask test` work in a fresh checkout.
//!
//! Modules in the order of a build: `setup` installs tools, `ui` builds the bundle, `relay` the binary that contains
//! it, and `test` checks everything. `ci` also runs `slow_checks`, `conformance` and `guard`; `reliability` measures
//! what takes longer.

mod bench;
mod checkout;
mod conformance;
mod dist;
mod docs;
mod guard;
mod slow_checks;
mod relay;
mod reliability;
mod setup;
mod test;
mod ui;

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::Result;

use bench::page::Extent;
use checkout::Checkout;

const HELP: &str = "\
Usage: cargo xtask VERB

  run [ARGS…]     build everything, then start `joey demo`, or `joey ARGS…` if there are arguments
  build           build the release: the browser bundle in dist/, and target/release/joey with the bundle embedded
  dist [TARGETS…] build the files of a release in target/dist: programs, Debian packages, the page for a web server, checksums
  dist --check    check them: programs of other architectures under emulation, the Debian package under systemd, manifests
  dist --reproduce [TARGETS…]  build them here and from a clone in another folder, and compare the bytes
  docs            check all links of the documents and build them as a site in target/docs
  ui              build the browser bundle in dist/ and print its size
  trunk ARGS…     run Trunk with the right tools, for example `cargo xtask trunk serve` beside a running `joey serve`
  test            check everything: format, lints, unit and browser tests, and the end-to-end tests
  ci              run `test`, build the documentation, and run the next five
  deny            check licences, sources and known vulnerabilities of all dependencies
  schedules       run the hub's threads in thousands of interleavings
  fuzz            run each fuzzer for half a minute
  conformance     check the WebSocket against RFC 6455
  guard [--record]  compare the instructions of each step of an update's path with bench/instructions.txt, or record them
  reliability [NAMES…]  measure a release build, or $JOEY_BIN, under faults; all measurements, or the named ones
  reliability soak [--minutes N] [--seed N] [--browser] [-- ARGS…]  two hours of everything at once; ARGS are passed to `joey serve`
  bench [--quick] measure the relay beside its peers; --install-peers installs them, and the name of a workload runs only that
  bench ui [--quick | --record]  measure the page in Chromium and compare it with docs/benchmarks-ui.md, in a few minutes with
                  --quick, or record the results there
  setup           install everything that the other verbs need
  help            print this help

Tools are built once and stored in $JOEY_TOOLS_DIR, else $XDG_CACHE_HOME/joey-tools, else ~/.cache/joey-tools.
The browser tests use $CHROME and $CHROMEDRIVER, else the programs on PATH, else Debian's packages, which `test` installs.";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_else(|| "help".into());
    let arguments: Vec<OsString> = arguments.collect();
    let outcome = match (verb.to_str(), arguments.as_slice()) {
        (Some("run"), arguments) => in_checkout(|here| relay::run(here, arguments)),
        (Some("build"), []) => in_checkout(relay::build),
        (Some("dist"), arguments) => in_checkout(|here| dist::dist(here, arguments)),
        (Some("docs"), []) => in_checkout(docs::build),
        (Some("ui"), []) => in_checkout(ui::build),
        (Some("trunk"), arguments) => in_checkout(|here| ui::trunk(here, arguments)),
        (Some("test"), []) => in_checkout(test::test),
        (Some("ci"), []) => in_checkout(test::ci),
        (Some("deny"), []) => in_checkout(slow_checks::supply_chain),
        (Some("schedules"), []) => in_checkout(slow_checks::schedules),
        (Some("bench"), [argument]) if argument == "--install-peers" => in_checkout(setup::peers),
        (Some("bench"), [argument]) if argument == "ui" => in_checkout(|here| bench::page::measure(here, Extent::Full)),
        (Some("bench"), [argument, extent]) if argument == "ui" && extent == "--quick" => {
            in_checkout(|here| bench::page::measure(here, Extent::Quick))
        }
        (Some("bench"), [argument, extent]) if argument == "ui" && extent == "--record" => {
            in_checkout(|here| bench::page::measure(here, Extent::Recorded))
        }
        (Some("bench"), arguments) => in_checkout(|here| bench::run(here, arguments)),
        (Some("guard"), []) => in_checkout(|here| guard::check(here, false)),
        (Some("guard"), [argument]) if argument == "--record" => in_checkout(|here| guard::check(here, true)),
        (Some("fuzz"), []) => in_checkout(slow_checks::fuzz),
        (Some("conformance"), []) => in_checkout(conformance::check),
        (Some("reliability"), arguments) => in_checkout(|here| reliability::measure(here, arguments)),
        (Some("setup"), []) => in_checkout(setup::everything),
        (Some("help" | "--help" | "-h"), _) => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_checkout(verb: impl FnOnce(&Checkout) -> Result<()>) -> Result<()> {
    verb(&Checkout::find()?)
}
