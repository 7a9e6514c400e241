//! `joey check-config` and `joey gen-config`. Both read names, meanings and defaults of the options from the definition of the
//! command line, so that they cannot differ from it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};
use toml::Table;

use super::{Serve, log_filter};
use crate::auth::{AuthPolicy, tls};
use crate::client::Outcome;
use crate::config::{self, Config, JwksSource, NatsUrl, OTLP_ATTRIBUTES, Options};
use crate::rule::read_rules;

/// Maximum length of a comment line in a generated file.
const COMMENT_COLUMNS: usize = 100;

/// Values for options without a default, and where the default cannot be written as a value. A generated file marks
/// them as examples.
const EXAMPLES: [(&str, &str); 31] = [
    ("otlp_http", "\"127.0.0.1:4318\""),
    ("otlp_grpc", "\"127.0.0.1:4317\""),
    ("ui_dir", "\"/usr/share/joey\""),
    ("origins", "[\"https://ui.example.com\"]"),
    ("advertise", "[\"wss://a.relay.example\", \"wss://b.relay.example\"]"),
    ("token_keys", "[\"/etc/joey/viewers.pem\"]"),
    ("jwks", "\"https://idp.example/jwks\""),
    ("jwks_ca", "\"/etc/joey/idp-ca.pem\""),
    ("token_issuer", "\"https://idp.example\""),
    ("token_apps_claim", "\"/resource_access/joey/watch\""),
    ("token_categories_claim", "\"joey_categories\""),
    ("token_send_claim", "\"/resource_access/joey/send\""),
    ("producers_allow", "[\"10.0.0.0/8\", \"192.0.2.7\"]"),
    ("tls_cert", "\"/etc/joey/cert.pem\""),
    ("tls_key", "\"/etc/joey/key.pem\""),
    ("nats", "[\"nats://10.1.0.7:4222\"]"),
    ("nats_creds", "\"/etc/joey/joey.creds\""),
    ("nats_ca", "\"/etc/joey/nats-ca.pem\""),
    ("statsd", "\"127.0.0.1:8125\""),
    ("statsd_socket", "\"/run/joey/statsd.sock\""),
    ("statsd_tags", "[\"route\", \"method\"]"),
    ("statsd_out", "\"127.0.0.1:8125\""),
    ("journal", "\"/var/lib/joey/journal\""),
    ("metrics_views", "[\"shop/start-to-end/*\"]"),
    ("watch", "[\"/etc/joey/objectives\"]"),
    ("watch_burn", "[\"14.4 over 1h and 5m\"]"),
    ("watch_missed_for", "\"2m\""),
    ("watch_exec", "[\"systemd-cat -t joey-objective\"]"),
    ("watch_webhook", "[\"https://alertmanager.example/api/v2/alerts\"]"),
    ("watch_webhook_format", "\"alertmanager\""),
    ("watch_ca", "\"/etc/joey/alertmanager-ca.pem\""),
];

/// The arguments of `joey check-config`: those of `joey serve`.
#[derive(Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    serve: Serve,
}

/// Options, and those of which at least one must be set too: without it, they have no effect.
const DEPENDENT: [(&[&str], &[&str]); 6] = [
    (&["journal_bytes", "journal_sync"], &["journal"]),
    (&["watch_burn", "watch_missed_for", "watch_met_for", "watch_webhook_format", "watch_ca"], &["watch"]),
    (&["statsd_app", "statsd_unit", "statsd_tags"], &["statsd", "statsd_socket"]),
    (&["statsd_out_prefix"], &["statsd_out"]),
    (
        &[
            "token_audience",
            "token_issuer",
            "token_leeway_secs",
            "token_apps_claim",
            "token_categories_claim",
            "token_send_claim",
        ],
        &["token_keys", "jwks"],
    ),
    (&["nats_creds", "nats_ca", "nats_prefix"], &["nats"]),
];

