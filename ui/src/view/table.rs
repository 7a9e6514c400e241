//! A table of views: dense rows that can be sorted, filtered and walked by keyboard.
//!
//! A row exists as long as its view does; only its cells change. Each row's charts are painted by the clock, and only while
//! they are in sight.

use std::cell::RefCell;
use std::rc::Rc;

use joey_shared::format;
use joey_shared::histogram::{bin_high, bin_low};
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::Throughput;
use leptos::prelude::{Get, GetUntracked, RwSignal, Set, Track};
use wasm_bindgen::JsCast;
use web_sys::Event;

use super::chart::chart;
use super::format::{percentile_cells, sentence, shown, throughput, throughput_columns};
use super::node::{El, Item, Node, derived, each, el, item, live, named, nothing, with_class};
use super::{Ctx, address};
use crate::browser;
use crate::chart::sparkline;
use crate::chart_data;
use crate::route::Page;
use crate::statistics::{self, PERCENTILES, ViewStatistics};
use crate::table_rows::{Column, Listing, Order, ROWS_MAX, Row, arrange, from_number, pressed, to_number};

/// Percentiles in a table: the first of [`PERCENTILES`].
const COLUMNS_MAX: usize = 3;

/// What a table shows now.
#[derive(Default, PartialEq)]
struct Content {
    /// Rows without the filter.
    all: usize,
    /// Rows with it, in order.
    rows: Vec<Row>,
    /// The bins of all small histograms.
    bins: (usize, usize),
}

/// A table while it is on the page.
#[derive(Clone)]
struct Table {
    ctx: Ctx,
    app: Rc<str>,
    content: Rc<RefCell<Content>>,
    /// Changes with the content.
    changes: RwSignal<u64>,
    /// How it is sorted, as a number.
    order: RwSignal<u64>,
    /// 1 if rows beyond [`ROWS_MAX`] are wanted.
    everything: RwSignal<u64>,
}

/// The table that `listing` describes, of `app`. Nothing at all when it has no rows and `always` is false.
#[must_use]
pub fn table(ctx: Ctx, app: &str, listing: Listing, always: bool) -> Node {
    let (app, content): (Rc<str>, Rc<RefCell<Content>>) = (app.into(), Rc::default());
    let (order, everything) = (RwSignal::new(to_number(None)), RwSignal::new(0));
    let (title, subject) = (listing.title(), listing.subject());
    let class = if listing.shows_ingestion() { "views forked" } else { "views" };
    let changes = derived({
        let (app, content, mut changes) = (Rc::clone(&app), Rc::clone(&content), 0);
        move || {
            let now = read(ctx, &app, &listing, from_number(order.get()));
            if *content.borrow() != now {
                content.replace(now);
                changes += 1;
            }
            changes
        }
    });
    let table = Table { ctx, app, content, changes, order, everything };
    let is_empty = derived({
        let table = table.clone();
        move || (table.with(|content| content.all) == 0).into()
    });
    live(move || if always || is_empty.get() == 0 { table.section(&title, subject, class).into() } else { nothing() })
}

/// What the table shows now.
fn read(ctx: Ctx, app: &str, listing: &Listing, order: Order) -> Content {
    let filter = ctx.filter.get();
    let mut model = ctx.read();
    let rows = model.app(app).map(|store| listing.rows(store)).unwrap_or_default();
    let all = rows.len();
    // The small histograms share their axis, or they could not be compared.
    let with_latency = rows.iter().filter(|row| row.key.kind.has_latency()).take(ROWS_MAX);
    let figures: Vec<ViewStatistics> = with_latency.filter_map(|row| model.view_statistics(app, row.at)).collect();
    let bins = sparkline::common_bin_range(figures.iter().map(|figures| &figures.histogram));
    let bins = bins.map_or((8, 24), |(low, high)| (low.saturating_sub(1), (high + 1).min(64)));
    let rows = arrange(rows, order, &filter, |at| model.view_statistics(app, at));
    Content { all, rows, bins }
}

impl Table {
    /// Reads the content, with its change as a reason to read again.
    fn with<T>(&self, read: impl FnOnce(&Content) -> T) -> T {
        self.changes.track();
        read(&self.content.borrow())
    }

    fn section(&self, title: &str, subject: &'static str, class: &'static str) -> El {
        let (rows, tally, below) = (self.clone(), self.clone(), self.clone());
        let rows = move || {
            let most = if rows.everything.get() == 1 { usize::MAX } else { ROWS_MAX };
            let row = |row: &Row| {
                let (table, row) = (rows.clone(), row.clone());
                item(row.at.to_string(), move || table.row(row))
            };
            rows.with(|content| content.rows.iter().take(most).map(row).collect())
        };
        let tally = move || {
            let (all, left) = tally.with(|content| (content.all, content.rows.len()));
            if all == left { all.to_string() } else { format!("{left} of {all}") }
        };
        with_class("section", "panel")
            .attr("data-testid", "table")
            .attr("data-listing", subject)
            .child(header(named("h2", "ellipsis", title.to_owned()), tally))
            .child(with_class("table", class).child(self.heads(subject)).child(el("tbody").child(each(rows))))
            .child(live(move || below.below()))
    }

