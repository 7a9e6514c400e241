//! Process-wide services: the clock, standard error, the service manager, the panic guard, and the hub's locks.

pub mod clock;
pub mod console;
pub mod service_manager;
pub mod panic_guard;
pub(crate) mod sync;
