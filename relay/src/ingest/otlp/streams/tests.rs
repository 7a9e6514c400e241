//! Tests of the rules for delta and cumulative streams. Times are in seconds.

use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;
/// When the relay started.
const STARTED: u64 = 1_000;
const RETENTION: u64 = 4_000;
const INSTRUMENT: Key = [9, 9];

fn streams() -> Streams {
    Streams::new(STARTED * S, RETENTION * S)
}

fn key(number: u64) -> Key {
    [number, number]
}

/// Sends a delta data point; returns its start and end.
fn delta(streams: &mut Streams, start: u64, end: u64) -> Result<(u64, u64), RejectReason> {
    streams.delta(key(1), start * S, end * S, end * S).map(|interval| (interval.start_ns / S, interval.end_ns / S))
}

/// Sends a cumulative data point of stream `number`; returns the start of what was added, and how much.
fn cumulative(
    streams: &mut Streams,
    number: u64,
    (start, end): (u64, u64),
    value: u64,
) -> Result<Option<(u64, u64)>, RejectReason> {
    let interval = Interval { start_ns: start * S, end_ns: end * S };
    let added = streams.cumulative([key(number), INSTRUMENT], interval, Value::Number(value), end * S)?;
    Ok(added.map(|(interval, added)| match added {
        Value::Number(added) => {
            assert_eq!(interval.end_ns, end * S);
            (interval.start_ns / S, added)
        }
        other => panic!("unexpected: {other:?}"),
    }))
}

#[test]
fn a_delta_data_point_counts_once() {
    let mut streams = streams();
    assert_eq!(delta(&mut streams, 1_001, 1_002), Ok((1_001, 1_002)));
    assert_eq!(delta(&mut streams, 1_001, 1_002), Err(RejectReason::OtlpDuplicate));
    assert_eq!(delta(&mut streams, 1_002, 1_003), Ok((1_002, 1_003)));
    assert_eq!(delta(&mut streams, 1_001, 1_002), Err(RejectReason::OtlpDuplicate), "a late retry");
}

#[test]
fn a_late_delta_data_point_fills_its_gap() {
    let mut streams = streams();
    assert_eq!(delta(&mut streams, 1_001, 1_002), Ok((1_001, 1_002)));
    assert_eq!(delta(&mut streams, 1_003, 1_004), Ok((1_003, 1_004)));
    assert_eq!(delta(&mut streams, 1_002, 1_003), Ok((1_002, 1_003)));
    assert_eq!(delta(&mut streams, 1_002, 1_003), Err(RejectReason::OtlpDuplicate));
}

#[test]
fn delta_data_points_that_overlap_by_more_than_half_are_refused() {
    let mut streams = streams();
    assert_eq!(delta(&mut streams, 1_000, 1_010), Ok((1_000, 1_010)));
    assert_eq!(delta(&mut streams, 1_004, 1_014), Err(RejectReason::OtlpOverlap));
    assert_eq!(delta(&mut streams, 1_009, 1_019), Ok((1_009, 1_019)), "an imprecise start");
}

#[test]
fn without_start_times_a_delta_data_point_covers_the_time_since_the_previous_one() {
    let mut streams = streams();
    assert_eq!(delta(&mut streams, 0, 1_005), Ok((1_004, 1_005)));
    assert_eq!(delta(&mut streams, 0, 1_015), Ok((1_005, 1_015)));
    assert_eq!(delta(&mut streams, 1_017, 1_017), Ok((1_015, 1_017)), "an empty interval is unknown");
    assert_eq!(delta(&mut streams, 0, 1_017), Err(RejectReason::OtlpDuplicate));
    assert_eq!(delta(&mut streams, 0, 1_016), Err(RejectReason::OtlpOutOfOrder));
    assert_eq!(delta(&mut streams, 0, 2_000), Ok((1_940, 2_000)), "it was silent");
}

