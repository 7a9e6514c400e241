//! The sheet of keyboard shortcuts, made of the table of actions.

use leptos::prelude::*;

use super::actions::{ACTIONS, Action, Group};
use super::modal::{self, Modal};
use super::use_ui;
use crate::key_sequence;

/// Keys that belong to what has the focus, rather than to the page.
const ELSEWHERE: [(&str, &[&str]); 7] = [
    ("Read the values of a chart", &["← →"]),
    ("Select a range on a chart over time", &["Shift ← →"]),
    ("Zoom to the selected range", &["Enter"]),
    ("Open the focused row", &["Enter"]),
    ("Sort by the focused head of a column", &["Enter"]),
    ("Clear the filter", &["Esc"]),
    ("Play or hold an open recording", &["Space"]),
];

/// The sheet.
#[component]
pub(super) fn ShortcutSheet() -> impl IntoView {
    let ui = use_ui();
    view! {
        <Modal open=ui.sheet_open class="dialog shortcuts" label="Keyboard shortcuts">
            <div class="dialog-body">
                <header>
                    <h2>"Keyboard shortcuts"</h2>
                    <button type="button" autofocus on:click=|_| modal::close_open()>"Close"</button>
                </header>
                <div class="shortcut-columns" tabindex="0" role="group" aria-label="Shortcuts">
                    {Group::ALL.map(|group| view! { <GroupTable group/> }).into_iter().collect_view()}
                    <section>
                        <h3>"Where the focus is"</h3>
                        <table>
                            <tbody>{ELSEWHERE.map(|(name, keys)| view! {
                                <tr>
                                    <th scope="row">{name}</th>
                                    <td>{keys.iter().map(|key| view! { <kbd>{*key}</kbd> }).collect_view()}</td>
                                </tr>
                            }).into_iter().collect_view()}</tbody>
                        </table>
                    </section>
                </div>
            </div>
        </Modal>
    }
}

#[component]
fn GroupTable(group: Group) -> impl IntoView {
    let row = |action: &'static Action| {
        view! {
            <tr data-testid="shortcut" data-keys=action.keys.join("\t")>
                <th scope="row">{action.name}</th>
                <td><Keys keys=action.keys/></td>
            </tr>
        }
    };
    view! {
        <section>
            <h3>{group.title()}</h3>
            <table>
                <tbody>{ACTIONS.iter().filter(|action| action.group == group && !action.keys.is_empty()).map(row).collect_view()}</tbody>
            </table>
        </section>
    }
}

/// The keys of an action: `p`, or `Ctrl K or k`.
#[component]
pub(super) fn Keys(keys: &'static [&'static str]) -> impl IntoView {
    let key = |key: String| view! { <kbd>{key}</kbd> };
    let sequence = move |(at, sequence): (usize, &&'static str)| {
        let or = (at > 0).then_some(" or ");
        view! { {or}{key_sequence::shown(sequence).into_iter().map(key).collect_view()} }
    };
    keys.iter().enumerate().map(sequence).collect_view()
}
