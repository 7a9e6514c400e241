//! `joey top`: the applications of a relay, their views, and one view, live in a terminal.
//!
//! [`state`](self::state) holds the choices and handles keys, [`rows`](self::rows) reads the store, and [`draw`](self::draw)
//! draws. The screen is drawn twice a second and after each key.

mod chart;
mod draw;
mod rows;
mod source;
mod state;
#[cfg(test)]
mod testing;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt as _;
use joey_shared::series::{Filter, START_TO_END, Topic};
use joey_shared::store::WINDOW_SECONDS;
use joey_shared::viewer::Viewer;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::Start;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use self::draw::Status;
use self::source::{Frozen, Source};
use self::state::{Command, Screen, State};
use super::Outcome;
use super::args::Top;
use super::connection::Connection;
use crate::runtime::console;

/// Interval at which the screen is drawn. Producers report once a second or less often.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);
/// How long a message is shown.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// Maximum number of applications whose figures are subscribed to; as on the page.
const SUBSCRIBED_APPS_MAX: usize = 50;

/// Shows the screen until the person quits.
///
/// # Errors
/// Fails without a terminal, or if the connection is lost permanently.
pub(crate) async fn run(top: Top) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "joey top needs a terminal; joey stats and joey tap do not"
    );
    let mut connection = Connection::new(&top.target, Viewer::new(top.window));
    let messages = console::divert();
    let terminal = ratatui::try_init()?;
    let mut screen = TopScreen::new(terminal, &top, messages);
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = screen.run(&mut connection) => outcome,
        _ = terminate.recv() => Ok(()),
    };
    ratatui::restore();
    console::restore();
    outcome.map(|()| Outcome::Done)
}

/// The terminal and what it shows.
struct TopScreen {
    terminal: DefaultTerminal,
    state: State,
    /// The data while the screen is paused.
    paused: Option<Frozen>,
    /// The data while there is no connection, unless the screen is paused.
    last: Option<Frozen>,
    /// The longest history that subscriptions have requested, in seconds.
    requested_seconds: u64,
    relay: String,
    messages: Receiver<String>,
    message: Option<(String, Instant)>,
    has_colors: bool,
}

impl TopScreen {
    fn new(terminal: DefaultTerminal, top: &Top, messages: Receiver<String>) -> Self {
        let mut state = State::new(top.window);
        if let Some(app) = &top.app {
            state.screen = Screen::Views(app.clone());
        }
        Self {
            terminal,
            state,
            paused: None,
            last: None,
            requested_seconds: top.window.max(WINDOW_SECONDS),
            relay: top.target.relay.join(", "),
            messages,
            message: None,
            has_colors: console::allows_colors(),
        }
    }

    async fn run(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let mut keys = EventStream::new();
        let mut draw = tokio::time::interval(DRAW_INTERVAL);
        loop {
            if !connection.is_connected() {
                self.last = Some(Frozen::of(&connection.viewer, connection.now_ns()));
                if !self.connect(connection, &mut keys, &mut draw).await? {
                    return Ok(());
                }
                continue;
            }
            self.last = None;
            self.update_subscriptions(connection);
            connection.send().await?;
            // `next` may be cancelled. What handles its event must not be.
            let received = tokio::select! {
                received = connection.next() => received,
                event = keys.next() => {
                    if !self.on_event(event, connection)? {
                        return Ok(());
                    }
                    None
                }
                _ = draw.tick() => {
                    self.draw_live(connection)?;
                    None
                }
            };
            if let Some(received) = received {
                connection.handle(received, |_| {}).await?;
            }
        }
    }

    /// Connects, while the last data stays on screen. Returns false when the person quits.
    async fn connect(
        &mut self,
        connection: &mut Connection,
        keys: &mut EventStream,
        draw: &mut tokio::time::Interval,
    ) -> anyhow::Result<bool> {
        let mut new_seconds = None;
        {
            let mut attempt = std::pin::pin!(connection.connect());
            loop {
                tokio::select! {
                    outcome = &mut attempt => {
                        outcome?;
                        break;
                    }
                    event = keys.next() => {
                        match self.on_key_event(event)? {
                            Some(Command::Quit) => return Ok(false),
                            Some(Command::SetWindow) => {
                                new_seconds = Some(self.state.seconds);
                                self.frozen_seconds();
                            }
                            Some(Command::TogglePause) => self.paused = self.paused.take().map_or_else(|| self.last.take(), |_| None),
                            Some(Command::Redraw) | None => {}
                        }
                        self.draw_frozen()?;
                    }
                    _ = draw.tick() => self.draw_frozen()?,
                }
            }
        }
        if let Some(seconds) = new_seconds {
            self.set_window(connection, seconds);
        }
        Ok(true)
    }

