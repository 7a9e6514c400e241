//! Process-wide services: the clock, standard error, the panic guard, and the hub's locks.

pub mod clock;
pub mod console;
pub mod panic_guard;
pub(crate) mod sync;