    /// What stands below the rows: why there are none, or how to see the rest.
    fn below(&self) -> Node {
        let words = |words: &'static str| with_class("p", "nothing").child(words).into();
        let (all, left) = self.with(|content| (content.all, content.rows.len()));
        let (hidden, everything) = (left.saturating_sub(ROWS_MAX), self.everything);
        match (all, left) {
            (0, _) => words("None yet."),
            (_, 0) => words("Nothing matches the filter."),
            _ if hidden > 0 && everything.get() == 0 => with_class("button", "more")
                .attr("type", "button")
                .on("click", move |_| everything.set(1))
                .child(format!("Show {hidden} more"))
                .into(),
            _ => nothing(),
        }
    }

    fn heads(&self, subject: &'static str) -> El {
        let of_bins = self.clone();
        let edges = live(move || {
            let (low, high) = of_bins.with(|content| content.bins);
            let edge = |ns: u128| el("span").child(format::duration(ns).to_string());
            with_class("span", "edges").child(edge(bin_low(low).into())).child(edge(bin_high(high)))
        });
        let plain = |class: &'static str, title: &'static str| {
            with_class("th", class).attr("scope", "col").attr("title", title)
        };
        let percentiles = PERCENTILES.iter().take(COLUMNS_MAX).enumerate();
        let percentiles = percentiles.map(|(at, shown)| {
            self.head(Column::Percentile(at), shown.label, "number wide", "The range that holds this percentile")
        });
        let row = el("tr")
            .child(self.head(Column::Name, subject, "name", "Sort by name"))
            .child(plain("spark", "Events per second over the window, each row from zero to its own maximum").child("Rate"))
            .child(
                plain("mini", "Latencies in the window, all rows on one axis; heights are square roots of shares, the line is p99")
                    .child(edges),
            )
            .children(percentiles)
            .child(self.head(Column::Min, "min/s", "number", "The least busy complete second"))
            .child(self.head(Column::Median, "median/s", "number", "Half of the complete seconds were at most this busy"))
            .child(self.head(Column::Max, "max/s", "number", "The busiest complete second"));
        el("thead").child(row)
    }

    /// A column's head, by which the table can be sorted.
    fn head(&self, column: Column, name: &'static str, class: &'static str, title: &'static str) -> El {
        let order = self.order;
        let sorted = move || match from_number(order.get()) {
            Some((current, true)) if current == column => "descending".to_owned(),
            Some((current, false)) if current == column => "ascending".to_owned(),
            _ => "none".to_owned(),
        };
        let press = move |_| order.set(to_number(pressed(from_number(order.get_untracked()), column)));
        let button = el("button").attr("type", "button").attr("title", title).on("click", press).child(name);
        with_class("th", class).attr("scope", "col").live("aria-sort", sorted).child(button)
    }

    fn row(&self, row: Row) -> El {
        let (ctx, Row { at, key, label, aside, .. }) = (self.ctx, row);
        let to = address(Page::Detail((*self.app).to_owned(), key.clone()));
        let (latency, label, kind) = (key.kind.has_latency(), shown(&label), key.kind.as_str().to_owned());
        let names = [
            ("data-pipeline", key.pipeline.clone()),
            ("data-worker", key.worker.clone()),
            ("data-name", key.name.clone()),
        ];
        let numbers = {
            let (app, key) = (Rc::clone(&self.app), Rc::new(key));
            move || numbers(ctx, &app, at, &key)
        };
        let words = {
            let numbers = numbers.clone();
            move || numbers().map_or_else(String::new, |numbers| sentence(&numbers.figures))
        };
        let (table, marked, still) = (self.clone(), numbers.clone(), numbers.clone());
        let rates = chart(ctx, "spark", words.clone(), move |size| {
            let mut model = ctx.model.get();
            let store = model.app_mut(&table.app)?;
            let (from, to) = chart_data::window_range(store);
            Some(sparkline::rate(&statistics::rates(store, &[at]), from, to, size))
        });
        let table = self.clone();
        let histogram = latency.then(|| {
            chart(ctx, "mini", words, move |size| {
                let (low, high) = table.content.borrow().bins;
                Some(sparkline::histogram(&ctx.model.get().view_statistics(&table.app, at)?.histogram, low, high, size))
            })
        });
        let aside = aside.map(|aside| named("span", "aside ellipsis", aside));
        let name = with_class("div", "label")
            .child(named("a", "row-link ellipsis", label).attr("href", to.clone()))
            .child(aside)
            .child(live(move || marked().and_then(|numbers| mark(ctx, &numbers))));
        let class = move || {
            if still().is_some_and(|numbers| numbers.is_still()) { "stalled".to_owned() } else { String::new() }
        };
        names
            .into_iter()
            .fold(el("tr"), |row, (name, value)| row.maybe(name, value))
            .attr("data-testid", "row")
            .attr("data-kind", kind)
            .live("class", class)
            .on("click", move |event| open(&event, &to))
            .child(with_class("th", "name").attr("scope", "row").child(name))
            .child(with_class("td", "spark").child(rates))
            .child(with_class("td", "mini").child(histogram))
            .child(live(move || numbers().map(|numbers| cells(&numbers))))
    }
}

