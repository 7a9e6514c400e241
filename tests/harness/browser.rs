//! Chromium, driven through ChromeDriver. Each test starts its own browser, which ends with the test.
//!
//! `CHROMEDRIVER` and `CHROME` name the programs; the defaults are Debian's paths. If one is missing, a test fails with
//! a line that names the command that installs it. It never passes without doing anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::Command as DriverCommand;
use thirtyfour::{By, Capabilities, WebDriver};
use tokio::runtime::Runtime;

use super::{checkout, eventually};

/// How to install missing programs.
const REMEDY: &str = "run `cargo xtask setup`, or set CHROME and CHROMEDRIVER";

/// Arguments that run Chromium without a screen and stop it from connecting to anything but the relay.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--window-size=1440,900",
];

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    page: Option<WebDriver>,
    driver: Child,
    /// The driver's log and the browser's profile.
    folder: TempDir,
}

impl Browser {
    /// Starts a browser with an empty page.
    ///
    /// # Panics
    /// If Chromium or ChromeDriver is missing or does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let chrome = find("CHROME", "/usr/bin/chromium");
        let (driver, port) = start_driver(folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        let mut browser = Self { runtime, page: None, driver, folder };
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&chrome));
        browser.page = Some(browser.runtime.block_on(session).expect("Chromium starts"));
        browser
    }

    fn page(&self) -> &WebDriver {
        self.page.as_ref().expect("the page is there until the end")
    }

    /// Opens an address.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn open(&self, address: &str) {
        self.runtime.block_on(self.page().goto(address)).expect("the address opens");
    }

    /// Runs a script on the page and returns its result; `arguments` are its `arguments`.
    ///
    /// # Panics
    /// If the script throws.
    #[must_use]
    pub fn evaluate(&self, script: &str, arguments: &[Value]) -> Value {
        let answer = self.runtime.block_on(self.page().execute(script, arguments.to_vec()));
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Returns the result of a script as text; empty if there is none.
    #[must_use]
    pub fn evaluate_text(&self, script: &str, arguments: &[Value]) -> String {
        self.evaluate(script, arguments).as_str().unwrap_or_default().to_owned()
    }

    /// Opens another view of the app by its address after `#`.
    pub fn go_to(&self, address: &str) {
        let _ = self.evaluate("location.hash = arguments[0]", &[address.into()]);
    }

    /// Sends one command of the DevTools protocol.
    ///
    /// # Panics
    /// If Chromium rejects it.
    pub fn command(&self, name: &str, parameters: Value) {
        let _ = self.command_result(name, parameters);
    }

    /// Sends one command of the DevTools protocol and returns its result.
    ///
    /// # Panics
    /// If Chromium rejects it.
    #[must_use]
    pub fn command_result(&self, name: &str, parameters: Value) -> Value {
        let answer = self.runtime.block_on(self.page().cdp().send_raw(name, parameters));
        answer.expect("Chromium knows the command")
    }

    /// Ids of the browser's processes.
    ///
    /// # Panics
    /// If this is not Linux.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").expect("this is Linux");
        let parent_of = |process: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // The fields after the program's name, which can contain any character, are: state, parent.
            stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
        };
        let all = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let ours = |&process: &u32| {
            std::iter::successors(parent_of(process), |&parent| parent_of(parent))
                .any(|parent| parent == self.driver.id())
        };
        all.filter(ours).collect()
    }

    /// Ids of the processes that run pages.
    #[must_use]
    pub fn renderer_ids(&self) -> Vec<u32> {
        let is_renderer = |process: &u32| {
            let words = std::fs::read_to_string(format!("/proc/{process}/cmdline"));
            words.is_ok_and(|words| words.contains("--type=renderer"))
        };
        self.process_ids().into_iter().filter(is_renderer).collect()
    }

    /// Chromium's performance counters of the page, by name. Requires `Performance.enable`.
    ///
    /// # Panics
    /// If Chromium rejects the command.
    #[must_use]
    pub fn performance_metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.command_result("Performance.getMetrics", json!({}));
        let metrics = answer["metrics"].as_array().into_iter().flatten();
        metrics.filter_map(|metric| Some((metric["name"].as_str()?.to_owned(), metric["value"].as_f64()?))).collect()
    }

    /// Sends a signal such as `STOP` to the browser and all its processes, but not to ChromeDriver.
    ///
    /// # Panics
    /// If there is no browser.
    pub fn signal(&self, name: &str) {
        // One of the processes may end before it receives the signal.
        eventually("the browser receives the signal", || {
            let ours: Vec<String> = self.process_ids().iter().map(ToString::to_string).collect();
            assert!(!ours.is_empty(), "the browser has processes");
            let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", ours.join(" "))).status();
            sent.expect("there is a shell").success().then_some(())
        });
    }

    /// Opens an empty tab in front of the page.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn hide(&self) {
        let front = async {
            let tab = self.page().new_tab().await?;
            self.page().switch_to_window(tab).await
        };
        self.runtime.block_on(front).expect("a tab can be opened");
    }

    /// Closes the tab in front of the page.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn show(&self) {
        let back = async {
            self.page().close_window().await?;
            let tabs = self.page().windows().await?;
            self.page().switch_to_window(tabs[0].clone()).await
        };
        self.runtime.block_on(back).expect("the page is there");
    }

    /// Resizes the page, in CSS pixels. It can be narrower than a window can be.
    pub fn resize(&self, width: u32, height: u32) {
        let phone = width < 500;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.command("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Sets the colour scheme that the user prefers: `dark` or `light`.
    pub fn set_color_scheme(&self, colours: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
        self.command("Emulation.setEmulatedMedia", features);
    }

    /// Clicks the first element that matches `selector`, in its middle.
    ///
    /// # Panics
    /// If there is none.
    pub fn click(&self, selector: &str) {
        // An element may be rendered again between the search and the click.
        eventually(&format!("{selector} can be pressed"), || {
            let pressed = async { self.page().find(By::Css(selector)).await?.click().await };
            self.runtime.block_on(pressed).ok()
        });
    }

    /// Moves, presses or releases the mouse at a point in CSS pixels of the viewport. `kind` is that of the command of
    /// the developer tools, such as `mousePressed`; `buttons` is 1 while the left button is held.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn mouse(&self, kind: &str, [x, y]: [f64; 2], buttons: u8) {
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1});
        self.command("Input.dispatchMouseEvent", event);
    }

    /// Touches the page with a finger at the first point of `path`, in CSS pixels of the viewport, moves it to the others, and
    /// lifts it at the last one.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn swipe(&self, path: &[[f64; 2]]) {
        let point = |at: &[f64; 2], milliseconds: u32| {
            let [x, y] = at.map(|length| length.round() as i64);
            json!({"type": "pointerMove", "duration": milliseconds, "x": x, "y": y, "origin": "viewport"})
        };
        let (first, rest) = path.split_first().expect("a finger is somewhere");
        let mut actions = vec![point(first, 0), json!({"type": "pointerDown", "button": 0})];
        actions.extend(rest.iter().map(|at| point(at, 80)));
        actions.push(json!({"type": "pointerUp", "button": 0}));
        let finger = json!([
            {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}, "actions": actions}
        ]);
        let command = DriverCommand::PerformActions(finger.into());
        self.runtime.block_on(self.page().handle().cmd(command)).expect("Chromium can be touched");
    }

    /// Types into the first element that matches `selector`.
    ///
    /// # Panics
    /// If there is none.
    pub fn type_into(&self, selector: &str, text: &str) {
        let typed = async { self.page().find(By::Css(selector)).await?.send_keys(text).await };
        self.runtime.block_on(typed).unwrap_or_else(|error| panic!("cannot type into {selector}: {error}"));
    }

    /// Types into the element that has the focus.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn press_focused(&self, text: &str) {
        let typed = async { self.page().active_element().await?.send_keys(text).await };
        self.runtime.block_on(typed).expect("something has the focus");
    }

    /// Text of the first element that matches `selector`, as in the document; empty if there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        self.evaluate_text("return document.querySelector(arguments[0])?.textContent ?? ''", &[selector.into()])
    }

    /// An attribute of the first element that matches `selector`.
    #[must_use]
    pub fn attribute(&self, selector: &str, name: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? ''";
        self.evaluate_text(script, &[selector.into(), name.into()])
    }

    /// Number of elements that match `selector`.
    #[must_use]
    pub fn count(&self, selector: &str) -> u64 {
        self.evaluate("return document.querySelectorAll(arguments[0]).length", &[selector.into()]).as_u64().unwrap_or(0)
    }

    /// Errors on the browser's console since the last call.
    ///
    /// # Panics
    /// If the driver does not return its log.
    #[must_use]
    pub fn console_errors(&self) -> Vec<String> {
        let entries = self.runtime.block_on(self.page().browser_log()).expect("the driver keeps a log");
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    /// Saves a screenshot of the page as `name`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn save_screenshot(&self, name: &str) {
        let folder = artifacts();
        std::fs::create_dir_all(&folder).expect("screenshots can be written");
        let file = folder.join(format!("{name}.png"));
        self.runtime.block_on(self.page().screenshot(&file)).expect("screenshots can be written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() && self.page.is_some() {
            // A screenshot shows more than any message.
            let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
            let file = artifacts().join(format!("failed-{name}.png"));
            let _ = std::fs::create_dir_all(artifacts());
            let _ = self.runtime.block_on(self.page().screenshot(&file));
            eprintln!("--- screenshot of the failed page: {}", file.display());
        }
        if let Some(page) = self.page.take() {
            let _ = self.runtime.block_on(page.quit());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Mentioned here so that it is dropped last: the browser writes into it until it has exited.
        let _ = &self.folder;
    }
}

