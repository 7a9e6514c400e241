//! Measures the page and compares it with the recorded results. `tests/bench_ui.rs` measures. This module builds what
//! it needs, prints its results as a table, and records them on request.

use std::{env, fmt::Write as _, fs};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::goals::{goal, pairs};
use crate::{checkout::Checkout, relay, setup};

/// The recorded results. Git has the earlier ones.
const RECORD: &str = "docs/benchmarks-ui.md";
/// A ratio above this one is printed in bold.
const RATIO_MAX: f64 = 1.2;
/// Replaces a missing number.
const NONE: &str = "–";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything once.
    Quick,
    /// Everything several times.
    Full,
    /// The same, and the results are recorded.
    Recorded,
}

/// Makes a release build and measures it. If `JOEY_BIN` is set, measures that program instead.
pub(crate) fn measure(here: &Checkout, extent: Extent) -> Result<()> {
    let sh = &here.shell;
    let joey = relay::to_measure(here)?;
    let browser = setup::for_tests(here)?;
    cmd!(sh, "cargo build --release --package joey-tests --bin bench-ui").run()?;
    let chrome = &browser.chrome;
    let about = about(sh, &cmd!(sh, "{chrome} --version").quiet().ignore_stderr().read()?)?;
    let program = here.target.join("release/bench-ui");
    let uplot = setup::uplot(here)?;
    let words: &[&str] = if extent == Extent::Quick { &["--quick"] } else { &[] };
    let measured = cmd!(sh, "{program} {words...}")
        .env("JOEY_BIN", joey)
        .env("CHROME", &browser.chrome)
        .env("CHROMEDRIVER", &browser.driver)
        .env("UPLOT", uplot)
        .read()?;
    let figures = measured.lines().map(Figure::read).collect::<Result<Vec<_>>>()?;
    let file = here.root.join(RECORD);
    let before = fs::read_to_string(&file).unwrap_or_default();
    println!("\n{about}\n\n{}\n{}", beside(&figures, &before), others(&figures));
    if extent == Extent::Recorded {
        sh.write_file(file, record(&figures, &about))?;
    }
    Ok(())
}

/// One measurement.
#[derive(Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    unit: String,
    least: f64,
    median: f64,
    most: f64,
}

impl Figure {
    /// Parses a line of the output: name, unit and values, separated by tabs.
    pub(super) fn read(line: &str) -> Result<Self> {
        let (name, rest) = line.split_once('\t').context("a figure has a name")?;
        let (unit, values) = rest.split_once('\t').context("a figure has a unit")?;
        let mut values = values.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        values.sort_by(f64::total_cmp);
        let (least, median) = (values[0], values[values.len() / 2]);
        let most = values[values.len() - 1];
        Ok(Self { name: name.to_owned(), unit: unit.to_owned(), least, median, most })
    }

    /// The first cells of a table row, as in the record.
    fn cells(&self) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(shown);
        let goal = goal(&self.name).map_or_else(String::new, |goal| {
            let goal_text = format!("≤ {}", shown(goal));
            if self.median <= goal { goal_text } else { format!("**{goal_text}**") }
        });
        format!("| {} | {} | {median} | {least} | {most} | {goal} |", self.name, self.unit)
    }
}

/// Formats a value with three significant digits, or as a whole number.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The median of the measurement `name` in a record.
fn on_record(record: &str, name: &str) -> Option<f64> {
    let mut rows = record.lines().map(|line| line.split('|').map(str::trim).skip(1));
    rows.find_map(|mut cells| if cells.next() == Some(name) { cells.nth(1)?.parse().ok() } else { None })
}

