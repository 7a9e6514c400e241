//! Locks and atomics that the hub's threads share. Under `--cfg shuttle` they are replaced by versions with a test scheduler,
//! which tries thousands of thread interleavings, each of them repeatable.
//!
//! `Arc` and tokio's `Notify` are not replaced: neither blocks a thread, and a replaced lock protects every use.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(shuttle)]
pub(crate) use shuttle_parking_lot::{Mutex, MutexGuard, RwLock};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
