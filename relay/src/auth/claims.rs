//! The claims of a token: the applications and categories that it allows, and its expiry.

use std::fmt;
use std::time::Duration;

use joey_shared::series::{Filter, SeriesKey, escape_name};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{ClaimName, TokenRules};

/// The claims that the relay uses. Times are in seconds since the Unix epoch and may be fractions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Expiry; `None` if no token is required.
    exp: Option<f64>,
    /// The subject, for the log.
    sub: Option<String>,
    /// Applications to watch: exact names, prefixes followed by `*`, or `*`. `None` allows all.
    apps: Option<Vec<String>>,
    /// Categories to watch: exact names or `*`. `None` allows all.
    categories: Option<Vec<String>>,
    /// Applications to send for, as in `apps`. `None` allows those that the holder may watch as a whole.
    send: Option<Vec<String>>,
}

/// Why the claims of a token are refused.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimError {
    /// A claim is missing or has another type than it must have.
    Invalid {
        /// Its name.
        claim: String,
        /// What it must be.
        expected: &'static str,
    },
    /// It expired at this time, in s, which was this long ago.
    Expired(f64, Duration),
    /// It is valid from this time on, in s, which is this far in the future.
    NotYetValid(f64, Duration),
    /// It is for these audiences, and the relay requires another one.
    Audience(Vec<String>, String),
    /// It is from this issuer, and the relay requires another one.
    Issuer(Option<String>, String),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |name: &str| format!("\"{}\"", escape_name(name.as_bytes()));
        match self {
            Self::Invalid { claim, expected } => write!(out, "its claim {} is not {expected}", quoted(claim)),
            Self::Expired(at_s, ago) => write!(out, "it expired at {}, {} ago", utc(*at_s), span(*ago)),
            Self::NotYetValid(at_s, ahead) => write!(
                out,
                "it is valid from {} on, in {}: compare the clocks of the issuer and this machine",
                utc(*at_s),
                span(*ahead)
            ),
            Self::Audience(found, wanted) if found.is_empty() => {
                write!(out, "it has no audience (claim aud); the relay requires {}", quoted(wanted))
            }
            Self::Audience(found, wanted) => {
                let found: Vec<String> = found.iter().map(|name| quoted(name)).collect();
                write!(out, "its audience is {}; the relay requires {}", found.join(", "), quoted(wanted))
            }
            Self::Issuer(found, wanted) => {
                let found = found.as_deref().map_or_else(|| "missing".to_owned(), quoted);
                write!(out, "its issuer is {found}; the relay requires {}", quoted(wanted))
            }
        }
    }
}

