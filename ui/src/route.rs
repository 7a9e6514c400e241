//! Hash routing: the fragment of the address names a page.
//!
//! Each name is percent-encoded on its own, so a name can contain `/`, `?`, `#` or `%`, or be empty. The window, the
//! typed percentiles and the selected range are part of the address (`?w=60&p=99.95&from=…&to=…`), so that a shared
//! link shows the same. What it is compared with is `vs=` and `base=`, see [`Reference`]; how tables are shown is in
//! [`TableChoice`]. The objectives of the application are `slo=`, and `under=10ms` is a threshold that was dragged. The
//! relays are `relays=wss%3A%2F%2Fa%2Fws,wss%3A%2F%2Fb%2Fws`, unless the page uses only its own. `leptos_router` has no
//! hash routing, and a path would need a server that answers every path with the page.

use joey_shared::objective::{Objective, parse_threshold, threshold_text};
use joey_shared::view::{Kind, ViewKey};

use crate::objectives;
use crate::reference::{BaselineRange, Reference};
use crate::table_choice::TableChoice;
use crate::time_range::TimeRange;
use crate::typed_percentile::TypedPercentile;
use crate::wall::Wall;

/// Maximum length of the list of relays, in bytes. It is far below what a browser accepts as an address.
const RELAYS_BYTES_MAX: usize = 16_384;

/// A page and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The page.
    pub page: Page,
    /// The length of the window in seconds, if the address contains it.
    pub window_seconds: Option<u64>,
    /// The typed percentiles in the address.
    pub percentiles: Vec<TypedPercentile>,
    /// How the tables are shown.
    pub tables: TableChoice,
    /// The selected range of time, if the address contains it.
    pub range: Option<TimeRange>,
    /// Wall mode, if the address contains it.
    pub wall: Option<Wall>,
    /// What is compared with, if the address contains it.
    pub reference: Option<Reference>,
    /// The baseline of the application, if the address contains it.
    pub baseline: Option<BaselineRange>,
    /// The objectives of the application, if the address contains any.
    pub objectives: Vec<Objective>,
    /// The threshold on the charts in ns, if it was dragged.
    pub threshold_ns: Option<u64>,
    /// The relays in the address: the addresses of each, separated by spaces. Empty if it names none.
    pub relays: Vec<String>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// All applications.
    Landing,
    /// One application.
    Dashboard(String),
    /// The workers of one application.
    Workers(String),
    /// One view of one application.
    Detail(String, ViewKey),
    /// An unknown page, with its address.
    Unknown(String),
}

impl Page {
    /// The application of the page, if it has one.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::Dashboard(app) | Self::Workers(app) | Self::Detail(app, _) => Some(app),
            Self::Landing | Self::Unknown(_) => None,
        }
    }
}

impl Route {
    /// The route to `page`, shown as before.
    #[must_use]
    pub const fn to(page: Page) -> Self {
        let tables = TableChoice::DEFAULT;
        Self {
            page,
            window_seconds: None,
            percentiles: Vec::new(),
            tables,
            range: None,
            reference: None,
            baseline: None,
            wall: None,
            objectives: Vec::new(),
            threshold_ns: None,
            relays: Vec::new(),
        }
    }

    /// Parses the fragment of an address.
    #[must_use]
    pub fn parse(hash: &str) -> Self {
        let (path, query) = parts(hash);
        let window_seconds = value(query, "w=").and_then(|seconds| seconds.parse().ok());
        let percentiles = value(query, "p=").map(TypedPercentile::parse_list).unwrap_or_default();
        let range = value(query, "from=").zip(value(query, "to=")).and_then(|(from, to)| TimeRange::parse(from, to));
        let wall = value(query, "wall=").and_then(|seconds| Wall::parse(seconds, value(query, "pages=").unwrap_or("")));
        let typed = || hash.strip_prefix('#').unwrap_or(hash).to_owned();
        let tables = TableChoice::parse(|name| value(query, name));
        let page = page_of(path).unwrap_or_else(|| Page::Unknown(typed()));
        let reference = value(query, "vs=").and_then(Reference::parse);
        let baseline = value(query, "base=").and_then(BaselineRange::parse);
        let relays = value(query, "relays=").map(relays_of).unwrap_or_default();
        let objectives = value(query, "slo=").and_then(decode).map(|text| objectives::parse_saved(&text));
        let threshold_ns = value(query, "under=").and_then(parse_threshold).filter(|&ns| ns > 0);
        Self {
            page,
            window_seconds,
            percentiles,
            tables,
            range,
            reference,
            baseline,
            wall,
            objectives: objectives.unwrap_or_default(),
            threshold_ns,
            relays,
        }
    }

