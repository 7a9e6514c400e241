//! Draws the screen: a header, the table or the view, and the keys.

use joey_shared::format;
use joey_shared::histogram::QuantileRange;
use joey_shared::view::Kind;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Table};

use super::super::output::printable;
use super::chart::{Heatmap, bars};
use super::rows::{Column, Detail, Row, TABLE_QUANTILES, VIEW_QUANTILES};
use super::state::{Screen, State};

/// Colours of a heatmap from few to many events, from the 256 colours that terminals share.
const HEAT: [u8; 9] = [17, 18, 24, 30, 36, 72, 114, 185, 227];
/// The same without colours.
const SHADES: [char; 4] = ['░', '▒', '▓', '█'];
/// Width of the axis of a heatmap.
const AXIS_WIDTH: u16 = 11;
/// Width of the counts beside a heatmap.
const COUNTS_WIDTH: u16 = 20;
/// A narrower table leaves out P95, so that names have room.
const ALL_COLUMNS_WIDTH: u16 = 100;
/// Width of the row of bars in a table.
const BARS_WIDTH: u16 = 12;

/// What the header says beside the choices.
pub(super) struct Status<'a> {
    /// The relay's address.
    pub(super) relay: &'a str,
    /// Whether there is a connection.
    pub(super) is_connected: bool,
    /// Whether the screen is paused.
    pub(super) is_paused: bool,
    /// The last message for the person at the terminal.
    pub(super) message: Option<&'a str>,
    /// Whether the terminal may be coloured.
    pub(super) has_colors: bool,
}

/// Draws everything. `detail` is the view on screen, if there is one.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, detail: Option<&Detail>, status: &Status<'_>) {
    let [header, body, footer] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(header_lines(state, status, header.width)), header);
    match (&state.screen, detail) {
        (Screen::View(..), Some(detail)) => draw_view(frame, detail, status, body),
        (Screen::View(..), None) => frame.render_widget("No data of this view yet.", body),
        _ => draw_table(frame, state, status, body),
    }
    frame.render_widget(footer_line(state, status), footer);
    if state.is_help_open {
        draw_help(frame);
    }
}

fn header_lines(state: &State, status: &Status<'_>, width: u16) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let place = match &state.screen {
        Screen::Applications => printable(status.relay).into_owned(),
        Screen::Views(app) => printable(app).into_owned(),
        Screen::View(app, key) => {
            format!("{} › {}", printable(app), printable(&super::rows::label(key, true)))
        }
    };
    let mut right = vec![format!("window {}", format::age(state.seconds))];
    if status.is_paused {
        right.insert(0, "PAUSED".to_owned());
    }
    if !status.is_connected {
        right.insert(0, "NOT CONNECTED".to_owned());
    }
    let right = right.join(" · ");
    let left = Line::from(vec![Span::styled("joey top", bold), Span::raw(format!("  {place}"))]);
    let gap = usize::from(width).saturating_sub(left.width() + Span::raw(&right).width());
    let mut first = left;
    first.push_span(Span::raw(" ".repeat(gap.max(1))));
    first.push_span(Span::styled(right, bold));
    vec![first, second_line(state)]
}

/// The kinds of views, or the filter.
fn second_line(state: &State) -> Line<'static> {
    if state.is_typing || !state.filter.is_empty() {
        let cursor = if state.is_typing { "▏" } else { "" };
        return Line::from(format!("filter: {}{cursor}", printable(&state.filter)));
    }
    if !matches!(state.screen, Screen::Views(_)) {
        return Line::default();
    }
    let tab = |kind: Option<&Kind>| {
        let name = kind.map_or_else(|| "all".to_owned(), |kind| printable(kind.as_str()).into_owned());
        let is_shown = kind == state.kind.as_ref();
        Span::styled(
            format!(" {name} "),
            if is_shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() },
        )
    };
    // The kind on screen and the one before it are always in sight.
    let shown = state.kinds.iter().position(|kind| state.kind.as_ref() == Some(kind)).map_or(0, |at| at + 1);
    let tabs = std::iter::once(None).chain(state.kinds.iter().map(Some));
    Line::from_iter(tabs.skip(shown.saturating_sub(1)).map(tab))
}

