//! A relay with a journal is killed a hundred times under load.

use joey_tests::Relay;
use joey_tests::kills::{Kills, kill_repeatedly};
use tempfile::TempDir;

use crate::Measurement;

const KILLS: u32 = 100;

pub(crate) fn measurements() -> Vec<Measurement> {
    let folder = TempDir::new().expect("a journal can be written");
    let path = folder.path().to_str().expect("it is UTF-8");
    let mut relay = Relay::start_with(&["--journal", path]);
    // It panics if anything is lost or counted twice.
    let Kills { arrived_once, seen_before_and_after, longest_start } = kill_repeatedly(&mut relay, KILLS, 7);
    let damaged = relay.log().matches("is damaged").count();
    vec![
        Measurement::info("kills", KILLS),
        Measurement::holds("acknowledged, and there exactly once", arrived_once, arrived_once > u64::from(KILLS) * 10),
        Measurement::holds("seen, and still there", seen_before_and_after, seen_before_and_after > u64::from(KILLS)),
        Measurement::holds("damaged segments", damaged, damaged == 0),
        Measurement::at_most("longest start with the journal", longest_start.as_secs_f64() * 1e3, 3_000.0, "ms"),
    ]
}
