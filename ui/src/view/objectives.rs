//! The objectives of an application: the list on its dashboard, what is saved, and how the page reports missed ones.

use joey_shared::objective::Objective;
use joey_shared::wire::ObjectiveEntry;
use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;

use super::live_text::text_content;
use super::name::display_name;
use super::relay_objectives::RelayObjectives;
use super::{AppName, UiState, use_ui};
use crate::browser;
use crate::local_storage;
use crate::objectives::{OBJECTIVES_MAX, Tally, saved_text};

/// Minimum time between two notifications about one objective, in ns: it may be missed and met in turns.
const NOTIFIED_NS: u64 = 60_000_000_000;

impl UiState {
    /// Adds an objective of `app` and saves it.
    ///
    /// # Errors
    /// Why it was not added, in words.
    pub(super) fn add_objective(self, app: &str, objective: Objective) -> Result<(), String> {
        let mut list = self.model.read_value().objectives(app).to_vec();
        if list.contains(&objective) {
            return Err("already saved".to_owned());
        }
        if list.len() >= OBJECTIVES_MAX {
            return Err(format!("{OBJECTIVES_MAX} at most; remove one first"));
        }
        list.push(objective);
        self.save_objectives(app, list);
        Ok(())
    }

    /// Removes an objective of `app`.
    pub(super) fn remove_objective(self, app: &str, objective: &Objective) {
        let mut list = self.model.read_value().objectives(app).to_vec();
        list.retain(|known| known != objective);
        self.save_objectives(app, list);
    }

    fn save_objectives(self, app: &str, list: Vec<Objective>) {
        local_storage::store_objectives(app, &list);
        self.model.write_value().set_objectives(app, list);
        self.write_address();
        self.frame_loop.tick_now();
    }
}

/// The application of the page, and the number of views that miss each of its objectives and of the relay's.
type MissedViews = Option<(String, Vec<(String, usize)>)>;

/// Evaluates the objectives at each tick, and returns the number of views that miss one: of the application of this page, or of
/// all. Says when an objective of the application begins to be missed, and notifies if the user wants that.
pub(super) fn watch(ui: UiState) -> Memo<usize> {
    let missed: Memo<MissedViews> = Memo::new(move |_| {
        let page = ui.page.read();
        let app = page.app()?.to_owned();
        let mut model = ui.read_model();
        let tallies = model.advance_objectives(&app);
        let list = model.objectives(&app).iter().map(ToString::to_string);
        let mut missed: Vec<(String, usize)> = list.zip(tallies.iter().map(|tally| tally.missed)).collect();
        let of_relay = model.relay_objectives(&app);
        missed.extend(of_relay.into_iter().map(|ObjectiveEntry { objective, counts, .. }| {
            (format!("{objective} (an objective of the relay)"), counts.missed as usize)
        }));
        Some((app, missed))
    });
    let notified = StoredValue::new(Vec::<(String, u64)>::new());
    Effect::new(move |before: Option<MissedViews>| {
        let now = missed.get();
        // What a recording shows is not news, and neither is the first state after it.
        if ui.recordings.opened.read_untracked().is_some() {
            return None;
        }
        let Some((app, current)) = &now else { return now };
        let known = before.flatten().filter(|(other, _)| other == app).map(|(_, known)| known).unwrap_or_default();
        for (objective, count) in current.iter().filter(|(_, count)| *count > 0) {
            // An objective that was just saved is on the screen.
            let was_met = known.iter().any(|(other, count)| other == objective && *count == 0);
            if was_met {
                ui.report_missed(app, objective, *count, notified);
            }
        }
        now
    });
    Memo::new(move |_| match &*missed.read() {
        Some((_, missed)) => missed.iter().map(|(_, count)| count).sum(),
        None => {
            let mut model = ui.read_model();
            model.advance_all_objectives() + model.missed_relay_objectives()
        }
    })
}

impl UiState {
    fn report_missed(self, app: &str, objective: &str, count: usize, notified: StoredValue<Vec<(String, u64)>>) {
        let now_ns = browser::now_ns();
        let key = format!("{app} {objective}");
        notified.update_value(|notified| notified.retain(|(_, at_ns)| now_ns.saturating_sub(*at_ns) < NOTIFIED_NS));
        if notified.read_value().iter().any(|(known, _)| *known == key) {
            return;
        }
        notified.update_value(|notified| notified.push((key, now_ns)));
        let views = if count == 1 { "1 view misses".to_owned() } else { format!("{count} views miss") };
        let text = format!("{views} {objective}");
        if self.notifies.get_untracked() {
            browser::notify(&display_name(app), &text);
        }
        self.say(text);
    }
}

