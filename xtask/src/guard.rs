//! Checks whether a step of an update's path has become more expensive: instructions under valgrind, compared with
//! recorded counts.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{checkout::Checkout, setup};

/// The recorded counts. The history of this file has the reason for each change.
const RECORD: &str = "bench/instructions.txt";
/// Rounds of the shorter and the longer run. Their difference excludes the setup.
const ROUNDS: [u64; 2] = [20, 60];
/// Maximum increase of a step, in percent. Compilers and hash seeds change counts by one or two.
const TOLERANCE: f64 = 5.0;

/// Counts, and fails if a step takes more instructions than recorded; with `is_renewed`, records the counts instead.
pub(crate) fn check(here: &Checkout, records: bool) -> Result<()> {
    let sh = &here.shell;
    setup::valgrind(here)?;
    cmd!(sh, "cargo build --release --package joey-bench --bin guard").run()?;
    let program = here.target.join("release/guard").display().to_string();
    let mut counted = Vec::new();
    for line in cmd!(sh, "{program}").quiet().read()?.lines() {
        let (step, each) = line.split_once(' ').context("a step and its repetitions per round")?;
        let [short, long] = ROUNDS.map(|rounds| instructions(sh, &program, step, rounds));
        counted.push((step.to_owned(), (long? - short?) / ((ROUNDS[1] - ROUNDS[0]) * each.parse::<u64>()?)));
    }
    let file = here.root.join(RECORD);
    if records {
        let mut text = String::new();
        counted.iter().try_for_each(|(step, count)| writeln!(text, "{step} {count}"))?;
        return Ok(sh.write_file(file, text)?);
    }
    let exceeded = compared(&sh.read_file(file)?, &counted);
    ensure!(
        exceeded.is_empty(),
        "more instructions than in {RECORD}: {exceeded:?}; `cargo xtask guard --record` updates it"
    );
    Ok(())
}

/// Prints all steps and returns the names of those that exceed the tolerance or are not recorded.
fn compared(record: &str, counted: &[(String, u64)]) -> Vec<String> {
    let known = |step: &str| {
        let (_, count) = record.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == step)?;
        count.parse::<u64>().ok()
    };
    let mut exceeded = Vec::new();
    for (step, count) in counted {
        let change = known(step).map(|known| (*count as f64 - known as f64) * 100.0 / known as f64);
        println!("  {step:<10} {count:>7} instructions, {:+.1} %", change.unwrap_or(f64::NAN));
        if change.is_none_or(|change| change > TOLERANCE) {
            exceeded.push(step.clone());
        }
    }
    exceeded
}

fn instructions(sh: &Shell, program: &str, step: &str, rounds: u64) -> Result<u64> {
    let rounds = rounds.to_string();
    let output = cmd!(sh, "valgrind --tool=callgrind --callgrind-out-file=/dev/null {program} {step} {rounds}")
        .quiet()
        .read_stderr()?;
    let (_, rest) = output.split_once("Collected : ").context("valgrind counted nothing")?;
    Ok(rest.split_whitespace().next().context("valgrind counted nothing")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_increase_by_five_percent_and_must_be_recorded() {
        let check = |count, record| compared(record, &[("merge".to_owned(), count)]).is_empty();
        assert!(check(105, "slide 9\nmerge 100\n") && check(50, "merge 100\n"));
        assert!(!check(106, "merge 100\n") && !check(1, "slide 100\n") && !check(1, ""));
    }
}