impl Claims {
    /// Claims that allow everything and never expire.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self::default()
    }

    /// Reads the claims of a token and checks them at `now_s`.
    ///
    /// # Errors
    /// Fails if a claim has an unexpected type, or they are for another audience, from another issuer, expired or not yet valid.
    pub(super) fn check(
        claims: Map<String, Value>,
        audience: &str,
        rules: &TokenRules,
        now_s: f64,
    ) -> Result<Self, ClaimError> {
        let leeway_s = rules.leeway.as_secs_f64();
        let exp = time_claim(&claims, "exp")?;
        let nbf = time_claim(&claims, "nbf")?;
        let issuer = text_claim(&claims, "iss")?;
        let sub = text_claim(&claims, "sub")?;
        let audiences = match claims.get("aud") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(name)) => vec![name.clone()],
            Some(list) => names(list).ok_or_else(|| invalid("aud", "a string or a list of strings"))?,
        };
        let exp = exp.ok_or_else(|| invalid("exp", "a time"))?;
        if !audiences.iter().any(|name| name == audience) {
            return Err(ClaimError::Audience(audiences, audience.to_owned()));
        }
        if let Some(wanted) = rules.issuer.as_ref().filter(|wanted| issuer.as_ref() != Some(*wanted)) {
            return Err(ClaimError::Issuer(issuer, wanted.clone()));
        }
        let distance = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if now_s >= exp + leeway_s {
            return Err(ClaimError::Expired(exp, distance(now_s - exp)));
        }
        if let Some(start_s) = nbf.filter(|start_s| *start_s > now_s + leeway_s) {
            return Err(ClaimError::NotYetValid(start_s, distance(start_s - now_s)));
        }
        let claims = Value::Object(claims);
        Ok(Self {
            exp: Some(exp),
            sub,
            apps: list_claim(&claims, &rules.apps)?,
            categories: list_claim(&claims, &rules.categories)?,
            send: list_claim(&claims, &rules.send)?,
        })
    }

    /// Expiry in ns since the Unix epoch.
    #[must_use]
    pub fn expires_ns(&self) -> Option<u64> {
        // The conversion saturates at the range of `u64`.
        self.exp.map(|seconds| (seconds * 1e9) as u64)
    }

    /// The subject, if it is printable.
    #[must_use]
    pub fn subject(&self) -> &str {
        let subject = self.sub.as_deref().unwrap_or_default();
        joey_shared::series::check_name(subject.as_bytes()).unwrap_or("(unprintable)")
    }

    /// The applications to watch; `None` means all.
    #[must_use]
    pub fn apps(&self) -> Option<&[String]> {
        self.apps.as_deref()
    }

    /// The categories to watch; `None` means all.
    #[must_use]
    pub fn categories(&self) -> Option<&[String]> {
        self.categories.as_deref()
    }

    /// The applications to send for; `None` means those that the holder may watch as a whole.
    #[must_use]
    pub fn send(&self) -> Option<&[String]> {
        self.send.as_deref()
    }

    /// Whether they allow to watch at least a part of `app`.
    #[must_use]
    pub fn allow_app(&self, app: &str) -> bool {
        self.apps.as_ref().is_none_or(|patterns| matches_any(patterns, app))
    }

    /// Whether they allow to send data for `app`.
    #[must_use]
    pub fn allow_sending(&self, app: &str) -> bool {
        match &self.send {
            Some(patterns) => matches_any(patterns, app),
            None => self.allow_topic(app, &Filter::All),
        }
    }

    /// Whether they allow everything in `app` that matches `filter`.
    #[must_use]
    pub fn allow_topic(&self, app: &str, filter: &Filter) -> bool {
        self.allow_app(app)
            && match filter {
                Filter::All => self.categories.as_ref().is_none_or(|names| names.iter().any(|name| name == "*")),
                Filter::Category(category) | Filter::Series(SeriesKey { category, .. }) => {
                    self.allow_category(category)
                }
            }
    }

    /// Whether they allow `category` in the applications that they allow.
    #[must_use]
    pub fn allow_category(&self, category: &str) -> bool {
        self.categories.as_ref().is_none_or(|names| names.iter().any(|name| name == "*" || name == category))
    }
}

/// Whether one of the patterns matches `app`.
fn matches_any(patterns: &[String], app: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => app.starts_with(prefix),
        None => app == pattern,
    })
}

/// A time in s since the Unix epoch, as people read it.
#[must_use]
pub fn utc(seconds: f64) -> String {
    // The conversion saturates.
    let time = OffsetDateTime::from_unix_timestamp(seconds as i64).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s"))
}

/// A duration in its largest units.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn invalid(claim: &str, expected: &'static str) -> ClaimError {
    ClaimError::Invalid { claim: claim.to_owned(), expected }
}

fn time_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, ClaimError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| invalid(name, "a time")),
    }
}

fn text_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, ClaimError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(name, "a string")),
    }
}

/// The names in a claim. `None` means that the token does not restrict them.
fn list_claim(claims: &Value, claim: &ClaimName) -> Result<Option<Vec<String>>, ClaimError> {
    let ClaimName { name, is_configured } = claim;
    let value = if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) };
    match value {
        None | Some(Value::Null) => Ok(is_configured.then(Vec::new)),
        Some(Value::String(text)) if *is_configured => Ok(Some(text.split_whitespace().map(str::to_owned).collect())),
        Some(list) => names(list).map(Some).ok_or_else(|| invalid(name, "a list of names")),
    }
}

