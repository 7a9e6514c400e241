//! Bytes in, numbers out: the real relay over real sockets, from a producer's TCP stream to what viewers and the command line
//! make of it.
//!
//! - `numbers`: what `joey stats` says is exact, whatever the frames and however their bytes are cut.
//! - `hostile`: what a broken or hostile producer can do, and what it cannot.
//! - `time`: late, far ahead, not there yet.
//! - `viewers`: subscriptions, batches, gaps and the ends of WebSockets.
//! - `streams`: the same without a WebSocket.
//! - `access`: who may watch.
//! - `doors`: who may send, and over what.
//! - `commands`: exit codes, `joey tap`, and the relay's own end.
//! - `reach`: how the command line gets to a relay, and what it is told where it may not.
//! - `output`: what the command line and `/metrics` print.
//! - `examples`: the programs in `examples/`.

#[path = "pipeline/access.rs"]
mod access;
#[path = "pipeline/commands.rs"]
mod commands;
#[path = "pipeline/doors.rs"]
mod doors;
#[path = "pipeline/examples.rs"]
mod examples;
#[path = "pipeline/hostile.rs"]
mod hostile;
#[path = "pipeline/numbers.rs"]
mod numbers;
#[path = "pipeline/output.rs"]
mod output;
#[path = "pipeline/reach.rs"]
mod reach;
#[path = "pipeline/streams.rs"]
mod streams;
#[path = "pipeline/time.rs"]
mod time;
#[path = "pipeline/viewers.rs"]
mod viewers;