impl CheckConfig {
    /// Prints the value and the source of each option, and checks them together.
    pub(super) fn run(self, matches: Option<&ArgMatches>) -> anyhow::Result<Outcome> {
        let matches = matches.context("the command has arguments")?;
        let path = self.serve.config.as_deref();
        let table = match path.map(read_table).transpose() {
            Ok(table) => table.unwrap_or_default(),
            Err(error) => return Ok(Outcome::Invalid(format!("{error:#}"))),
        };
        let mut out = io::stdout().lock();
        let arguments = options();
        let width = arguments.iter().map(|argument| argument.get_id().as_str().len()).max().unwrap_or_default();
        for argument in &arguments {
            let (value, source) = value_of(argument, matches, path, &table);
            writeln!(out, "{:<width$}  {value}  ({source})", argument.get_id().as_str())?;
        }
        let is_set = |id: &str| {
            let source = matches.value_source(id);
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) || table.contains_key(id)
        };
        let without_effect = without_effect(is_set);
        match check(self.serve) {
            Ok(notes) => {
                for note in notes.iter().chain(&without_effect) {
                    writeln!(out, "note: {note}")?;
                }
                writeln!(out, "the configuration is valid")?;
                Ok(Outcome::Done)
            }
            Err(error) => Ok(Outcome::Invalid(format!("{error:#}"))),
        }
    }
}

/// Prints a configuration file with every option as a comment.
pub(super) fn generate() -> anyhow::Result<()> {
    write!(io::stdout(), "{}", generated())?;
    Ok(())
}

/// Reads the options and the files that they name: keys, certificates, and objectives, whose number is returned too. A relay reads
/// these files again when it starts.
///
/// # Errors
/// Fails if the relay could not start with this configuration, whatever the state of the machine.
pub(super) fn read(serve: &Serve, is_demo: bool) -> anyhow::Result<(Config, Option<usize>)> {
    let file = serve.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
    let config = Config::resolve(serve.options.clone(), file, is_demo)?;
    AuthPolicy::new(&config)?;
    let mut objectives = None;
    if let Some(watch) = &config.watch {
        objectives = Some(read_rules(&watch.files).context("watch")?.len());
        tls::client_config(watch.ca.as_deref()).context("watch_ca")?;
    }
    Ok((config, objectives))
}

/// Everything that a relay checks before it opens its ports, and files that it would read later. Returns what is worth knowing.
fn check(serve: Serve) -> anyhow::Result<Vec<String>> {
    let (config, objectives) = read(&serve, false)?;
    log_filter(serve.log_level)?;
    let mut notes: Vec<String> = objectives.map(|number| format!("watch: {number} objectives")).into_iter().collect();
    for (option, path) in [("nats_creds", &config.nats_creds), ("nats_ca", &config.nats_ca)] {
        if let Some(path) = path {
            std::fs::File::open(path).with_context(|| format!("{option}: cannot read {}", path.display()))?;
        }
    }
    if let Some(folder) = &config.ui_dir {
        let index = folder.join("index.html");
        anyhow::ensure!(index.is_file(), "ui_dir: there is no {}", index.display());
    }
    if let Some(journal) = &config.journal {
        check_writable(&journal.dir)
            .map_err(|error| anyhow::anyhow!("journal: cannot write {}: {error}", journal.dir.display()))?;
    }
    if let Some(JwksSource::Url(url)) = config.jwks.map(|jwks| jwks.source) {
        notes.push(format!("{url} is not fetched here; joey token --check does"));
    }
    if config.insecure_open {
        notes.push("insecure_open: any client that reaches the ports can send and watch".to_owned());
    }
    Ok(notes)
}

/// A note for each option that is set and has no effect.
fn without_effect(is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let needs_other = DEPENDENT.iter().filter(|(_, others)| !others.iter().any(|other| is_set(other)));
    let options = needs_other.flat_map(|(options, others)| options.iter().map(|option| (*option, others.join(" or "))));
    options
        .filter(|(option, _)| is_set(option))
        .map(|(option, others)| format!("{option} has no effect without {others}"))
        .collect()
}