fn names(list: &Value) -> Option<Vec<String>> {
    list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(apps: Option<&[&str]>, categories: Option<&[&str]>) -> Claims {
        let owned = |names: Option<&[&str]>| names.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        Claims { apps: owned(apps), categories: owned(categories), ..Claims::unrestricted() }
    }

    #[test]
    fn only_a_star_at_the_end_is_a_wildcard() {
        let check = |pattern: &str, app: &str, is_allowed| {
            assert_eq!(claims(Some(&[pattern]), None).allow_app(app), is_allowed, "{pattern} {app}");
        };
        for app in ["", "a", "*", "ünï"] {
            check("*", app, true);
        }
        check("a", "a", true);
        check("a", "A", false);
        check("a", "aa", false);
        check("a.*", "a.b", true);
        check("a.*", "a.b.c", true);
        check("a.*", "a.", true);
        check("a.*", "a", false);
        check("a.*", "ab", false);
        check("a.*", "b.a.c", false);
        check("a*b", "a*b", true);
        check("a*b", "acb", false);
        check("*a", "ba", false);
        check("a?", "ab", false);
        check("a.>", "a.b", false);
        check("[a]", "a", false);
        check("a**", "a", false);
        check("a**", "a*b", true);
        check("", "", true);
        check("", "a", false);
        // Characters that look the same: a Cyrillic letter, and a combining accent.
        check("pay", "p\u{430}y", false);
        check("caf\u{e9}", "cafe\u{301}", false);
        assert!(!claims(Some(&[]), None).allow_app("a"));
        assert!(claims(Some(&["x", "a"]), None).allow_app("a"));
        assert!(Claims::unrestricted().allow_app("a"));
    }

    #[test]
    fn a_topic_is_allowed_only_as_a_whole() {
        let check = |categories: Option<&[&str]>, filter: Filter, is_allowed| {
            let claims = claims(Some(&["a"]), categories);
            assert_eq!(claims.allow_topic("a", &filter), is_allowed, "{categories:?} {filter:?}");
            assert!(!claims.allow_topic("b", &filter));
        };
        let category = |name: &str| Filter::Category(name.to_owned());
        let series = |name: &str| {
            let [category, pipeline, worker, name] = [name, "p", "w", "n"].map(str::to_owned);
            Filter::Series(SeriesKey { category, pipeline, worker, name })
        };
        for filter in [Filter::All, category("x"), series("x")] {
            check(None, filter.clone(), true);
            check(Some(&["*"]), filter.clone(), true);
            check(Some(&[]), filter.clone(), false);
            check(Some(&["x"]), filter.clone(), filter != Filter::All);
            check(Some(&["y", "x*"]), filter, false);
        }
    }
    #[test]
    fn sending_follows_the_applications_unless_the_token_says_otherwise() {
        let check = |apps: Option<&[&str]>, categories: Option<&[&str]>, send: Option<&[&str]>, allowed: &[&str]| {
            let send = send.map(|names| names.iter().map(|&name| name.to_owned()).collect());
            let claims = Claims { send, ..claims(apps, categories) };
            let found: Vec<&str> = ["a", "ab", "b"].into_iter().filter(|app| claims.allow_sending(app)).collect();
            assert_eq!(found, allowed, "{claims:?}");
        };
        check(None, None, None, &["a", "ab", "b"]);
        check(Some(&["a"]), None, None, &["a"]);
        // A part of an application cannot be sent.
        check(Some(&["a"]), Some(&["x"]), None, &[]);
        check(Some(&["a"]), Some(&["*"]), None, &["a"]);
        check(None, None, Some(&[]), &[]);
        check(Some(&["a"]), Some(&["x"]), Some(&["b"]), &["b"]);
        check(Some(&[]), None, Some(&["a*"]), &["a", "ab"]);
    }

    #[test]
    fn a_configured_claim_is_required_and_may_be_nested_or_a_string() {
        let check = |name: Option<&str>, claims: serde_json::Value, expected: Result<Option<&[&str]>, &str>| {
            let claim = match name {
                Some(name) => ClaimName { name: name.to_owned(), is_configured: true },
                None => TokenRules::default().apps,
            };
            let found = list_claim(&claims, &claim).map_err(|error| error.to_string());
            let expected = expected.map(|names| names.map(|names| names.iter().map(|&name| name.to_owned()).collect()));
            assert_eq!(found, expected.map_err(str::to_owned), "{name:?} {claims}");
        };
        let error = "its claim \"apps\" is not a list of names";
        check(None, json!({}), Ok(None));
        check(None, json!({"apps": ["a", "b c"]}), Ok(Some(&["a", "b c"])));
        check(None, json!({"apps": "a b"}), Err(error));
        check(None, json!({"apps": [1]}), Err(error));
        check(Some("scope"), json!({"scope": " a  b"}), Ok(Some(&["a", "b"])));
        check(Some("scope"), json!({"apps": ["*"]}), Ok(Some(&[])));
        check(Some("scope"), json!({"scope": null}), Ok(Some(&[])));
        check(Some("https://joey.example/apps"), json!({"https://joey.example/apps": ["a"]}), Ok(Some(&["a"])));
        let nested = json!({"resource_access": {"joey": {"roles": ["a"]}}});
        check(Some("/resource_access/joey/roles"), nested.clone(), Ok(Some(&["a"])));
        check(Some("/resource_access/other/roles"), nested, Ok(Some(&[])));
        check(Some("apps"), json!({"apps": {"*": true}}), Err(error));
    }

    #[test]
    fn times_and_durations_are_readable() {
        assert_eq!(utc(1_700_000_000.7), "2023-11-14T22:13:20Z");
        assert_eq!(utc(1e300), format!("{} s", 1e300));
        let spans = [59, 90, 7_260, 259_200].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["59 s", "1 min 30 s", "2 h 1 min", "3 days"]);
    }
}
