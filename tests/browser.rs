//! In a real browser: what the page shows equals what was sent, whatever the names are, and the page outlives its relay.
//!
//! - `numbers`: every figure on the dashboard and on the detail pages, against the oracle and `joey stats --json`.
//! - `names`: names that hold markup or what means something in an address.
//! - `life`: no data yet, a relay that ends and returns, what was missed.
//! - `reach`: no WebSocket, a proxy, more than one relay, and a relay that refuses.
//! - `start`: the page where it cannot run, and where others have changed it.
//! - `controls`: window, pause, filter, order, colours.
//! - `access`: a token from the address.
//! - `looks`: every page at two sizes in two colour schemes, and nothing wider than a phone.

#[path = "browser/access.rs"]
mod access;
#[path = "browser/controls.rs"]
mod controls;
#[path = "browser/life.rs"]
mod life;
#[path = "browser/looks.rs"]
mod looks;
#[path = "browser/names.rs"]
mod names;
#[path = "browser/numbers.rs"]
mod numbers;
#[path = "browser/page.rs"]
mod page;
#[path = "browser/reach.rs"]
mod reach;
#[path = "browser/start.rs"]
mod start;
