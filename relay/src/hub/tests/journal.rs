//! Logs that are restored from a journal.

use std::fs;
use std::path::Path;

use joey_shared::wire::Blob;
use tempfile::TempDir;

use super::*;
use crate::journal::{BatchRecord, JournalConfig, OpenedJournal};

/// A hub with a journal in `dir`, whose clock shows `clock`.
fn start(dir: &Path, epoch: u64, clock: fn() -> u64) -> Arc<Hub> {
    let config = JournalConfig { dir: dir.to_owned(), bytes_max: 1 << 24, is_synced: false };
    let hub = Hub::new(Config { clock, ..Config::default() }, epoch);
    hub.with_journal(OpenedJournal::open(config).unwrap()).unwrap().0
}

fn flush(hub: &Hub) {
    while !hub.journal().unwrap().is_flushed() {
        std::thread::yield_now();
    }
}

/// What a process that is killed now would leave.
fn copy(hub: &Hub, dir: &Path) -> TempDir {
    flush(hub);
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn record(epoch: u64, from: u64, series_next: u32) -> BatchRecord<'static> {
    BatchRecord {
        app: "app",
        epoch,
        from,
        to: from,
        cut_ns: NOW,
        end_ns: 0,
        period_ns: 0,
        series_next,
        names: Vec::new(),
        sessions: Vec::new(),
        updates: Blob(&[]),
    }
}

#[test]
fn a_log_continues_with_the_same_epoch_numbers_and_series() {
    let dir = tempfile::tempdir().unwrap();
    let before = start(dir.path(), 7, || NOW);
    publish(&before, &["a", "b"], NOW);
    publish(&before, &["c"], NOW);
    let copy = copy(&before, dir.path());
    let series = named(&before.own_app("app").unwrap(), &Filter::All);
    let hub = start(copy.path(), 8, || NOW);
    let app = hub.own_app("app").unwrap();
    assert_eq!((app.epoch(), named(&app, &Filter::All)), (7, series));
    assert_eq!(hub.gauges(0).ring_bytes, before.gauges(0).ring_bytes);
    let viewer = registered_viewer(&hub);
    let after = Start::After { epoch: 7, seq: 1 };
    let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, after, NOW).unwrap();
    assert_eq!((subscribed.next, subscribed.head, subscribed.missing), (2, 3, 0));
    publish(&hub, &["a", "d"], NOW);
    flush(&hub);
    assert_eq!(seqs(&mut all), [1, 2, 3, 4, 5]);
    let numbers: Vec<u32> = named(&app, &Filter::All).iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "the series of a is the same, and that of d is new");
}

#[test]
fn viewers_see_a_batch_only_when_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path(), 7, || NOW);
    let app = hub.app("app").unwrap();
    hub.publish(&app, &data_point("a", COMPUTATION, NOW / S), NOW).unwrap();
    let mut log = app.log.lock();
    hub.cut(&app, &mut log, NOW);
    // The writer has to wait for the lock.
    assert_eq!((log.head(), log.published_head(), log.newest_message()), (1, 0, None));
    drop(log);
    flush(&hub);
    assert_eq!(app.log.lock().published_head(), 1);
}

#[test]
fn old_batches_become_the_same_rollups_again() {
    let dir = tempfile::tempdir().unwrap();
    let before = start(dir.path(), 7, || 1_500 * S);
    let app = before.app("app").unwrap();
    for second in 1_000..1_500 {
        before.publish(&app, &data_point("a", COMPUTATION, second), second * S).unwrap();
        before.cut_all(second * S);
        flush(&before);
    }
    let copy = copy(&before, dir.path());
    before.evict_old(1_500 * S);
    let hub = start(copy.path(), 8, || 1_500 * S);
    let messages = |hub: &Hub| hub.own_app("app").unwrap().log.lock().messages_after(0);
    assert_eq!(messages(&hub), messages(&before));
    assert!(messages(&hub).0.len() < 400);
}

