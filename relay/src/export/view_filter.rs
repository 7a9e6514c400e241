//! Selects views by the patterns of `--metrics-views`.

use joey_shared::view::ViewKey;
use joey_shared::wire::SeriesEntry;
use wildmatch::WildMatch;

/// A view of an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AppView {
    pub(super) app: String,
    pub(super) key: ViewKey,
}

impl AppView {
    /// What patterns are compared with: application, kind, and the names that the view has, separated by slashes.
    pub(super) fn path(&self) -> String {
        let Self { app, key: ViewKey { kind, pipeline, worker, name } } = self;
        let names = [pipeline, worker, name].into_iter().flatten().map(String::as_str);
        [app, kind.as_str()].into_iter().chain(names).collect::<Vec<&str>>().join("/")
    }

    /// The views of a series: its own, the total that contains it, and the total of its instance.
    pub(super) fn of_series(app: &str, series: &SeriesEntry) -> impl Iterator<Item = Self> {
        let (own, total) = ViewKey::of_series(&series.key);
        let keys = [Some(own), total, ViewKey::instance_total(&series.key, series.provenance.source)];
        keys.into_iter().flatten().map(move |key| Self { app: app.to_owned(), key })
    }
}

/// The chosen views.
#[derive(Debug)]
pub(super) struct ViewFilter {
    patterns: Vec<WildMatch>,
}

impl ViewFilter {
    pub(super) fn new(patterns: &[String]) -> Self {
        Self { patterns: patterns.iter().map(|pattern| WildMatch::new(pattern)).collect() }
    }

    pub(super) fn matches(&self, view: &AppView) -> bool {
        let path = view.path();
        self.patterns.iter().any(|pattern| pattern.matches(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_application_kind_and_names() {
        let check = |pattern: &str, expected: &[&str]| {
            let filter = ViewFilter::new(&[pattern.to_owned()]);
            let views = [
                ("shop", ViewKey::pipeline("GET /cart")),
                ("prod/shop", ViewKey::worker("i-1")),
                ("shop", ViewKey::computation("query")),
            ];
            let views = views.map(|(app, key)| AppView { app: app.to_owned(), key });
            let matching: Vec<String> = views.iter().filter(|view| filter.matches(view)).map(AppView::path).collect();
            assert_eq!(matching, expected, "{pattern}");
        };
        let all = ["shop/start-to-end/GET /cart", "prod/shop/node-ingress-egress/i-1", "shop/computation/query"];
        check("*", &all);
        check("shop/*", &[all[0], all[2]]);
        check("*/start-to-end/*", &all[..1]);
        check("shop/start-to-end/GET ?cart", &all[..1]);
        check("shop", &[]);
    }
}
