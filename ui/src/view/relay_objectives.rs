//! The objectives that the relay watches itself: on the landing page, on the dashboard of an application, and on the
//! page of a view. They are set by whoever runs the relay, and cannot be changed here.

use joey_shared::view::ViewKey;
use joey_shared::wire::{ObjectiveEntry, ObjectiveState, ObjectiveView};
use leptos::prelude::*;

use super::live_text::{LiveText, text_content};
use super::name::{Name, NameLink, display_name, view_names};
use super::overview::slow_tick;
use super::{AppName, UiState, page_address, use_ui};
use crate::route::Page;

/// Maximum number of views that the landing page lists. The dashboards have the others.
const LISTED: usize = 10;
/// Why they have no button to remove them, as a tooltip.
const HELP: &str = "The relay watches these (joey serve --watch), even while no page is open";

/// The word for a state, which also selects its color.
const fn state_word(state: ObjectiveState) -> &'static str {
    match state {
        ObjectiveState::NoData => "no events",
        other => other.as_str(),
    }
}

/// What a reader has to know about a state, as a tooltip.
const fn state_help(state: ObjectiveState) -> &'static str {
    match state {
        ObjectiveState::Missed => "The objective is missed",
        ObjectiveState::Pending => "The objective is missed, but not yet for long enough to report it",
        ObjectiveState::Undecided => "The threshold is inside a bin, so it is not known whether the objective is met",
        ObjectiveState::Met => "The objective is met",
        ObjectiveState::NoData => "There were no events in the window",
    }
}

/// The relay's objectives for `app`, as a part of the panel of objectives on its dashboard.
#[component]
pub(super) fn RelayObjectives(app: AppName) -> impl IntoView {
    let ui = use_ui();
    let entries = Memo::new(move |_| ui.read_model().relay_objectives(&app.read_value()));
    let item = move |entry: ObjectiveEntry| {
        let ObjectiveEntry { objective, counts, views } = entry;
        let parts = ObjectiveState::ALL.into_iter().filter(|state| counts.of(*state) > 0).map(|state| {
            let (word, text) = (state_word(state), format!("{} {}", counts.of(state), state_word(state)));
            view! { <span class="verdict" data-verdict=word use:text_content=text></span> }
        });
        let listed = views.len() as u64;
        let total: u64 = ObjectiveState::ALL.iter().map(|state| u64::from(counts.of(*state))).sum();
        let rest = (total > listed).then(|| {
            let text = format!("and {} more", total - listed);
            view! { <li class="aside" use:text_content=text></li> }
        });
        let data_objective = objective.clone();
        view! {
            <li data-testid="relay-objective" data-objective=data_objective>
                <span class="tally-parts">{parts.collect_view()}</span>
                <code dir="auto" translate="no">{objective}</code>
                <ul class="of-views">
                    {views.into_iter().map(|found| view_item(ui, app.get_value(), found)).collect_view()}
                    {rest}
                </ul>
            </li>
        }
    };
    view! {
        <div class="relay-objectives" data-testid="relay-objectives" hidden=move || entries.read().is_empty()>
            <h3 title=HELP>"Of the relay"</h3>
            <ul>{move || entries.get().into_iter().map(item).collect_view()}</ul>
            <h3>"Saved in this browser"</h3>
        </div>
    }
}

/// One view: state, name, value and since when.
fn view_item(ui: UiState, app: String, found: ObjectiveView) -> impl IntoView {
    let ObjectiveView { view, state, since_ns, value } = found;
    let word = state_word(state);
    let name = view_name(&view);
    let data_name = name.clone();
    let href = page_address(Page::Detail(app, view));
    view! {
        <li data-testid="relay-view" data-verdict=word data-name=data_name>
            <span class="verdict" data-verdict=word title=state_help(state) use:text_content=word.to_owned()></span>
            <NameLink class="ellipsis" name href/>
            <span class="n" use:text_content=value></span>
            <span class="since" use:text_content=since_text(ui, since_ns)></span>
        </li>
    }
}

/// The names of a view, as far as it has them.
fn view_name(view: &ViewKey) -> String {
    let names = view_names(view);
    if names.is_empty() { view.kind.as_str().to_owned() } else { names.join(" · ") }
}