/// A table of the measurements and their ratios to those in `record`.
fn beside(figures: &[Figure], record: &str) -> String {
    let mut table =
        "| figure | unit | median | least | most | goal | on record | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for figure in figures {
        let before = on_record(record, &figure.name);
        let ratio = before.filter(|&before| before > 0.0).map(|before| figure.median / before);
        let ratio = ratio.map_or_else(
            || NONE.to_owned(),
            |ratio| if ratio > RATIO_MAX { format!("**{ratio:.2}**") } else { format!("{ratio:.2}") },
        );
        let before = before.map_or_else(|| NONE.to_owned(), shown);
        let _ = writeln!(table, "{} {before} | {ratio} |", figure.cells());
    }
    table
}

/// A table of the page's figures beside those of others with the same work.
fn others(figures: &[Figure]) -> String {
    let mut table = "| figure | unit | the page | others | ratio |\n|---|---|--:|--:|--:|\n".to_owned();
    for (ours, other) in pairs(figures) {
        let ratio = if other.median > 0.0 { format!("{:.2}", ours.median / other.median) } else { NONE.to_owned() };
        let name = format!("{}; {}", ours.name, other.name.split_once(": ").map_or("", |(scene, _)| scene));
        let _ =
            writeln!(table, "| {name} | {} | {} | {} | {ratio} |", ours.unit, shown(ours.median), shown(other.median));
    }
    table
}

/// The record of the measurements.
fn record(figures: &[Figure], about: &str) -> String {
    let rows: String = figures.iter().map(|figure| figure.cells() + "\n").collect();
    format!(
        "# Cost of the page\n\nWritten by `cargo xtask bench ui --record`. [Benchmarks](benchmarks.md#the-page) explains the \
         measurements. A goal in bold is missed.\n\n{about}\n\n| figure | unit | median | least | most | goal |\n\
         |---|---|--:|--:|--:|--:|\n{rows}\n## Beside others\n\n{}",
        others(figures)
    )
}

/// The date, the machine, the browser and the commit.
fn about(sh: &Shell, chromium: &str) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let mut models = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = models.next().map_or("?", |(_, name)| name);
    let (cores, kernel) = (1 + models.count(), read("/proc/sys/kernel/osrelease"));
    let date = cmd!(sh, "date -u '+%-d %B %Y'").env("LC_ALL", "C").quiet().read()?;
    let commit = cmd!(sh, "git rev-parse --short HEAD").quiet().read()?;
    let changes = if cmd!(sh, "git status --porcelain").quiet().read()?.is_empty() { "" } else { " with changes" };
    let build = env::var("JOEY_BIN").map_or_else(|_| format!("commit {commit}{changes}"), |_| "JOEY_BIN".to_owned());
    let (kernel, chromium) = (kernel.trim(), chromium.trim());
    Ok(format!("{date}, {cores} cores of {model}, Linux {kernel}, {chromium}, {build}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, values: &str) -> Figure {
        Figure::read(&format!("{name}\tms\t{values}")).unwrap()
    }

    #[test]
    fn a_figure_is_the_middle_of_its_values() {
        let expected = Figure { name: "a: b".to_owned(), unit: "ms".to_owned(), least: 1.0, median: 2.5, most: 30.0 };
        assert_eq!(figure("a: b", "2.500 30.000 1.000"), expected);
        assert!(Figure::read("a\tms").is_err() && Figure::read("a\tms\t").is_err());
    }

    #[test]
    fn what_is_recorded_is_found_again() {
        let text = record(&[figure("first row", "123.456"), figure("row", "7")], "Today.");
        assert_eq!(["first row", "row", "first"].map(|name| on_record(&text, name)), [Some(123.0), Some(7.0), None]);
    }

    #[test]
    fn what_is_a_fifth_dearer_than_on_record_stands_out() {
        let record = record(&[figure("row", "100"), figure("none", "0")], "Today.");
        let check = |name, value, end: &str| {
            let table = beside(&[figure(name, value)], &record);
            assert!(table.trim_end().ends_with(end), "{table}");
        };
        check("row", "120", "| 100 | 1.20 |");
        check("row", "121", "| 100 | **1.21** |");
        check("none", "5", "| 0.00 | – |");
        check("new", "5", "| – | – |");
    }
}
