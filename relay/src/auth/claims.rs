//! The claims of a token: the applications and categories that it allows, and its expiry.

use joey_shared::series::{Filter, SeriesKey};
use serde::Deserialize;

/// Allowed difference between two clocks, in seconds.
const LEEWAY_S: f64 = 5.0;

/// The claims that the relay uses. Times are in seconds since the Unix epoch and may be fractions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// Expiry; `None` if no token is required.
    exp: Option<f64>,
    /// Start of validity.
    nbf: Option<f64>,
    /// The audience.
    aud: Option<Audience>,
    /// The subject, for the log.
    sub: Option<String>,
    /// Applications: exact names, prefixes followed by `*`, or `*`. `None` allows all.
    apps: Option<Vec<String>>,
    /// Categories: exact names or `*`. `None` allows all.
    categories: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Claims {
    /// Claims that allow everything and never expire.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self::default()
    }

    /// Whether they are for `audience`, and valid at `now_s`.
    #[must_use]
    pub fn are_valid(&self, audience: &str, now_s: f64) -> bool {
        let is_for_audience = match &self.aud {
            Some(Audience::One(name)) => name == audience,
            Some(Audience::Several(names)) => names.iter().any(|name| name == audience),
            None => false,
        };
        is_for_audience
            && self.exp.is_some_and(|expires_s| now_s < expires_s + LEEWAY_S)
            && self.nbf.is_none_or(|start_s| start_s <= now_s + LEEWAY_S)
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

    /// Whether they allow at least a part of `app`.
    #[must_use]
    pub fn allow_app(&self, app: &str) -> bool {
        self.apps.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => app.starts_with(prefix),
                None => app == pattern,
            })
        })
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

#[cfg(test)]
mod tests {
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
}
