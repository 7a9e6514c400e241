//! The browser app of Joey.
//!
//! Read it in the direction in which data flows:
//!
//! 1. [`connection`]: the socket; bytes go into the [`model`] as they arrive.
//! 2. [`model`]: what the page knows; [`statistics`], [`chart_data`] and [`table_rows`] read numbers, charts and tables out of it.
//! 3. [`frame_loop`]: one animation-frame loop says when it is time to look again.
//! 4. [`chart`]: data to lists of shapes; [`chart::canvas`] paints them.
//! 5. [`view`]: components lay things out; [`route`], [`settings`] and [`time_format`] are what they are told and say.
//!
//! Data never travels in signals: they carry that something changed, a few times a second at most.

pub mod browser;
pub mod chart;
pub mod chart_data;
pub mod connection;
pub mod frame_loop;
pub mod kept;
pub mod model;
pub mod route;
pub mod settings;
mod sort;
pub mod statistics;
pub mod table_rows;
#[cfg(test)]
mod testing;
pub mod time_format;
pub mod view;
