//! The browser app of Joey.
//!
//! Data flows through these modules in this order:
//!
//! 1. The [`connections`], one [`connection`] for each relay, receive messages and merge them into the [`model`].
//! 2. [`statistics`], [`chart_data`], [`difference_data`] and [`table_rows`] read statistics, charts and tables from
//!    the model. [`natural_order`] and [`row_filter`] order and filter the rows, and [`rendered_rows`] are those in the
//!    document. [`reference`] is the other side of a comparison, and [`row_change`] is by how much a row differs from
//!    it. [`recent_change`] is what changed lately, [`band_data`] the latencies over time in a small chart,
//!    [`hour_data`] the last hour in steps of ten seconds, [`overview_data`] the lists of the landing page, and
//!    [`row_marks`] what is unusual about a row.
//! 3. [`frame_loop`] sends a tick when components should read the model again.
//! 4. [`chart`] turns data into lists of shapes, and [`chart::canvas`] paints them.
//! 5. [`export`] writes tables as files, and [`share_link`] writes recordings into links.
//! 6. [`view`] contains the components. [`route`], [`settings`], [`time_format`], [`typed_percentile`],
//!    [`percentile_list`], [`units`], [`zone`] and [`vocabulary`] are their addresses, settings, times, chosen
//!    percentiles, units, time zones and words. [`table_choice`] and [`favourites`] are how the user wants the tables.
//!    [`key_sequence`] is for its shortcuts, [`palette_items`] and [`fuzzy_match`] are for its search, and [`wall`] is
//!    for wall mode.
//!
//! Measurements do not travel in signals: a signal only tells that the model has changed, a few times a second at most.

pub mod app_cache;
pub mod band_data;
pub mod browser;
pub mod change_text;
pub mod chart;
pub mod chart_data;
pub mod connection;
pub mod connections;
pub mod difference_data;
pub mod export;
pub mod favourites;
pub mod frame_loop;
pub mod fuzzy_match;
pub mod hour_data;
pub mod key_sequence;
pub mod local_storage;
pub mod model;
pub mod natural_order;
pub mod objectives;
pub mod overview_data;
pub mod percentile_list;
pub mod recent_change;
pub mod percentile_step;
pub mod reference;
pub mod rendered_rows;
pub mod palette_items;
pub mod route;
pub mod row_change;
pub mod row_filter;
pub mod row_marks;
pub mod settings;
pub mod share_link;
pub mod snapshot;
pub mod statistics;
pub mod table_choice;
pub mod table_rows;
#[cfg(test)]
mod testing;
pub mod threshold;
pub mod time_format;
pub mod time_range;
pub mod typed_percentile;
pub mod units;
pub mod view;
pub mod vocabulary;
pub mod wall;
pub mod zone;
