//! Whether a step of an update's way has become dearer: instructions under valgrind, compared with those on record.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{checkout::Checkout, setup};

/// Where the counts are kept, with the reason for each renewal in the history of that file.
const RECORD: &str = "bench/instructions.txt";
/// Rounds of the shorter and the longer run. The difference holds no setting up.
const ROUNDS: [u64; 2] = [20, 60];
/// How much dearer a step may become, in percent. Compilers and hash seeds move counts by one or two.
const TOLERANCE: f64 = 5.0;

/// Counts, and fails where a step takes more than is on record; with `is_renewed` puts the counts on record instead.
pub(crate) fn check(here: &Checkout, is_renewed: bool) -> Result<()> {
    let sh = &here.shell;
    setup::valgrind(here)?;
    cmd!(sh, "cargo build --release --package joey-bench --bin guard").run()?;
    let program = here.target.join("release/guard").display().to_string();
    let mut counted = Vec::new();
    for line in cmd!(sh, "{program}").quiet().read()?.lines() {
        let (step, each) = line.split_once(' ').context("a step and how often a round does it")?;
        let [short, long] = ROUNDS.map(|rounds| instructions(sh, &program, step, rounds));
        counted.push((step.to_owned(), (long? - short?) / ((ROUNDS[1] - ROUNDS[0]) * each.parse::<u64>()?)));
    }
    let file = here.root.join(RECORD);
    if is_renewed {
        let mut text = String::new();
        counted.iter().try_for_each(|(step, count)| writeln!(text, "{step} {count}"))?;
        return Ok(sh.write_file(file, text)?);
    }
    let dearer = compared(&sh.read_file(file)?, &counted);
    ensure!(
        dearer.is_empty(),
        "more instructions than in {RECORD}: {dearer:?}; `cargo xtask guard --record` renews it"
    );
    Ok(())
}

/// Prints all steps and gives the names of those that are too dear, or not on record.
fn compared(record: &str, counted: &[(String, u64)]) -> Vec<String> {
    let known = |step: &str| {
        let (_, count) = record.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == step)?;
        count.parse::<u64>().ok()
    };
    let mut dearer = Vec::new();
    for (step, count) in counted {
        let change = known(step).map(|known| (*count as f64 - known as f64) * 100.0 / known as f64);
        println!("  {step:<10} {count:>7} instructions, {:+.1} %", change.unwrap_or(f64::NAN));
        if change.is_none_or(|change| change > TOLERANCE) {
            dearer.push(step.clone());
        }
    }
    dearer
}

fn instructions(sh: &Shell, program: &str, step: &str, rounds: u64) -> Result<u64> {
    let rounds = rounds.to_string();
    let said = cmd!(sh, "valgrind --tool=callgrind --callgrind-out-file=/dev/null {program} {step} {rounds}")
        .quiet()
        .read_stderr()?;
    let (_, rest) = said.split_once("Collected : ").context("valgrind counted nothing")?;
    Ok(rest.split_whitespace().next().context("valgrind counted nothing")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_become_five_percent_dearer_and_must_be_on_record() {
        let check = |count, record| compared(record, &[("merge".to_owned(), count)]).is_empty();
        assert!(check(105, "slide 9\nmerge 100\n") && check(50, "merge 100\n"));
        assert!(!check(106, "merge 100\n") && !check(1, "slide 100\n") && !check(1, ""));
    }
}
