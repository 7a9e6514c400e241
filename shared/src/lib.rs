//! The vocabulary of Joey: what relay, browser app, command line and tests all compile.
//!
//! Pure data and arithmetic. No I/O, no clock, no randomness: time and chance are arguments, so a test is a list of
//! `(now, bytes)`. `no_std` with `alloc`, so that the wasm bundle stays small and no file or socket can creep in.
//!
//! Read it in the direction in which data flows:
//!
//! 1. [`histogram`]: 65 power-of-two bins; record, merge, quantile.
//! 2. [`series`]: what a histogram is about, what may be a name, and what a viewer may subscribe to.
//! 3. [`wire`]: the protocol `joey.v1`; its specification is `shared/README.md`. [`stream`]: the same without a WebSocket.
//! 4. [`view`]: which views one series feeds.
//! 5. [`window`]: one view's seconds: latency and throughput over any span, exact.
//! 6. [`store`]: one application's views, its clock, and which periods are complete.
//! 7. [`viewer`]: a whole connected viewer without the socket: resume, gaps, never twice.
//! 8. [`format`](mod@format): durations, rates and counts as people read them; [`backoff`] and [`close`]: how to come back.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod histogram;
pub mod series;
pub mod wire;
pub mod stream;
pub mod view;
pub mod window;
pub mod store;
pub mod viewer;
pub mod format;
pub mod backoff;
pub mod close;
pub mod address;

mod seqset;