/// Checks that files can be written into `directory`, or that it can be created. Permissions do not tell that of every file
/// system, so this creates a directory and removes it at once. A journal ignores its name.
fn check_writable(directory: &Path) -> io::Result<()> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("."));
    let probe = existing.join(format!(".joey-check-{}", std::process::id()));
    std::fs::create_dir(&probe)?;
    std::fs::remove_dir(&probe)
}

/// The definitions of all options that a configuration file may contain.
fn options() -> Vec<Arg> {
    Options::augment_args(clap::Command::new("serve")).get_arguments().cloned().collect()
}

fn read_table(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("cannot use {}", path.display()))
}

/// The value of an option, and where it comes from.
fn value_of(argument: &Arg, matches: &ArgMatches, path: Option<&Path>, table: &Table) -> (String, String) {
    let id = argument.get_id().as_str();
    let raw = || {
        let values = matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy());
        let separator = argument.get_value_delimiter().map(String::from).unwrap_or_default();
        shown(argument, &values.collect::<Vec<_>>().join(&separator))
    };
    match (matches.value_source(id), table.get(id)) {
        (Some(ValueSource::CommandLine), _) => (raw(), format!("flag --{}", argument.get_long().unwrap_or(id))),
        (Some(ValueSource::EnvVariable), _) => {
            let name = argument.get_env().map(|name| name.to_string_lossy()).unwrap_or_default();
            (raw(), format!("environment {name}"))
        }
        (_, Some(value)) => {
            let text = match value {
                toml::Value::String(text) => shown(argument, text),
                toml::Value::Array(list) => {
                    let entries = list.iter().map(|entry| match entry.as_str() {
                        Some(text) => shown(argument, text),
                        None => entry.to_string(),
                    });
                    entries.collect::<Vec<_>>().join(",")
                }
                other => other.to_string(),
            };
            (text, format!("file {}", path.map(|path| path.display().to_string()).unwrap_or_default()))
        }
        _ => {
            let (_, default) = help(argument);
            let is_flag = argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == "BOOL"));
            (default.unwrap_or_else(|| if is_flag { "false" } else { "-" }.to_owned()), "default".to_owned())
        }
    }
}

/// A value without its secrets.
fn shown(argument: &Arg, text: &str) -> String {
    if !argument.is_hide_env_values_set() {
        return text.to_owned();
    }
    let hidden = |text: &str| text.parse::<NatsUrl>().map_or_else(|_| "(hidden)".to_owned(), |url| format!("{url:?}"));
    text.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

/// The meaning of an option, and its default, which ends the text in brackets.
fn help(argument: &Arg) -> (String, Option<String>) {
    let text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    match text.rsplit_once(" [default: ").and_then(|(text, default)| Some((text, default.strip_suffix(']')?))) {
        Some((text, default)) => (text.to_owned(), Some(default.to_owned())),
        None => (text, None),
    }
}

/// The whole file.
fn generated() -> String {
    let mut out = String::from(
        "# Joey's configuration: joey serve --config FILE. Every option is listed, with its default or an example, as a comment.\n\
         # Remove the # before an option to set it. A flag overrides an environment variable, which overrides this file.\n",
    );
    let arguments = options();
    let mut headings: Vec<&str> = arguments.iter().filter_map(Arg::get_help_heading).collect();
    let mut seen = std::collections::HashSet::new();
    headings.retain(|heading| seen.insert(*heading));
    for heading in headings {
        let _ = write!(out, "\n# === {heading}\n");
        for argument in arguments.iter().filter(|argument| argument.get_help_heading() == Some(heading)) {
            write_option(&mut out, argument);
        }
    }
    out
}

fn write_option(out: &mut String, argument: &Arg) {
    let id = argument.get_id().as_str();
    let (meaning, default) = help(argument);
    out.push('\n');
    for line in wrapped(&format!("{meaning}.")) {
        let _ = writeln!(out, "# {line}");
    }
    let flag = argument.get_long().unwrap_or(id);
    let variable = argument.get_env().map(|name| name.to_string_lossy()).unwrap_or_default();
    let _ = writeln!(out, "# --{flag}, {variable}");
    match default_value(argument, default.as_deref()) {
        Some(value) => {
            let _ = writeln!(out, "#{id} = {value}");
        }
        None => {
            if let Some(default) = default {
                for line in wrapped(&format!("Default: {default}.")) {
                    let _ = writeln!(out, "# {line}");
                }
            }
            let example = EXAMPLES.iter().find(|(name, _)| *name == id).map_or("\"\"", |(_, value)| value);
            let _ = writeln!(out, "#{id} = {example} # example");
        }
    }
}

/// The default of an option in TOML, if there is one that can be written as a value.
fn default_value(argument: &Arg, default: Option<&str>) -> Option<String> {
    let id = argument.get_id().as_str();
    if argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == "BOOL")) {
        return Some("false".to_owned());
    }
    if id == "otlp_attributes" {
        return Some(format!("{OTLP_ATTRIBUTES:?}"));
    }
    if EXAMPLES.iter().any(|(name, _)| *name == id) {
        return None;
    }
    let default = default?;
    Some(if default.parse::<i64>().is_ok() { default.to_owned() } else { format!("{default:?}") })
}

