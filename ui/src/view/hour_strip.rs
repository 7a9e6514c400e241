//! The strip of the last hour, on which the time that the page shows is a brush: it is dragged, its edges are dragged, or
//! both are moved with the arrow keys.
//!
//! The page follows when the brush is released: browsers limit how often an address may change. If the brush is moved to a
//! time that the page has not been sent, the history is requested first.

use joey_shared::format;
use joey_shared::view::ViewKey;
use joey_shared::window::{SLOT_NS, second_of};
use leptos::ev::{self, KeyboardEvent, PointerEvent, WheelEvent};
use leptos::html::Div;
use leptos::prelude::*;
use web_sys::MouseEvent;

use super::chart::Chart;
use super::chart_table::{ChartTable, PlainTable};
use super::download::DownloadMenu;
use super::export_tables;
use super::format::{NO_VALUE, range_text};
use super::live_text::LiveText;
use super::time_selection::{Turned, wheel_step};
use super::{AppName, UiState, use_ui};
use crate::app_cache::counted_views;
use crate::browser;
use crate::chart::Size;
use crate::chart::hour_strip::{self, Measure};
use crate::chart::scale::plain_rate;
use crate::chart::time_axis::TimeAxis;
use crate::hour_data::{Hour, HourCache, STEP};
use crate::time_format::UtcOffsets;
use crate::time_range::{RangePart, TimeRange};

/// A brush that is being moved.
#[derive(Clone, Copy, PartialEq)]
struct Moving {
    part: RangePart,
    /// The range before.
    base: TimeRange,
    /// The range now.
    range: TimeRange,
    /// The pointer that moves it and where it was pressed, in pixels of the page; `None` for keys.
    pointer: Option<(i32, f64)>,
}

/// What the strip shows, and how far it reaches.
#[derive(Clone, Copy)]
struct Source {
    ui: UiState,
    app: AppName,
    /// The view; `None` for the rate out of the application.
    key: StoredValue<Option<ViewKey>>,
    cache: StoredValue<HourCache, LocalStorage>,
}

impl Source {
    /// The last hour; `None` without data.
    fn hour(self) -> Option<Hour> {
        let (mut model, app) = (self.ui.model.write_value(), self.app.read_value());
        let identity = [model.generation(), model.removals(), model.app(&app)?.views_revision()];
        let store = model.whole_app_mut(&app).filter(|store| store.clock_ns() > 0)?;
        let mut cache = self.cache.write_value();
        if !cache.is_of(identity) {
            let (views, has_latency) = match &*self.key.read_value() {
                Some(key) => (store.find(key).into_iter().collect(), key.kind.has_latency()),
                None => (counted_views(store), false),
            };
            cache.begin(identity, views, has_latency);
        }
        Some(cache.update(store))
    }

    fn measure(self) -> Measure {
        let has_latency = self.key.read_value().as_ref().is_some_and(|key| key.kind.has_latency());
        if has_latency { Measure::P99 } else { Measure::Rate }
    }

    /// The hour that the strip spans.
    fn span(self) -> Option<TimeRange> {
        let mut model = self.ui.model.write_value();
        let to = second_of(model.whole_app_mut(&self.app.read_value())?.clock_ns());
        (to > 0).then(|| TimeRange { from: (to + 1).saturating_sub(joey_shared::window::SECONDS_MAX).max(1), to })
    }

    /// The first second that the page has been sent.
    fn available_from(self) -> u64 {
        self.ui.model.read_value().available_from(browser::now_ns()).unwrap_or(0)
    }

    fn utc_offsets(self, hour: &Hour) -> UtcOffsets {
        let offset_at = |second: u64| self.ui.utc_offset_untracked(second.saturating_mul(SLOT_NS));
        UtcOffsets::between(hour.from, hour.to, offset_at)
    }

    /// The range that the page shows, or will show when the history has arrived; as it was selected, without the rest of the
    /// steps at its ends.
    fn shown(self) -> Option<TimeRange> {
        self.ui.pending_range.get().or_else(|| self.ui.range.get()).or_else(|| self.ui.shown_range())
    }

    fn time_of(self, second: u64) -> String {
        let ns = second.saturating_mul(SLOT_NS);
        self.ui.utc_offset(ns).time(ns)
    }

    /// A range in words: `14:02:30–14:07:30, 5 min`.
    fn text_of(self, range: TimeRange) -> String {
        let (start, end) = (self.time_of(range.from.saturating_sub(1)), self.time_of(range.to));
        format!("{start}–{end}, {}", format::age(range.seconds()))
    }
}

