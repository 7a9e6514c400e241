//! The locks and counters that the hub's threads share. A test under `--cfg shuttle` has them replaced by ones that decide which
//! thread goes on, and so tries thousands of orders in which the same things can happen, each of them repeatable.
//!
//! `Arc` and tokio's `Notify` stay what they are: neither blocks a thread, and the replaced locks stand around every use.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(shuttle)]
pub(crate) use shuttle_parking_lot::{Mutex, MutexGuard, RwLock};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
