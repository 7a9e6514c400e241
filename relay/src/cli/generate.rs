//! Shell completions and man pages, from the same definition as `--help`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

/// The arguments of `joey completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell to write them for
    #[arg(value_enum)]
    shell: Shell,
}

/// The arguments of `joey man`.
#[derive(Args)]
pub(super) struct Man {
    /// The existing directory for the pages
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions of one shell.
pub(super) fn completions(arguments: &Completions, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "joey", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Writes a page for `joey` and one for each command that `--help` lists.
pub(super) fn man(arguments: &Man, command: clap::Command) -> anyhow::Result<()> {
    let directory = &arguments.directory;
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write man pages into {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_of_the_help_has_a_man_page_and_no_other() {
        let directory = std::env::temp_dir().join(format!("joey-man-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        man(&Man { directory: directory.clone() }, Cli::command()).unwrap();
        let mut written: Vec<String> =
            fs::read_dir(&directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let serve = fs::read_to_string(directory.join("joey-serve.1")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        written.sort();
        let command = Cli::command();
        let listed = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        let mut expected: Vec<String> =
            listed.map(|subcommand| format!("joey-{}.1", subcommand.get_name())).chain(["joey.1".to_owned()]).collect();
        expected.sort();
        assert_eq!(written, expected);
        assert!(
            serve.contains("ring\\-secs") && serve.contains("Retain single updates for this many seconds"),
            "{serve}"
        );
    }
}