/// Since when an objective has its state, which may be days: `since 2026-11-21 14:02:31`.
fn since_text(ui: UiState, since_ns: u64) -> String {
    format!("since {}", ui.utc_offset(since_ns).date_time(since_ns))
}

/// The relay's objectives for one view, as a part of the panel of the threshold on its page.
#[component]
pub(super) fn RelayObjectivesOfView(app: AppName, key: ViewKey) -> impl IntoView {
    let ui = use_ui();
    let key = StoredValue::new(key);
    let found =
        Memo::new(move |_| key.with_value(|key| ui.read_model().relay_objectives_of_view(&app.read_value(), key)));
    let item = move |(objective, found): (String, ObjectiveView)| {
        let word = state_word(found.state);
        view! {
            <li data-testid="relay-view" data-verdict=word>
                <span class="verdict" data-verdict=word title=state_help(found.state) use:text_content=word.to_owned()></span>
                <code dir="auto" translate="no">{objective}</code>
                <span class="n" use:text_content=found.value></span>
                <span class="since" use:text_content=since_text(ui, found.since_ns)></span>
            </li>
        }
    };
    view! {
        <div class="saved" data-testid="relay-objectives" hidden=move || found.read().is_empty()>
            <h3 title=HELP>"Objectives of the relay"</h3>
            <ul>{move || found.get().into_iter().map(item).collect_view()}</ul>
        </div>
    }
}

/// The relay's objectives of all applications on the landing page: how many views are in each state, and those that do not meet
/// one, worst first.
#[component]
pub(super) fn RelayObjectivesPanel() -> impl IntoView {
    let ui = use_ui();
    let tick = slow_tick(ui);
    let all = Memo::new(move |_| {
        let _ = tick.get();
        ui.model.read_value().all_relay_objectives()
    });
    let found = Memo::new(move |_| {
        let all = all.read();
        let of_app = |(app, entries): (&String, &Vec<ObjectiveEntry>)| {
            let views = entries.iter().flat_map(|entry| entry.views.iter().map(|view| (&entry.objective, view)));
            views.map(|(objective, view)| (app.clone(), objective.clone(), view.clone())).collect::<Vec<_>>()
        };
        let mut found: Vec<(String, String, ObjectiveView)> = all.iter().flat_map(of_app).collect();
        found.retain(|(_, _, view)| !matches!(view.state, ObjectiveState::Met | ObjectiveState::NoData));
        found.sort_by_key(|(_, _, view)| (view.state, view.since_ns));
        found.truncate(LISTED);
        found
    });
    let note = Signal::derive(move || {
        let count = |state| all.read().values().flatten().map(|entry| u64::from(entry.counts.of(state))).sum::<u64>();
        let states = ObjectiveState::ALL.into_iter().filter(|state| count(*state) > 0);
        states.map(|state| format!("{} {}", count(state), state_word(state))).collect::<Vec<_>>().join(", ")
    });
    let row = move |(app, objective, found): (String, String, ObjectiveView)| {
        let ObjectiveView { view, state, since_ns, value } = found;
        let (word, name) = (state_word(state), view_name(&view));
        let (app_name, data_name) = (display_name(&app), name.clone());
        let href = page_address(Page::Detail(app.clone(), view));
        view! {
            <li data-testid="relay-view" data-app=app data-name=data_name data-verdict=word>
                <span class="verdict" data-verdict=word title=state_help(state) use:text_content=word.to_owned()></span>
                <NameLink class="ellipsis" name href/>
                <Name class="aside ellipsis" name=app_name/>
                <code dir="auto" translate="no">{objective}</code>
                <span class="n" use:text_content=value></span>
                <span class="since" use:text_content=since_text(ui, since_ns)></span>
            </li>
        }
    };
    view! {
        <section
            class="panel relay-objectives"
            data-testid="relay-objectives"
            hidden=move || all.read().is_empty()
        >
            <header><h2 title=HELP>"Objectives of the relay"</h2><LiveText class="tally" text=note/></header>
            <p class="nothing" hidden=move || !found.read().is_empty()>"No view misses an objective of the relay."</p>
            <ul hidden=move || found.read().is_empty()>{move || found.get().into_iter().map(row).collect_view()}</ul>
        </section>
    }
}
