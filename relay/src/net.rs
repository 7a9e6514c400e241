//! Sockets: those that the service manager opened, listeners with connection limits, byte counts, WebSocket frames, and requests
//! to other servers.

pub mod inherited;
pub mod listener;
pub mod counted_io;
pub mod ws_frame;
pub mod post;
