//! The parts of other systems' protocols that a load generator needs.

pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod websocket;
