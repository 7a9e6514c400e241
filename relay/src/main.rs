//! The `joey` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    joey::cli::main()
}