/// What a row's cells say.
struct Numbers {
    figures: ViewStatistics,
    ingestion: Option<Throughput>,
    /// Since when the worker is gone, in ns since the Unix epoch.
    gone_since: Option<u64>,
    /// How often the worker came back.
    returns: u32,
}

impl Numbers {
    /// Whether nothing comes from here now.
    const fn is_still(&self) -> bool {
        self.figures.stalled_since.is_some() || self.gone_since.is_some()
    }
}

fn numbers(ctx: Ctx, app: &str, at: usize, key: &ViewKey) -> Option<Numbers> {
    let mut model = ctx.read();
    let figures = model.view_statistics(app, at)?;
    let ingestion = if key.kind == Kind::StartToEnd {
        statistics::ingestion(model.app_mut(app)?, key.pipeline.as_deref())
    } else {
        None
    };
    let workers = model.catalogue().get(app).map_or(&[][..], |entry| &entry.workers);
    let worker = workers.iter().find(|worker| Some(&worker.worker) == key.worker.as_ref());
    let gone_since = worker.filter(|worker| !worker.connected).map(|worker| worker.since_ns);
    Some(Numbers { figures, ingestion, gone_since, returns: worker.map_or(0, |worker| worker.returns) })
}

/// What is unusual about a row, in words.
fn mark(ctx: Ctx, numbers: &Numbers) -> Option<El> {
    let time = |ns: u64| ctx.zone(ns).time(ns);
    let (text, title) = if let Some(since) = numbers.gone_since {
        (format!("gone since {}", time(since)), "The worker's connection is closed".to_owned())
    } else if let Some(since) = numbers.figures.stalled_since {
        (format!("no events since {}", time(since)), "Nothing was counted for more than three periods".to_owned())
    } else if numbers.returns > 0 {
        (format!("back ×{}", numbers.returns), format!("Times that this worker has come back: {}", numbers.returns))
    } else {
        return None;
    };
    Some(with_class("span", "flag").attr("title", title).child(text))
}

fn cells(numbers: &Numbers) -> Vec<El> {
    let figures = &numbers.figures;
    let mut cells = percentile_cells(Some(figures), COLUMNS_MAX);
    for (column, out, ingress) in throughput_columns(figures.throughput, numbers.ingestion) {
        cells.push(throughput(with_class("td", "number").attr("data-head", column), column, out, ingress));
    }
    cells
}

/// A panel with a plain table: what tests call it, its title and its class; its heads with their classes; how many rows there
/// are, and the rows.
pub(super) fn panel(
    [id, title, class]: [&'static str; 3],
    heads: &[(&'static str, &'static str)],
    count: impl Fn() -> usize + 'static,
    rows: impl FnMut() -> Vec<Item> + 'static,
) -> El {
    let heads = heads.iter().map(|&(class, name)| with_class("th", class).attr("scope", "col").child(name));
    let table = with_class("table", class)
        .child(el("thead").child(el("tr").children(heads)))
        .child(el("tbody").child(each(rows)));
    with_class("section", "panel")
        .attr("data-testid", id)
        .child(header(el("h2").child(title), move || count().to_string()))
        .child(table)
}

fn header(title: El, tally: impl FnMut() -> String + 'static) -> El {
    el("header").child(title).child(with_class("span", "tally").child(live(tally)))
}

/// The whole row leads where its name does, unless something is being selected or the link itself was pressed.
pub(super) fn open(event: &Event, to: &str) {
    let pressed = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
    let on_link = pressed.and_then(|element| element.closest("a").ok().flatten()).is_some();
    let selection = web_sys::window().and_then(|window| window.get_selection().ok().flatten());
    if !on_link && selection.is_none_or(|selection| selection.is_collapsed()) {
        browser::go(to);
    }
}
