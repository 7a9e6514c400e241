//! The panel of a detail page that reads the threshold: how much of each window is under it, whether that meets an objective, and
//! the error budget of the saved ones.

use joey_shared::format;
use joey_shared::objective::{Objective, ObjectiveError, parse_threshold, threshold_text};
use joey_shared::view::ViewKey;
use joey_shared::window::SECONDS_MAX;
use leptos::ev::{Event, SubmitEvent};
use leptos::prelude::*;

use super::live_text::{LiveText, text_content};
use super::objective_text::{
    budget_text, budget_used, burn_text, over_text, share_text, target_text, verdict_text, window_text,
};
use super::relay_objectives::RelayObjectivesOfView;
use super::threshold::Threshold;
use super::{AppName, use_ui};
use crate::model::WindowShare;
use crate::objectives::{Outcome, glob_of};
use crate::settings::WINDOWS;
use crate::typed_percentile::TypedPercentile;

/// What the form is filled with at first.
const PERCENTILE: &str = "99";
const WINDOW: u64 = 60;

/// The panel of the view at `view_index`.
#[component]
pub(super) fn ObjectivePanel(threshold: Threshold, key: ViewKey) -> impl IntoView {
    let Threshold { ui, app, view_index } = threshold;
    let percentile = RwSignal::new(PERCENTILE.to_owned());
    let window_seconds = RwSignal::new(WINDOW);
    let problem = RwSignal::new(String::new());
    let glob = StoredValue::new(glob_of(&key));
    let threshold_ns = Memo::new(move |_| threshold.shown());
    // The objective that the form describes.
    let target = Memo::new(move |_| {
        let quantile = TypedPercentile::parse(&percentile.read()).ok_or(ObjectiveError::Percentile)?.quantile();
        glob.with_value(|glob| Objective::new(glob, quantile, threshold_ns.get(), window_seconds.get()))
    });
    let shares = Memo::new(move |_| {
        let ns = threshold_ns.get();
        ui.read_model().window_shares(&app.read_value(), view_index, ns)
    });
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        let result = target.get_untracked().map_err(|error| error.to_string());
        let result = result.and_then(|target| ui.add_objective(&app.read_value(), target));
        problem.set(result.err().unwrap_or_default());
    };
    let on_threshold = move |event: Event| match parse_threshold(event_target_value(&event).trim()) {
        Some(ns) if ns > 0 => {
            problem.set(String::new());
            ui.threshold_ns.set(Some(ns));
            ui.write_address();
        }
        _ => problem.set(ObjectiveError::Threshold.to_string()),
    };
    let choice = |&(seconds, text): &(u64, &'static str)| {
        view! { <option value=seconds.to_string() selected=seconds == WINDOW>{text}</option> }
    };
    let can_load = Memo::new(move |_| ui.read_model().can_load_hour());
    view! {
        <section class="panel objective" data-testid="objective">
            <header>
                <h2>"Under a threshold"</h2>
                <form class="objective-form" novalidate on:submit=on_submit>
                    <label>"p" <input
                        aria-label="Percentile of the objective"
                        name="percentile"
                        type="text"
                        inputmode="decimal"
                        size="5"
                        maxlength="8"
                        autocomplete="off"
                        prop:value=move || percentile.get()
                        on:input=move |event| percentile.set(event_target_value(&event))
                    /></label>
                    <label>"<" <input
                        aria-label="Threshold"
                        name="threshold"
                        type="text"
                        size="7"
                        maxlength="20"
                        autocomplete="off"
                        spellcheck="false"
                        prop:value=move || threshold_text(threshold_ns.get())
                        on:change=on_threshold
                    /></label>
                    <label>"over" <select
                        aria-label="Window of the objective"
                        name="window"
                        on:change=move |event| window_seconds.set(event_target_value(&event).parse().unwrap_or(WINDOW))
                    >{WINDOWS.iter().map(choice).collect_view()}</select></label>
                    <button type="submit" title="Save this as an objective of the view">"Save objective"</button>
                    <span class="problem" role="alert" prop:textContent=move || problem.get()></span>
                </form>
            </header>
            <div class="scroll" tabindex="0" role="group" aria-label="What is under the threshold">
                <table class="shares" data-testid="shares">
                    <thead><tr>
                        <th scope="col">"window"</th>
                        <th scope="col">{move || format!("under {}", threshold_text(threshold_ns.get()))}</th>
                        <th scope="col">"over"</th>
                        <th scope="col">"of events"</th>
                        <th scope="col">{move || format!("p{}", percentile.get())}</th>
                        <th scope="col">"burn rate"</th>
                        <th scope="col">"known"</th>
                    </tr></thead>
                    <tbody>{move || {
                        let target = target.get().ok();
                        shares.get().into_iter().map(|share| share_row(&share, target.as_ref())).collect_view()
                    }}</tbody>
                </table>
            </div>
            <Show when=move || can_load.get()>
                <p class="aside">
                    <button type="button" data-testid="load-hour" on:click=move |_| ui.load_hour()>"Load the last hour"</button>
                </p>
            </Show>
            <RelayObjectivesOfView app key/>
            <SavedObjectives app view_index/>
        </section>
    }
}

