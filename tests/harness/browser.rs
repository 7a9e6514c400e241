//! Chromium, through ChromeDriver: one browser for each test, ended with it.
//!
//! The programs are those of `CHROMEDRIVER` and `CHROME`, else Debian's. Where they are missing a test fails with one line
//! that says what installs them; it never passes by doing nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{By, Capabilities, WebDriver};
use tokio::runtime::Runtime;

use super::{checkout, eventually};

/// What is pressed to get the programs that are missing.
const REMEDY: &str = "run `cargo xtask setup`, or set CHROME and CHROMEDRIVER";

/// Arguments that let Chromium run without a screen and keep it from talking to anybody but the relay.
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

/// A browser with one page, driven step by step.
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
    /// When Chromium or ChromeDriver is missing or does not start.
    #[must_use]
    pub fn start() -> Self {
        let driver = find("CHROMEDRIVER", "/usr/bin/chromedriver");
        let chrome = find("CHROME", "/usr/bin/chromium");
        let folder = TempDir::new().expect("there is room for a profile");
        let log = File::create(folder.path().join("log")).expect("there is room for a log");
        let driver = Command::new(driver)
            // The folder of profiles is ours, so that nothing is left behind.
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("ChromeDriver runs");
        let port = eventually("ChromeDriver listens", || {
            let log = std::fs::read_to_string(folder.path().join("log")).ok()?;
            let (_, rest) = log.split_once("successfully on port ")?;
            rest.split_once('.')?.0.parse::<u16>().ok()
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads are to be had");
        let mut browser = Self { runtime, page: None, driver, folder };
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&chrome));
        browser.page = Some(browser.runtime.block_on(session).expect("Chromium starts"));
        browser
    }

    fn page(&self) -> &WebDriver {
        self.page.as_ref().expect("the page is there until the end")
    }

    /// Goes to an address.
    ///
    /// # Panics
    /// When the browser fails.
    pub fn open(&self, address: &str) {
        self.runtime.block_on(self.page().goto(address)).expect("the address opens");
    }

    /// Runs a script on the page and gives what it returns; `arguments` are its `arguments`.
    ///
    /// # Panics
    /// When the script throws.
    #[must_use]
    pub fn ask(&self, script: &str, arguments: &[Value]) -> Value {
        let answer = self.runtime.block_on(self.page().execute(script, arguments.to_vec()));
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// What a script returns as text; empty for nothing.
    #[must_use]
    pub fn ask_text(&self, script: &str, arguments: &[Value]) -> String {
        self.ask(script, arguments).as_str().unwrap_or_default().to_owned()
    }

    /// Goes to another page of the app by its address after `#`.
    pub fn go(&self, address: &str) {
        let _ = self.ask("location.hash = arguments[0]", &[address.into()]);
    }

    /// Sends one command of the DevTools protocol.
    ///
    /// # Panics
    /// When Chromium refuses it.
    pub fn command(&self, name: &str, parameters: Value) {
        let _ = self.answer(name, parameters);
    }

    /// Sends one command of the DevTools protocol, and gives the answer.
    ///
    /// # Panics
    /// When Chromium refuses it.
    #[must_use]
    pub fn answer(&self, name: &str, parameters: Value) -> Value {
        let answer = self.runtime.block_on(self.page().cdp().send_raw(name, parameters));
        answer.expect("Chromium knows the command")
    }

    /// The numbers of the browser's processes.
    ///
    /// # Panics
    /// When this is not Linux.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").expect("this is Linux");
        let parent_of = |process: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // After the program's name, which may hold anything: state, parent.
            stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
        };
        let all = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let ours = |&process: &u32| {
            std::iter::successors(parent_of(process), |&parent| parent_of(parent))
                .any(|parent| parent == self.driver.id())
        };
        all.filter(ours).collect()
    }

    /// Sends a signal, such as `STOP`, to the browser and all its processes, but not to ChromeDriver.
    ///
    /// # Panics
    /// When there is no browser.
    pub fn signal(&self, name: &str) {
        let ours: Vec<String> = self.processes().iter().map(ToString::to_string).collect();
        assert!(!ours.is_empty(), "the browser has processes");
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", ours.join(" "))).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Puts an empty tab in front of the page.
    ///
    /// # Panics
    /// When the browser fails.
    pub fn hide(&self) {
        let front = async {
            let tab = self.page().new_tab().await?;
            self.page().switch_to_window(tab).await
        };
        self.runtime.block_on(front).expect("there is room for a tab");
    }

    /// Closes the tab in front of the page.
    ///
    /// # Panics
    /// When the browser fails.
    pub fn show(&self) {
        let back = async {
            self.page().close_window().await?;
            let tabs = self.page().windows().await?;
            self.page().switch_to_window(tabs[0].clone()).await
        };
        self.runtime.block_on(back).expect("the page is there");
    }

    /// Makes the page this large, in CSS pixels; narrower than a window can be if need be.
    pub fn resize(&self, width: u32, height: u32) {
        let phone = width < 500;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.command("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Says which colours the reader prefers: `dark` or `light`.
    pub fn prefer(&self, colours: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
        self.command("Emulation.setEmulatedMedia", features);
    }

    /// Presses the first element that `selector` finds, as a person would: in the middle.
    ///
    /// # Panics
    /// When there is none.
    pub fn press(&self, selector: &str) {
        // An element may be drawn anew between being found and being pressed.
        eventually(&format!("{selector} can be pressed"), || {
            let pressed = async { self.page().find(By::Css(selector)).await?.click().await };
            self.runtime.block_on(pressed).ok()
        });
    }

    /// Types into the first element that `selector` finds.
    ///
    /// # Panics
    /// When there is none.
    pub fn type_into(&self, selector: &str, text: &str) {
        let typed = async { self.page().find(By::Css(selector)).await?.send_keys(text).await };
        self.runtime.block_on(typed).unwrap_or_else(|error| panic!("cannot type into {selector}: {error}"));
    }

    /// The text of the first element that `selector` finds, as it is in the document; empty where there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        self.ask_text("return document.querySelector(arguments[0])?.textContent ?? ''", &[selector.into()])
    }

    /// An attribute of the first element that `selector` finds.
    #[must_use]
    pub fn attribute(&self, selector: &str, name: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? ''";
        self.ask_text(script, &[selector.into(), name.into()])
    }

    /// How many elements `selector` finds.
    #[must_use]
    pub fn count(&self, selector: &str) -> u64 {
        self.ask("return document.querySelectorAll(arguments[0]).length", &[selector.into()]).as_u64().unwrap_or(0)
    }

    /// The errors on the browser's console since the last time it was asked.
    ///
    /// # Panics
    /// When the driver does not tell.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.runtime.block_on(self.page().browser_log()).expect("the driver keeps a log");
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    /// Keeps a picture of the page as `name`.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn picture(&self, name: &str) {
        let folder = artifacts();
        std::fs::create_dir_all(&folder).expect("there is room for pictures");
        let file = folder.join(format!("{name}.png"));
        self.runtime.block_on(self.page().screenshot(&file)).expect("there is room for pictures");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() && self.page.is_some() {
            // What was on screen says more than any message.
            let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
            let file = artifacts().join(format!("failed-{name}.png"));
            let _ = std::fs::create_dir_all(artifacts());
            let _ = self.runtime.block_on(self.page().screenshot(&file));
            eprintln!("--- the page when it failed: {}", file.display());
        }
        if let Some(page) = self.page.take() {
            let _ = self.runtime.block_on(page.quit());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Named, so that it is dropped last: the browser writes into it until it has ended.
        let _ = &self.folder;
    }
}

/// Where pictures are kept.
#[must_use]
pub fn artifacts() -> PathBuf {
    std::env::var_os("JOEY_ARTIFACTS").map_or_else(|| checkout().join("target/e2e"), PathBuf::from)
}

/// How the relay under test is to serve the page: words for its command line.
///
/// # Panics
/// When there is no page.
#[must_use]
pub fn page_words() -> Vec<String> {
    let dist = std::env::var_os("JOEY_DIST").map_or_else(|| checkout().join("dist"), PathBuf::from);
    assert!(dist.join("index.html").is_file(), "no page in {}: run `cargo xtask ui`, or set JOEY_DIST", dist.display());
    vec!["--ui-dir".to_owned(), dist.display().to_string()]
}

fn find(variable: &str, usual: &str) -> PathBuf {
    let program = std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from);
    assert!(program.is_file(), "{} is missing: {REMEDY}", program.display());
    program
}

fn capabilities(chrome: &Path) -> Capabilities {
    let mut arguments = ARGUMENTS.to_vec();
    if is_root() {
        // Chromium refuses to run in its sandbox as root.
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
