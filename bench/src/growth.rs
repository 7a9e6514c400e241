//! How cost grows with viewers, with series and with updates: linear fits through measured points, as tables and as a
//! chart, and converted into how much fits on a core and into a gigabyte.

mod chart;

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::machine::Cores;
use crate::statistics::{Line, Table};
use crate::workload::{self, Cost, Load};

use self::chart::Panel;

/// Path of the chart, relative to this package.
const CHART: &str = "../docs/growth.svg";
/// The numbers that are measured, evenly spaced so that no single point dominates the fit.
const STEPS: [usize; 5] = [100, 2_500, 5_000, 7_500, 10_000];
/// Seconds per point.
const SECONDS: u32 = 5;
/// 1 GiB in KiB, for the sizing table.
const GIB_KIB: f64 = 1024.0 * 1024.0;

/// One quantity that grows while everything else stays constant.
struct Axis {
    /// What grows.
    unit: &'static str,
    /// What stays constant.
    rest: &'static str,
    load: fn(usize) -> Load,
}

const AXES: [Axis; 3] = [
    Axis {
        unit: "viewers",
        rest: "each of the same 100 series, once a second",
        load: |viewers| Load { viewers, series: 100, rounds: 1 },
    },
    Axis { unit: "series", rest: "once a second, one viewer", load: |series| Load { viewers: 1, series, rounds: 1 } },
    Axis {
        unit: "updates a second",
        rest: "of 100 series, one viewer",
        load: |updates| Load { viewers: 1, series: 100, rounds: updates / 100 },
    },
];

/// Measures, prints and draws.
pub(crate) fn run(cores: Cores) -> Result<()> {
    println!(
        "\n### Growth\n\nAt every point the five-minute history is full; {SECONDS} seconds each; the lines fit the minimums.\n"
    );
    let mut points = Table::new(&["", "number", "% of a core", "MiB", "noise"]);
    let mut lines = Table::new(&["", "", "at zero", "per unit", "R²"]);
    let mut sizes = Table::new(&["one more of", "CPU", "memory", "per core", "per GiB"]);
    let mut panels = Vec::new();
    for Axis { unit, rest, load } in &AXES {
        let mut costs: Vec<(f64, Cost)> = Vec::new();
        for step in STEPS {
            let cost = workload::load(load(step), SECONDS, cores)?;
            let percent = |share: f64| format!("{:.2}", share * 100.0);
            points.row([
                format!("{unit}, {rest}"),
                step.to_string(),
                format!("{} ({})", percent(cost.cpu.least()), percent(cost.cpu.median())),
                format!("{:.1}", mib(&cost)),
                format!("{:.2}", cost.noise),
            ]);
            costs.push((step as f64, cost));
        }
        let of = |what: fn(&Cost) -> f64| costs.iter().map(|(x, cost)| (*x, what(cost))).collect::<Vec<_>>();
        let (cpu, memory) = (of(|cost| cost.cpu.least()), of(|cost| cost.memory_kib as f64));
        let (cpu_line, memory_line) = (Line::through(&cpu), Line::through(&memory));
        lines.row([
            (*unit).to_owned(),
            "CPU".to_owned(),
            format!("{:.2} %", cpu_line.start * 100.0),
            format!("{:.2} µs per second", cpu_line.slope * 1e6),
            format!("{:.3}", cpu_line.fit),
        ]);
        lines.row([
            (*unit).to_owned(),
            "memory".to_owned(),
            format!("{:.1} MiB", memory_line.start / 1024.0),
            format!("{:.2} KiB", memory_line.slope),
            format!("{:.3}", memory_line.fit),
        ]);
        sizes.row([
            format!("{unit}, {rest}"),
            format!("{:.2} µs per second", cpu_line.slope * 1e6),
            format!("{:.2} KiB", memory_line.slope),
            round((1.0 - cpu_line.start.max(0.0)) / cpu_line.slope),
            round((GIB_KIB - memory_line.start.max(0.0)) / memory_line.slope),
        ]);
        panels.push(Panel { unit, rest, what: "% of a core", points: scaled(&cpu, 100.0) });
        panels.push(Panel { unit, rest, what: "MiB", points: scaled(&memory, 1.0 / 1024.0) });
    }
    println!("{points}\nThe linear fits through these points:\n\n{lines}\nThe resulting capacity:\n\n{sizes}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART);
    fs::write(file, chart::draw(&panels))?;
    println!("docs/growth.svg is updated");
    Ok(())
}

fn mib(cost: &Cost) -> f64 {
    cost.memory_kib as f64 / 1024.0
}

fn scaled(points: &[(f64, f64)], factor: f64) -> Vec<(f64, f64)> {
    points.iter().map(|(x, y)| (*x, y * factor)).collect()
}

/// Rounds to two digits, which is the precision of the measurement.
fn round(number: f64) -> String {
    let unit = 10_f64.powf((number.abs().log10().floor() - 1.0).max(0.0));
    let digits = format!("{:.0}", (number / unit).round() * unit);
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_two_digits() {
        for (number, expected) in [(94_321.0, "94,000"), (1_250_000.0, "1,300,000"), (87.4, "87"), (4.0, "4")] {
            assert_eq!(round(number), expected);
        }
    }
}
