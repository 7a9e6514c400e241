#![doc = include_str!("../README.md")]

mod lane;
mod registry;
mod series;
mod snapshot;
pub mod send;

pub use self::registry::{Registry, SERIES_MAX};
pub use self::series::{Series, Timer};
pub use self::snapshot::Snapshot;
