//! Names: which application, instance and series the data of a resource, an instrument or a span belongs to.
//!
//! `docs/producers-otlp.md` has the rules as a table. Names from OTLP may be of any length and contain any character. They are
//! shortened and cleaned, not refused.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use joey_shared::series::{COMPUTATION, NAME_BYTES_MAX, START_TO_END, THROUGHPUT, check_name};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::config::Config;

/// How attributes become names.
#[derive(Clone, Debug)]
pub struct MappingOptions {
    /// Attributes whose values become part of a series name, in this order. Default: [`OTLP_ATTRIBUTES`](crate::config::OTLP_ATTRIBUTES).
    pub attributes: Vec<String>,
    /// Maximum number of names that attributes may add to an instrument, or to the spans of one kind, in each application. The
    /// rest are one series named `other`. Default: 200.
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

/// The category and the name of a series. For start to end, the name is that of the pipeline as well, because these views are by
/// pipeline.
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
    /// The names made of attributes: hash of the name in its group, to the hash of the group and the time of the last use.
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
    pub(super) fn throughput(
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
        values.insert(0, name.to_owned());
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
