//! What the person at the terminal has chosen, and what each key does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use joey_shared::view::{Kind, ViewKey};

use super::rows::{Column, Row};

/// The lengths of the window on offer, in seconds.
const WINDOWS: [u64; 5] = [10, 60, 300, 900, 3_600];

/// What is on screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// All applications.
    Applications,
    /// The views of an application.
    Views(String),
    /// One view of an application.
    View(String, ViewKey),
}

/// What the caller has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Draw again.
    Redraw,
    /// End the program.
    Quit,
    /// Set the length of all windows to [`State::seconds`].
    SetWindow,
    /// Show a copy of the data, or live data again.
    TogglePause,
}

/// The choices. The rows are those that were drawn last.
pub(super) struct State {
    pub(super) screen: Screen,
    /// The kinds of views of the current application.
    pub(super) kinds: Vec<Kind>,
    /// The kind of views to show; `None` shows all.
    pub(super) kind: Option<Kind>,
    /// Whether the person chose it. Before, it is the first one.
    is_kind_chosen: bool,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Whether keys are added to the filter.
    pub(super) is_typing: bool,
    pub(super) is_help_open: bool,
    /// The length of the window in seconds.
    pub(super) seconds: u64,
    /// The rows on screen.
    pub(super) rows: Vec<Row>,
    /// The selected row, by position.
    pub(super) selected: usize,
    /// The first row in sight.
    pub(super) first: usize,
    /// Number of rows in sight.
    pub(super) page: usize,
    /// The selected rows of the screens before this one.
    before: Vec<usize>,
}

impl State {
    pub(super) const fn new(seconds: u64) -> Self {
        Self {
            screen: Screen::Applications,
            kinds: Vec::new(),
            kind: None,
            is_kind_chosen: false,
            sort: Column::Name,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            is_help_open: false,
            seconds,
            rows: Vec::new(),
            selected: 0,
            first: 0,
            page: 1,
            before: Vec::new(),
        }
    }

    /// Replaces the kinds of views of the application.
    pub(super) fn set_kinds(&mut self, kinds: Vec<Kind>) {
        if !self.is_kind_chosen {
            self.kind = kinds.first().cloned();
        }
        self.kinds = kinds;
    }

    /// Replaces the rows. The selection stays on the same row, if it is still there.
    pub(super) fn set_rows(&mut self, rows: Vec<Row>) {
        let identity = |row: &Row| (row.key.clone(), row.label.clone());
        let selected = self.rows.get(self.selected).map(identity);
        let moved = selected.and_then(|selected| rows.iter().position(|row| identity(row) == selected));
        self.rows = rows;
        self.select(moved.unwrap_or(self.selected));
    }