fn footer_line(state: &State, status: &Status<'_>) -> Line<'static> {
    if let Some(message) = status.message {
        return Line::styled(printable(message).into_owned(), Style::new().add_modifier(Modifier::BOLD));
    }
    let keys = match (&state.screen, state.is_typing) {
        (_, true) => "Enter keep  Esc remove",
        (Screen::Applications, _) => "Enter open  s sort  r reverse  [ ] window  space pause  ? help  q quit",
        (Screen::Views(_), _) => "Enter open  Esc back  Tab kind  / filter  s sort  space pause  ? help  q quit",
        (Screen::View(..), _) => "Esc back  [ ] window  space pause  ? help  q quit",
    };
    Line::styled(keys, Style::new().add_modifier(Modifier::DIM))
}

fn draw_table(frame: &mut Frame<'_>, state: &mut State, status: &Status<'_>, area: Rect) {
    state.set_page(usize::from(area.height.saturating_sub(1)));
    let names = if state.screen == Screen::Applications { "APPLICATION" } else { "VIEW" };
    let heading = |name: &str, column: Column| {
        let mark = match (state.sort == column, state.is_reversed ^ (column == Column::Name)) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        Line::from(format!("{name}{mark}"))
    };
    let mut cells = vec![Cell::from(heading(names, Column::Name))];
    let quantiles: &[usize] = if area.width < ALL_COLUMNS_WIDTH { &[0, 2] } else { &[0, 1, 2] };
    for &at in quantiles {
        let (name, _) = TABLE_QUANTILES[at];
        cells.push(Cell::from(heading(name, Column::Quantile(at)).right_aligned()));
    }
    cells.push(Cell::from(heading("EVENTS/S", Column::Rate).right_aligned()));
    cells.push(Cell::from(Line::from("")));
    let last = state.rows.len().min(state.first + state.page);
    let rows = state.rows[state.first.min(last)..last].iter().enumerate().map(|(at, row)| {
        let is_selected = state.first + at == state.selected;
        let style = if is_selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        table_row(row, quantiles).style(style)
    });
    let widths = std::iter::once(Constraint::Fill(1))
        .chain(quantiles.iter().map(|_| Constraint::Length(13)))
        .chain([Constraint::Length(9), Constraint::Length(BARS_WIDTH)]);
    let heading_style = Style::new().add_modifier(Modifier::BOLD);
    if state.rows.is_empty() {
        let reason = match &state.screen {
            _ if !status.is_connected => "Waiting for the relay.",
            Screen::Applications => "No application has sent anything yet.",
            _ if !state.filter.is_empty() => "No view matches the filter.",
            _ => "No data of this application yet.",
        };
        frame.render_widget(reason, area);
        return;
    }
    let table = Table::new(rows, widths).header(TableRow::new(cells).style(heading_style)).column_spacing(1);
    frame.render_widget(table, area);
}

fn table_row(row: &Row, quantiles: &[usize]) -> TableRow<'static> {
    let name = printable(&row.label).into_owned();
    let silent = row.silent_ns.map(|ns| format!("  silent for {}", format::age(ns / 1_000_000_000)));
    let name = Line::from_iter(
        std::iter::once(Span::raw(name)).chain(silent.map(|text| Span::styled(text, Modifier::ITALIC))),
    );
    let mut cells = vec![Cell::from(name)];
    for &at in quantiles {
        cells.push(Cell::from(Line::from(range_text(row.quantiles[at], row.is_approximate)).right_aligned()));
    }
    let rate = row.rate.map_or_else(|| "-".to_owned(), |rate| format::rate(rate).to_string());
    cells.push(Cell::from(Line::from(rate).right_aligned()));
    cells.push(Cell::from(bars(&row.rates, usize::from(BARS_WIDTH))));
    TableRow::new(cells)
}

fn range_text(range: Option<QuantileRange>, is_approximate: bool) -> String {
    let mark = if is_approximate { "≈" } else { "" };
    range.map_or_else(|| "-".to_owned(), |range| format!("{mark}{}", format::range(range)))
}

