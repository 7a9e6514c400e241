//! The menu of a panel that saves what the panel shows as a file, or copies it.
//!
//! Everything is built in the browser, from the same statistics as the panel itself.

use leptos::ev::MouseEvent;
use leptos::html::Details;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::HtmlCanvasElement;

use super::live_text::LiveText;
use super::{AppName, UiState, use_ui};
use crate::browser;
use crate::export::{ExportTable, Origin};
use crate::frame_loop::ChartId;
use crate::time_format::UtcOffset;

/// What to do with a panel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Csv,
    Json,
    Png,
    CopyTable,
    CopyImage,
}

impl Action {
    const fn label(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Png => "PNG",
            Self::CopyTable => "Copy table",
            Self::CopyImage => "Copy image",
        }
    }
}

/// The menu. `view` is what the panel shows; `table` returns its values; `chart` is its chart, if it has one.
#[component]
pub(super) fn DownloadMenu(
    app: AppName,
    view: String,
    table: impl Fn() -> Option<ExportTable> + Copy + Send + Sync + 'static,
    #[prop(optional)] chart: Option<ChartId>,
) -> impl IntoView {
    let ui = use_ui();
    let label = format!("Download {view}");
    let view = StoredValue::new(view);
    let menu = NodeRef::<Details>::new();
    let outcome = RwSignal::new(String::new());
    let on_click = move |action: Action| {
        outcome.set(String::new());
        let origin = origin(ui, &app.read_value(), &view.read_value());
        let image = || chart.and_then(|chart| ui.frame_loop.image_of(chart, &origin.caption()));
        let done = match action {
            Action::Csv => table().map(|table| browser::save_text(&origin.file_name("csv"), "text/csv", &table.csv())),
            Action::Json => {
                let json = table().map(|table| table.json(&origin));
                json.map(|json| browser::save_text(&origin.file_name("json"), "application/json", &json))
            }
            Action::Png => image().map(|image| save_image(image, origin.file_name("png"), outcome)),
            Action::CopyTable => table().map(|table| copy_text(table.tsv(), outcome)),
            Action::CopyImage => image().map(|image| copy_image(image, outcome)),
        };
        if done.is_none() {
            outcome.set("There is nothing to save yet".to_owned());
        }
        if let Some(menu) = menu.get_untracked() {
            menu.set_open(false);
            browser::focus_summary(&menu);
        }
    };
    let item = move |action: Action| {
        let on_click = move |_: MouseEvent| on_click(action);
        view! { <li><button type="button" on:click=on_click>{action.label()}</button></li> }
    };
    let mut actions = vec![Action::Csv, Action::Json];
    actions.extend(chart.map(|_| Action::Png));
    if browser::has_clipboard() {
        actions.push(Action::CopyTable);
        actions.extend(chart.map(|_| Action::CopyImage));
    }
    view! {
        <LiveOutcome outcome/>
        <details class="menu right download" data-testid="download" node_ref=menu>
            <summary aria-label=label.clone() title=label>"Download"</summary>
            <ul class="sheet">{actions.into_iter().map(item).collect_view()}</ul>
        </details>
    }
}

/// What came of it, for screen readers too.
#[component]
fn LiveOutcome(outcome: RwSignal<String>) -> impl IntoView {
    view! { <span class="outcome" role="status"><LiveText text=outcome/></span> }
}

fn origin(ui: UiState, app: &str, view: &str) -> Origin {
    let now_ns = ui.model.read_value().relay_ns(browser::now_ns()).unwrap_or(0);
    Origin {
        app: app.to_owned(),
        view: view.to_owned(),
        window_seconds: ui.window_seconds.get_untracked(),
        time: UtcOffset::iso(now_ns),
    }
}

fn save_image(image: HtmlCanvasElement, file_name: String, outcome: RwSignal<String>) {
    spawn_local(async move {
        match browser::png_of(&image).await {
            Some(blob) => browser::save(&file_name, &blob),
            None => report(outcome, "The browser refused to make an image"),
        }
    });
}

fn copy_text(text: String, outcome: RwSignal<String>) {
    spawn_local(async move {
        report(outcome, if browser::try_copy_text(&text).await { "Copied" } else { REFUSED });
    });
}

fn copy_image(image: HtmlCanvasElement, outcome: RwSignal<String>) {
    spawn_local(async move {
        report(outcome, if browser::try_copy_image(&image).await { "Copied" } else { REFUSED });
    });
}

/// Shown if copying failed.
const REFUSED: &str = "The browser did not allow it";

/// Shows `text`, unless the panel is gone by now.
fn report(outcome: RwSignal<String>, text: &str) {
    let _ = outcome.try_set(text.to_owned());
}
