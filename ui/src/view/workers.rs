//! The workers of an application: which are connected, since when, and their measurements.

use leptos::prelude::*;

use super::download::DownloadMenu;
use super::export_tables::workers_table;
use super::live_text::LiveText;
use super::name::display_name;
use super::notices::AppPage;
use super::percentile_choice::PercentileChoice;
use super::worker_row::WorkerRow;
use super::{AppName, page_address, use_ui, use_words};
use crate::natural_order;
use crate::percentile_list::shown_percentiles;
use crate::route::Page;
use crate::statistics::TABLE_PERCENTILES;

/// The workers of `app`.
#[component]
pub(super) fn WorkersPage(app: String) -> impl IntoView {
    let app = StoredValue::new(app);
    view! {
        <AppPage app>
            <div class="page">
                <Heading app/>
                <WorkerTable app/>
            </div>
        </AppPage>
    }
}

#[component]
fn Heading(app: AppName) -> impl IntoView {
    let words = use_words();
    view! {
        <header class="head">
            <h1 class="ellipsis">
                <a href=page_address(Page::Dashboard(app.get_value())) dir="auto">{display_name(&app.read_value())}</a>
                <span class="on">{format!(": {}", words.workers_in_text)}</span>
            </h1>
            <PercentileChoice/>
        </header>
    }
}

#[component]
fn WorkerTable(app: AppName) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let workers = Memo::new(move |_| {
        let model = ui.read_model();
        let workers = model.catalogue().get(&*app.read_value()).map_or(&[][..], |entry| &entry.workers);
        let workers = natural_order::sorted(workers.iter().map(|worker| &worker.worker));
        workers.into_iter().cloned().collect::<Vec<String>>()
    });
    let percentile_heads = move || {
        let shown = shown_percentiles(TABLE_PERCENTILES, &ui.percentiles.read()).into_iter();
        shown.map(|percentile| view! { <th class="number wide" scope="col">{percentile.label()}</th> }).collect_view()
    };
    let tally = Signal::derive(move || workers.read().len().to_string());
    view! {
        <section class="panel" data-testid="workers">
            <header>
                <h2>{words.workers}</h2>
                <LiveText class="tally" text=tally/>
                <DownloadMenu
                    app
                    view=words.workers.to_owned()
                    table=move || Some(workers_table(ui, &app.read_value(), &workers.read_untracked()))
                />
            </header>
            <table class="apps workers">
                <thead>
                    <tr>
                        <th class="name" scope="col">{words.worker}</th>
                        <th class="state" scope="col">"State"</th>
                        <th class="number" scope="col">"Returns"</th>
                        <th class="number" scope="col">"Events/s"</th>
                        {percentile_heads}
                        <th class="number" scope="col">"min/s"</th>
                        <th class="number" scope="col">"median/s"</th>
                        <th class="number" scope="col">"max/s"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || workers.get() key=Clone::clone let(worker)><WorkerRow app worker/></For>
                </tbody>
            </table>
            <Show when=move || workers.read().is_empty()>
                <p class="nothing">{words.no_workers}</p>
            </Show>
        </section>
    }
}
