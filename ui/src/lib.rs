//! The browser app of Joey.
//!
//! Read it in the direction in which data flows:
//!
//! 1. [`link`]: the socket; bytes go into the [`model`] as they arrive.
//! 2. [`model`]: what the page knows; [`figures`], [`gather`] and [`rows`] read numbers, charts and tables out of it.
//! 3. [`clock`]: one animation-frame loop says when it is time to look again.
//! 4. [`chart`]: data to lists of shapes; [`chart::canvas`] paints them.
//! 5. [`view`]: components lay things out; [`route`], [`settings`] and [`moment`] are what they are told and say.
//!
//! Data never travels in signals: they carry that something changed, a few times a second at most.

pub mod browser;
pub mod chart;
pub mod clock;
pub mod figures;
pub mod gather;
pub mod kept;
pub mod link;
pub mod model;
pub mod moment;
pub mod route;
pub mod rows;
pub mod settings;
mod sort;
#[cfg(test)]
mod testing;
pub mod view;
