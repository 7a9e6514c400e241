//! Names: which application, instance and series the data of a resource, an instrument or a span belongs to.
//!
//! `docs/producers-otlp.md` has the rules as a table. Names from OTLP may be of any length and contain any character.
//! They are shortened and cleaned, not refused.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use joey_shared::series::{COMPUTATION, NAME_BYTES_MAX, START_TO_END, THROUGHPUT, check_name};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::config::Config;

/// How attributes become names.
#[derive(Clone, Debug)]
pub struct MappingOptions {
    /// Attributes whose values become part of a series name, in this order. Default:
    /// [`OTLP_ATTRIBUTES`](crate::config::OTLP_ATTRIBUTES).
    pub attributes: Vec<String>,
    /// Maximum number of names that attributes may add to an instrument, or to the spans of one kind, in each
    /// application. The rest are one series named `other`. Default: 200.
    pub attribute_sets_max: usize,
}

impl MappingOptions {
    /// The options in `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { attributes: config.otlp_attributes.clone(), attribute_sets_max: config.otlp_attribute_sets_max }
    }
}

/// Earlier names of attributes in the semantic conventions.
const FORMER_NAMES: [(&str, &str); 6] = [
    ("http.request.method", "http.method"),
    ("db.operation.name", "db.operation"),
    ("db.collection.name", "db.sql.table"),
    ("db.system.name", "db.system"),
    ("messaging.operation.name", "messaging.operation"),
    ("messaging.destination.name", "messaging.destination"),
];

/// The application and the instance that a resource describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) app: String,
    pub(super) worker: String,
}

impl Origin {
    /// Reads the attributes of a resource.
    pub(super) fn of(resource: &[KeyValue]) -> Self {
        let get = |key| attribute(resource, key);
        let service = get("service.name").unwrap_or_else(|| "unknown_service".to_owned());
        let app = match get("service.namespace") {
            Some(namespace) => format!("{namespace}/{service}"),
            None => service,
        };
        let host = get("k8s.pod.name").or_else(|| get("host.name"));
        let worker = get("service.instance.id").unwrap_or_else(|| match (host, get("process.pid")) {
            // Several processes of one host must not share a name.
            (Some(host), Some(process)) => format!("{host}:{process}"),
            (Some(host), None) => host,
            (None, Some(process)) => format!("process {process}"),
            (None, None) => "unknown".to_owned(),
        });
        Self { app: clean(&app, ""), worker: clean(&worker, "") }
    }
}

/// The category and the name of a series. For start to end, the name is that of the pipeline as well, because these
/// views are by pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SeriesNames {
    pub(super) category: &'static str,
    pub(super) name: String,
}

impl SeriesNames {
    pub(super) fn pipeline(&self) -> &str {
        if self.category == START_TO_END { &self.name } else { "" }
    }
}

/// What a name is made of: the part that is the same for all attributes, and the values of the chosen attributes.
struct Parts<'a> {
    fixed: &'a str,
    /// Whether the values replace the fixed part.
    is_implied: bool,
    values: Vec<String>,
    suffix: &'a str,
}

impl Parts<'_> {
    fn name(&self) -> String {
        let is_implied = self.is_implied && !self.values.is_empty();
        let fixed = (!is_implied).then_some(self.fixed);
        let words: Vec<&str> = fixed.into_iter().chain(self.values.iter().map(String::as_str)).collect();
        clean(&words.join(" "), self.suffix)
    }

    fn other(&self) -> String {
        clean(&format!("{} other", self.fixed), self.suffix)
    }
}

/// Makes names, and limits how many names attributes can make.
#[derive(Debug)]
pub(super) struct Namer {
    options: MappingOptions,
    /// Maximum number of names in all groups.
    names_max: usize,
    /// The names made of attributes: hash of the name in its group, to the hash of the group and the time of the last
    /// use.
    names: HashMap<u64, (u64, u64)>,
    /// Number of names in each group.
    groups: HashMap<u64, usize>,
    hasher: RandomState,
}

impl Namer {
    /// Creates it with a maximum number of names over all instruments.
    pub(super) fn new(options: MappingOptions, names_max: usize) -> Self {
        Self { options, names_max, names: HashMap::new(), groups: HashMap::new(), hasher: RandomState::new() }
    }

    /// The series of a duration instrument's data point, and whether its attributes exceed the limit.
    pub(super) fn duration(
        &mut self,
        app: &str,
        instrument: &str,
        attributes: &[KeyValue],
        now_ns: u64,
    ) -> (SeriesNames, bool) {
        let is_served = is_serving(instrument);
        let category = if is_served { START_TO_END } else { COMPUTATION };
        // Requests are named as their spans are. All other instruments keep their names, so that no two collide.
        let is_implied = instrument == "http.server.request.duration";
        let values = self.values(attributes, true);
        self.limited(app, category, Parts { fixed: instrument, is_implied, values, suffix: "" }, now_ns)
    }

