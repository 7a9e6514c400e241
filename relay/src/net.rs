//! Sockets: those that the service manager opened, listeners with connection limits, byte counts, and WebSocket frames.

pub mod inherited;
pub mod listener;
pub mod counted_io;
pub mod ws_frame;