    /// The address of this route, from `#` on.
    #[must_use]
    pub fn address(&self) -> String {
        let mut parameters = Vec::new();
        parameters.extend(self.window_seconds.map(|seconds| format!("w={seconds}")));
        if !self.percentiles.is_empty() {
            parameters.push(format!("p={}", TypedPercentile::list_text(&self.percentiles)));
        }
        parameters.extend(self.tables.parameters());
        parameters.extend(self.range.map(|range| range.to_string()));
        parameters.extend(self.wall.as_ref().map(Wall::to_string));
        parameters.extend(self.reference.as_ref().and_then(Reference::text).map(|text| format!("vs={text}")));
        parameters.extend(self.baseline.as_ref().map(|baseline| format!("base={}", baseline.text())));
        parameters.extend(self.threshold_ns.map(|ns| format!("under={}", threshold_text(ns))));
        if !self.objectives.is_empty() {
            parameters.push(format!("slo={}", encode(objectives::saved_text(&self.objectives).trim_end())));
        }
        if !self.relays.is_empty() {
            let relays: Vec<String> = self.relays.iter().map(|relay| encode(relay)).collect();
            parameters.push(format!("relays={}", relays.join(",")));
        }
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("#{}{mark}{}", path_of(&self.page), parameters.join("&"))
    }
}

/// The token in the fragment of an address: `#token=…`, or a parameter `token=…` beside the window.
#[must_use]
pub fn token_in(hash: &str) -> Option<&str> {
    let token = value(parts(hash).1, "token=")?;
    // A valid token contains no other characters.
    token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)).then_some(token)
}

/// The data in the fragment of an address, see [`share_link`](crate::share_link).
#[must_use]
pub fn data_in(hash: &str) -> Option<&str> {
    value(parts(hash).1, "data=")
}

/// `address`, which begins with `#`, with `data` in it.
#[must_use]
pub fn with_data(address: &str, data: Option<&str>) -> String {
    let mark = if address.contains('?') { '&' } else { '?' };
    data.map_or_else(|| address.to_owned(), |data| format!("{address}{mark}data={data}"))
}

/// The path and the query of a fragment. A fragment can be a token alone.
fn parts(hash: &str) -> (&str, &str) {
    let rest = hash.strip_prefix('#').unwrap_or(hash);
    if rest.starts_with("token=") { ("", rest) } else { rest.split_once('?').unwrap_or((rest, "")) }
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name))
}

/// The relays in a list, each percent-encoded. Too long a list is ignored.
fn relays_of(list: &str) -> Vec<String> {
    if list.len() > RELAYS_BYTES_MAX {
        return Vec::new();
    }
    list.split(',').filter(|relay| !relay.is_empty()).filter_map(decode).collect()
}

pub(crate) fn page_of(path: &str) -> Option<Page> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Page::Landing);
    }
    let segments = path.split('/').map(decode).collect::<Option<Vec<String>>>()?;
    let [first, app, rest @ ..] = segments.as_slice() else { return None };
    if first != "applications" {
        return None;
    }
    let app = app.clone();
    match rest {
        // Somebody has typed the application only.
        [] if !app.is_empty() => Some(Page::Dashboard(app)),
        [] => None,
        [section] if section == "dashboard" || section.is_empty() => Some(Page::Dashboard(app)),
        [section] if section == "workers-dashboard" => Some(Page::Workers(app)),
        [section, names @ ..] => key_of(section, names).map(|key| Page::Detail(app, key)),
    }
}