    /// Selects a row, and scrolls so that it is in sight.
    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows.len().saturating_sub(1));
        self.show_selected();
    }

    fn show_selected(&mut self) {
        let page = self.page.max(1);
        self.first = self.first.min(self.selected).max((self.selected + 1).saturating_sub(page));
        self.first = self.first.min(self.rows.len().saturating_sub(page));
    }

    /// Sets the number of rows that fit on screen.
    pub(super) fn set_page(&mut self, rows: usize) {
        self.page = rows;
        self.show_selected();
    }

    /// Handles a key.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Command {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Command::Quit;
        }
        if self.is_help_open {
            self.is_help_open = false;
            return Command::Redraw;
        }
        if self.is_typing {
            self.type_key(key.code, is_control);
            return Command::Redraw;
        }
        match key.code {
            KeyCode::Char('q') => return Command::Quit,
            KeyCode::Char(' ' | 'p') => return Command::TogglePause,
            KeyCode::Char('[') => return self.change_window(false),
            KeyCode::Char(']') => return self.change_window(true),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.is_help_open = true,
            KeyCode::Char('/') if self.screen != Screen::Applications => self.is_typing = true,
            KeyCode::Char('s') => self.change_sort(1),
            KeyCode::Char('S') => self.change_sort(Column::ALL.len() - 1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Tab => self.change_kind(true),
            KeyCode::BackTab => self.change_kind(false),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(self.page)),
            KeyCode::PageDown => self.select(self.selected + self.page),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => self.back(),
            _ => {}
        }
        Command::Redraw
    }

    fn type_key(&mut self, code: KeyCode, is_control: bool) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char('u') if is_control => self.filter.clear(),
            // A filter is as long as a name at most.
            KeyCode::Char(c) if !is_control && self.filter.len() < 256 => self.filter.push(c),
            _ => {}
        }
    }

    fn change_window(&mut self, is_longer: bool) -> Command {
        let next = if is_longer {
            WINDOWS.into_iter().find(|&seconds| seconds > self.seconds)
        } else {
            WINDOWS.into_iter().rev().find(|&seconds| seconds < self.seconds)
        };
        let Some(seconds) = next else { return Command::Redraw };
        self.seconds = seconds;
        Command::SetWindow
    }

    fn change_sort(&mut self, by: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        self.sort = Column::ALL[(at + by) % Column::ALL.len()];
    }

    /// Shows the next or the previous kind of views. All kinds together are before the first.
    fn change_kind(&mut self, is_forward: bool) {
        if !matches!(self.screen, Screen::Views(_)) {
            return;
        }
        let at = self.kind.as_ref().and_then(|kind| self.kinds.iter().position(|known| known == kind));
        let place = at.map_or(0, |at| at + 1);
        let places = self.kinds.len() + 1;
        self.is_kind_chosen = true;
        let next = (place + if is_forward { 1 } else { places - 1 }) % places;
        self.kind = next.checked_sub(1).map(|at| self.kinds[at].clone());
        self.select(0);
    }

    /// Opens the selected row.
    fn open(&mut self) {
        let Some(row) = self.rows.get(self.selected) else { return };
        let next = match (&self.screen, &row.key) {
            (Screen::Applications, _) => Screen::Views(row.label.clone()),
            (Screen::Views(app), Some(key)) => Screen::View(app.clone(), key.clone()),
            _ => return,
        };
        self.before.push(self.selected);
        self.show(next);
        self.selected = 0;
    }

    /// Goes back to the screen before.
    fn back(&mut self) {
        let next = match &self.screen {
            Screen::Applications => return,
            Screen::Views(_) => Screen::Applications,
            Screen::View(app, _) => Screen::Views(app.clone()),
        };
        self.show(next);
        self.selected = self.before.pop().unwrap_or(0);
    }

    fn show(&mut self, screen: Screen) {
        let keeps_choices =
            matches!((&self.screen, &screen), (Screen::Views(_), Screen::View(..)) | (Screen::View(..), _));
        if !keeps_choices {
            self.filter.clear();
            self.kinds.clear();
            (self.kind, self.is_kind_chosen) = (None, false);
        }
        self.screen = screen;
        // The old rows are those of another screen. The selection must not follow them.
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::super::testing::store;
    use super::*;

    fn press(state: &mut State, keys: &str) -> Command {
        keys.chars().fold(Command::Redraw, |_, c| {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                c => KeyCode::Char(c),
            };
            state.on_key(KeyEvent::new(code, KeyModifiers::NONE))
        })
    }

    fn state() -> State {
        let mut state = State::new(300);
        state.screen = Screen::Views("App".to_owned());
        state.set_kinds(rows::kinds(&store()));
        let rows = rows::views(&mut store(), Some(&Kind::Computation), "", Column::Name, false);
        state.set_rows(rows);
        state
    }

    #[test]
    fn a_row_is_opened_and_left_again() {
        let mut state = state();
        press(&mut state, "j\n");
        assert_eq!(state.screen, Screen::View("App".to_owned(), ViewKey::computation("Encode")));
        press(&mut state, "\x1b");
        assert_eq!((&state.screen, state.selected), (&Screen::Views("App".to_owned()), 1));
        press(&mut state, "\x1b");
        assert_eq!(state.screen, Screen::Applications);
    }

    #[test]
    fn the_selection_follows_its_row() {
        let mut state = state();
        press(&mut state, "j");
        let rows = rows::views(&mut store(), Some(&Kind::Computation), "", Column::Quantile(2), false);
        state.set_rows(rows);
        assert_eq!((state.selected, state.rows[0].label.as_str()), (0, "Encode"));
    }

    #[test]
    fn a_filter_is_typed_and_removed() {
        let mut state = state();
        press(&mut state, "/qs\n");
        assert_eq!((state.filter.as_str(), state.is_typing), ("qs", false));
        press(&mut state, "\x1b");
        assert_eq!((state.filter.as_str(), &state.screen), ("", &Screen::Views("App".to_owned())));
    }

    #[test]
    fn kinds_columns_and_windows_are_changed() {
        let mut state = state();
        assert_eq!(state.kind, Some(Kind::Computation));
        press(&mut state, "\t");
        assert_eq!(state.kind, Some(Kind::ComputationByWorker));
        press(&mut state, "\t");
        assert_eq!(state.kind, None);
        state.set_kinds(rows::kinds(&store()));
        assert_eq!(state.kind, None);
        press(&mut state, "s");
        assert_eq!(state.sort, Column::Quantile(0));
        press(&mut state, "SS");
        assert_eq!(state.sort, Column::Rate);
        assert_eq!((press(&mut state, "]"), state.seconds), (Command::SetWindow, 900));
        assert_eq!(press(&mut state, "]]"), Command::Redraw);
    }

    #[test]
    fn the_selected_row_is_always_in_sight() {
        let mut state = state();
        let row = state.rows[0].clone();
        state.set_rows((0..100).map(|at| Row { label: at.to_string(), key: None, ..row.clone() }).collect());
        state.set_page(10);
        press(&mut state, "G");
        assert_eq!((state.selected, state.first), (99, 90));
        press(&mut state, "kkkkkkkkkkk");
        assert_eq!((state.selected, state.first), (88, 88));
        state.set_page(50);
        assert_eq!(state.first, 50);
        press(&mut state, "g");
        assert_eq!((state.selected, state.first), (0, 0));
    }
}
