//! What the process itself needs: its clock, standard error, panics that end one task only, and the locks of the hub.

pub mod clock;
pub mod console;
pub mod panic_guard;
pub(crate) mod sync;
