//! The end-to-end tests run the real `joey` program as a child process. This library provides a producer, viewers and
//! an oracle around it. They are written from the descriptions of the formats, not from the code under test.
//!
//! - [`frame`]: Wallaroo's metrics format, written by hand.
//! - [`producer`]: a TCP client that controls how its bytes are split into writes.
//! - [`oracle`]: every number of `joey stats --json`, recomputed from the frames that were sent.
//! - [`relay`]: starts, kills, stops and scrapes `joey serve`.
//! - [`client`]: runs `joey stats` and `joey tap` as a shell would.
//! - [`viewer`]: a WebSocket, message by message.
//! - [`stream`]: the HTTP stream that replaces a WebSocket, written by hand.
//! - [`delivery`]: checks what a viewer received against what was sent.
//! - [`kills`]: kills a relay with a journal again and again.
//! - [`proxy`]: a TCP proxy that injects network faults.
//! - [`nats`]: starts, kills and stops `nats-server`, one or a cluster of three.
//! - [`prometheus`]: a Prometheus server that scrapes a relay.
//! - [`alertmanager`]: an Alertmanager that passes alerts on.
//! - [`namespace`]: a network namespace whose links can be taken down.
//! - [`token`] and [`tls`]: keys, tokens and certificates of every kind.
//! - [`oidc`]: an OpenID Connect provider that issues tokens.
//! - [`browser`]: Chromium, through ChromeDriver.
//! - [`process`]: the resource use of a process.
//!
//! Nothing here sleeps for a fixed time: [`eventually`] polls until the answer is right or a generous timeout expires.
//! No test asserts how fast anything is.

#[cfg(feature = "browser")]
#[path = "harness/browser.rs"]
pub mod browser;
#[path = "harness/client.rs"]
pub mod client;
#[path = "harness/frame.rs"]
pub mod frame;
#[path = "harness/delivery.rs"]
pub mod delivery;
#[path = "harness/kills.rs"]
pub mod kills;
#[path = "harness/namespace.rs"]
pub mod namespace;
#[path = "harness/nats.rs"]
pub mod nats;
#[path = "harness/nginx.rs"]
pub mod nginx;
#[path = "harness/oidc.rs"]
pub mod oidc;
#[path = "harness/oracle.rs"]
pub mod oracle;
#[path = "harness/process.rs"]
pub mod process;
#[path = "harness/producer.rs"]
pub mod producer;
#[path = "harness/prometheus.rs"]
pub mod prometheus;
#[path = "harness/alertmanager.rs"]
pub mod alertmanager;
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

pub use self::client::{Finished, Tap, joey, joey_with_env, joey_with_input};
pub use self::delivery::{CheckedViewer, DeliveryRecord};
pub use self::frame::{Frame, S};
pub use self::nats::{Nats, NatsSubscriber};
pub use self::oracle::Oracle;
pub use self::producer::{Chunking, Producer};
pub use self::relay::Relay;
pub use self::stream::Stream;
pub use self::viewer::{Received, Viewer};

/// Timeout for anything that should happen: long enough for a machine that is busy with other tests.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Polls `probe` until it returns a value.
///
/// # Panics
/// If it returns none within [`TIMEOUT`]; the message names `what`.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(TIMEOUT, what, probe)
}

/// Polls `probe` until it returns a value, with a longer timeout for things that the relay itself delays.
///
/// # Panics
/// If it returns none within `timeout`; the message names `what`.
pub fn eventually_within<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < timeout, "timed out: {what}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Polls `probe` until it returns `expected`.
///
/// # Panics
/// If it does not within [`TIMEOUT`]; the message names `what` and the last answer.
pub fn eventually_is<T: PartialEq + Debug>(what: &str, expected: &T, mut probe: impl FnMut() -> T) {
    let mut last = None;
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        let answer = probe();
        if answer == *expected {
            return;
        }
        last = Some(answer);
        sleep(Duration::from_millis(10));
    }
    panic!("{what}: expected {expected:?}, the last answer was {last:?}");
}

/// Root folder of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout is where it was built")
}

/// Current wall-clock time in ns since the Unix epoch.
#[must_use]
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}