/// The objectives of `app`, with the number of views that meet and miss each.
#[component]
pub(super) fn ObjectivesPanel(app: AppName) -> impl IntoView {
    let ui = use_ui();
    let problem = RwSignal::new(String::new());
    let input = NodeRef::<Input>::new();
    let list = Memo::new(move |_| ui.read_model().objectives(&app.read_value()).to_vec());
    let tallies = Memo::new(move |_| ui.read_model().objective_tallies(&app.read_value()));
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else { return };
        let result = input.value().trim().parse::<Objective>().map_err(|error| error.to_string());
        match result.and_then(|objective| ui.add_objective(&app.read_value(), objective)) {
            Ok(()) => {
                input.set_value("");
                problem.set(String::new());
            }
            Err(error) => problem.set(error),
        }
    };
    let item = move |objective: Objective| {
        let (text, name) = (objective.to_string(), format!("Remove {objective}"));
        let of_tally = objective.clone();
        let tally = Memo::new(move |_| {
            let at = list.read().iter().position(|known| *known == of_tally);
            at.and_then(|at| tallies.read().get(at).copied()).unwrap_or_default()
        });
        view! {
            <li data-testid="objective" data-objective=text.clone()>
                {move || tally_view(tally.get())}
                <code dir="auto" translate="no">{text.clone()}</code>
                <button
                    class="remove"
                    type="button"
                    title=name.clone()
                    aria-label=name.clone()
                    on:click=move |_| ui.remove_objective(&app.read_value(), &objective)
                >"×"</button>
            </li>
        }
    };
    let copy = move |_| browser::copy_to_clipboard(&saved_text(&list.read_untracked()));
    let toggle_notifications = move |_| {
        let wanted = !ui.notifies.get_untracked();
        if !wanted {
            ui.notifies.set(false);
            local_storage::store_notifies(false);
            return;
        }
        browser::ask_to_notify(move |is_granted| {
            ui.notifies.set(is_granted);
            local_storage::store_notifies(is_granted);
            problem.set(if is_granted { String::new() } else { "the browser does not allow notifications".to_owned() });
        });
    };
    view! {
        <section class="panel objectives" data-testid="objectives">
            <header>
                <h2>"Objectives"</h2>
                <form class="objective-form" novalidate on:submit=on_submit>
                    <label for="objective">"Objective"</label>
                    <input
                        id="objective"
                        type="text"
                        size="36"
                        maxlength="1200"
                        placeholder="start-to-end/*: p99 < 10ms over 1m"
                        autocomplete="off"
                        spellcheck="false"
                        node_ref=input
                        on:input=move |_| problem.set(String::new())
                    />
                    <button type="submit">"Add"</button>
                    <button type="button" title="Copy all, one on each line, as joey watch reads them" on:click=copy
                        hidden=move || list.read().is_empty()>"Copy"</button>
                    <button
                        type="button"
                        data-testid="notify"
                        aria-pressed=move || ui.notifies.get().to_string()
                        title="Tell me when an objective begins to be missed while this page is open"
                        on:click=toggle_notifications
                    >"Notify"</button>
                    <span class="problem" role="alert" prop:textContent=move || problem.get()></span>
                </form>
            </header>
            <RelayObjectives app/>
            <ul hidden=move || list.read().is_empty()>
                <For each=move || list.get() key=ToString::to_string children=item/>
            </ul>
            <p class="nothing" hidden=move || !list.read().is_empty()>
                "No objectives. On the page of a view, drag the threshold on the latency axis and save it, or type one here for many views."
            </p>
        </section>
    }
}

fn tally_view(tally: Tally) -> impl IntoView {
    let Tally { met, missed, undecided, no_data } = tally;
    let part = |kind: &'static str, count: usize| {
        let text = format!("{count} {kind}");
        (count > 0 || kind == "met")
            .then(|| view! { <span class="verdict" data-verdict=kind use:text_content=text></span> })
    };
    view! {
        <span class="tally-parts" data-missed=missed.to_string() data-met=met.to_string()>
            {part("missed", missed)} {part("undecided", undecided)} {part("met", met)} {part("no events", no_data)}
        </span>
    }
}
