//! Architecture rules as tests: which modules may import which, how every file begins, what code must not contain.
//!
//! They read the sources as text, which is less precise than a compiler but sufficient. The rules can be circumvented
//! on purpose; a test names the rule that a change breaks by accident.

use std::fs;
use std::path::{Path, PathBuf};

use joey_tests::checkout;

/// Maximum length of a source file in lines. A longer file should be split.
const LINES_MAX: usize = 700;

/// A file of the checkout: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines compiled into the program: without comments, and without the unit tests, which come last.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let own =
            self.text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]") || line.len() > 12);
        own.filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line.split(" // ").next().unwrap_or(line)))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.ends_with("testing.rs")
    }
}

/// Every file below `folder` whose name ends with `ending`, except build results and git's files.
fn files(folder: &str, ending: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("folders can be read") {
            let path = entry.expect("folders can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !["target", "dist", ".git", "node_modules"].contains(&name.as_str()) {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let top = checkout();
    let mut found = Vec::new();
    walk(&top.join(folder), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let name =
            path.strip_prefix(&top).expect("it is in the checkout").to_str().expect("names are UTF-8").to_owned();
        name.ends_with(ending)
            .then(|| Source { path: name, text: fs::read_to_string(&path).expect("sources are UTF-8") })
    };
    found.into_iter().filter_map(read).collect()
}

fn rust(folders: &[&str]) -> Vec<Source> {
    folders.iter().flat_map(|folder| files(folder, ".rs")).collect()
}

const ALL: [&str; 8] = ["shared", "emit", "relay", "ui", "tests", "tools", "xtask", "bench"];

/// Asserts that no line of code of these sources contains any of these words.
fn never(sources: impl IntoIterator<Item = Source>, words: &[&str], why: &str) {
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in source.code() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{}:{at}: {word}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

fn manifest(package: &str) -> String {
    fs::read_to_string(checkout().join(package).join("Cargo.toml")).expect("every package has a manifest")
}

/// The entries of every table of a manifest whose name ends with `ending`.
fn tables<'a>(manifest: &'a str, ending: &'a str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    manifest.lines().filter(move |line| {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with(ending);
            return false;
        }
        inside && !line.starts_with('#') && !line.trim().is_empty() && !line.starts_with([' ', ']'])
    })
}

#[test]
fn every_source_file_begins_with_a_doc_comment() {
    let undocumented = rust(&ALL).into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_eq!(undocumented.map(|source| source.path).collect::<Vec<_>>(), [] as [String; 0], "no `//!` at the top");
}

#[test]
fn no_source_file_exceeds_the_line_limit() {
    let long = rust(&ALL).into_iter().filter(|source| source.text.lines().count() > LINES_MAX);
    assert_eq!(long.map(|source| source.path).collect::<Vec<_>>(), [] as [String; 0], "more than {LINES_MAX} lines");
}

#[test]
fn sources_contain_no_todo_markers() {
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("unimple", "mented!"), "todo!("];
    let mut found = Vec::new();
    for source in rust(&ALL).into_iter().chain(files("", ".md")).chain(files("", ".toml")).chain(files("", ".css")) {
        for (at, line) in source.text.lines().enumerate() {
            let is_whole = |word: &str| {
                let word = word.trim_end_matches(['!', '(']);
                line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word)
            };
            if words.iter().any(|word| line.contains(word) && is_whole(word)) && !line.contains("concat!") {
                // This is the compiler's lint of the same name.
                if !line.starts_with("todo = ") {
                    found.push(format!("{}:{}: {line}", source.path, at + 1));
                }
            }
        }
    }
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn shared_is_no_std_and_has_three_dependencies() {
    let lib = fs::read_to_string(checkout().join("shared/src/lib.rs")).expect("shared is a library");
    assert!(lib.lines().any(|line| line == "#![no_std]"));
    let words = ["std::", "tokio", "web_sys", "js_sys", "wasm_bindgen", "leptos"];
    let sources = rust(&["shared/src"]).into_iter().filter(|source| !source.is_test());
    never(sources, &words, "shared is arithmetic on plain data");
    let manifest = manifest("shared");
    assert_eq!(
        tables(&manifest, "[dependencies").collect::<Vec<_>>(),
        ["serde.workspace = true", "postcard.workspace = true", "smallvec.workspace = true"]
    );
}

