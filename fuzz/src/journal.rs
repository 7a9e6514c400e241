//! The fuzz target of the journal's files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use joey::config::Config;
use joey::hub::Hub;
use joey::journal::{self, JournalConfig, OpenedJournal, Replayed};
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{Start, Update};
use tokio::sync::Notify;

use super::{S, read_updates};

/// The first bytes of a journal's file with number 1.
const SEGMENT_HEADER: &[u8; 16] = b"JOEYJRN1\x01\0\0\0\0\0\0\0";

/// A relay starts with any file in its journal, and keeps what can be read from its beginning. Viewers can read this, and
/// after another start they read the same. The first byte chooses what follows: the bytes of the file, or records with
/// correct checksums and arbitrary contents, each prefixed with its length in two bytes.
pub fn journal(bytes: &[u8]) {
    let Some((&kind, mut rest)) = bytes.split_first() else { return };
    let mut file = rest.to_vec();
    if kind % 2 == 1 {
        file = SEGMENT_HEADER.to_vec();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
            let (message, tail) = tail.split_at(length);
            file.extend(journal::frame(message));
            rest = tail;
        }
    }
    let folder = tempfile::tempdir().expect("files can be written");
    let dir = folder.path();
    let path = dir.join("00000000000000000001.segment");
    fs::write(&path, &file).expect("files can be written");
    let Some((records, replayed)) = records(dir) else {
        assert!(file.starts_with(b"JOEYJRN") && !file.starts_with(SEGMENT_HEADER), "only another format is an error");
        return;
    };
    let kept = fs::read(&path).unwrap_or_default();
    assert!(file.starts_with(&kept));
    assert_eq!((file.len() - kept.len()) as u64, replayed.torn_bytes);
    let again = records_of_whole(dir);
    assert_eq!(again, records, "what is left is complete");
    let first = recovered(dir);
    assert_eq!(recovered(dir), first);
}

/// The records in a journal, and what was cut off. None if it has another format.
fn records(dir: &Path) -> Option<(Vec<String>, Replayed)> {
    let mut records = Vec::new();
    let mut opened = open(dir);
    let replayed = opened.replay(|record| records.push(format!("{record:?}"))).ok()?;
    assert_eq!(replayed.records, records.len() as u64);
    Some((records, replayed))
}

/// The records in a journal that has no incomplete end.
fn records_of_whole(dir: &Path) -> Vec<String> {
    let (records, replayed) = records(dir).expect("it was read before");
    assert_eq!((replayed.torn_bytes, replayed.damaged_bytes), (0, 0));
    records
}

fn open(dir: &Path) -> OpenedJournal {
    let config = JournalConfig { dir: dir.to_owned(), bytes_max: 1 << 20, is_synced: false };
    OpenedJournal::open(config).expect("nobody else uses it")
}

/// What a viewer of each application reads after a start with this journal: the epoch, the position and the updates.
fn recovered(dir: &Path) -> Vec<(String, u64, u64, Vec<Update>)> {
    let hub = Hub::new(Config { clock: || 1_000 * S, ..Config::default() }, 7);
    let (hub, _) = hub.with_journal(open(dir)).expect("it was read before");
    let (_, apps, _) = hub.catalogue_since(0);
    let viewer = hub.register_viewer(Arc::<Notify>::default()).expect("the limits are not reached");
    let mut all = Vec::new();
    for app in apps {
        let topic = Topic { app: app.app, filter: Filter::All };
        let (mut subscription, subscribed) =
            viewer.subscribe(1, &topic, None, Start::History, 1_000 * S).expect("it is in the catalogue");
        let mut shown = Vec::new();
        loop {
            let (has_more, some) = read_updates(&mut subscription, usize::MAX, 1_000 * S);
            shown.extend(some);
            if !has_more {
                break;
            }
        }
        all.push((topic.app, subscribed.epoch, subscription.position(), shown));
    }
    hub.evict_old(1_000 * S);
    hub.journal().expect("it has one").close();
    all
}