#[test]
fn many_gaps_take_a_bounded_amount_of_memory() {
    let mut streams = streams();
    (0..100).for_each(|at| _ = delta(&mut streams, 1_000 + 2 * at, 1_001 + 2 * at).unwrap());
    let Some(Stream::Delta { received, .. }) = streams.entries.peek(&key(1)).map(|entry| &entry.stream) else {
        panic!("there is one stream")
    };
    assert_eq!(received.len(), INTERVALS_MAX);
    assert_eq!(delta(&mut streams, 1_197, 1_198), Ok((1_197, 1_198)), "the newest gaps are known");
    assert_eq!(delta(&mut streams, 1_001, 1_002), Err(RejectReason::OtlpDuplicate), "the oldest are not");
}

#[test]
fn fractions_of_delta_sums_are_carried_over() {
    let mut streams = streams();
    let mut whole = 0;
    for at in 0..10 {
        delta(&mut streams, 1_000 + at, 1_001 + at).unwrap();
        whole += streams.whole(key(1), 0.75);
    }
    assert_eq!(whole, 7);
}

#[test]
fn cumulative_data_points_count_what_was_added() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_002), 5), Ok(Some((1_001, 5))), "the process is new");
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_003), 7), Ok(Some((1_002, 2))));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_004), 7), Ok(Some((1_003, 0))));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_009), 8), Ok(Some((1_004, 1))), "a gap");
}

#[test]
fn the_first_data_point_of_a_process_that_is_older_than_the_relay_is_the_base() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (900, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (900, 1_003), 7), Ok(Some((1_002, 2))));
}

#[test]
fn the_first_data_point_with_an_unknown_start_is_the_base() {
    for start in [0, 1_002] {
        let mut streams = streams();
        assert_eq!(cumulative(&mut streams, 1, (start, 1_002), 5), Ok(None));
        assert_eq!(cumulative(&mut streams, 1, (start, 1_003), 7), Ok(Some((1_002, 2))));
    }
}

#[test]
fn new_attributes_of_a_known_instrument_count_from_its_previous_export() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (900, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 2, (900, 1_002), 5), Ok(None), "of the same export");
    assert_eq!(cumulative(&mut streams, 1, (900, 1_003), 5), Ok(Some((1_002, 0))));
    assert_eq!(cumulative(&mut streams, 3, (900, 1_003), 4), Ok(Some((1_002, 4))));
    assert_eq!(cumulative(&mut streams, 4, (0, 1_003), 4), Ok(Some((1_002, 4))));
    assert_eq!(cumulative(&mut streams, 5, (1_003, 1_003), 4), Ok(None), "the producer does not know either");
}

#[test]
fn a_later_start_time_is_a_reset() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (900, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (1_003, 1_004), 6), Ok(Some((1_003, 6))));
    assert_eq!(cumulative(&mut streams, 1, (1_005, 1_005), 9), Ok(None), "at an unknown time");
    assert_eq!(cumulative(&mut streams, 1, (1_005, 1_006), 10), Ok(Some((1_005, 1))));
}

#[test]
fn a_lower_value_is_a_reset() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (0, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (0, 1_003), 2), Ok(Some((1_002, 2))));
    assert_eq!(cumulative(&mut streams, 1, (0, 1_004), 3), Ok(Some((1_003, 1))));
}

#[test]
fn duplicates_and_older_cumulative_data_points_are_refused() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_003), 5), Ok(Some((1_001, 5))));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_003), 5), Err(RejectReason::OtlpDuplicate));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_002), 4), Err(RejectReason::OtlpOutOfOrder));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_004), 6), Ok(Some((1_003, 1))));
}

#[test]
fn of_two_producers_of_one_stream_the_newer_one_counts() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_010), 50), Ok(Some((1_001, 50))));
    assert_eq!(cumulative(&mut streams, 1, (1_009, 1_011), 3), Ok(Some((1_009, 3))), "it has replaced the first one");
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_012), 60), Err(RejectReason::OtlpOverlap));
    assert_eq!(cumulative(&mut streams, 1, (1_009, 1_013), 4), Ok(Some((1_011, 1))));
}