fn key_of(section: &str, names: &[String]) -> Option<ViewKey> {
    let key = |kind, pipeline: Option<&String>, worker: Option<&String>, name: Option<&String>| {
        Some(ViewKey { kind, pipeline: pipeline.cloned(), worker: worker.cloned(), name: name.cloned() })
    };
    match (section, names) {
        ("start-to-end", [pipeline]) => key(Kind::StartToEnd, Some(pipeline), None, None),
        ("start-to-end-by-worker", [pipeline, worker]) => {
            key(Kind::StartToEndByWorker, Some(pipeline), Some(worker), None)
        }
        ("node-ingress-egress", [worker]) => key(Kind::NodeIngressEgress, None, Some(worker), None),
        // The total of an instance over its spans.
        ("node-ingress-egress", [worker, name]) => key(Kind::NodeIngressEgress, None, Some(worker), Some(name)),
        ("node-ingress-egress-by-pipeline", [pipeline, worker]) => {
            key(Kind::NodeIngressEgressByPipeline, Some(pipeline), Some(worker), None)
        }
        ("computation", [name]) => key(Kind::Computation, None, None, Some(name)),
        ("computation-by-worker", [pipeline, worker, name]) => {
            key(Kind::ComputationByWorker, Some(pipeline), Some(worker), Some(name))
        }
        ("pipeline-ingestion", [pipeline, name]) => key(Kind::PipelineIngestion, Some(pipeline), None, Some(name)),
        ("throughput", [name]) => key(Kind::Throughput, None, None, Some(name)),
        ("other", [category, name]) => key(Kind::Other(category.clone()), None, None, Some(name)),
        _ => None,
    }
}

/// What identifies the view `key` within its application: the last part of the path of its page.
#[must_use]
pub fn key_path(key: &ViewKey) -> String {
    let mut path = match &key.kind {
        Kind::Other(category) => format!("other/{}", encode(category)),
        known => known.as_str().to_owned(),
    };
    for name in [&key.pipeline, &key.worker, &key.name].into_iter().flatten() {
        path.push('/');
        path.push_str(&encode(name));
    }
    path
}

pub(crate) fn path_of(page: &Page) -> String {
    match page {
        Page::Landing => "/".to_owned(),
        Page::Dashboard(app) => format!("/applications/{}/dashboard", encode(app)),
        Page::Workers(app) => format!("/applications/{}/workers-dashboard", encode(app)),
        Page::Detail(app, key) => format!("/applications/{}/{}", encode(app), key_path(key)),
        Page::Unknown(typed) => typed.clone(),
    }
}

/// Percent-encodes everything except ASCII letters, digits and `-._~`.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

