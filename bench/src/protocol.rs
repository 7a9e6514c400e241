//! As much of other systems' protocols as a load generator needs.

pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod websocket;