#[test]
fn a_start_time_that_moves_is_no_reset_while_the_values_increase() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_010), 50), Ok(Some((1_001, 50))));
    assert_eq!(cumulative(&mut streams, 1, (1_002, 1_011), 51), Ok(Some((1_010, 1))));
}

#[test]
fn a_stream_that_changes_its_kind_starts_again_with_a_base() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_010), 50), Ok(Some((1_001, 50))));
    let interval = Interval { start_ns: 1_001 * S, end_ns: 1_011 * S };
    let value = Value::Exponential(Exponential::default());
    assert_eq!(streams.cumulative([key(1), INSTRUMENT], interval, value, 1_011 * S), Ok(None));
    assert_eq!(delta(&mut streams, 1_011, 1_012), Ok((1_011, 1_012)));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_013), 60), Ok(None));
}

#[test]
fn a_forgotten_stream_returns_with_a_base() {
    let mut streams = streams();
    streams.bytes_max = 10 * ENTRY_BYTES;
    for number in 0..20 {
        cumulative(&mut streams, number, (1_001, 1_002), 5).unwrap();
    }
    assert_eq!(streams.len(), 10);
    assert_eq!(cumulative(&mut streams, 0, (1_001, 1_003), 6), Ok(None), "its counts must not be counted again");
    assert_eq!(cumulative(&mut streams, 0, (1_001, 1_004), 7), Ok(Some((1_003, 1))));
    assert_eq!(cumulative(&mut streams, 99, (1_004, 1_005), 7), Ok(Some((1_004, 7))), "this one is new");
}

#[test]
fn silent_streams_expire_and_return_with_a_base() {
    let mut streams = streams();
    cumulative(&mut streams, 1, (1_001, 1_002), 5).unwrap();
    delta(&mut streams, 1_001, 1_002).unwrap();
    streams.sweep((1_002 + RETENTION) * S);
    assert_eq!(streams.len(), 2);
    streams.sweep((1_003 + RETENTION) * S);
    assert_eq!((streams.len(), streams.bytes), (0, 0));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_004 + RETENTION), 6), Ok(None));
}

proptest! {
    #[test]
    fn any_times_are_accepted_or_refused(
        points in prop::collection::vec((any::<u64>(), 1..u64::MAX, any::<u64>(), any::<bool>(), 0..3_u64), 1..60),
    ) {
        let mut streams = streams();
        streams.bytes_max = 5 * ENTRY_BYTES;
        for (start_ns, end_ns, value, is_delta, number) in points {
            let start_ns = start_ns.min(end_ns);
            if is_delta {
                _ = streams.delta(key(number), start_ns, end_ns, STARTED * S);
            } else {
                let keys = [key(number + 10), INSTRUMENT];
                _ = streams.cumulative(keys, Interval { start_ns, end_ns }, Value::Number(value), STARTED * S);
            }
            prop_assert_eq!(streams.bytes, streams.entries.iter().map(|(_, entry)| entry.bytes()).sum::<usize>());
            prop_assert!(streams.bytes <= streams.bytes_max);
        }
    }

    #[test]
    fn retries_and_reordering_of_delta_data_points_change_no_count(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(),
        retries in prop::collection::vec(0..12_u64, 0..12)) {
        let mut streams = streams();
        let sent = order.iter().chain(&retries);
        let counted = sent.filter(|at| delta(&mut streams, 1_000 + **at, 1_001 + **at).is_ok()).count();
        prop_assert_eq!(counted, 12);
    }

    #[test]
    fn the_differences_of_a_cumulative_stream_add_up_to_its_last_values(
        steps in prop::collection::vec((0..5_u64, prop::bool::weighted(0.2)), 1..40),
    ) {
        let mut streams = streams();
        let (mut start, mut value, mut sent, mut counted) = (1_000, 0, 0, 0);
        for (at, (added, is_restart)) in (1_001..).zip(steps) {
            if is_restart {
                (start, value) = (at - 1, 0);
            }
            value += added;
            sent += added;
            counted += cumulative(&mut streams, 1, (start, at), value).unwrap().map_or(0, |(_, added)| added);
        }
        prop_assert_eq!(counted, sent);
    }
}