    /// The series of a sum's data point, and whether its attributes exceed the limit.
    pub(super) fn counter(
        &mut self,
        app: &str,
        (instrument, unit): (&str, &str),
        attributes: &[KeyValue],
        now_ns: u64,
    ) -> (SeriesNames, bool) {
        // `{request}` and `1` are counts; other units must be shown.
        let is_count = unit.is_empty() || unit == "1" || unit.starts_with('{');
        let suffix = if is_count { String::new() } else { format!(" [{}]", truncated(unit, 20)) };
        let values = self.values(attributes, true);
        self.limited(app, THROUGHPUT, Parts { fixed: instrument, is_implied: false, values, suffix: &suffix }, now_ns)
    }

    /// The series of a span, and whether the names of spans exceed the limit.
    pub(super) fn span(
        &mut self,
        app: &str,
        (name, kind, is_error): (&str, SpanKind, bool),
        attributes: &[KeyValue],
        now_ns: u64,
    ) -> (SeriesNames, bool) {
        let is_served = matches!(kind, SpanKind::Server | SpanKind::Consumer);
        let category = if is_served { START_TO_END } else { COMPUTATION };
        // A span's name usually contains the values already.
        let mut values = self.values(attributes, false);
        values.retain(|value| !name.contains(value.as_str()));
        values.insert(0, if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() });
        let suffix = if is_error { " (span, error)" } else { " (span)" };
        self.limited(app, category, Parts { fixed: kind_name(kind), is_implied: true, values, suffix }, now_ns)
    }

    /// The values of the chosen attributes.
    fn values(&self, attributes: &[KeyValue], is_metric: bool) -> Vec<String> {
        let value_of = |key: &String| {
            let former =
                || FORMER_NAMES.iter().find(|(new, _)| new == key).and_then(|(_, old)| attribute(attributes, old));
            // Metrics that follow the former conventions have the route in `http.target`. Spans have the path there.
            let target = || (is_metric && key == "http.route").then(|| attribute(attributes, "http.target")).flatten();
            attribute(attributes, key).or_else(former).or_else(target)
        };
        self.options.attributes.iter().filter_map(value_of).collect()
    }

    fn limited(&mut self, app: &str, category: &'static str, parts: Parts<'_>, now_ns: u64) -> (SeriesNames, bool) {
        let name = parts.name();
        if parts.values.is_empty() {
            return (SeriesNames { category, name }, false);
        }
        let group = self.hasher.hash_one((app, category, parts.fixed));
        let key = self.hasher.hash_one((group, &name));
        if let Some((_, used_ns)) = self.names.get_mut(&key) {
            *used_ns = now_ns;
            return (SeriesNames { category, name }, false);
        }
        let in_group = self.groups.get(&group).copied().unwrap_or(0);
        if in_group >= self.options.attribute_sets_max || self.names.len() >= self.names_max {
            return (SeriesNames { category, name: parts.other() }, true);
        }
        self.names.insert(key, (group, now_ns));
        self.groups.insert(group, in_group + 1);
        (SeriesNames { category, name }, false)
    }

    /// Forgets the names that were not used since `oldest_ns`.
    pub(super) fn sweep(&mut self, oldest_ns: u64) {
        let Self { names, groups, .. } = self;
        names.retain(|_, (group, used_ns)| {
            let is_used = *used_ns >= oldest_ns;
            if !is_used && let Some(count) = groups.get_mut(group) {
                *count -= 1;
            }
            is_used
        });
        groups.retain(|_, count| *count > 0);
    }
}

/// Whether an instrument measures work that was requested from outside, such as `http.server.request.duration`.
fn is_serving(instrument: &str) -> bool {
    instrument == "messaging.process.duration"
        || instrument.split(['.', '_']).any(|word| word == "server" || word == "consumer")
}

const fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified | SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// The value of an attribute as text, if it is a scalar and not empty.
pub(super) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) if !text.is_empty() => Some(text.clone()),
        Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }) => Some(number.to_string()),
        Some(AnyValue { value: Some(any_value::Value::BoolValue(is_set)) }) => Some(is_set.to_string()),
        Some(AnyValue { value: Some(any_value::Value::DoubleValue(number)) }) => Some(number.to_string()),
        _ => None,
    }
}

/// `text` and `suffix` as a valid name: shortened, and with a replacement for each character that cannot be shown.
fn clean(text: &str, suffix: &str) -> String {
    let mut name = truncated(text, NAME_BYTES_MAX.saturating_sub(suffix.len()));
    name.push_str(suffix);
    name
}

