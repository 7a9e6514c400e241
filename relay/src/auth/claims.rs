//! What a token allows: which applications, which of their categories, and until when.

use joey_shared::series::{Filter, SeriesKey};
use serde::Deserialize;

/// By how many seconds two clocks may differ.
const LEEWAY_S: f64 = 5.0;

/// The claims of a token that matter here. Times are in seconds since the Unix epoch, and need not be whole.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// The end; nothing for whoever needs no token.
    exp: Option<f64>,
    /// The beginning.
    nbf: Option<f64>,
    /// Who it is for.
    aud: Option<Audience>,
    /// Whose it is, for the log.
    sub: Option<String>,
    /// Applications: exact names, beginnings that end in `*`, or `*`; all of them when missing.
    apps: Option<Vec<String>>,
    /// Categories: exact names or `*`; all of them when missing.
    categories: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Claims {
    /// Everything, for ever.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether they are for `audience`, and good at `now_s`.
    #[must_use]
    pub fn are_good(&self, audience: &str, now_s: f64) -> bool {
        let is_meant = match &self.aud {
            Some(Audience::One(name)) => name == audience,
            Some(Audience::Several(names)) => names.iter().any(|name| name == audience),
            None => false,
        };
        is_meant
            && self.exp.is_some_and(|end_s| now_s < end_s + LEEWAY_S)
            && self.nbf.is_none_or(|start_s| start_s <= now_s + LEEWAY_S)
    }

    /// The end, in ns since the Unix epoch.
    #[must_use]
    pub fn expires_ns(&self) -> Option<u64> {
        // The conversion keeps to the range of the integer; what was checked is a number of seconds.
        self.exp.map(|seconds| (seconds * 1e9) as u64)
    }

    /// Whose they are, as far as that may stand in a log.
    #[must_use]
    pub fn subject(&self) -> &str {
        let subject = self.sub.as_deref().unwrap_or_default();
        joey_shared::series::check_name(subject.as_bytes()).unwrap_or("(unprintable)")
    }

    /// Whether they cover something of `app`.
    #[must_use]
    pub fn cover_app(&self, app: &str) -> bool {
        self.apps.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => app.starts_with(beginning),
                None => app == pattern,
            })
        })
    }

    /// Whether they cover everything of `app` that passes `filter`.
    #[must_use]
    pub fn cover(&self, app: &str, filter: &Filter) -> bool {
        self.cover_app(app)
            && match filter {
                Filter::All => self.categories.as_ref().is_none_or(|names| names.iter().any(|name| name == "*")),
                Filter::Category(category) | Filter::Series(SeriesKey { category, .. }) => {
                    self.cover_category(category)
                }
            }
    }

    /// Whether they cover `category` of the applications that they cover.
    #[must_use]
    pub fn cover_category(&self, category: &str) -> bool {
        self.categories.as_ref().is_none_or(|names| names.iter().any(|name| name == "*" || name == category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(apps: Option<&[&str]>, categories: Option<&[&str]>) -> Claims {
        let owned = |names: Option<&[&str]>| names.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        Claims { apps: owned(apps), categories: owned(categories), ..Claims::everything() }
    }

    #[test]
    fn only_a_star_at_the_end_means_more_than_itself() {
        let check = |pattern: &str, app: &str, covered| {
            assert_eq!(claims(Some(&[pattern]), None).cover_app(app), covered, "{pattern} {app}");
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
        // One letter and two that look the same: a Cyrillic one, and an accent of its own.
        check("pay", "p\u{430}y", false);
        check("caf\u{e9}", "cafe\u{301}", false);
        assert!(!claims(Some(&[]), None).cover_app("a"));
        assert!(claims(Some(&["x", "a"]), None).cover_app("a"));
        assert!(Claims::everything().cover_app("a"));
    }

    #[test]
    fn a_topic_is_covered_if_all_of_it_is() {
        let check = |categories: Option<&[&str]>, filter: Filter, covered| {
            let claims = claims(Some(&["a"]), categories);
            assert_eq!(claims.cover("a", &filter), covered, "{categories:?} {filter:?}");
            assert!(!claims.cover("b", &filter));
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
