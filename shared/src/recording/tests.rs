//! Tests that a recording gives a viewer what the recording viewer had, whatever happens to the file.

use super::*;
use crate::histogram::Histogram;
use crate::series::{COMPUTATION, Filter, START_TO_END, SeriesKey, Topic};
use crate::store::{AppStore, Gap};
use crate::view::ViewKey;
use crate::viewer::{Viewer, Viewers};
use crate::window::{SECONDS_MAX, Throughput};
use crate::wire::{
    AppEntry, BatchHead, Hello, SeriesEntry, ServerMessage, Start, Subscribed, Update, UpdatesWriter, WireError,
};
use alloc::string::String;
use alloc::string::ToString;
use proptest::prelude::*;
use std::vec;

const S: u64 = 1_000_000_000;

fn series() -> Vec<SeriesEntry> {
    let entry = |(number, (category, worker)): (u32, (&str, &str))| {
        let [category, pipeline, worker, name] = [category, "p", worker, "n"].map(ToString::to_string);
        SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
    };
    (0..).zip([(COMPUTATION, "a"), (COMPUTATION, "b"), (START_TO_END, "a")]).map(entry).collect()
}

fn hello(now_ns: u64) -> Vec<u8> {
    let hello = Hello {
        version: VERSION,
        release: "t",
        epoch: 7,
        now_ns,
        ring_ns: 300 * S,
        series_retention_ns: 3_635 * S,
        demo: false,
        ingest_port: 5001,
    };
    ServerMessage::Hello(hello).encode()
}

/// What a relay sends to a viewer that subscribes to everything and to one category, before the first batch.
fn opening() -> Vec<Vec<u8>> {
    opening_of(7, 1_000 * S)
}

/// The same for a log with this epoch, from a relay with this clock.
fn opening_of(epoch: u64, clock_ns: u64) -> Vec<Vec<u8>> {
    let app = AppEntry { app: "app".to_string(), late: epoch - 7, ..AppEntry::default() };
    let subscribed = |sub| Subscribed { sub, feed: sub + 10, epoch, next: 1, head: 0, missing: 0 };
    vec![
        hello(clock_ns),
        ServerMessage::Catalogue { full: true, apps: vec![app], last: true }.encode(),
        ServerMessage::Series { app: "app".to_string(), epoch, series: series(), last: true }.encode(),
        ServerMessage::Subscribed(subscribed(1)).encode(),
        ServerMessage::Subscribed(subscribed(2)).encode(),
    ]
}

/// One update in a batch of its own: how long after the previous one its period ended, its length, series, and duration.
#[derive(Clone, Debug)]
struct Step {
    later_ns: u64,
    period_ns: u64,
    series: u32,
    duration_ns: u64,
    is_rollup: bool,
    /// Whether the batch does not arrive.
    is_lost: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..40 * S, 1..3 * S, 0..3_u32, 1..1_000_000_u64, 0..8_u8).prop_map(
        |(later_ns, period_ns, series, duration_ns, kind)| {
            let period_ns = if kind < 4 { 2 * S } else { period_ns };
            Step { later_ns, period_ns, series, duration_ns, is_rollup: kind == 5, is_lost: kind == 6 }
        },
    );
    prop::collection::vec(step, 0..60)
}

/// The batches of `steps` for both subscriptions. The second one repeats updates of the first.
fn batches(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut messages = vec![];
    let mut end_ns = 1_000 * S;
    for (seq, step) in (1..).zip(steps) {
        end_ns += step.later_ns;
        for feed in [11, 12] {
            let head = BatchHead { feed, from: seq, to: seq, cut_ns: end_ns + 1, end_ns, period_ns: S, series: vec![] };
            let mut writer = UpdatesWriter::new(&head);
            let mut histogram = Histogram::default();
            histogram.record_many(step.duration_ns, 1 + seq % 3);
            let Step { period_ns, series, .. } = *step;
            if feed == 11 || series < 2 {
                writer.push(&Update { seq, series, period_ns, end_ns, offset_ns: 0, histogram });
            }
            let updates = writer.finish();
            let message = if step.is_rollup {
                ServerMessage::Rollup { head: head.clone(), updates }
            } else {
                ServerMessage::Batch { head: head.clone(), updates }
            };
            if !step.is_lost {
                messages.push(message.encode());
            }
        }
    }
    messages
}

