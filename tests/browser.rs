//! Tests in a real browser: the page shows what was sent, whatever the names are, and it survives a restart of its
//! relay.
//!
//! - `numbers`: every number on the dashboard and on the detail pages, compared with the oracle and `joey stats
//!   --json`.
//! - `names`: names that contain markup or characters with a meaning in an address.
//! - `lifecycle`: no data yet, a relay that stops and returns, missed updates.
//! - `service`: a service with OpenTelemetry: words, marks, and percentiles compared with raw durations.
//! - `reach`: no WebSocket, a proxy, several relays, and a relay that rejects the page.
//! - `relays`: several relays in one page.
//! - `settings`: the settings dialog.
//! - `start`: the page where it cannot run, and after other software has changed it.
//! - `controls`: window, pause, filter, order, colours.
//! - `percentile_handle`: a percentile chosen on the curve, by pointer and keyboard.
//! - `time_range`: a selected range of time, by pointer, keyboard and address.
//! - `objectives`: the threshold, saved objectives, and how missed ones are reported.
//! - `relay_objectives`: the objectives that the relay watches itself.
//! - `compare`: a pinned baseline, two views, two applications.
//! - `tables`: the order of names, the filter, and tables with more rows than a screen.
//! - `accessibility`: axe-core finds nothing on any page.
//! - `overview`: the lists of the landing page, small charts, favourites, marks, and the choice in the address.
//! - `recording`: recordings in the tab, by button, drop and link.
//! - `takeaway`: typed percentiles, files, images and print.
//! - `auth`: a token from the address.
//! - `everyone`: every key, the search, targets, zoom, names from right to left, announcements.
//! - `charts`: units on axes, files, texts and keys of charts.
//! - `hour`: the strip of the last hour and its brush.
//! - `touch`: selecting and scrolling with a finger.
//! - `wall`: wall mode.
//! - `installed`: the manifest, a start without the server, new versions.
//! - `layout`: every page at two sizes in two colour schemes, and nothing wider than a phone.

#[path = "browser/accessibility.rs"]
mod accessibility;
#[path = "browser/auth.rs"]
mod auth;
#[path = "browser/charts.rs"]
mod charts;
#[path = "browser/compare.rs"]
mod compare;
#[path = "browser/controls.rs"]
mod controls;
#[path = "browser/lifecycle.rs"]
mod lifecycle;
#[path = "browser/layout.rs"]
mod layout;
#[path = "browser/names.rs"]
mod names;
#[path = "browser/numbers.rs"]
mod numbers;
#[path = "browser/objectives.rs"]
mod objectives;
#[path = "browser/relay_objectives.rs"]
mod relay_objectives;
#[path = "browser/overview.rs"]
mod overview;
#[path = "browser/page.rs"]
mod page;
#[path = "browser/percentile_handle.rs"]
mod percentile_handle;
#[path = "browser/reach.rs"]
mod reach;
#[path = "browser/relays.rs"]
mod relays;
#[path = "browser/recording.rs"]
mod recording;
#[path = "browser/service.rs"]
mod service;
#[path = "browser/settings.rs"]
mod settings;
#[path = "browser/start.rs"]
mod start;
#[path = "browser/tables.rs"]
mod tables;
#[path = "browser/takeaway.rs"]
mod takeaway;
#[path = "browser/time_range.rs"]
mod time_range;
#[path = "browser/everyone.rs"]
mod everyone;
#[path = "browser/hour.rs"]
mod hour;
#[path = "browser/installed.rs"]
mod installed;
#[path = "browser/touch.rs"]
mod touch;
#[path = "browser/wall.rs"]
mod wall;
#[path = "browser/work.rs"]
mod work;