    /// Handles a key while connected. Returns false to quit.
    fn on_event(&mut self, event: Option<io::Result<Event>>, connection: &mut Connection) -> anyhow::Result<bool> {
        match self.on_key_event(event)? {
            Some(Command::Quit) => return Ok(false),
            Some(Command::SetWindow) => {
                self.set_window(connection, self.state.seconds);
                self.frozen_seconds();
            }
            Some(Command::TogglePause) => {
                let now_ns = connection.now_ns();
                let copy = || Some(Frozen::of(&connection.viewer, now_ns));
                self.paused = self.paused.take().map_or_else(copy, |_| None);
            }
            Some(Command::Redraw) | None => {}
        }
        self.draw_live(connection)?;
        Ok(true)
    }

    fn on_key_event(&mut self, event: Option<io::Result<Event>>) -> anyhow::Result<Option<Command>> {
        match event {
            Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => Ok(Some(self.state.on_key(key))),
            Some(event) => event.map(|_| None).map_err(Into::into),
            // The terminal is gone.
            None => Ok(Some(Command::Quit)),
        }
    }

    /// Sets the length of all windows. A window that is longer than all before is requested again from the relay.
    fn set_window(&mut self, connection: &mut Connection, seconds: u64) {
        let viewer = &mut connection.viewer;
        viewer.set_seconds(seconds);
        if seconds > self.requested_seconds {
            self.requested_seconds = seconds;
            let topics: Vec<Topic> = viewer.topics().cloned().collect();
            topics.iter().for_each(|topic| viewer.unsubscribe(topic));
            let apps: Vec<String> = viewer.catalogue().keys().cloned().collect();
            apps.iter().for_each(|app| viewer.forget(app));
        }
    }

    fn frozen_seconds(&mut self) {
        let seconds = self.state.seconds;
        [&mut self.paused, &mut self.last].into_iter().flatten().for_each(|frozen| frozen.set_seconds(seconds));
    }

    /// Subscribes to everything of the application on screen, or to the pipelines of all applications.
    fn update_subscriptions(&self, connection: &mut Connection) {
        let viewer = &mut connection.viewer;
        let needed: Vec<Topic> = match &self.state.screen {
            Screen::Views(app) | Screen::View(app, _) => vec![Topic { app: app.clone(), filter: Filter::All }],
            Screen::Applications => {
                let topic = |app: &String| {
                    [START_TO_END, joey_shared::series::COMPUTATION]
                        .map(|category| Topic { app: app.clone(), filter: Filter::Category(category.to_owned()) })
                };
                viewer.catalogue().keys().take(SUBSCRIBED_APPS_MAX).flat_map(topic).collect()
            }
        };
        let unneeded: Vec<Topic> = viewer.topics().filter(|topic| !needed.contains(topic)).cloned().collect();
        unneeded.iter().for_each(|topic| viewer.unsubscribe(topic));
        let span_ns = self.requested_seconds * SLOT_NS;
        needed.into_iter().for_each(|topic| viewer.subscribe(topic, Start::Recent { span_ns }));
    }

    fn draw_live(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let now_ns = connection.now_ns();
        connection.viewer.advance(now_ns);
        let mut paused = self.paused.take();
        let source = match &mut paused {
            Some(frozen) => Source::Frozen(frozen),
            None => Source::Live(&mut connection.viewer, now_ns),
        };
        let is_paused = matches!(source, Source::Frozen(_));
        let drawn = self.draw(source, true, is_paused);
        self.paused = paused;
        drawn
    }

    fn draw_frozen(&mut self) -> anyhow::Result<()> {
        let (mut paused, mut last) = (self.paused.take(), self.last.take());
        let is_paused = paused.is_some();
        let drawn = match paused.as_mut().or(last.as_mut()) {
            Some(frozen) => self.draw(Source::Frozen(frozen), false, is_paused),
            None => Ok(()),
        };
        (self.paused, self.last) = (paused, last);
        drawn
    }

    fn draw(&mut self, mut source: Source<'_>, is_connected: bool, is_paused: bool) -> anyhow::Result<()> {
        let state = &mut self.state;
        let mut detail = None;
        match &state.screen {
            Screen::Applications => {
                let rows = rows::applications(&mut source, state.sort, state.is_reversed);
                state.set_rows(rows);
            }
            Screen::Views(app) => {
                let mut store = source.store(app);
                let kinds = store.as_ref().map_or_else(Vec::new, |store| rows::kinds(store));
                state.set_kinds(kinds);
                let rows = store.as_mut().map_or_else(Vec::new, |store| {
                    rows::views(store, state.kind.as_ref(), &state.filter, state.sort, state.is_reversed)
                });
                state.set_rows(rows);
            }
            Screen::View(app, key) => detail = source.store(app).and_then(|store| rows::detail(store, key)),
        }
        while let Ok(message) = self.messages.try_recv() {
            self.message = Some((message, Instant::now()));
        }
        self.message.take_if(|(_, since)| since.elapsed() > MESSAGE_TIME);
        let status = Status {
            relay: &self.relay,
            is_connected,
            is_paused,
            message: self.message.as_ref().map(|(message, _)| message.as_str()),
            has_colors: self.has_colors,
        };
        self.terminal.draw(|frame| draw::draw(frame, state, detail.as_ref(), &status))?;
        Ok(())
    }
}