/// The words of `text` in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let is_full = lines.last().is_some_and(|line| line.len() + word.len() > COMMENT_COLUMNS && !line.is_empty());
        if is_full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options of the generated file, with or without the examples.
    fn options_of(with_examples: bool) -> Options {
        let is_option = |line: &str| {
            let name = line.strip_prefix('#').and_then(|line| line.split_once(" = "));
            name.is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
                && (with_examples || !line.ends_with("# example"))
        };
        let text = generated();
        let lines: Vec<&str> = text.lines().filter(|line| is_option(line)).map(|line| &line[1..]).collect();
        toml::from_str(&lines.join("\n")).unwrap()
    }

    #[test]
    fn every_default_of_a_generated_file_is_the_real_one() {
        let config = Config::resolve(options_of(false), Options::default(), false).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_generated_file_has_every_option() {
        let text = generated();
        for argument in options() {
            let id = argument.get_id().as_str();
            assert!(text.contains(&format!("\n#{id} = ")), "{id}");
            assert!(!text.contains(&format!("\n#{id} = \"\"")), "{id} has no default: add an example");
            assert!(argument.get_help_heading().is_some(), "{id} has no heading");
        }
        let shown = format!("{:?}", options_of(true));
        assert!(!shown.contains(": None"), "{shown}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.is_empty()));
    }

    #[test]
    fn options_that_depend_on_others_exist_and_are_told_if_these_are_not_set() {
        let known: Vec<String> = options().iter().map(|argument| argument.get_id().to_string()).collect();
        for (options, others) in DEPENDENT {
            options.iter().chain(others).for_each(|name| assert!(known.iter().any(|option| option == name), "{name}"));
        }
        let notes = |set: &[&str]| without_effect(|option| set.contains(&option));
        assert_eq!(notes(&["journal_sync"]), ["journal_sync has no effect without journal"]);
        assert_eq!(notes(&["statsd_tags"]), ["statsd_tags has no effect without statsd or statsd_socket"]);
        assert_eq!(notes(&["journal", "journal_sync", "statsd_socket", "statsd_tags"]), [""; 0]);
    }

    #[test]
    fn passwords_of_nats_are_not_shown() {
        let arguments = options();
        let nats = arguments.iter().find(|argument| argument.get_id() == "nats").unwrap();
        assert_eq!(shown(nats, "nats://u:secret@a,tls://b:1"), "nats://a:4222,tls://b:1");
        assert_eq!(shown(nats, "http://u:secret@a"), "(hidden)");
    }
}