#[test]
fn the_clock_offset_of_a_worker_is_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let before = start(dir.path(), 7, || NOW);
    let app = before.app("app").unwrap();
    let late = |hub: &Hub, app: &Arc<App>, at: u64| {
        let now_s = NOW / S + at;
        hub.publish(app, &data_point("a", COMPUTATION, now_s - 100), now_s * S).unwrap();
        hub.cut_all(now_s * S);
    };
    [0, 2, 4].into_iter().for_each(|at| late(&before, &app, at));
    assert_eq!(before.counters().frames_accepted.get(), 3);
    let copy = copy(&before, dir.path());
    let hub = start(copy.path(), 8, || NOW);
    let app = hub.own_app("app").unwrap();
    late(&hub, &app, 6);
    assert_eq!((hub.counters().frames_accepted.get(), hub.gauges(0).held), (1, 0));
    assert_eq!(hub.counters().frames_clock_adjusted.get(), 1);
}

#[test]
fn a_message_is_safe_when_its_held_frames_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path(), 7, || NOW);
    let app = hub.app("app").unwrap();
    let safe = Arc::new(Safe::new(0));
    let send = |seq: u64, end_s: u64| {
        let mut log = hub.publisher(&app, NOW);
        log.begin_whole();
        log.publish(&data_point("a", COMPUTATION, end_s)).unwrap();
        log.finish("a", Mark { session: Some([1; 16]), seq, safe: safe.clone() });
    };
    send(1, NOW / S);
    hub.cut_all(NOW);
    flush(&hub);
    assert_eq!(safe.get(), 1);
    send(2, NOW / S - 100);
    hub.cut_all(NOW);
    flush(&hub);
    assert_eq!((safe.get(), hub.gauges(0).held), (1, 1));
    hub.release_held(u64::MAX, NOW);
    hub.cut_all(NOW);
    flush(&hub);
    assert_eq!(safe.get(), 2);
}

#[test]
fn an_incomplete_journal_gets_another_epoch_and_nothing_counts_twice() {
    let dir = tempfile::tempdir().unwrap();
    let before = start(dir.path(), 7, || NOW);
    publish(&before, &["a", "b"], NOW);
    let copy = copy(&before, dir.path());
    fs::write(copy.path().join("state"), "joey-journal 1\nstate incomplete\n").unwrap();
    let hub = start(copy.path(), 8, || NOW);
    publish(&hub, &["c"], NOW);
    flush(&hub);
    let viewer = registered_viewer(&hub);
    let read = |start: Start| {
        let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, start, NOW).unwrap();
        (subscribed.epoch, subscribed.missing, seqs(&mut all))
    };
    assert_eq!(read(Start::After { epoch: 7, seq: 5 }), (8, 0, vec![3]));
    assert_eq!(read(Start::History), (8, 0, vec![1, 2, 3]));
    // The next start finds both epochs.
    let copy = self::copy(&hub, copy.path());
    let hub = start(copy.path(), 9, || NOW);
    let app = hub.own_app("app").unwrap();
    let head = app.log.lock().head();
    assert_eq!((app.epoch(), head, app.series_count()), (8, 3, 3));
}

#[test]
fn series_numbers_are_never_reused() {
    let hub = hub(Config::default());
    hub.recover(&record(7, 1, 9), 0);
    publish(&hub, &["a"], NOW);
    let app = hub.own_app("app").unwrap();
    assert_eq!(named(&app, &Filter::All)[0].number, 9);
}

#[test]
fn an_application_that_was_removed_and_returned_has_its_newest_log() {
    let hub = hub(Config::default());
    hub.recover(&record(7, 1, 0), 0);
    hub.recover(&record(7, 2, 0), 0);
    hub.recover(&record(8, 1, 0), 0);
    let app = hub.own_app("app").unwrap();
    assert_eq!((app.epoch(), app.log.lock().head()), (8, 1));
}
