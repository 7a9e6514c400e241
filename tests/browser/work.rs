//! How much the page does for each tick, counted in changes of the document. Times are measured by `cargo xtask bench ui`.

use std::thread::sleep;
use std::time::Duration;

use joey_tests::browser::Browser;
use joey_tests::{Frame, S, eventually};

use crate::page::{address, now_s, relay};

/// The number of computations. They all change in every period.
const ROWS: usize = 1_000;
/// The number of periods that are sent while the page is open.
const PERIODS: u64 = 4;
/// Maximum number of rows that change in one frame. Eight have their turn; nine were seen once in one frame,
/// for a reason that is not known, followed by seven.
const ROWS_PER_FRAME: u64 = 2 * 8;
/// Maximum number of changes of one row: text and attributes of three percentiles and three rates, and two charts.
const CHANGES_PER_ROW: u64 = 60;

/// Records for each frame how many rows have changed, and all changes. `mixed` are rows whose percentile and rate are of
/// different periods: the highest duration is that of the newest period, the highest rate that of the period before or, once it
/// is complete, of the same. Period `k` has `10^k` events in bin `16 + 2k`.
const WATCH: &str = r"
    const watch = window.watch = { frames: [], changes: 0, mixed: [] };
    let rows = new Set();
    new MutationObserver(records => {
        const changed = records.map(record => (record.target.closest ? record.target : record.target.parentElement))
            .map(element => element?.closest('[data-testid=row]')).filter(row => row);
        watch.changes += changed.length;
        changed.forEach(row => rows.add(row));
        for (const row of new Set(changed)) {
            const high = Number(row.querySelector('[data-col=p99]').dataset.high);
            const newest = Math.round((Math.log2(high + 1) - 16) / 2);
            const fastest = Math.round(Math.log10(Number(row.querySelector('[data-col=max]').dataset.value)));
            if (newest - fastest > 1 || newest < fastest) watch.mixed.push([row.dataset.name, newest, fastest]);
        }
    }).observe(document.querySelector('[data-subject=Computation]'),
        { subtree: true, childList: true, characterData: true, attributes: true });
    const step = () => {
        if (rows.size > 0) watch.frames.push(rows.size);
        rows = new Set();
        requestAnimationFrame(step);
    };
    requestAnimationFrame(step);";

/// One second of all computations.
fn period(number: u64, end_s: u64) -> Vec<Frame> {
    let (bin, count) = (16 + 2 * number as usize, 10_u64.pow(number as u32));
    let frame = |row: usize| {
        let name = format!("number {row}");
        let frame = Frame::new("Large", "computation", ["p", "w", &name], end_s);
        frame.with_bins(&[(bin, count)], 1 << (bin - 1), (1 << bin) - 1).lasting(S)
    };
    (0..ROWS).map(frame).collect()
}

#[test]
fn a_tick_changes_a_few_rows_in_each_frame_and_no_row_shows_two_periods() {
    let relay = relay(&[]);
    let mut producer = relay.producer("Large", "w");
    let first_s = now_s() - 2;
    producer.send_all(&[period(1, first_s), period(2, first_s + 1)].concat());
    relay.wait_for_accepted(2 * ROWS as u64);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/Large/dashboard"));
    let rendered = || {
        let script = "return document.querySelectorAll('[data-testid=row] [data-col=max][data-value]').length";
        browser.evaluate(script, &[]).as_u64().filter(|&rows| rows > 0)
    };
    let rendered = eventually("rows", rendered);
    assert!(rendered < 60, "{rendered} of {ROWS} rows are in the document");
    sleep(Duration::from_secs(2));
    let _ = browser.evaluate(WATCH, &[]);
    for number in 3..3 + PERIODS {
        producer.send_all(&period(number, first_s + number - 1));
        relay.wait_for_accepted(number * ROWS as u64);
        sleep(Duration::from_secs(1));
    }
    let last = format!(
        "return [...document.querySelectorAll('[data-testid=row] [data-col=p99]')]
        .every(cell => cell.dataset.high === '{}')",
        (1_u64 << (16 + 2 * (2 + PERIODS))) - 1
    );
    eventually("all rows show the last period", || browser.evaluate(&last, &[]).as_bool().filter(|&all| all));
    let watch = browser.evaluate("return watch", &[]);
    assert_eq!(watch["mixed"].as_array().map(Vec::len), Some(0), "{}", watch["mixed"]);
    let frames: Vec<u64> = serde_json::from_value(watch["frames"].clone()).expect("numbers");
    assert!(frames.iter().all(|&rows| rows <= ROWS_PER_FRAME), "rows that changed in each frame: {frames:?}");
    let (changed, changes) = (frames.iter().sum::<u64>(), watch["changes"].as_u64().expect("a number"));
    // Each period makes two ticks at most, and the last one becomes complete.
    assert!(changed <= rendered * (2 * PERIODS + 3), "{changed} rows have changed");
    assert!(changes <= changed * CHANGES_PER_ROW, "{changes} changes of {changed} rows");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
