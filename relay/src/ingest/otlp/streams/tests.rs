//! Tests of the rules for delta and cumulative streams. Times are in seconds.

use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;
/// When the relay started.
const STARTED: u64 = 1_000;
const RETENTION: u64 = 4_000;

fn streams() -> Streams {
    Streams::new(STARTED * S, RETENTION * S)
}

/// Identifies an instrument of the process that started at `start`.
fn instrument(start: u64) -> Key {
    [u64::MAX, start]
}

fn key(number: u64) -> Key {
    [number, number]
}

/// Sends a delta data point; returns its start and end.
fn delta(streams: &mut Streams, start: u64, end: u64) -> Result<(u64, u64), RejectReason> {
    delta_of(streams, (start, end), 7)
}

fn delta_of(streams: &mut Streams, (start, end): (u64, u64), value: u64) -> Result<(u64, u64), RejectReason> {
    let interval = Interval { start_ns: start * S, end_ns: end * S };
    let fingerprint = start << 32 | end << 8 | value;
    let covered = streams.delta(key(1), interval, fingerprint, end * S)?;
    Ok((covered.start_ns / S, covered.end_ns / S))
}

/// Sends a cumulative data point of stream `number`; returns the start of what was added, and how much.
fn cumulative(
    streams: &mut Streams,
    number: u64,
    (start, end): (u64, u64),
    value: u64,
) -> Result<Option<(u64, u64)>, RejectReason> {
    let interval = Interval { start_ns: start * S, end_ns: end * S };
    let added = streams.cumulative([key(number), instrument(start)], interval, Value::Number(value), end * S)?;
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
fn late_and_overlapping_delta_data_points_count() {
    let mut streams = streams();
    assert_eq!(delta(&mut streams, 1_001, 1_002), Ok((1_001, 1_002)));
    assert_eq!(delta(&mut streams, 1_003, 1_004), Ok((1_003, 1_004)));
    assert_eq!(delta(&mut streams, 1_002, 1_003), Ok((1_002, 1_003)), "it was late");
    assert_eq!(delta(&mut streams, 1_002, 1_005), Ok((1_002, 1_005)), "of another process");
    assert_eq!(delta_of(&mut streams, (1_002, 1_005), 8), Ok((1_002, 1_005)), "of a third one");
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
    assert_eq!(cumulative(&mut streams, 4, (901, 1_003), 4), Ok(None), "of another process");
    assert_eq!(cumulative(&mut streams, 5, (1_003, 1_003), 4), Ok(None), "the producer does not know either");
}

#[test]
fn new_attributes_without_start_times_count_from_the_previous_export() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (0, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (0, 1_003), 5), Ok(Some((1_002, 0))));
    assert_eq!(cumulative(&mut streams, 2, (0, 1_003), 4), Ok(Some((1_002, 4))));
}

#[test]
fn a_later_start_time_is_a_reset() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (900, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (1_003, 1_004), 6), Ok(Some((1_003, 6))));
    assert_eq!(cumulative(&mut streams, 1, (1_005, 1_005), 9), Ok(None), "at an unknown time");
    assert_eq!(cumulative(&mut streams, 1, (1_005, 1_006), 10), Ok(Some((1_005, 1))));
    assert_eq!(cumulative(&mut streams, 1, (1_005, 1_007), 12), Ok(Some((1_006, 2))));
}

#[test]
fn a_producer_that_never_knows_its_start_is_followed() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_002, 1_002), 5), Ok(None));
    assert_eq!(cumulative(&mut streams, 1, (1_003, 1_003), 7), Ok(Some((1_002, 2))));
    assert_eq!(cumulative(&mut streams, 1, (1_004, 1_004), 4), Ok(None), "a reset at an unknown time");
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
fn processes_that_send_the_same_stream_are_told_apart_by_their_start() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_010), 50), Ok(Some((1_001, 50))));
    assert_eq!(cumulative(&mut streams, 1, (1_009, 1_011), 3), Ok(Some((1_009, 3))));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_012), 60), Ok(Some((1_010, 10))));
    assert_eq!(cumulative(&mut streams, 1, (1_009, 1_013), 70), Ok(Some((1_011, 67))));
    assert_eq!(cumulative(&mut streams, 1, (900, 1_014), 1_000), Ok(None), "it is older than the relay");
    assert_eq!(cumulative(&mut streams, 1, (900, 1_015), 1_001), Ok(Some((1_014, 1))));
}

#[test]
fn the_number_of_processes_of_one_stream_is_bounded() {
    let mut streams = streams();
    let many = WRITERS_MAX as u64;
    for at in 0..many {
        assert_eq!(cumulative(&mut streams, 1, (1_001 + at, 1_100 + at), 2), Ok(Some((1_001 + at, 2))));
    }
    assert_eq!(cumulative(&mut streams, 1, (1_200, 1_201), 2), Err(RejectReason::OtlpOverlap));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_202), 3), Ok(Some((1_100, 1))));
    // All others have been silent for more than five minutes.
    assert_eq!(cumulative(&mut streams, 1, (1_499, 1_500), 4), Ok(Some((1_499, 4))));
    assert_eq!(cumulative(&mut streams, 1, (1_002, 1_501), 9), Ok(None), "it is not known any more what was counted");
    assert_eq!(cumulative(&mut streams, 1, (1_002, 1_502), 10), Ok(Some((1_501, 1))));
}

#[test]
fn a_stream_that_changes_its_kind_starts_again_with_a_base() {
    let mut streams = streams();
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_010), 50), Ok(Some((1_001, 50))));
    let interval = Interval { start_ns: 1_001 * S, end_ns: 1_011 * S };
    let value = Value::Exponential(Exponential::default());
    assert_eq!(streams.cumulative([key(1), instrument(1_001)], interval, value, 1_011 * S), Ok(None));
    assert_eq!(delta(&mut streams, 1_011, 1_012), Ok((1_011, 1_012)));
    assert_eq!(cumulative(&mut streams, 1, (1_001, 1_013), 60), Ok(None));
}

#[test]
fn a_forgotten_stream_returns_with_a_base() {
    for start in [1_001, 0] {
        let mut streams = streams();
        streams.bytes_max = 10 * ENTRY_BYTES;
        for end in [1_002, 1_003] {
            (0..20).for_each(|number| _ = cumulative(&mut streams, number, (start, end), end));
        }
        assert_eq!(streams.len(), 10);
        assert_eq!(cumulative(&mut streams, 0, (start, 1_004), 1_004), Ok(None), "it must not be counted again");
        assert_eq!(cumulative(&mut streams, 0, (start, 1_005), 1_006), Ok(Some((1_004, 2))));
        assert_eq!(cumulative(&mut streams, 99, (1_004, 1_006), 7), Ok(Some((1_004, 7))), "this process is new");
    }
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
            let interval = Interval { start_ns: start_ns.min(end_ns), end_ns };
            if is_delta {
                _ = streams.delta(key(number), interval, value, STARTED * S);
            } else {
                let keys = [key(number + 10), instrument(interval.start_ns)];
                _ = streams.cumulative(keys, interval, Value::Number(value), STARTED * S);
            }
            prop_assert_eq!(streams.bytes, streams.entries.iter().map(|(_, entry)| entry.bytes()).sum::<usize>());
            prop_assert!(streams.bytes <= streams.bytes_max);
        }
    }

    #[test]
    fn reordering_and_immediate_retries_of_delta_data_points_change_no_count(
        order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut streams = streams();
        let mut counted = 0;
        for at in order {
            for _ in 0..3 {
                counted += usize::from(delta(&mut streams, 1_000 + at, 1_001 + at).is_ok());
            }
        }
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