fn topics() -> [Topic; 2] {
    [Filter::All, Filter::Category(COMPUTATION.to_string())].map(|filter| Topic { app: "app".to_string(), filter })
}

/// A view as shown: its key, its distribution, its throughput and the rate of each second.
type Shown = (ViewKey, Histogram, Option<Throughput>, Vec<(u64, f64)>);

/// Everything that a page shows of a store.
fn shown(store: &mut AppStore) -> (Vec<Shown>, String) {
    let facts = std::format!("{} {} {} {:?}", store.clock_ns(), store.through_ns(), store.late(), store.gaps());
    let keys: Vec<ViewKey> = store.views_by_key().map(|(_, view)| view.key.clone()).collect();
    let view = |key: ViewKey| {
        let at = store.find(&key).expect("it is in the store");
        let (histogram, throughput, through) = (store.histogram(at), store.throughput(at), store.through_second());
        let window = store.window_at(at);
        let mut rates = vec![];
        window.for_each_rate(window.seconds_through(through), |second, rate| rates.push((second, rate)));
        (key, histogram, throughput, rates)
    };
    (keys.into_iter().map(view).collect(), facts)
}

/// The same, but the relays of the gaps have other numbers.
fn shown_of_several(store: &mut AppStore) -> (Vec<Shown>, u64, Vec<Gap>) {
    let gaps = store.gaps().iter().map(|gap| Gap { relay: 0, ..*gap }).collect();
    let (views, _) = shown(store);
    (views, store.late(), gaps)
}

/// A viewer that receives messages. From message `start` on, it is recorded.
fn record(messages: &[Vec<u8>], start: usize) -> (Viewer, Vec<u8>) {
    let mut live = Viewer::new(300);
    for topic in topics() {
        live.subscribe(topic, Start::History);
    }
    live.connected();
    let mut file = header().to_vec();
    for (at, message) in messages.iter().enumerate() {
        let now_ns = (at as u64 + 1) * S;
        if at == start {
            live.write_state(now_ns, SECONDS_MAX, &mut file);
        }
        for command in live.outgoing() {
            if at >= start {
                Record { time_ns: now_ns, entry: Entry::Command(&command) }.write(&mut file);
            }
        }
        let _ = live.receive(message, now_ns, |_| {});
        if at >= start {
            Record { time_ns: live.relay_ns(now_ns).unwrap_or(0), entry: Entry::Message(message) }.write(&mut file);
        }
    }
    live.advance(messages.len() as u64 * S);
    (live, file)
}

/// What happens to several viewers: a message of the relay with this id, or its removal.
type Event<'a> = (u32, Option<&'a [u8]>);

/// Viewers of the relays 5 and 6, to which `events` happen. From event `start` on, they are recorded.
fn record_several(events: &[Event<'_>], start: usize) -> (Viewers, Vec<u8>) {
    let ids = [5, 6];
    let mut live = Viewers::new(300);
    for id in ids {
        let relay = live.add(id);
        topics().into_iter().for_each(|topic| relay.subscribe(topic, Start::History));
        relay.connected();
    }
    let mut file = header_of_several().to_vec();
    let mut current = None;
    for (at, &(id, message)) in events.iter().enumerate() {
        let now_ns = (at as u64 + 1) * S;
        // The clock of relay 5 goes on after its removal.
        let time_ns = 999 * S + now_ns;
        if at == start {
            live.write_state(&ids, now_ns, SECONDS_MAX, &mut file);
        }
        let mut write = |id: u32, entry: Entry<'_>| {
            let number = id - 5;
            if at >= start && current.replace(number) != Some(number) {
                Record { time_ns, entry: Entry::Relay(number) }.write(&mut file);
            }
            if at >= start {
                Record { time_ns, entry }.write(&mut file);
            }
        };
        for id in ids {
            let commands = live.relay_mut(id).map(|relay| relay.outgoing()).unwrap_or_default();
            commands.iter().for_each(|command| write(id, Entry::Command(command)));
        }
        match message {
            Some(message) => {
                let _ = live.receive(id, message, now_ns, |_| {});
                write(id, Entry::Message(message));
            }
            None => {
                live.remove(id);
                write(id, Entry::Removed(id - 5));
            }
        }
    }
    live.advance(events.len() as u64 * S);
    (live, file)
}

