//! `joey top` in a pseudo-terminal of 80 columns and 24 lines, which tests of other commands use too. `script`, which
//! every Debian has, creates it.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use joey_tests::relay::program;
use joey_tests::{Frame, Relay, eventually, eventually_is};
use parking_lot::Mutex;

/// The program in its terminal.
pub(crate) struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts `joey` with `arguments`. `environment` precedes the command, as in a shell.
    pub(crate) fn start(environment: &str, arguments: &str) -> Self {
        let command = format!("stty rows 24 cols 80; {environment} exec {} {arguments}", program().display());
        let mut script = Command::new("script");
        let script = script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        let script = script.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = script.spawn().expect("script runs");
        let keys = script.stdin.take().expect("it is a pipe");
        let mut output = script.stdout.take().expect("it is a pipe");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let drawn = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                drawn.lock().process(&bytes[..length]);
            }
        });
        Self { script, keys, screen }
    }

    /// Whether anything on screen has a colour.
    pub(crate) fn has_colors(&self) -> bool {
        let parser = self.screen.lock();
        let is_coloured = |row, column| {
            let cell = parser.screen().cell(row, column).expect("it is on screen");
            (cell.fgcolor(), cell.bgcolor()) != (vt100::Color::Default, vt100::Color::Default)
        };
        (0..24).any(|row| (0..80).any(|column| is_coloured(row, column)))
    }

    /// The text on screen.
    fn text(&self) -> String {
        self.screen.lock().screen().contents()
    }

    /// Waits until the screen contains `text`, and returns everything on it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        eventually(&format!("{text:?} is on screen:\n{}", self.text()), || {
            Some(self.text()).filter(|all| all.contains(text))
        })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is open");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// A relay with ten seconds of one computation: two durations of 1 µs and one of 3 ms in each.
fn relay() -> Relay {
    let relay = Relay::start();
    let frame = |end_s| Frame::new("App", "computation", ["p", "w", "Decode"], end_s).with(&[1_000, 1_000, 3_000_000]);
    relay.producer("App", "w").send_all(&(1_700_000_001..=1_700_000_010).map(frame).collect::<Vec<_>>());
    relay.wait_for_accepted(10);
    relay
}

#[test]
fn applications_views_and_one_view_are_shown_until_the_person_quits() {
    let relay = relay();
    let mut terminal = Terminal::start("", &format!("top --relay {}", relay.http));
    terminal.wait_for("App ");
    terminal.press("\r");
    // A screen arrives in parts.
    for text in ["Decode", "3.00 ms", "computation-by-worker"] {
        terminal.wait_for(text);
    }
    terminal.press("\r");
    terminal.wait_for("count 30");
    // The same range as in `joey stats`: the bin up to 1,024 ns, above the recorded minimum.
    let stats = relay.stats("App");
    assert_eq!(stats["views"][0]["quantiles"]["0.5"], serde_json::json!([1_000, 1_024]));
    terminal.wait_for("p50 1.00–1.02 µs");
    eventually("the heat map", || terminal.text().contains(['▀', '▄']).then_some(()));
    terminal.press(" ");
    terminal.wait_for("PAUSED");
    terminal.press("q");
    let status = eventually("the program ends", || terminal.script.try_wait().expect("it belongs to this test"));
    assert_eq!(status.code(), Some(0));
    // The screen before is back, and the cursor.
    eventually_is("screen", &(false, false), || {
        let parser = terminal.screen.lock();
        (parser.screen().alternate_screen(), parser.screen().hide_cursor())
    });
}

#[test]
fn a_relay_that_dies_leaves_its_last_figures_on_screen() {
    let mut relay = relay();
    let mut terminal = Terminal::start("", &format!("top App --relay {}", relay.http));
    terminal.wait_for("Decode");
    terminal.wait_for("3.00 ms");
    relay.kill();
    terminal.wait_for("NOT CONNECTED");
    terminal.wait_for("Decode");
    terminal.wait_for("3.00 ms");
    terminal.press("?");
    terminal.wait_for("reverse the order");
    terminal.press("?q");
    let status = eventually("the program ends", || terminal.script.try_wait().expect("it belongs to this test"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_terminal_without_colours_gets_none() {
    let relay = relay();
    for (environment, has_colours) in [("NO_COLOR=1", false), ("", true)] {
        let mut terminal = Terminal::start(environment, &format!("top App --relay {}", relay.http));
        terminal.wait_for("Decode");
        terminal.press("\r");
        terminal.wait_for("count 30");
        assert_eq!(terminal.has_colors(), has_colours, "{environment}");
    }
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = Command::new(program()).arg("top").stdin(Stdio::null()).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
}
