//! Records and segments that are incomplete or damaged.

use joey_shared::wire::Blob;
use proptest::collection::vec;
use proptest::prelude::*;

use super::record::next_record;
use super::*;

fn batch(seq: u64) -> Vec<u8> {
    let record = BatchRecord {
        app: "app",
        epoch: 7,
        from: seq,
        to: seq,
        cut_ns: seq,
        end_ns: 0,
        period_ns: 0,
        series_next: 0,
        names: Vec::new(),
        sessions: vec![([1; 16], seq)],
        updates: Blob(&[1, 2, 3]),
    };
    Record::Batch(record).to_frame()
}

/// Numbers of the batches in a segment.
fn read(segment: &mut Segment) -> (Vec<u64>, u64) {
    let mut numbers = Vec::new();
    let bad_bytes = segment.replay(true, |record| {
        if let Record::Batch(batch) = record {
            assert_eq!((batch.app, batch.updates, batch.sessions.len()), ("app", Blob(&[1, 2, 3]), 1));
            numbers.push(batch.from);
        }
    });
    (numbers, bad_bytes.unwrap())
}

#[test]
fn a_segment_that_ends_anywhere_has_the_records_before() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<Vec<u8>> = (1..=3).map(batch).collect();
    let whole = Segment::create(dir.path(), 1, &records.concat()).unwrap().0;
    let bytes = std::fs::read(&whole.path).unwrap();
    let header = bytes.len() - records.concat().len();
    for length in 0..bytes.len() {
        std::fs::write(&whole.path, &bytes[..length]).unwrap();
        let mut segment = segment::list(dir.path()).unwrap().pop().unwrap();
        let (numbers, bad_bytes) = read(&mut segment);
        let complete = length.saturating_sub(header) / records[0].len();
        assert_eq!(numbers, (1..=complete as u64).collect::<Vec<_>>(), "{length}");
        let kept = if length < header { 0 } else { header + complete * records[0].len() };
        assert_eq!((bad_bytes, segment.bytes), ((length - kept) as u64, kept as u64));
        // What is left is a complete segment, or gone.
        let left = std::fs::metadata(&whole.path).map_or(0, |file| file.len());
        assert_eq!(left, kept as u64);
    }
}

#[test]
fn a_wrong_bit_is_detected_wherever_it_is() {
    let good = batch(1);
    assert_eq!(next_record(&good).map(|(_, length)| length), Some(good.len()));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(next_record(&bad).is_none(), "{bit}");
    }
}

#[test]
fn a_segment_of_another_version_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("1.segment"), b"JOEYJRN2 and more").unwrap();
    let config = JournalConfig { dir: dir.path().to_owned(), bytes_max: 1 << 20, is_synced: false };
    let error = OpenedJournal::open(config).unwrap().replay(|_| {}).unwrap_err();
    assert!(format!("{error:#}").contains("another release"), "{error:#}");
}

#[test]
fn a_file_with_an_impossible_number_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(format!("{}.segment", u64::MAX)), b"").unwrap();
    let config = JournalConfig { dir: dir.path().to_owned(), bytes_max: 1 << 20, is_synced: false };
    let error = OpenedJournal::open(config).unwrap_err();
    assert!(format!("{error:#}").contains("is not a segment"), "{error:#}");
}

/// Something between the records of a segment: a record, or a part of it, with any length and checksum, or any message
/// with a correct checksum, or any bytes.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || vec(any::<u8>(), 0..60);
    prop_oneof![
        4 => (1_u64..100).prop_map(batch),
        1 => (1_u64..100, any::<prop::sample::Index>()).prop_map(|(seq, end)| {
            let mut record = batch(seq);
            record.truncate(end.index(record.len()));
            record
        }),
        1 => (any::<u32>(), any::<u32>(), bytes()).prop_map(|(length, checksum, rest)| {
            [&length.to_le_bytes()[..], &checksum.to_le_bytes(), &rest].concat()
        }),
        1 => bytes().prop_map(|message| frame(&message)),
        1 => bytes(),
    ]
}

proptest! {
    #[test]
    fn any_file_is_read_up_to_what_cannot_be_read_and_is_whole_afterwards(parts in vec(part(), 0..8)) {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(dir.path(), 1, &parts.concat()).unwrap().0;
        let file = std::fs::read(&segment.path).unwrap();
        let read = |segment: &mut Segment| {
            let mut records = Vec::new();
            let bad_bytes = segment.replay(true, |record| records.push(record.to_frame())).unwrap();
            (records, bad_bytes, std::fs::read(&segment.path).unwrap())
        };
        let (records, bad_bytes, kept) = read(&mut segment);
        // All whole records at the beginning are read, whatever comes after them.
        let whole = parts.iter().take_while(|part| next_record(part).is_some_and(|(_, length)| length == part.len()));
        prop_assert!(records.len() >= whole.count());
        prop_assert_eq!((segment.bytes, bad_bytes), (kept.len() as u64, (file.len() - kept.len()) as u64));
        prop_assert!(file.starts_with(&kept));
        prop_assert_eq!(read(&mut segment), (records, 0, kept));
    }
}
