//! Records and segments that are incomplete or damaged.

use joey_shared::wire::Blob;

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