/// Decodes percent-encoded text. Returns `None` if an escape is invalid or the bytes are not UTF-8.
#[must_use]
pub fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_parsed_from_any_address_and_written_to_none() {
        for (hash, token, address) in [
            ("#token=a", "a", "#/"),
            ("#token=a&w=60", "a", "#/?w=60"),
            ("#/applications/x/dashboard?token=a", "a", "#/applications/x/dashboard"),
            ("#/?w=60&token=a-_.9&y=1", "a-_.9", "#/?w=60"),
            ("#token=", "", "#/"),
        ] {
            assert_eq!((token_in(hash), Route::parse(hash).address().as_str()), (Some(token), address), "{hash}");
        }
        for hash in ["", "#", "#/x", "#/?nottoken=a", "#token=a%20b", "#token=a,b", "#token=\u{e9}"] {
            assert_eq!(token_in(hash), None, "{hash}");
        }
    }

    #[test]
    fn the_address_of_an_application_alone_is_that_of_its_dashboard() {
        for typed in ["#/applications/a%20b", "#/applications/a%20b/", "#/applications/a%20b/dashboard"] {
            let route = Route::parse(typed);
            assert_eq!(route.page, Page::Dashboard("a b".to_owned()), "{typed}");
            assert_eq!(route.address(), "#/applications/a%20b/dashboard", "{typed}");
        }
    }

    const NAMES: [&str; 9] =
        ["plain", "a/b?c#d%e@f:g*h i", "", "%2F", "Décodage · 解码 🚀", "<b>bold</b>&amp;", "مرحبا", "..", "?w=9"];

    fn some(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn check(page: Page) {
        for window_seconds in [None, Some(60)] {
            for percentiles in ["", "75,99.95"].map(TypedPercentile::parse_list) {
                let tables = TableChoice { filter: "a&b=c".to_owned(), ..TableChoice::DEFAULT };
                for reference in [None, Some(Reference::View("a&b".to_owned(), ViewKey::computation("?w=9#")))] {
                    let range =
                        window_seconds.map(|seconds| TimeRange { from: 1_700_000_000, to: 1_700_000_000 + seconds });
                    let baseline = window_seconds.map(|to| BaselineRange { from: 7, to, name: "a & b".to_owned() });
                    let (page, percentiles, tables) = (page.clone(), percentiles.clone(), tables.clone());
                    let wall = window_seconds.map(|_| Wall { seconds: 30, pages: vec![Page::Landing, page.clone()] });
                    let relays = match window_seconds {
                        Some(_) => vec!["wss://a/ws".to_owned(), "ws://[::1]:2/x,y/ws ws://b/ws".to_owned()],
                        None => Vec::new(),
                    };
                    let page = page.clone();
                    let objectives = match window_seconds {
                        Some(_) => objectives::parse_saved("a&b=#/*: p99 < 10ms over 1m\n*: p50 < 1.5us over 5m"),
                        None => Vec::new(),
                    };
                    let route = Route {
                        page,
                        window_seconds,
                        percentiles,
                        tables,
                        range,
                        reference,
                        baseline,
                        wall,
                        threshold_ns: window_seconds.map(|_| 1_500),
                        objectives,
                        relays,
                    };
                    assert_eq!(Route::parse(&route.address()), route, "{}", route.address());
                }
            }
        }
    }

    #[test]
    fn every_page_with_any_name_has_an_address_that_parses_back() {
        check(Page::Landing);
        for (a, b) in NAMES.iter().flat_map(|a| NAMES.iter().map(move |b| (*a, *b))) {
            check(Page::Dashboard(a.to_owned()));
            check(Page::Workers(a.to_owned()));
            let key = |kind, pipeline, worker, name| {
                check(Page::Detail(b.to_owned(), ViewKey { kind, pipeline, worker, name }))
            };
            key(Kind::StartToEnd, some(a), None, None);
            key(Kind::StartToEndByWorker, some(a), some(b), None);
            key(Kind::NodeIngressEgress, None, some(a), None);
            key(Kind::NodeIngressEgress, None, some(a), some(b));
            key(Kind::Throughput, None, None, some(a));
            key(Kind::NodeIngressEgressByPipeline, some(a), some(b), None);
            key(Kind::Computation, None, None, some(a));
            key(Kind::ComputationByWorker, some(a), some(b), some(a));
            key(Kind::PipelineIngestion, some(a), None, some(b));
            key(Kind::Other(a.to_owned()), None, None, some(b));
        }
    }

    #[test]
    fn data_is_beside_what_is_shown_and_is_no_part_of_it() {
        let page = Route::to(Page::Dashboard("a?b".to_owned()));
        for route in [Route { window_seconds: Some(60), ..page.clone() }, page] {
            let address = with_data(&route.address(), Some("1ab-_"));
            assert_eq!((data_in(&address), Route::parse(&address)), (Some("1ab-_"), route.clone()));
            assert_eq!(data_in(&with_data(&route.address(), None)), None);
        }
    }

    #[test]
    fn addresses_are_those_of_the_original_hub() {
        let page = |hash| Route::parse(hash).page;
        assert_eq!(page(""), Page::Landing);
        assert_eq!(page("#/"), Page::Landing);
        assert_eq!(page("#/applications/Alerts/dashboard"), Page::Dashboard("Alerts".to_owned()));
        assert_eq!(
            page("#/applications/Alerts/computation/Check%20Transaction?w=60"),
            Page::Detail("Alerts".to_owned(), ViewKey::computation("Check Transaction"))
        );
    }

    #[test]
    fn an_unknown_page_keeps_its_address() {
        for typed in [
            "/nowhere",
            "/applications",
            "/applications/",
            "/applications/a/computation",
            "/applications/%/dashboard",
            "x",
        ] {
            assert_eq!(Route::parse(&format!("#{typed}")).page, Page::Unknown(typed.to_owned()));
        }
    }
}