proptest! {
    #[test]
    fn a_recording_of_several_relays_shows_what_its_viewers_showed(
        first in steps(),
        second in steps(),
        is_shared in any::<bool>(),
        turns in prop::collection::vec(any::<bool>(), 0..250),
        start in 0..150_usize,
        removal in prop::option::of(0..200_usize),
    ) {
        // Relays of a cluster have the same log.
        let (first, second) = (first.as_slice(), if is_shared { &first } else { &second });
        let first = [opening(), batches(first)].concat();
        let second = [opening_of(if is_shared { 7 } else { 8 }, 1_030 * S), batches(second)].concat();
        let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
        let mut events: Vec<Event<'_>> = vec![(5, first.next().map(Vec::as_slice)), (6, second.next().map(Vec::as_slice))];
        let mut turns = turns.into_iter().cycle();
        while first.peek().is_some() || second.peek().is_some() {
            let is_first = second.peek().is_none() || (first.peek().is_some() && turns.next().unwrap_or_default());
            let message = if is_first { first.next() } else { second.next() };
            events.push((if is_first { 5 } else { 6 }, message.map(Vec::as_slice)));
        }
        // Both have answered before a recording begins.
        let start = (start + 2).min(events.len() - 1);
        if let Some(at) = removal.filter(|at| (start + 1..events.len()).contains(at)) {
            let after = events.split_off(at).into_iter().filter(|(id, _)| *id == 6).collect::<Vec<_>>();
            events.push((5, None));
            events.extend(after);
        }
        let (mut live, file) = record_several(&events, start);
        let mut playback = Playback::open(file, 300).expect("it is a recording");
        playback.advance_to_end();
        prop_assert_eq!(playback.viewers().malformed(), 0);
        prop_assert_eq!(playback.viewers().catalogue(), live.catalogue());
        prop_assert!(playback.viewers().missing() <= live.missing());
        let now_ns = events.len() as u64 * S;
        prop_assert_eq!(Some(playback.app_relay_ns("app")), live.app_relay_ns("app", now_ns));
        for seconds in [300, 60, 3_600] {
            live.set_seconds(seconds);
            playback.viewers_mut().set_seconds(seconds);
            let expected = live.app_mut("app").map(shown_of_several);
            prop_assert_eq!(playback.viewers_mut().app_mut("app").map(shown_of_several), expected);
        }
    }

    #[test]
    fn a_recording_from_any_moment_on_shows_what_its_viewer_showed(steps in steps(), start in 0..100_usize) {
        let messages = [opening(), batches(&steps)].concat();
        let (mut live, file) = record(&messages, start.min(messages.len() - 1));
        let mut playback = Playback::open(file, 300).expect("it is a recording");
        playback.advance_to_end();
        prop_assert_eq!(playback.viewers().malformed(), 0);
        for seconds in [300, 60, 3_600] {
            live.set_seconds(seconds);
            playback.viewers_mut().set_seconds(seconds);
            let expected = live.app_mut("app").map(shown);
            prop_assert_eq!(playback.viewers_mut().app_mut("app").map(shown), expected);
        }
    }

    #[test]
    fn an_excerpt_has_the_figures_of_the_window(steps in steps(), seconds in 1..400_u64) {
        let messages = [opening(), batches(&steps)].concat();
        let (mut live, _) = record(&messages, usize::MAX);
        live.set_seconds(seconds);
        let entry = live.catalogue()["app"].clone();
        let now_ns = live.relay_ns(messages.len() as u64 * S).expect("it said hello");
        let store = live.app_mut("app").expect("it was announced");
        for detail in [Detail::Seconds, Detail::Sum] {
            let file = excerpt(&entry, store, now_ns, detail, |_| true);
            let mut playback = Playback::open(file, seconds).expect("it is a recording");
            playback.advance_to_end();
            let copy = playback.viewers_mut().app_mut("app").expect("it is in the excerpt");
            prop_assert_eq!(shown(copy), shown(store));
        }
    }

    #[test]
    fn a_prefix_of_a_file_is_a_prefix_of_its_records(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = header().to_vec();
        let records: Vec<Record<'_>> = (0..)
            .zip(&payloads)
            .map(|(time_ns, payload)| Record { time_ns, entry: Entry::Message(payload) })
            .collect();
        let mut ends = vec![];
        for record in &records {
            record.write(&mut file);
            ends.push(file.len());
        }
        let length = HEADER_BYTES + cut.index(file.len() + 1 - HEADER_BYTES);
        let whole = ends.iter().filter(|end| **end <= length).count();
        let mut reader = Reader::new(&file[..length]).expect("the header is whole");
        prop_assert_eq!(reader.by_ref().collect::<Vec<_>>(), &records[..whole]);
        prop_assert_eq!(reader.unread_bytes(), length - ends[..whole].last().unwrap_or(&HEADER_BYTES));

        // A changed byte ends the file before its record.
        if let Some(at) = length.checked_sub(1).filter(|at| *at >= HEADER_BYTES) {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            let read: Vec<Record<'_>> = Reader::new(&damaged).expect("the header is whole").collect();
            let whole = ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(read, &records[..whole]);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(entries in prop::collection::vec((0..8_u8, prop::collection::vec(any::<u8>(), 0..60)), 0..9)) {
        let mut file = header().to_vec();
        for (kind, bytes) in &entries {
            let entry = match kind {
                0 => Entry::Message(bytes),
                1 => Entry::Command(bytes),
                2 => Entry::App(bytes),
                3 => Entry::View(bytes),
                4 => Entry::Removed(bytes.len() as u32),
                5 => Entry::End,
                _ => Entry::Relay(3 * bytes.len() as u32),
            };
            Record { time_ns: 0, entry }.write(&mut file);
        }
        if let Ok(mut playback) = Playback::open(file, 300) {
            playback.advance_to_end();
        }
        let loose: Vec<u8> = entries.into_iter().flat_map(|(_, bytes)| bytes).collect();
        prop_assert_eq!(Playback::open(loose, 300).err(), Some(RecordingError::NotARecording));
    }
}

#[test]
fn a_position_shows_what_was_known_then() {
    let step = Step { later_ns: S, period_ns: S, series: 0, duration_ns: 5, is_rollup: false, is_lost: false };
    let messages = [opening(), batches(&vec![step; 50])].concat();
    let (_, file) = record(&messages, 0);
    let mut playback = Playback::open(file, 300).expect("it is a recording");
    let (first_ns, last_ns) = playback.span_ns();
    let mut count_at = |target_ns| {
        // Parts of any size lead to the same state.
        while !playback.advance_to(target_ns, 100) {}
        assert_eq!(playback.position_ns(), target_ns);
        let store = playback.viewers_mut().app_mut("app")?;
        Some(store.histogram(store.find(&ViewKey::computation("n"))?).count())
    };
    let at_end = count_at(last_ns);
    let in_the_middle = count_at(last_ns - 20 * S);
    assert_eq!(at_end, Some((1..=50).map(|seq| 1 + seq % 3).sum()));
    assert!(in_the_middle < at_end && in_the_middle > Some(0), "{in_the_middle:?}");
    assert_eq!(count_at(first_ns), None);
    assert_eq!(count_at(last_ns), at_end);
}

#[test]
fn the_bytes_of_a_file_with_one_relay_stay_the_same() {
    let step = Step { later_ns: S, period_ns: S, series: 0, duration_ns: 5, is_rollup: false, is_lost: false };
    let messages = [opening(), batches(&vec![step; 9])].concat();
    let checksum = |start| crc32(&record(&messages, start).1);
    assert_eq!([0, 3, 9, 20].map(checksum), [2_106_420_869, 3_554_495_998, 607_441_496, 4_240_873_284]);
}

#[test]
fn an_application_that_was_requested_again_is_counted_once() {
    let step = Step { later_ns: S, period_ns: S, series: 0, duration_ns: 5, is_rollup: false, is_lost: false };
    let messages = [opening(), batches(&vec![step; 3])].concat();
    let (_, mut file) = record(&messages, 0);
    Record { time_ns: 2_000 * S, entry: Entry::Forget("app") }.write(&mut file);
    for message in &messages {
        Record { time_ns: 2_000 * S, entry: Entry::Message(message) }.write(&mut file);
    }
    let mut playback = Playback::open(file, 300).expect("it is a recording");
    playback.advance_to_end();
    let store = playback.viewers_mut().app_mut("app").expect("it was requested again");
    assert_eq!(store.find(&ViewKey::computation("n")).map(|at| store.histogram(at).count()), Some(2 + 3 + 1));
}

#[test]
fn a_gap_of_one_of_several_relays_ends_with_its_next_batch() {
    let step = Step { later_ns: S, period_ns: S, series: 0, duration_ns: 5, is_rollup: false, is_lost: false };
    let (first, second) = ([opening(), batches(&vec![step; 2])].concat(), opening_of(8, 1_000 * S));
    let gap = ServerMessage::Gap { feed: 11, from: 1, to: 4 }.encode();
    let (opening, batches) = first.split_at(5);
    let (of_first, of_second) = (|message| (5, Some(message)), |message| (6, Some(message)));
    let mut events: Vec<Event<'_>> = opening.iter().map(Vec::as_slice).map(of_first).collect();
    events.extend(second.iter().map(Vec::as_slice).map(of_second));
    events.push((6, Some(&gap)));
    let start = events.len();
    events.extend(batches.iter().map(Vec::as_slice).map(of_first));
    let (live, file) = record_several(&events, start);
    let mut playback = Playback::open(file, 300).expect("it is a recording");
    playback.advance_to_end();
    let gaps = |viewers: &Viewers| viewers.app("app").map(|store| store.gaps().to_vec());
    let open = |relay| Some(vec![Gap { from_ns: 0, to_ns: 0, updates: Some(4), relay }]);
    assert_eq!((gaps(&live), gaps(playback.viewers())), (open(6), open(1)));
}

#[test]
fn a_relay_number_that_is_too_high_is_malformed() {
    let mut viewers = Viewers::new(300);
    let mut replay = |number| viewers.replay(&Record { time_ns: 0, entry: Entry::Relay(number) });
    assert_eq!((replay(RECORDED_RELAYS_MAX), replay(RECORDED_RELAYS_MAX - 1)), (Err(WireError::Malformed), Ok(())));
    // Only those that were named exist.
    assert_eq!((viewers.relays().count(), viewers.malformed()), (2, 1));
}

#[test]
fn a_token_is_never_written() {
    let mut file = vec![];
    for command in [ClientMessage::Token { token: "a.b.c".into() }, ClientMessage::Describe { app: "app".into() }] {
        assert!(!Record { time_ns: 0, entry: Entry::Command(&command.encode()) }.write(&mut file));
    }
    assert_eq!(file, []);
    let unsubscribe = ClientMessage::Unsubscribe { sub: 1 }.encode();
    assert!(Record { time_ns: 0, entry: Entry::Command(&unsubscribe) }.write(&mut file));
}

#[test]
fn other_files_are_rejected_with_a_reason() {
    let with = |at: usize, byte: u8| {
        let mut file = header().to_vec();
        file[at] = byte;
        Playback::open(file, 300).err()
    };
    assert_eq!(Playback::open(vec![], 300).err(), Some(RecordingError::NotARecording));
    assert_eq!(Playback::open(b"PK\x03\x04".repeat(9), 300).err(), Some(RecordingError::NotARecording));
    assert_eq!(Playback::open(header().to_vec(), 300).err(), Some(RecordingError::Empty));
    assert_eq!(with(8, 3), Some(RecordingError::OtherFormat(3)));
    assert_eq!(with(10, 9), Some(RecordingError::OtherProtocol(9)));
}
