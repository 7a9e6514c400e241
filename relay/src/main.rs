//! The `joey` program: words in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    joey::cli::main()
}