fn draw_view(frame: &mut Frame<'_>, detail: &Detail, status: &Status<'_>, area: Rect) {
    let [figures, rates, charts] =
        Layout::vertical([Constraint::Length(3), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(figure_lines(detail)), figures);
    let label = "events/s";
    let width = usize::from(rates.width).saturating_sub(usize::from(AXIS_WIDTH) + usize::from(COUNTS_WIDTH));
    frame.render_widget(
        format!("{label:>axis$} {}", bars(&detail.row.rates, width), axis = usize::from(AXIS_WIDTH) - 1),
        rates,
    );
    if !detail.has_latency {
        frame.render_widget("This view has counts only, no latencies.", charts);
        return;
    }
    draw_heatmap(frame.buffer_mut(), detail, status, charts);
}

fn figure_lines(detail: &Detail) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let figure =
        |name: &str, value: String| vec![Span::raw(format!("{name} ")), Span::styled(value, bold), Span::raw("   ")];
    let quantile = |(name, q)| {
        let range = detail.histogram.quantile(q).filter(|_| detail.has_latency);
        figure(name, range_text(range, detail.is_approximate))
    };
    let (first, second) = VIEW_QUANTILES.split_at(3);
    let mut third = figure("count", format::count(detail.histogram.count()));
    let rate = detail.row.rate.map_or_else(|| "-".to_owned(), |rate| format::rate(rate).to_string());
    third.extend(figure("events/s", rate));
    let extremes = detail.histogram.extremes().filter(|_| detail.has_extremes && detail.has_latency);
    if let Some((min_ns, max_ns)) = extremes {
        third.extend(figure("min", format::duration(min_ns.into()).to_string()));
        third.extend(figure("max", format::duration(max_ns.into()).to_string()));
    }
    if let Some(mean_ns) = detail.histogram.mean_ns().filter(|_| detail.has_latency) {
        third.extend(figure("mean", format::duration(mean_ns as u128).to_string()));
    }
    let line = |part: &[_]| Line::from_iter(part.iter().copied().flat_map(quantile));
    vec![line(first), line(second), Line::from_iter(third)]
}

/// Draws the heatmap with half blocks, two rows of it in each line, with its axis and the counts of the window.
fn draw_heatmap(buffer: &mut Buffer, detail: &Detail, status: &Status<'_>, area: Rect) {
    let width = area.width.saturating_sub(AXIS_WIDTH + COUNTS_WIDTH);
    let lines = area.height.saturating_sub(1);
    // Without colours, a character has one shade.
    let rows_of_line = if status.has_colors { 2 } else { 1 };
    let Some(heatmap) = Heatmap::of(detail, width.into(), usize::from(lines) * rows_of_line) else {
        buffer.set_string(area.x, area.y, "No events in this window.", Style::new());
        return;
    };
    let max_count = heatmap.rows.chunks(rows_of_line).map(|rows| rows.iter().map(|row| row.count).sum::<u128>()).max();
    let mut y = area.y;
    for rows in heatmap.rows.chunks(rows_of_line) {
        let high = rows.first().map_or(0, |row| row.high);
        let label = format!("< {}", format::duration(high));
        buffer.set_string(area.x, y, format!("{label:>axis$}", axis = usize::from(AXIS_WIDTH) - 1), Style::new());
        for x in 0..width {
            let value = |at: usize| rows.get(at).and_then(|row| row.cells.get(usize::from(x))).copied().unwrap_or(0.0);
            let cell = &mut buffer[(area.x + AXIS_WIDTH + x, y)];
            if status.has_colors {
                let color = |value| match heatmap.level(value, HEAT.len()) {
                    0 => Color::Reset,
                    level => Color::Indexed(HEAT[level - 1]),
                };
                match (color(value(0)), color(value(1))) {
                    (Color::Reset, Color::Reset) => {}
                    (Color::Reset, bottom) => _ = cell.set_char('▄').set_fg(bottom),
                    (top, bottom) => _ = cell.set_char('▀').set_fg(top).set_bg(bottom),
                }
            } else if let Some(level) = heatmap.level(value(0), SHADES.len()).checked_sub(1) {
                cell.set_char(SHADES[level]);
            }
        }
        let count: u128 = rows.iter().map(|row| row.count).sum();
        buffer.set_string(area.x + AXIS_WIDTH + width, y, count_bar(count, max_count.unwrap_or(1)), Style::new());
        y += 1;
    }
    let low = heatmap.rows.last().map_or(0, |row| row.low);
    let start = format!(">= {}", format::duration(low.into()));
    let from = format!("-{}", format::age(detail.seconds.end() + 1 - detail.seconds.start()));
    buffer.set_string(area.x, y, format!("{start:>axis$}", axis = usize::from(AXIS_WIDTH) - 1), Style::new());
    let times = format!("{from:<width$}now", width = usize::from(width.saturating_sub(3)));
    buffer.set_string(area.x + AXIS_WIDTH, y, times, Style::new());
}

/// A bar and the count of it, in the width beside a heatmap.
fn count_bar(count: u128, max: u128) -> String {
    const BAR: usize = 8;
    let length = (count as f64 / max.max(1) as f64 * BAR as f64).ceil() as usize;
    let number = format::rate(count as f64).to_string();
    let number = if count == 0 { String::new() } else { number };
    format!(" {:<BAR$} {number:>9}", "█".repeat(length.min(BAR)))
}