#[test]
fn the_relay_computes_no_statistics() {
    let own = || rust(&["relay/src"]).into_iter().filter(|source| !source.is_test());
    never(own(), &["leptos", "web_sys", "joey_ui"], "the relay does not use the page's code");
    assert!(!manifest("relay").contains("leptos"));
    // The first four are viewers. The other two name fields of OTLP's messages.
    let exceptions = ["client", "export/statsd.rs", "rule.rs", "watch", "ingest/otlp/json.rs", "ingest/otlp/weight.rs"];
    let is_exception =
        |source: &Source| exceptions.iter().any(|path| source.path.starts_with(&format!("relay/src/{path}")));
    let routing = own().filter(|source| !is_exception(source));
    let words = ["quantile", "Quantile", "percentile", "AppStore", "shared::window::W", "throughput("];
    never(routing, &words, "the viewer computes statistics");
}

/// The modules of the relay. Each one uses only the modules before it.
const RELAY_MODULES: [&str; 19] = [
    "runtime",
    "metrics",
    "rule",
    "config",
    "data_point",
    "journal",
    "net",
    "auth",
    "hub",
    "ingest",
    "cluster",
    "export",
    "watch",
    "session",
    "http",
    "server",
    "demo",
    "client",
    "cli",
];

/// The sources of one module of the relay, without its tests.
fn relay_module(module: &str) -> Vec<Source> {
    let is_within =
        |path: &str| path == format!("relay/src/{module}.rs") || path.starts_with(&format!("relay/src/{module}/"));
    let sources = rust(&["relay/src"]).into_iter().filter(|source| !source.is_test() && is_within(&source.path));
    let sources: Vec<Source> = sources.collect();
    assert!(!sources.is_empty(), "there is no module {module}: update this rule");
    sources
}

#[test]
fn no_module_of_the_relay_uses_a_later_one() {
    let lib = fs::read_to_string(checkout().join("relay/src/lib.rs")).expect("the relay is a library");
    let listed: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, RELAY_MODULES, "lib.rs lists the modules in this order");
    for (at, module) in RELAY_MODULES.iter().enumerate() {
        let later: Vec<String> = RELAY_MODULES[at + 1..].iter().map(|later| format!("crate::{later}")).collect();
        let later: Vec<&str> = later.iter().map(String::as_str).collect();
        never(relay_module(module), &later, "a module uses only the modules before it");
    }
}

#[test]
fn relay_modules_do_not_use_unrelated_layers() {
    never(relay_module("ingest/wallaroo"), &["crate::hub", "tokio"], "decoding is pure");
    never(relay_module("hub"), &["crate::auth", "axum"], "the hub does not depend on transports or permissions");
    let without_http = relay_module("ingest").into_iter().filter(|source| {
        let name = source.path.strip_prefix("relay/src/ingest/otlp/").unwrap_or_default();
        !["refusal.rs", "budget.rs", "service.rs", "http.rs", "grpc.rs", "server.rs"].contains(&name)
    });
    never(without_http, &["axum", "hyper", "tonic::server"], "only OTLP's servers use HTTP");
    never(relay_module("session"), &["crate::ingest"], "a session reads from the hub only");
    never(
        relay_module("client"),
        &["crate::hub", "crate::ingest", "crate::session", "crate::http"],
        "clients do not use the server's modules",
    );
    never(
        relay_module("demo"),
        &["crate::hub", "crate::session", "crate::http"],
        "simulated producers use the real port",
    );
}

#[test]
fn only_the_clock_module_reads_the_wall_clock() {
    let others = rust(&["relay/src"])
        .into_iter()
        .filter(|source| !source.is_test() && source.path != "relay/src/runtime/clock.rs");
    never(others, &["SystemTime::now", "UNIX_EPOCH"], "only `runtime::clock` reads the wall clock");
}

/// Whether a file of the browser app may use browser APIs.
fn may_use_browser_apis(path: &str) -> bool {
    let impure =
        ["browser", "frame_loop", "local_storage", "connection", "connections", "zone", "main", "chart/canvas"]
            .map(|name| format!("ui/src/{name}.rs"));
    impure.iter().any(|other| other == path)
        || path.starts_with("ui/src/view/")
        || path.starts_with("ui/src/connection/")
        || path.starts_with("ui/src/frame_loop/")
}