/// The strip of `app`, or of one of its views.
#[component]
pub(super) fn HourStrip(app: AppName, key: Option<ViewKey>) -> impl IntoView {
    let ui = use_ui();
    let name = key.as_ref().map_or_else(|| app.get_value(), export_tables::view_name);
    let source = Source { ui, app, key: StoredValue::new(key), cache: StoredValue::new_local(HourCache::default()) };
    let id = ui.frame_loop.new_chart_id();
    let note = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        source.hour().map(|hour| scale_text(&hour, source.measure())).unwrap_or_default()
    });
    let label = Signal::derive(move || format!("The last hour: {}", note.get()));
    let draw = move |size| {
        let hour = source.hour()?;
        let offsets = source.utc_offsets(&hour);
        Some(hour_strip::draw(&hour, source.measure(), source.available_from(), offsets, size))
    };
    let can_load = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        ui.pending_range.read().is_none() && ui.model.read_value().can_load_hour()
    });
    view! {
        <section class="panel hour" aria-label="The last hour" data-testid="hour">
            <header>
                <h2>"Last hour"</h2>
                <LiveText class="tally" text=note/>
                <Show when=move || can_load.get()>
                    <button type="button" title="Load the history of the last hour (h)" on:click=move |_| ui.load_hour()>
                        "Load"
                    </button>
                </Show>
                <DownloadMenu
                    app
                    view=format!("{name}: Last hour")
                    table=move || source.hour().map(|hour| export_tables::hour_table(&hour))
                    chart=id
                />
            </header>
            <Brush source><Chart class="hour-chart" label draw id/></Brush>
            <ChartTable table=move || Some(table(source, &source.hour()?))/>
        </section>
    }
}

/// What the strip shows, and the ends of its vertical axis.
fn scale_text(hour: &Hour, measure: Measure) -> String {
    match measure {
        Measure::Rate => format!("events, 0–{}/s", plain_rate(hour_strip::highest_rate(hour))),
        Measure::P99 => format!("p99, {}", range_text(hour_strip::percentiles(hour))),
    }
}

fn table(source: Source, hour: &Hour) -> PlainTable {
    let row = |step: &crate::hour_data::Step| {
        let rate = step.rate.map_or_else(|| NO_VALUE.to_owned(), |rate| format!("{}/s", format::rate(rate).thin()));
        let mut row = vec![source.time_of(step.to), rate];
        if source.measure() == Measure::P99 {
            row.push(range_text(step.p99));
        }
        row
    };
    let mut heads = vec!["10 s until", "events"];
    heads.extend((source.measure() == Measure::P99).then_some("p99"));
    PlainTable { heads, rows: hour.steps.iter().rev().map(row).collect() }
}