/// `text` with at most `bytes_max` valid bytes. A shortened text ends with an ellipsis.
fn truncated(text: &str, bytes_max: usize) -> String {
    let is_valid = |text: &str| check_name(text.as_bytes()).is_ok();
    if text.len() <= bytes_max && is_valid(text) {
        return text.to_owned();
    }
    let mut shortened = String::new();
    for c in text.chars() {
        let c = if is_valid(c.encode_utf8(&mut [0; 4])) { c } else { char::REPLACEMENT_CHARACTER };
        if shortened.len() + c.len_utf8() > bytes_max {
            while shortened.len() + '…'.len_utf8() > bytes_max && shortened.pop().is_some() {}
            shortened.push('…');
            break;
        }
        shortened.push(c);
    }
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
        let value = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
        pairs
            .iter()
            .map(|(key, text)| KeyValue { key: (*key).to_owned(), value: value(text), ..Default::default() })
            .collect()
    }

    fn namer() -> Namer {
        Namer::new(MappingOptions::new(&Config::default()), 1_000)
    }

    fn check_origin(resource: &[(&str, &str)], app: &str, worker: &str) {
        let origin = Origin::of(&attributes(resource));
        assert_eq!((origin.app.as_str(), origin.worker.as_str()), (app, worker));
    }

    fn check_duration(instrument: &str, pairs: &[(&str, &str)], category: &str, name: &str) {
        let (names, is_other) = namer().duration("app", instrument, &attributes(pairs), 1);
        assert_eq!((names.category, names.name.as_str(), is_other), (category, name, false));
    }

    #[test]
    fn a_resource_names_the_application_and_the_instance() {
        check_origin(&[], "unknown_service", "unknown");
        check_origin(&[("service.name", "shop")], "shop", "unknown");
        check_origin(&[("service.name", "shop"), ("service.namespace", "eu"), ("host.name", "h")], "eu/shop", "h");
        check_origin(&[("host.name", "h"), ("process.pid", "7"), ("service.instance.id", "i")], "unknown_service", "i");
        check_origin(&[("host.name", "h"), ("process.pid", "7")], "unknown_service", "h:7");
        check_origin(&[("host.name", "h"), ("k8s.pod.name", "shop-1")], "unknown_service", "shop-1");
        check_origin(&[("process.pid", "7")], "unknown_service", "process 7");
        check_origin(&[("service.name", ""), ("service.instance.id", "")], "unknown_service", "unknown");
    }

    #[test]
    fn requests_are_named_by_their_route_and_other_instruments_keep_their_names() {
        let request =
            [("http.route", "/users/{id}"), ("http.request.method", "GET"), ("http.response.status_code", "200")];
        check_duration("http.server.request.duration", &request, START_TO_END, "GET /users/{id}");
        check_duration("http.server.request.duration", &[], START_TO_END, "http.server.request.duration");
        check_duration(
            "http.client.request.duration",
            &request,
            COMPUTATION,
            "http.client.request.duration GET /users/{id}",
        );
        let call = [("rpc.service", "Greeter"), ("rpc.method", "SayHello"), ("rpc.system", "grpc")];
        check_duration("rpc.server.duration", &call, START_TO_END, "rpc.server.duration Greeter SayHello");
        check_duration("checkout.duration", &[("user", "42")], COMPUTATION, "checkout.duration");
    }

    #[test]
    fn former_names_of_attributes_are_known() {
        let request = [("http.method", "GET"), ("http.target", "/items/{id}")];
        check_duration("http.server.duration", &request, START_TO_END, "http.server.duration GET /items/{id}");
        check_duration(
            "db.client.operation.duration",
            &[("db.system", "redis")],
            COMPUTATION,
            "db.client.operation.duration redis",
        );
    }

    #[test]
    fn instruments_of_servers_and_consumers_are_start_to_end() {
        for (instrument, expected) in [
            ("http.server.request.duration", true),
            ("http_server_request_duration_seconds", true),
            ("messaging.process.duration", true),
            ("kafka.consumer.poll", true),
            ("http.client.request.duration", false),
            ("observer.duration", false),
            ("server", true),
            ("", false),
        ] {
            assert_eq!(is_serving(instrument), expected, "{instrument}");
        }
    }

    #[test]
    fn a_span_is_named_by_its_name_and_by_attributes_that_it_does_not_contain() {
        let name = |name, kind, is_error, pairs: &[(&str, &str)]| {
            let (names, _) = namer().span("app", (name, kind, is_error), &attributes(pairs), 1);
            format!("{}: {}", names.category, names.name)
        };
        let request = [("http.request.method", "GET"), ("http.route", "/users/{id}"), ("http.target", "/users/7")];
        assert_eq!(name("GET /users/{id}", SpanKind::Server, false, &request), "start-to-end: GET /users/{id} (span)");
        assert_eq!(name("GET", SpanKind::Server, true, &request), "start-to-end: GET /users/{id} (span, error)");
        assert_eq!(name("GET", SpanKind::Client, false, &[("http.target", "/users/7")]), "computation: GET (span)");
        assert_eq!(name("poll", SpanKind::Consumer, false, &[]), "start-to-end: poll (span)");
        for kind in [SpanKind::Internal, SpanKind::Producer, SpanKind::Unspecified] {
            assert_eq!(name("", kind, false, &[]), "computation: unnamed (span)");
        }
    }

    #[test]
    fn the_unit_of_a_sum_is_part_of_its_name_unless_it_is_a_count() {
        let name = |unit| namer().counter("app", ("net.io", unit), &attributes(&[("rpc.method", "Get")]), 1).0.name;
        assert_eq!(["", "1", "{packet}"].map(name), ["net.io Get"; 3]);
        assert_eq!(name("By"), "net.io Get [By]");
        assert_eq!(name(&"By".repeat(100)), format!("net.io Get [{}B…]", "By".repeat(8)));
    }

    #[test]
    fn names_beyond_the_limit_are_one_series_until_others_are_forgotten() {
        let mut namer = namer();
        namer.options.attribute_sets_max = 2;
        let name = |namer: &mut Namer, instrument, route, now| {
            let (names, is_other) = namer.duration("app", instrument, &attributes(&[("http.route", route)]), now);
            (names.name, is_other)
        };
        let own = |name: &str| (name.to_owned(), false);
        let other = |name: &str| (name.to_owned(), true);
        assert_eq!(name(&mut namer, "a.duration", "/1", 1), own("a.duration /1"));
        assert_eq!(name(&mut namer, "a.duration", "/2", 2), own("a.duration /2"));
        assert_eq!(name(&mut namer, "a.duration", "/3", 3), other("a.duration other"));
        assert_eq!(name(&mut namer, "a.duration", "/1", 4), own("a.duration /1"));
        assert_eq!(name(&mut namer, "b.duration", "/3", 4), own("b.duration /3"), "each instrument has its own limit");
        namer.sweep(3);
        assert_eq!(name(&mut namer, "a.duration", "/3", 5), own("a.duration /3"), "/2 was forgotten");
        assert_eq!(name(&mut namer, "a.duration", "/2", 5), other("a.duration other"));
        namer.sweep(10);
        assert!(namer.names.is_empty() && namer.groups.is_empty());
        namer.names_max = 1;
        assert_eq!(name(&mut namer, "a.duration", "/1", 11), own("a.duration /1"));
        assert_eq!(name(&mut namer, "b.duration", "/1", 11), other("b.duration other"));
    }

    #[test]
    fn the_rest_of_all_requests_is_named_by_its_instrument() {
        let mut namer = namer();
        namer.options.attribute_sets_max = 0;
        let route = attributes(&[("http.route", "/")]);
        assert_eq!(
            namer.duration("app", "http.server.request.duration", &route, 1).0.name,
            "http.server.request.duration other"
        );
        assert_eq!(
            namer.span("app", ("GET /", SpanKind::Server, true), &route, 1).0.name,
            "server other (span, error)"
        );
    }

    #[test]
    fn long_and_unprintable_names_are_shortened_and_cleaned() {
        let long = clean(&"é".repeat(300), " (span)");
        assert!(long.ends_with("é… (span)") && long.len() <= NAME_BYTES_MAX, "{long}");
        assert_eq!(clean("a\u{202e}b\nc", ""), "a\u{fffd}b\u{fffd}c");
        assert_eq!(clean(&"x".repeat(255), ""), "x".repeat(255));
        assert_eq!(clean("", ""), "");
        check_origin(&[("service.name", "a\0b")], "a\u{fffd}b", "unknown");
    }

    #[test]
    fn attributes_of_any_scalar_type_can_be_named() {
        let of = |value| {
            attribute(&[KeyValue { key: "k".to_owned(), value: Some(AnyValue { value }), ..Default::default() }], "k")
        };
        assert_eq!(of(Some(any_value::Value::IntValue(-7))).as_deref(), Some("-7"));
        assert_eq!(of(Some(any_value::Value::BoolValue(true))).as_deref(), Some("true"));
        assert_eq!(of(Some(any_value::Value::DoubleValue(0.5))).as_deref(), Some("0.5"));
        assert_eq!(
            [of(None), of(Some(any_value::Value::BytesValue(vec![1]))), attribute(&[], "k")],
            [None, None, None]
        );
    }
}