/// A row of the table: what is under the threshold in one window.
fn share_row(share: &WindowShare, target: Option<&Objective>) -> impl IntoView + use<> {
    let verdict = target.map(|target| share.under.verdict(target.quantile()));
    let burn = target.map(|target| burn_text(target, &share.under)).unwrap_or_default();
    let (low, high) = share.under.over();
    let is_short = share.seconds.is_some_and(|seconds| share.known_seconds < seconds);
    view! {
        <tr data-window=share.seconds.map(|seconds| seconds.to_string()) data-low=low.to_string() data-high=high.to_string()>
            <th scope="row" use:text_content=window_text(share.seconds)></th>
            <td data-col="under" use:text_content=share_text(&share.under)></td>
            <td data-col="over" use:text_content=over_text(&share.under)></td>
            <td data-col="total" use:text_content=format::count(share.under.total)></td>
            <td
                data-col="verdict"
                data-verdict=verdict.map(verdict_text)
                use:text_content=verdict.map_or_else(String::new, |verdict| verdict_text(verdict).to_owned())
            ></td>
            <td data-col="burn" use:text_content=burn></td>
            <td
                class:faint=is_short
                title="Seconds of this window for which the page has data"
                use:text_content=format!("{}\u{2009}s", share.known_seconds)
            ></td>
        </tr>
    }
}

/// The saved objectives of the view, with their error budgets.
#[component]
fn SavedObjectives(app: AppName, view_index: usize) -> impl IntoView {
    let ui = use_ui();
    let saved = Memo::new(move |_| {
        let mut model = ui.read_model();
        let outcomes = model.outcomes(&app.read_value(), view_index);
        let budget = |(objective, outcome): (Objective, Outcome)| {
            let shares = model.window_shares(&app.read_value(), view_index, objective.threshold_ns());
            // Of a selected range, there is only that.
            let hour = shares.into_iter().rfind(|share| share.seconds.is_none_or(|seconds| seconds == SECONDS_MAX));
            (objective, outcome, hour)
        };
        outcomes.into_iter().map(budget).collect::<Vec<_>>()
    });
    let item = move |(objective, outcome, hour): (Objective, Outcome, Option<WindowShare>)| {
        let text = target_text(&objective);
        let name = format!("Remove {objective}");
        let budget = hour.map(|hour| {
            let budget = hour.under.budget(objective.quantile());
            let span = match hour.seconds {
                Some(seconds) if hour.known_seconds >= seconds => "the last hour".to_owned(),
                Some(_) => format!("the last {}, all that is known", format::age(hour.known_seconds)),
                None => "the selected time".to_owned(),
            };
            let left = budget_used(&budget).map_or(0.0, |(_, high)| (1.0 - high).clamp(0.0, 1.0));
            view! {
                <div class="budget" data-testid="budget" data-left=left.to_string()>
                    <span use:text_content=format!("Error budget of {span}: {}", budget_text(&budget))></span>
                    <span class="budget-bar" aria-hidden="true"><span style:width=format!("{}%", left * 100.0)></span></span>
                </div>
            }
        });
        let verdict = verdict_text(outcome.verdict);
        view! {
            <li data-testid="saved" data-verdict=verdict>
                <span class="verdict" data-verdict=verdict use:text_content=verdict.to_owned()></span>
                <span class="n" use:text_content=text></span>
                <span title="Share of the events over the threshold, as a multiple of the share that may be"
                    use:text_content=format!("burn rate {}", burn_text(&objective, &outcome.under))></span>
                <button
                    class="remove"
                    type="button"
                    title=name.clone()
                    aria-label=name
                    on:click=move |_| ui.remove_objective(&app.read_value(), &objective)
                >"×"</button>
                {budget}
            </li>
        }
    };
    let heading = Signal::derive(move || {
        let many = saved.read().len();
        if many == 0 { String::new() } else { "Objectives of this view".to_owned() }
    });
    view! {
        <div class="saved" hidden=move || saved.read().is_empty()>
            <h3><LiveText text=heading/></h3>
            <ul>{move || saved.get().into_iter().map(item).collect_view()}</ul>
        </div>
    }
}
