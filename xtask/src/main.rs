//! The one front door: `cargo xtask VERB`. From a bare checkout each verb first gets whatever it lacks, so `cargo xtask run`
//! and `cargo xtask test` are the only commands anybody has to know.
//!
//! The modules follow the way a build goes: `setup` gets tools, `ui` makes the bundle, `relay` the binary around it, and
//! `test` checks it all; `proof`, `conformance` and `guard` are what `ci` checks besides, `reliability` measures what takes longer.

mod bench;
mod checkout;
mod conformance;
mod guard;
mod proof;
mod relay;
mod reliability;
mod setup;
mod test;
mod ui;

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::Result;

use checkout::Checkout;

const HELP: &str = "\
Usage: cargo xtask VERB

  run [WORDS…]    build everything, then start `joey demo`, or `joey WORDS…` when there are words
  build           build all that is released: the browser bundle in dist/, and target/release/joey with it inside
  ui              build the browser bundle in dist/ and weigh it
  trunk WORDS…    run Trunk with the right tools, such as `cargo xtask trunk serve` beside a running `joey serve`
  test            check everything: format, lints, unit and browser tests, and the end-to-end tests
  ci              the same, the documentation, and the next five
  deny            what the crates are that everything is built from, and what is known against them
  schedules       the hub's threads in thousands of orders
  fuzz            the fuzzers, half a minute each
  conformance     the WebSocket against its standard
  guard [--record]  the instructions of each step of an update's way against those in bench/instructions.txt, or into it
  reliability [NAMES…]  measure the released relay, or $JOEY_BIN, while things go wrong; all figures, or those of these names
  reliability soak [--minutes N] [--seed N] [--browser] [-- WORDS…]  two hours of everything at once; WORDS go to `joey serve`
  bench [--quick] measure the relay beside its peers; --install-peers gets these first, and a workload's name measures it alone
  bench ui [--record]  measure the page in Chromium beside the figures in docs/benchmarks-ui.md, or put them there
  setup           only install what the other verbs would install when they need it
  help            this page

Tools are built once and kept in $JOEY_TOOLS_DIR, else $XDG_CACHE_HOME/joey-tools, else ~/.cache/joey-tools.
The browser tests use $CHROME and $CHROMEDRIVER, else what is on PATH, else Debian's, which `test` installs.";

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let verb = words.next().unwrap_or_else(|| "help".into());
    let words: Vec<OsString> = words.collect();
    let outcome = match (verb.to_str(), words.as_slice()) {
        (Some("run"), words) => in_checkout(|here| relay::run(here, words)),
        (Some("build"), []) => in_checkout(relay::build),
        (Some("ui"), []) => in_checkout(ui::build),
        (Some("trunk"), words) => in_checkout(|here| ui::trunk(here, words)),
        (Some("test"), []) => in_checkout(test::test),
        (Some("ci"), []) => in_checkout(test::ci),
        (Some("deny"), []) => in_checkout(proof::supply_chain),
        (Some("schedules"), []) => in_checkout(proof::schedules),
        (Some("bench"), [word]) if word == "--install-peers" => in_checkout(setup::peers),
        (Some("bench"), [word]) if word == "ui" => in_checkout(|here| bench::page::measure(here, false)),
        (Some("bench"), [word, record]) if word == "ui" && record == "--record" => {
            in_checkout(|here| bench::page::measure(here, true))
        }
        (Some("bench"), words) => in_checkout(|here| bench::run(here, words)),
        (Some("guard"), []) => in_checkout(|here| guard::check(here, false)),
        (Some("guard"), [word]) if word == "--record" => in_checkout(|here| guard::check(here, true)),
        (Some("fuzz"), []) => in_checkout(proof::fuzz),
        (Some("conformance"), []) => in_checkout(conformance::check),
        (Some("reliability"), words) => in_checkout(|here| reliability::measure(here, words)),
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
