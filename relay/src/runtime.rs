//! Process-wide services: the clock, standard error, the service manager, the panic guard, the hub's locks, and the
//! machine's name.

pub mod clock;
pub mod console;
pub mod service_manager;
pub mod panic_guard;
pub(crate) mod sync;

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
