//! The code that the relay, the page, the command-line clients and the tests share: histograms, the protocol, windows
//! and a viewer.
//!
//! Everything here is plain data and arithmetic. There is no I/O, no clock and no randomness: the time and random
//! numbers are arguments. The crate is `no_std` with `alloc`.
//!
//! The modules, in the order in which data flows through them:
//!
//! 1. [`histogram`]: base-2 exponential bins with a scale; record, merge, quantile.
//! 2. [`series`]: the names of a series, valid names, and the topics that a viewer can subscribe to.
//! 3. [`wire`]: the protocol `joey.v1`, specified in `shared/README.md`. [`stream`]: its transport without a WebSocket.
//!    [`emit`]: the protocol in which producers send histograms to a relay.
//! 4. [`view`]: the views that a series belongs to.
//! 5. [`window`]: latency and throughput of one view, second by second, over the last hour.
//! 6. [`store`]: the views of one application, its clock, and which periods are complete.
//! 7. [`compare`]: by how much two distributions differ, and what changed most.
//! 8. [`objective`]: which share of the events must be faster than a threshold, and whether it was.
//! 9. [`viewer`]: a complete viewer without its socket: subscriptions, resume, gaps.
//! 10. [`recording`]: what a viewer received, as a file.
//! 11. [`format`](mod@format): durations, rates and counts for display. [`address`], [`backoff`], [`close`]: connecting
//!     to a relay.
//!
//! # Example
//!
//! Decode a message of a relay, add its updates to a store, and read a percentile and the throughput:
//!
//! ```
//! use joey_shared::histogram::{Histogram, Quantile};
//! use joey_shared::series::{COMPUTATION, SeriesKey};
//! use joey_shared::store::AppStore;
//! use joey_shared::view::ViewKey;
//! use joey_shared::wire::{BatchHead, SeriesEntry, ServerMessage, Update, UpdatesWriter};
//!
//! const S: u64 = 1_000_000_000;
//! let key = SeriesKey {
//!     category: COMPUTATION.to_owned(),
//!     pipeline: "Orders".to_owned(),
//!     worker: "w1".to_owned(),
//!     name: "Check".to_owned(),
//! };
//!
//! // A relay encodes two updates of one series ...
//! let series = vec![SeriesEntry::new(0, 1, key)];
//! let head = BatchHead { feed: 1, from: 1, to: 2, cut_ns: 102 * S, end_ns: 100 * S, period_ns: S, series };
//! let mut writer = UpdatesWriter::new(&head);
//! for (seq, end_s) in [(1, 100), (2, 101)] {
//!     let mut histogram = Histogram::default();
//!     histogram.record(90);
//!     histogram.record(1_500);
//!     writer.push(&Update { seq, series: 0, period_ns: S, end_ns: end_s * S, offset_ns: 0, histogram });
//! }
//! let bytes = ServerMessage::Batch { head, updates: writer.finish() }.encode();
//!
//! // ... and a viewer decodes them. `viewer::Viewer` does this for all messages of a connection.
//! let ServerMessage::Batch { head, updates } = ServerMessage::decode(&bytes)? else { unreachable!() };
//! let mut store = AppStore::new(300);
//! let epoch = 7;
//! store.announce(epoch, &head.series);
//! for update in head.read(updates) {
//!     store.apply(epoch, &update?, head.cut_ns);
//! }
//!
//! let view = store.find(&ViewKey::computation("Check")).expect("the series was announced");
//! let p99 = store.histogram(view).quantile(Quantile::P99).expect("there are counts");
//! assert_eq!((p99.low, p99.high), (1_024, 1_500));
//! let throughput = store.throughput(view).expect("one second is complete");
//! assert_eq!(throughput.median, 2.0);
//! # Ok::<(), joey_shared::wire::WireError>(())
//! ```

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod histogram;
pub mod series;
pub mod wire;
pub mod stream;
pub mod emit;
pub mod view;
pub mod window;
pub mod store;
pub mod compare;
pub mod objective;
pub mod viewer;
pub mod recording;
pub mod format;
pub mod backoff;
pub mod close;
pub mod address;

mod seqset;