const HELP: [(&str, &str); 12] = [
    ("↑ ↓ k j", "select a row"),
    ("PgUp PgDn", "move by a page"),
    ("Home End g G", "first or last row"),
    ("Enter → l", "open the selected row"),
    ("Esc ←", "go back, or remove the filter"),
    ("Tab", "next kind of views"),
    ("/", "show only views with these words"),
    ("s S", "sort by the next or previous column"),
    ("r", "reverse the order"),
    ("[ ]", "shorter or longer window"),
    ("space p", "pause: data still arrives"),
    ("q Ctrl-C", "quit"),
];

fn draw_help(frame: &mut Frame<'_>) {
    let lines = HELP.map(|(keys, what)| Line::from(format!(" {keys:<13} {what} ")));
    let area = frame.area();
    let (width, height) = (54.min(area.width), (HELP.len() as u16 + 4).min(area.height));
    let sheet = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    let note = Line::from(" A percentile is the range of its bin: low–high. ");
    let text: Vec<Line<'_>> = lines.into_iter().chain([Line::default(), note]).collect();
    frame.render_widget(Clear, sheet);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" Keys ")), sheet);
}

#[cfg(test)]
mod tests {
    use joey_shared::view::ViewKey;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rows;
    use super::super::testing::store;
    use super::*;

    const STATUS: Status<'_> =
        Status { relay: "ws://r", is_connected: true, is_paused: false, message: None, has_colors: true };

    /// The lines of the screen.
    fn screen(state: &mut State, detail: Option<&Detail>, status: &Status<'_>, size: (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a test terminal cannot fail");
        terminal.draw(|frame| draw(frame, state, detail, status)).expect("a test terminal cannot fail");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..size.1).map(line).collect()
    }

    fn views() -> State {
        let mut state = State::new(60);
        state.screen = Screen::Views("App".to_owned());
        state.set_kinds(rows::kinds(&store()));
        state.set_rows(rows::views(&mut store(), Some(&Kind::Computation), "", Column::Name, false));
        state
    }

    #[test]
    fn a_table_fits_a_terminal_of_80_columns() {
        let lines = screen(&mut views(), None, &STATUS, (80, 24));
        assert!(lines[0].starts_with("joey top  App") && lines[0].ends_with("window 60 s"), "{}", lines[0]);
        assert!(lines[1].contains("computation-by-worker"), "{}", lines[1]);
        assert!(lines[2].starts_with("VIEW▲") && lines[2].contains("EVENTS/S"), "{}", lines[2]);
        assert!(lines[3].starts_with("Decode") && lines[3].contains("4") && lines[3].ends_with('█'), "{}", lines[3]);
        assert!(lines[4].starts_with("Encode") && lines[4].contains("3.00 ms"), "{}", lines[4]);
        assert!(lines[23].contains("q quit"), "{}", lines[23]);
    }

    #[test]
    fn a_view_has_its_figures_and_a_heatmap() {
        let detail = rows::detail(&mut store(), &ViewKey::computation("Encode")).expect("it is there");
        let mut state = views();
        state.screen = Screen::View("App".to_owned(), ViewKey::computation("Encode"));
        for (has_colors, cell) in [(true, '▀'), (false, '█')] {
            let lines = screen(&mut state, Some(&detail), &Status { has_colors, ..STATUS }, (80, 24));
            let text = lines.join("\n");
            assert!(text.contains("p99.99 3.00 ms") && text.contains("count 10 "), "{text}");
            let heat = lines.iter().skip(6).find(|line| line.contains(cell)).expect("events are drawn");
            // The events of the last ten of sixty seconds: the last sixth of 49 columns.
            assert_eq!(heat.chars().skip(11).take(49).filter(|&drawn| drawn != ' ').count(), 9, "{text}");
        }
    }

    #[test]
    fn the_screen_says_when_it_is_paused_or_not_connected_and_has_help() {
        let mut state = views();
        let status = Status { is_connected: false, is_paused: true, message: Some("lost"), ..STATUS };
        let lines = screen(&mut state, None, &status, (80, 24));
        assert!(lines[0].contains("NOT CONNECTED · PAUSED") && lines[23] == "lost", "{lines:?}");
        state.is_help_open = true;
        assert!(screen(&mut state, None, &STATUS, (80, 24)).join("\n").contains("reverse the order"));
    }

    #[test]
    fn any_size_is_drawn() {
        let detail = rows::detail(&mut store(), &ViewKey::computation("Encode")).expect("it is there");
        for size in [(1, 1), (5, 3), (20, 5), (31, 9), (300, 100)] {
            for screen_of in [Screen::Applications, Screen::View("App".to_owned(), ViewKey::computation("Encode"))] {
                let mut state = views();
                state.screen = screen_of;
                state.is_help_open = size.0 > 10;
                let _ = screen(&mut state, Some(&detail), &STATUS, size);
            }
        }
    }
}
