//! One step for so many rounds, for counting instructions: `cargo xtask guard` runs this under valgrind and compares the counts
//! with those in `bench/instructions.txt`. Unlike time they do not depend on what else the machine does.

use std::env;

use anyhow::{Context as _, Result, bail};
use joey_bench::{EACH, STEPS};

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.as_slice() {
        [] => STEPS.iter().for_each(|(name, _)| println!("{name} {EACH}")),
        [name, rounds] => {
            let (_, prepare) = STEPS.iter().find(|(known, _)| known == name).context("no such step")?;
            prepare()?(rounds.parse()?)?;
        }
        _ => bail!("usage: guard [STEP ROUNDS]"),
    }
    Ok(())
}
