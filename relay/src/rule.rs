//! What `joey watch` and the relay's own watcher require: a latency objective, or a bound of the throughput, and burn
//! rates. Whether a view meets it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use joey_shared::format;
use joey_shared::histogram::Histogram;
use joey_shared::objective::{Objective, Under, Verdict, glob_matches, view_path};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::window::{SECONDS_MAX, second_of};
use serde::Deserialize;

/// Maximum number of rules in the files of a watcher.
const RULES_MAX: usize = 100;

/// A requirement for the views of an application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    /// As on the page: `start-to-end/*: p99 < 10ms over 1m`.
    Latency(Objective),
    /// `start-to-end/*: throughput > 1000/s over 30s`, for the median second of the window.
    Throughput {
        /// As the user wrote it.
        text: String,
        views: String,
        is_minimum: bool,
        per_second: f64,
        window_seconds: u64,
    },
}

/// A burn rate that must not be exceeded in two windows at the same time, such as `14.4 over 1h and 5m`. The long window has
/// enough events, and the short one ends the alert soon after the cause has ended.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Burn {
    factor: f64,
    /// The two windows, in seconds.
    windows: [u64; 2],
}

/// The state of a rule in one view.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// The measured value, for the user.
    pub(crate) value: String,
    /// Number of events in the window.
    pub(crate) count: u128,
}

/// Parses a rule.
pub(crate) fn parse_rule(text: &str) -> Result<Rule, String> {
    let target = text.rsplit_once(':').map(|(_, target)| target.trim_start());
    if !target.is_some_and(|target| target.starts_with("throughput")) {
        return text.parse().map(Rule::Latency).map_err(|error| format!("{error}"));
    }
    parse_throughput(text).ok_or_else(|| "write it as `start-to-end/*: throughput > 1000/s over 30s`".to_owned())
}

fn parse_throughput(text: &str) -> Option<Rule> {
    let (views, target) = text.rsplit_once(':')?;
    let target = target.trim().strip_prefix("throughput")?.trim_start();
    let is_minimum = target.starts_with('>');
    let (bound, window) = target.strip_prefix(['<', '>'])?.split_once(" over ")?;
    let per_second = parse_number(bound.trim().strip_suffix("/s")?)?;
    let window_seconds = parse_window(window.trim()).ok()?;
    let views = views.trim().to_owned();
    (!views.is_empty()).then(|| Rule::Throughput {
        text: text.trim().to_owned(),
        views,
        is_minimum,
        per_second,
        window_seconds,
    })
}

/// Parses `14.4 over 1h and 5m`.
pub(crate) fn parse_burn(text: &str) -> Result<Burn, String> {
    let parse = || {
        let (factor, windows) = text.split_once(" over ")?;
        let (long, short) = windows.split_once(" and ")?;
        let window = |text: &str| parse_window(text.trim()).ok();
        let factor = parse_number(factor.trim()).filter(|&factor| factor > 0.0)?;
        Some(Burn { factor, windows: [window(long)?, window(short)?] })
    };
    parse().ok_or_else(|| format!("it must be like '14.4 over 1h and 5m', with windows up to {}h", SECONDS_MAX / 3_600))
}

/// Parses a decimal number without a sign.
fn parse_number(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_number)
}

/// Parses a file with one rule on each line. Empty lines and lines that start with `#` are ignored.
///
/// # Errors
/// The number of the first line that is not a rule, and why.
pub(crate) fn parse_rules(text: &str) -> anyhow::Result<Vec<Rule>> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| parse_rule(line).map_err(|error| anyhow::anyhow!("line {number}: {error}")))
        .collect()
}

/// Reads the rules in `files`, each of them once.
///
/// # Errors
/// Fails if a file cannot be read, has a line that is not a rule, or if there are no rules or more than 100.
pub(crate) fn read_rules(files: &[PathBuf]) -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for rule in parse_rules(&text).with_context(|| format!("{}", file.display()))? {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let names = || files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(!rules.is_empty(), "no objective in {}", names());
    anyhow::ensure!(rules.len() <= RULES_MAX, "more than {RULES_MAX} objectives in {}", names());
    Ok(rules)
}