#[test]
fn only_the_views_of_the_page_use_browser_apis() {
    let sources = rust(&["ui/src"]);
    let pure = sources.into_iter().filter(|source| !may_use_browser_apis(&source.path));
    let words = [
        "leptos",
        "web_sys",
        "js_sys",
        "wasm_bindgen",
        "gloo",
        "crate::browser",
        "crate::local_storage",
        "crate::view",
        "crate::connection",
        "crate::frame_loop",
    ];
    never(pure, &words, "only the outer modules of the page use browser APIs");
}

#[test]
fn only_one_file_draws_on_the_canvas() {
    let others = rust(&["ui/src"]).into_iter().filter(|source| source.path != "ui/src/chart/canvas.rs");
    never(
        others,
        &["CanvasRenderingContext2d", "fill_rect", "begin_path"],
        "charts are lists of shapes until the last step",
    );
}

#[test]
fn external_names_are_never_parsed_as_markup() {
    let words = ["inner_html", "outer_html", "insert_adjacent_html", "document.write", "eval(", "Function::new"];
    never(rust(&["ui/src"]), &words, "a name must never be parsed as markup");
    // The content security policy of the relay forbids inline styles too; the page would silently look wrong.
    never(
        rust(&["ui/src/view"]),
        &["style=", "\"style\"", "set_attribute(\"style"],
        "styles belong in the style sheet",
    );
}

#[test]
fn every_queue_has_a_bound() {
    let words = ["unbounded", "mpsc::channel()", "std::sync::mpsc"];
    let own = rust(&["shared/src", "emit/src", "relay/src", "ui/src"]);
    never(own, &words, "every queue must be bounded");
    let root = fs::read_to_string(checkout().join("clippy.toml")).expect("there are lints");
    let ui = fs::read_to_string(checkout().join("ui/clippy.toml")).expect("there are lints");
    // The browser app has no tokio, and Clippy would reject a path that does not exist.
    for line in root.lines().filter(|line| line.trim_start().starts_with("{ path = \"std::")) {
        let path = line.split(',').next().unwrap_or(line);
        assert!(ui.contains(path), "Clippy reads only the nearest file; ui/clippy.toml lacks {path}");
    }
    assert!(root.contains("unbounded_channel"));
}

#[test]
fn every_package_uses_the_workspace_lints_and_versions() {
    for package in ALL {
        let manifest = manifest(package);
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package} has no lints");
        let loose: Vec<&str> =
            tables(&manifest, "dependencies").filter(|line| !line.contains("workspace = true")).collect();
        assert!(loose.is_empty(), "{package} sets its own versions: {loose:?}");
    }
    let root = fs::read_to_string(checkout().join("Cargo.toml")).expect("there is a workspace");
    assert!(root.contains("unsafe_code = \"forbid\"") && root.contains("panic = \"unwind\""));
}

#[test]
fn no_file_refers_to_paths_outside_the_checkout() {
    let words = [
        concat!("/work/", "shared"),
        concat!("/work/", "main"),
        concat!("reference/", "wallaroo"),
        concat!("reference/", "reliab"),
        concat!("desi", "gn.md"),
    ];
    let texts = rust(&ALL)
        .into_iter()
        .chain([".md", ".toml", ".css", ".html"].into_iter().flat_map(|ending| files("", ending)));
    for source in texts {
        let found = source.text.lines().find(|line| words.iter().any(|word| line.contains(word)));
        assert_eq!(found, None, "{}", source.path);
    }
}

#[test]
fn every_xtask_command_in_the_documents_exists() {
    let help = fs::read_to_string(checkout().join("xtask/src/main.rs")).expect("xtask is there");
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Usage: cargo xtask"))
        .take_while(|line| !line.starts_with("Tools are"))
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .collect();
    assert!(verbs.contains(&"run") && verbs.contains(&"test"), "{verbs:?}");
    let mut mentioned = 0;
    for source in files("", ".md").into_iter().chain(rust(&["relay", "tests", "xtask"])) {
        for rest in source.text.split("cargo xtask ").skip(1) {
            let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            assert!(word.is_empty() || verbs.contains(&word.as_str()), "{}: cargo xtask {word}", source.path);
            mentioned += 1;
        }
    }
    assert!(mentioned > 0);
}

#[test]
fn every_link_in_the_documents_exists() {
    for source in files("", ".md") {
        let folder = checkout().join(&source.path).parent().expect("a file is in a folder").to_path_buf();
        for rest in source.text.split("](").skip(1) {
            let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                assert!(folder.join(target).exists(), "{}: {target}", source.path);
            }
        }
    }
}
