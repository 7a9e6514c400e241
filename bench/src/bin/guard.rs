//! Runs one step a number of times to count its instructions: `cargo xtask guard` runs this under valgrind and compares
//! the counts with those in `bench/instructions.txt`. Unlike time, they do not depend on other load of the machine.

use std::env;

use anyhow::{Context as _, Result, bail};
use joey_bench::{REPETITIONS, STEPS};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => STEPS.iter().for_each(|(name, _)| println!("{name} {REPETITIONS}")),
        [name, iterations] => {
            let (_, prepare) = STEPS.iter().find(|(known, _)| known == name).context("no such step")?;
            prepare()?(iterations.parse()?)?;
        }
        _ => bail!("usage: guard [STEP ITERATIONS]"),
    }
    Ok(())
}