/// Parses a time: `90s`, `15m`, `12h`, `30d`, or plain seconds.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("", 1)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(seconds).filter(|&seconds| seconds > 0)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "it must be a time such as 90s, 15m, 12h or 30d".to_owned())
}

/// Parses a window length in seconds: `10s`, `5m`, `1h`, or plain seconds.
pub(crate) fn parse_window(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let with_unit = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!("the window must be 1s to {}h, such as 10s or 5m", SECONDS_MAX / 3_600)),
    }
}

impl FromStr for Burn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_burn(text)
    }
}

impl TryFrom<String> for Burn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_burn(&text)
    }
}

impl Rule {
    /// Its text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Latency(objective) => objective.to_string(),
            Self::Throughput { text, .. } => text.clone(),
        }
    }

    /// Whether it is for `view`.
    pub(crate) fn matches(&self, view: &ViewKey) -> bool {
        match self {
            Self::Latency(objective) => objective.matches(view),
            Self::Throughput { views, .. } => glob_matches(views, &view_path(view)),
        }
    }

    /// The longest window that it needs, in seconds.
    pub(crate) fn seconds(&self, burns: &[Burn]) -> u64 {
        match self {
            Self::Latency(objective) => {
                let burns = burns.iter().flat_map(|burn| burn.windows).max().unwrap_or(0);
                objective.window_seconds().max(burns)
            }
            Self::Throughput { window_seconds, .. } => *window_seconds,
        }
    }

    /// Evaluates view `at` of `store`. With burn rates, they decide instead of the objective's window.
    pub(crate) fn evaluate(&self, store: &mut AppStore, at: usize, burns: &[Burn]) -> Finding {
        match self {
            Self::Latency(objective) if burns.is_empty() => {
                let histogram = recent(store, at, objective.window_seconds());
                let range = histogram.quantile(objective.quantile());
                let value = range.map_or_else(|| "no events".to_owned(), |range| format::range(range).to_string());
                Finding { verdict: objective.evaluate(&histogram), value, count: histogram.count() }
            }
            Self::Latency(objective) => burn(objective, burns, |seconds| recent(store, at, seconds)),
            Self::Throughput { is_minimum, per_second, window_seconds, .. } => {
                let through = store.through_second();
                let from = (through + 1).saturating_sub(*window_seconds);
                let part = store.window_at(at).between(from..=through);
                let count = part.histogram().count();
                match part.throughput(through) {
                    None => Finding { verdict: Verdict::NoData, value: "no events".to_owned(), count },
                    Some(rates) => {
                        let is_met = if *is_minimum { rates.median > *per_second } else { rates.median < *per_second };
                        let verdict = if is_met { Verdict::Met } else { Verdict::Missed };
                        Finding { verdict, value: format!("{}/s", format::rate(rates.median)), count }
                    }
                }
            }
        }
    }
}

/// The histogram of the last `seconds` of a view.
fn recent(store: &mut AppStore, at: usize, seconds: u64) -> Histogram {
    let to = second_of(store.clock_ns());
    store.window_at(at).between((to + 1).saturating_sub(seconds)..=to).histogram()
}