/// The brush over the chart inside.
#[component]
fn Brush(source: Source, children: Children) -> impl IntoView {
    let ui = source.ui;
    let frame = NodeRef::<Div>::new();
    let moving = RwSignal::new(None::<Moving>);
    let span = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        source.span()
    });
    let shown = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        moving.get().map(|moving| moving.range).or_else(|| source.shown())
    });
    let axis = move || -> Option<(TimeAxis, TimeRange)> {
        let (frame, span) = (frame.get_untracked()?, span.get_untracked()?);
        let size = Size { width: frame.client_width().into(), height: frame.client_height().into() };
        Some((hour_strip::axis(span.from, span.to, size), span))
    };
    let begin = move |event: &PointerEvent, part: RangePart, is_outside: bool| {
        if event.button() != 0 || !event.is_primary() {
            return;
        }
        let Some(((axis, span), base)) = axis().zip(shown.get_untracked()) else { return };
        let Some(frame) = frame.get_untracked() else { return };
        let x = f64::from(event.client_x());
        let second = axis.second_at(x - frame.get_bounding_client_rect().left());
        // Outside of the brush, it comes to the pointer.
        let range = if is_outside { base.centred_at(second, span) } else { base };
        moving.set(Some(Moving { part, base: range, range, pointer: Some((event.pointer_id(), x)) }));
        // Without it, the drag would end at the edge of the strip.
        let _ = frame.set_pointer_capture(event.pointer_id());
    };
    let own = move |event: &PointerEvent| {
        moving.get_untracked().filter(|moving| moving.pointer.is_some_and(|(id, _)| id == event.pointer_id()))
    };
    let on_move = move |event: PointerEvent| {
        let Some((now, (axis, span))) = own(&event).zip(axis()) else { return };
        let distance = f64::from(event.client_x()) - now.pointer.map_or(0.0, |(_, x)| x);
        let seconds = distance * span.seconds() as f64 / (axis.right - axis.left).max(1.0);
        moving.set(Some(Moving { range: now.base.with_moved(now.part, seconds.round() as i64, span), ..now }));
    };
    let commit = move || {
        let Some(Moving { range, .. }) = moving.get_untracked() else { return };
        moving.set(None);
        if untrack(|| source.shown()) != Some(range) {
            ui.select_range(Some(range));
        }
    };
    let on_up = move |event: PointerEvent| {
        if own(&event).is_some() {
            commit();
        }
    };
    let turned = StoredValue::new(Turned::default());
    let on_wheel = move |event: WheelEvent| {
        let Some((axis, _)) = axis() else { return };
        if event.ctrl_key() || event.meta_key() {
            event.prevent_default();
            let left = frame.get_untracked().map_or(0.0, |frame| frame.get_bounding_client_rect().left());
            let second = axis.second_at(f64::from(MouseEvent::client_x(&event)) - left);
            if let Some(is_in) = wheel_step(turned, event.delta_y()) {
                ui.change_range(|range| range.zoomed_at(second, is_in));
            }
            return;
        }
        // Some browsers turn the wheel sideways while Shift is pressed. Without it, the wheel scrolls the page.
        let distance = if event.shift_key() { event.delta_x() + event.delta_y() } else { event.delta_x() };
        if distance.abs() > event.delta_y().abs() || event.shift_key() {
            event.prevent_default();
            if let Some(is_back) = wheel_step(turned, distance) {
                ui.change_range(|range| range.moved(by_step(range, if is_back { -1 } else { 1 })));
            }
        }
    };
    let escape = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Escape" {
            moving.set(None);
        }
    });
    on_cleanup(move || escape.remove());
    let on_key = move |event: &KeyboardEvent, part: RangePart| {
        let Some((span, now)) = span.get_untracked().zip(shown.get_untracked()) else { return };
        let step = if event.shift_key() { 1 } else { STEP.cast_signed() };
        let whole_span = span.seconds().cast_signed();
        let seconds = match event.key().as_str() {
            "ArrowLeft" | "ArrowDown" => -step,
            "ArrowRight" | "ArrowUp" => step,
            "PageUp" => by_step(now, 1),
            "PageDown" => by_step(now, -1),
            "Home" => -whole_span,
            "End" => whole_span,
            _ => return,
        };
        event.prevent_default();
        event.stop_propagation();
        moving.set(Some(Moving { part, base: now, range: now.with_moved(part, seconds, span), pointer: None }));
    };
    let commit_keys = move || {
        if moving.get_untracked().is_some_and(|moving| moving.pointer.is_none()) {
            commit();
        }
    };
    // Where the edges of the brush are, as shares of the strip.
    let shares = Memo::new(move |_| {
        let (span, shown) = (span.get()?, shown.get()?);
        let share = |second: u64| (second.saturating_sub(span.from - 1) as f64 / span.seconds() as f64).min(1.0);
        Some((share(shown.from.saturating_sub(1)), share(shown.to)))
    });
    // As custom properties, from which the style sheet places the brush and its edges.
    Effect::new(move || {
        let (Some(frame), (start, end)) = (frame.get(), shares.get().unwrap_or((0.0, 1.0))) else { return };
        let style = web_sys::HtmlElement::style(&frame);
        let _ = style.set_property("--start", &format!("{start:.5}"));
        let _ = style.set_property("--end", &format!("{end:.5}"));
    });
    let handle = move |part: RangePart, class: &'static str, label: &'static str, title: &'static str| {
        let value = move || shown.get().map(|range| if part == RangePart::Start { range.from - 1 } else { range.to });
        let text = move || match (part, shown.get()) {
            (RangePart::Whole, Some(range)) => source.text_of(range),
            (_, _) => value().map(|second| source.time_of(second)).unwrap_or_default(),
        };
        let text = Memo::new(move |_| text());
        let edge = move |of: fn(TimeRange) -> u64| span.get().map_or(0, of).to_string();
        view! {
            <div
                class=class
                role="slider"
                tabindex="0"
                title=title
                aria-label=label
                aria-orientation="horizontal"
                aria-valuemin=move || edge(|span| span.from.saturating_sub(1))
                aria-valuemax=move || edge(|span| span.to)
                aria-valuenow=move || value().unwrap_or(0).to_string()
                aria-valuetext=move || text.get()
                on:pointerdown=move |event: PointerEvent| {
                    event.stop_propagation();
                    begin(&event, part, false);
                }
                on:keydown=move |event: KeyboardEvent| on_key(&event, part)
                on:keyup=move |_| commit_keys()
                on:blur=move |_| commit_keys()
            ></div>
        }
    };
    view! {
        <div
            class="hour-frame"
            class:moving=move || moving.get().is_some()
            class:live=move || ui.paused_at_ns.get().is_none()
            node_ref=frame
            on:pointerdown=move |event: PointerEvent| begin(&event, RangePart::Whole, true)
            on:pointermove=on_move
            on:pointerup=on_up
            on:pointercancel=move |event: PointerEvent| if own(&event).is_some() { moving.set(None) }
            on:wheel=on_wheel
        >
            {children()}
            <Show when=move || shares.get().is_some()>
                <div class="outside before" aria-hidden="true"></div>
                <div class="outside after" aria-hidden="true"></div>
                {handle(
                    RangePart::Whole,
                    "brush",
                    "Shown time",
                    "Drag, turn the wheel sideways, or use the arrow keys, to move the time that the page shows",
                )}
                {handle(RangePart::Start, "edge start", "Start of the shown time", "Drag, or use the arrow keys, to move the start")}
                {handle(RangePart::End, "edge end", "End of the shown time", "Drag, or use the arrow keys, to move the end")}
            </Show>
            <p class="hour-value" aria-hidden="true" hidden=move || moving.get().is_none()>
                <LiveText text=Signal::derive(move || {
                    moving.get().map(|moving| source.text_of(moving.range)).unwrap_or_default()
                })/>
            </p>
        </div>
    }
}

/// Half of a range, in `direction`.
fn by_step(range: TimeRange, direction: i64) -> i64 {
    direction * (range.seconds() / 2).max(1).cast_signed()
}
