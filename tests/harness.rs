//! What the end-to-end tests stand on: the real `joey` program as a child process, and around it a producer, viewers and an
//! oracle that are written from the descriptions of the formats, not from the code under test.
//!
//! - [`frame`]: Wallaroo's metrics format, written by hand.
//! - [`producer`]: a TCP client that decides where its bytes are cut.
//! - [`oracle`]: every number of `joey stats --json`, recomputed from the frames that were sent.
//! - [`relay`]: `joey serve`, started, killed, stopped, scraped.
//! - [`client`]: `joey stats` and `joey tap`, as a shell would run them.
//! - [`viewer`]: a WebSocket, message by message.
//! - [`stream`]: what stands in for a WebSocket, written by hand.
//! - [`ledger`]: what a viewer was told, against what was sent.
//! - [`proxy`]: a wire that fails as networks do.
//! - [`nats`]: `nats-server`, one or three, started, killed, stopped.
//! - [`namespace`]: a network of its own, with wires that can be pulled out.
//! - [`token`] and [`tls`]: keys, tokens and certificates of every kind.
//! - [`browser`]: Chromium, through ChromeDriver.
//!
//! Nothing here sleeps and hopes: [`eventually`] asks again until the answer is right, or a generous time is over. No test
//! says how fast anything is.

#[cfg(feature = "browser")]
#[path = "harness/browser.rs"]
pub mod browser;
#[path = "harness/client.rs"]
pub mod client;
#[path = "harness/frame.rs"]
pub mod frame;
#[path = "harness/ledger.rs"]
pub mod ledger;
#[path = "harness/namespace.rs"]
pub mod namespace;
#[path = "harness/nats.rs"]
pub mod nats;
#[path = "harness/nginx.rs"]
pub mod nginx;
#[path = "harness/oracle.rs"]
pub mod oracle;
#[path = "harness/producer.rs"]
pub mod producer;
#[path = "harness/proxy.rs"]
pub mod proxy;
#[path = "harness/relay.rs"]
pub mod relay;
#[path = "harness/stream.rs"]
pub mod stream;
#[path = "harness/tls.rs"]
pub mod tls;
#[path = "harness/token.rs"]
pub mod token;
#[path = "harness/viewer.rs"]
pub mod viewer;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use self::client::{Finished, Tap, joey, joey_in};
pub use self::frame::{Frame, S};
pub use self::ledger::{Ledger, Witness};
pub use self::nats::{Ear, Nats};
pub use self::oracle::Oracle;
pub use self::producer::{Cut, Producer};
pub use self::relay::Relay;
pub use self::stream::Stream;
pub use self::viewer::{Heard, Viewer};

/// How long anything may take before it counts as never: long enough for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none in [`PATIENCE`]; the message names `what`.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// Asks until there is an answer, for something that the relay itself waits with.
///
/// # Panics
/// When there is none in `patience`; the message names `what`.
pub fn eventually_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < patience, "it never came about: {what}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Asks until the answer is `expected`.
///
/// # Panics
/// When it is not in [`PATIENCE`]; the message names `what` and the last answer.
pub fn eventually_is<T: PartialEq + Debug>(what: &str, expected: &T, mut ask: impl FnMut() -> T) {
    let mut last = None;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let answer = ask();
        if answer == *expected {
            return;
        }
        last = Some(answer);
        sleep(Duration::from_millis(10));
    }
    panic!("{what}: expected {expected:?}, the last answer was {last:?}");
}

/// The top of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout is where it was built")
}

/// The time on the wall in ns since the Unix epoch.
#[must_use]
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}
