//! Watches objectives in windows as they slide, and tells of each that is missed or met again: for `joey watch`, and as an
//! optional part of the relay.
//!
//! The windows are those of the page. [`evaluation`] finds what changed, [`alert`] decides what counts while a verdict flaps,
//! [`notify`] tells a command and webhooks, and [`service`] does all of this inside a relay, as a viewer of its own logs.

pub(crate) mod alert;
pub(crate) mod evaluation;
pub(crate) mod notify;
mod service;

pub use self::service::{WatchRules, WatchService};