/// Folder for screenshots.
#[must_use]
pub fn artifacts() -> PathBuf {
    std::env::var_os("JOEY_ARTIFACTS").map_or_else(|| checkout().join("target/e2e"), PathBuf::from)
}

/// Command-line arguments that make the relay under test serve the page.
///
/// # Panics
/// If the page has not been built.
#[must_use]
pub fn page_arguments() -> Vec<String> {
    let dist = std::env::var_os("JOEY_DIST").map_or_else(|| checkout().join("dist"), PathBuf::from);
    assert!(dist.join("index.html").is_file(), "no page in {}: run `cargo xtask ui`, or set JOEY_DIST", dist.display());
    vec!["--ui-dir".to_owned(), dist.display().to_string()]
}

/// Number of times that ChromeDriver is started. It takes a free IPv4 port and ends if the same IPv6 port is in use.
const DRIVER_STARTS: usize = 5;

/// Starts ChromeDriver and returns it with its port.
///
/// # Panics
/// If it ends each time.
fn start_driver(folder: &Path) -> (Child, u16) {
    let program = find("CHROMEDRIVER", "/usr/bin/chromedriver");
    let log = folder.join("log");
    for _ in 0..DRIVER_STARTS {
        let output = File::create(&log).expect("a log can be written");
        let mut driver = Command::new(&program)
            .arg("--port=0")
            // Use our own temporary folder for profiles, so that nothing is left behind.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("a log can be written"))
            .stdout(output)
            .spawn()
            .expect("ChromeDriver runs");
        let port = eventually("ChromeDriver listens or ends", || {
            if driver.try_wait().expect("ChromeDriver has a status").is_some() {
                return Some(None);
            }
            let log = std::fs::read_to_string(&log).ok()?;
            let (_, rest) = log.split_once("successfully on port ")?;
            rest.split_once('.')?.0.parse::<u16>().ok().map(Some)
        });
        if let Some(port) = port {
            return (driver, port);
        }
    }
    panic!("ChromeDriver ended {DRIVER_STARTS} times: {}", std::fs::read_to_string(&log).unwrap_or_default());
}

fn find(variable: &str, default: &str) -> PathBuf {
    let program = std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from);
    assert!(program.is_file(), "{} is missing: {REMEDY}", program.display());
    program
}

fn capabilities(chrome: &Path) -> Capabilities {
    let mut arguments = ARGUMENTS.to_vec();
    if is_root() {
        // Chromium's sandbox does not run as root.
        arguments.push("--no-sandbox");
    }
    let wanted = json!({
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": chrome, "args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    });
    match wanted {
        Value::Object(wanted) => wanted.into(),
        _ => unreachable!("it is an object"),
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