/// Whether one of `burns` is exceeded in both of its windows.
fn burn(objective: &Objective, burns: &[Burn], mut recent: impl FnMut(u64) -> Histogram) -> Finding {
    let (mut count, mut values) = (0, Vec::new());
    let verdicts = burns.iter().map(|burn| {
        let rates = burn.windows.map(|seconds| {
            let histogram = recent(seconds);
            count = count.max(histogram.count());
            Under::of(&histogram, objective.threshold_ns()).burn_rate(objective.quantile())
        });
        let shown = rates.map(|rate| rate.map_or_else(|| "no events".to_owned(), |(low, high)| burn_text(low, high)));
        values.push(format!("burn rate {} and {}", shown[0], shown[1]));
        // Without events in the short window, nothing is spent there.
        let [Some(long), short] = rates else { return Verdict::NoData };
        let both = [long, short.unwrap_or((0.0, 0.0))];
        if both.iter().all(|(low, _)| *low > burn.factor) {
            Verdict::Missed
        } else if both.iter().any(|(_, high)| *high <= burn.factor) {
            Verdict::Met
        } else {
            Verdict::Undecided
        }
    });
    let verdicts: Vec<Verdict> = verdicts.collect();
    let first = |wanted| verdicts.iter().copied().find(|&verdict| verdict == wanted);
    let verdict = first(Verdict::Missed).or_else(|| first(Verdict::Undecided)).or_else(|| first(Verdict::Met));
    Finding { verdict: verdict.unwrap_or(Verdict::NoData), value: values.join(", "), count }
}

fn burn_text(low: f64, high: f64) -> String {
    if (high - low).abs() < 0.05 { format!("{low:.1}") } else { format!("{low:.1}–{high:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_objectives_or_bounds_of_the_throughput() {
        assert!(matches!(parse_rule("start-to-end/*: p99 < 10ms over 1m"), Ok(Rule::Latency(_))));
        let rule = parse_rule("start-to-end/a:b: throughput > 1.5/s over 30s").expect("a rule");
        let Rule::Throughput { views, is_minimum, per_second, window_seconds, .. } = rule else { panic!("throughput") };
        assert_eq!((views.as_str(), is_minimum, per_second, window_seconds), ("start-to-end/a:b", true, 1.5, 30));
        for invalid in [
            "",
            "p99 < 1ms over 1m",
            "a: throughput > 1 over 1m",
            "a: throughput > -1/s over 1m",
            ": throughput > 1/s over 1m",
            "a: throughput > 1/s over 2h",
            "a: throughput = 1/s over 1m",
        ] {
            assert!(parse_rule(invalid).is_err(), "{invalid}");
        }
        assert_eq!(parse_rules("# a\n\na: p99 < 1ms over 1m\n").expect("rules").len(), 1);
        let error = parse_rules("\nnothing").expect_err("no rule").to_string();
        assert!(error.starts_with("line 2: "), "{error}");
    }

    #[test]
    fn window_lengths_are_parsed() {
        assert_eq!(["10s", "5m", "1h", "300", "1"].map(parse_window), [10, 300, 3_600, 300, 1].map(Ok));
        for invalid in ["", "0", "61m", "2h", "-5", "5 m", "m"] {
            assert!(parse_window(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn burn_rates_need_both_windows() {
        let objective: Objective = "a: p99 < 1us over 1m".parse().expect("an objective");
        let burns = [parse_burn("10 over 1h and 5m").expect("a burn rate")];
        // `slow` of 1,000 events are over the threshold in each window: a burn rate of `slow / 10`.
        let check = |slow: [u64; 2], expected: Verdict| {
            let finding = burn(&objective, &burns, |seconds| {
                let mut histogram = Histogram::default();
                let slow = slow[usize::from(seconds == 300)];
                histogram.record_many(100, 1_000 - slow);
                histogram.record_many(1_000_000, slow);
                histogram
            });
            assert_eq!(finding.verdict, expected, "{slow:?}: {}", finding.value);
        };
        check([150, 150], Verdict::Missed);
        check([150, 50], Verdict::Met);
        check([50, 150], Verdict::Met);
        check([100, 100], Verdict::Met);
        let empty = burn(&objective, &burns, |_| Histogram::default());
        assert_eq!(empty.verdict, Verdict::NoData);
        for invalid in ["", "14.4", "0 over 1h and 5m", "1 over 2h and 5m", "-1 over 1h and 5m"] {
            assert!(parse_burn(invalid).is_err(), "{invalid}");
        }
    }
}
