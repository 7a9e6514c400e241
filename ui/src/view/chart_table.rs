//! The table below a chart: the same values as text. It is created only while it is open.

use leptos::prelude::*;

use super::disclosure::Disclosure;
use super::live_text::text_content;
use super::use_ui;

/// A table of texts. The first cell of a row is its head.
#[derive(Clone, PartialEq)]
pub(super) struct PlainTable {
    pub(super) heads: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The table that `table` returns, updated at every tick.
#[component]
pub(super) fn ChartTable(table: impl Fn() -> Option<PlainTable> + Copy + Send + Sync + 'static) -> impl IntoView {
    view! {
        <Disclosure class="twin" summary=view! { <summary>"as table"</summary> }.into_any()>
            <TableContent table/>
        </Disclosure>
    }
}

#[component]
fn TableContent(table: impl Fn() -> Option<PlainTable> + Copy + Send + Sync + 'static) -> impl IntoView {
    let tick = use_ui().frame_loop.tick;
    let table = Memo::new(move |_| {
        tick.track();
        table()
    });
    let head = |head: &'static str| view! { <th scope="col">{head}</th> };
    let cell = |(index, text): (usize, String)| {
        if index == 0 {
            view! { <th scope="row" use:text_content=text></th> }.into_any()
        } else {
            view! { <td use:text_content=text></td> }.into_any()
        }
    };
    let row = move |cells: Vec<String>| view! { <tr>{cells.into_iter().enumerate().map(cell).collect_view()}</tr> };
    view! {
        <div class="scroll" tabindex="0" role="group" aria-label="Data of the chart">
            {move || table.get().map(|PlainTable { heads, rows }| view! {
                <table>
                    <thead><tr>{heads.into_iter().map(head).collect_view()}</tr></thead>
                    <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
                </table>
            })}
        </div>
    }
}
