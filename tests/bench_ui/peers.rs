//! The same work by others in the same browser: uPlot draws the same lines, and plain JavaScript keeps the same windows and
//! computes the same percentiles. The path of uPlot's script is in `UPLOT`; `cargo xtask bench ui` installs it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::page;
use crate::source::Series;
use crate::{Extent, Figure};

/// Rows that a dashboard shows at once on the screen of the benchmark, with their margins.
const ROWS: usize = 36;

/// Draws `lines` lines of 300 seconds: in charts of the size of a row's, or all in one chart of the size of the window.
const DRAW: &str = r"
    const [lines, isOneChart, seconds] = arguments;
    const x = Array.from({ length: 300 }, (_, at) => at);
    const line = seed => x.map(at => 400 + (7 * seed + 13 * at) % 200);
    const data = Array.from({ length: lines }, (_, seed) => line(seed));
    const plain = { show: false };
    const options = (width, height, count) => ({
        width, height, pxAlign: false, legend: plain, cursor: plain, axes: isOneChart ? [{}, {}] : [plain, plain],
        scales: { x: { time: false } },
        series: [{}, ...Array.from({ length: count }, () => ({ stroke: '#0b7ec2', width: 1.25, points: plain }))],
    });
    document.body.replaceChildren();
    const charts = isOneChart
        ? [new uPlot(options(1400, 800, lines), [x, ...data], document.body)]
        : data.map(values => new uPlot(options(110, 24, 1), [x, values], document.body));
    const shift = values => { values.push(400 + (values[0] + 17) % 200); values.shift(); };
    bench.start(false);
    window.drawing = setInterval(() => requestAnimationFrame(() => {
        data.forEach(shift);
        if (isOneChart) charts[0].setData([x, ...data]);
        else charts.forEach((chart, at) => chart.setData([x, data[at]]));
    }), 1000);";

/// Applies updates of `series` series to windows of 300 seconds: own ones and one for each total, as the page has. Then
/// computes the five percentiles of the rows in sight, and the 99th of all totals, once a second. Returns µs for each
/// update, and ms for the percentiles.
const PERCENTILES: &str = r"
    const [updates, bins, rounds, rows] = arguments;
    const quantiles = [0.5, 0.95, 0.99, 0.999, 0.9999];
    const windowOf = () => ({ slots: [], next: 0, sum: new Float64Array(bins) });
    const own = updates.map(windowOf), totals = updates.map(windowOf);
    const add = (view, first, counts, min, max) => {
        const { slots, sum } = view;
        const old = slots[view.next];
        if (old) for (let at = 0; at < old.counts.length; at++) sum[old.first + at] -= old.counts[at];
        for (let at = 0; at < counts.length; at++) sum[first + at] += counts[at];
        slots[view.next] = { first, counts, min, max };
        view.next = (view.next + 1) % 300;
    };
    const quantile = ({ sum, slots }, q) => {
        let count = 0;
        for (const bin of sum) count += bin;
        const rank = Math.max(1, Math.ceil(q * count));
        let seen = 0, at = 0;
        for (; at < sum.length; at++) { seen += sum[at]; if (seen >= rank) break; }
        let min = Infinity, max = 0;
        for (const slot of slots) { min = Math.min(min, slot.min); max = Math.max(max, slot.max); }
        return [at, min, max];
    };
    const second = () => updates.forEach(([first, counts, min, max], at) => {
        add(own[at], first, counts, min, max);
        add(totals[at], first, counts, min, max);
    });
    for (let round = 0; round < 301; round++) second();
    let applying = 0, computing = 0, kept = 0;
    for (let round = 0; round < rounds; round++) {
        const start = performance.now();
        second();
        const applied = performance.now();
        for (const view of totals.slice(0, rows)) for (const q of quantiles) kept += quantile(view, q)[0];
        for (const view of totals) kept += quantile(view, 0.99)[0];
        computing += performance.now() - applied;
        applying += applied - start;
    }
    return [1e3 * applying / rounds / updates.length, computing / rounds, kept];";

/// The lines that uPlot draws.
pub(crate) fn uplot(extent: Extent, lines: &[usize]) -> Vec<Figure> {
    let script =
        fs::read_to_string(std::env::var("UPLOT").expect("UPLOT is the path of uPlot's script")).expect("it is a text");
    let browser = page::measured_browser();
    browser.open("about:blank");
    let _ = browser.evaluate(&format!("{script}; window.uPlot = uPlot;"), &[]);
    let scenes = [(ROWS, false)].into_iter().chain(lines.iter().map(|&lines| (lines, true)));
    let figures = scenes.flat_map(|(lines, is_one_chart)| {
        let scene =
            if is_one_chart { format!("uPlot, {lines} lines in one chart") } else { format!("uPlot, {lines} rows") };
        eprintln!("{scene}");
        let [mut median, mut p95, mut most] = [const { Vec::new() }; 3];
        for _ in 0..extent.rounds {
            let _ = browser.evaluate(DRAW, &[lines.into(), is_one_chart.into(), extent.watched.as_secs().into()]);
            std::thread::sleep(extent.watched.max(Duration::from_secs(5)));
            let frames = page::Frames::read(&browser.evaluate("clearInterval(drawing); return bench.stop()", &[]));
            median.push(frames.script_ms(0.5));
            p95.push(frames.script_ms(0.95));
            most.push(frames.script_ms(1.0));
        }
        let named = |what: &str, values| Figure::new(format!("{scene}: script of a frame, {what}"), "ms", values);
        [named("median", median), named("p95", p95), named("most", most)]
    });
    figures.collect()
}

/// The windows and percentiles in plain JavaScript.
pub(crate) fn javascript(extent: Extent, all: &[Series]) -> Vec<Figure> {
    let browser = page::measured_browser();
    browser.open("about:blank");
    let figures = all.iter().flat_map(|&series| {
        eprintln!("plain JavaScript, {series}");
        let update = |number: usize| {
            let histogram = series.histogram(number, 1);
            let (first, counts) = histogram.span();
            json!([first, counts, histogram.min_ns, histogram.max_ns])
        };
        let updates: Value = (0..series.count).map(update).collect();
        let bins = if series.scale == 0 { 65 } else { 513 };
        let [mut applying, mut computing] = [const { Vec::new() }; 2];
        for _ in 0..extent.rounds {
            let result = browser.evaluate(PERCENTILES, &[updates.clone(), bins.into(), 20.into(), ROWS.into()]);
            applying.push(result[0].as_f64().unwrap_or(f64::NAN));
            computing.push(result[1].as_f64().unwrap_or(f64::NAN));
        }
        let named = |what: &str, unit, values| Figure::new(format!("plain JavaScript, {series}: {what}"), unit, values);
        [named("applying an update", "µs", applying), named("percentiles of a second", "ms", computing)]
    });
    figures.collect()
}
