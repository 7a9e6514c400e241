//! The other side of a comparison: a pinned baseline, another application, or another view.
//!
//! Whatever it is, it is read from an [`AppStore`], so tables and charts do not depend on which one it is. A recording
//! that is opened as a store is pinned as a baseline with [`Baseline::new`].
//!
//! The address names an application or a view: `?vs=App`, or `?vs=App/computation/Check` with the same encoding as the path
//! of the view's own page. A baseline is in the address as the seconds that it covers: `?base=1790000000-1790000300-name`.

use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::window::second_of;

use crate::chart_data::window_range;
use crate::route::{Page, decode, encode, page_of, path_of};
use crate::statistics::{ViewStatistics, view_statistics};

/// Maximum number of characters of a baseline's name.
pub const NAME_MAX: usize = 60;

/// What measurements are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The pinned baseline of the same application.
    Baseline,
    /// Another application: each view is compared with the one that has the same names there.
    App(String),
    /// One view, of the same application or of another one. It is compared with the view that is shown.
    View(String, ViewKey),
}

impl Reference {
    /// Parses the value of `vs=`. Returns `None` if it names nothing.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        if value.is_empty() {
            return None;
        }
        if !value.contains('/') {
            return decode(value).map(Self::App);
        }
        match page_of(&format!("{PREFIX}{value}")) {
            Some(Page::Detail(app, key)) => Some(Self::View(app, key)),
            _ => None,
        }
    }

    /// The value of `vs=`; `None` for the baseline.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Baseline => None,
            Self::App(app) => Some(encode(app)),
            Self::View(app, key) => {
                let path = path_of(&Page::Detail(app.clone(), key.clone()));
                path.strip_prefix(PREFIX).map(ToOwned::to_owned)
            }
        }
    }

    /// The application that has to be subscribed to for it, besides the one that is shown.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::Baseline => None,
            Self::App(app) | Self::View(app, _) => Some(app),
        }
    }

    /// Whether it stays when another page is shown: an application is compared on all of its pages, a view only on its own.
    #[must_use]
    pub fn stays(&self, before: &Page, after: &Page) -> bool {
        match self {
            Self::Baseline => true,
            Self::App(app) => before.app() == after.app() && after.app() != Some(app),
            Self::View(..) => before == after,
        }
    }
}

/// What the path of every view starts with.
const PREFIX: &str = "/applications/";

/// The seconds of a baseline and its name, as the address has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineRange {
    /// The first second, since the Unix epoch.
    pub from: u64,
    /// The last second.
    pub to: u64,
    /// The name; may be empty.
    pub name: String,
}

impl BaselineRange {
    /// Parses the value of `base=`. Returns `None` if it is not two seconds in order.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.splitn(3, '-');
        let (from, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let name = clip_name(&parts.next().and_then(decode).unwrap_or_default());
        (0 < from && from <= to && to - from < SECONDS_MAX).then_some(Self { from, to, name })
    }

    /// The value of `base=`.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { from, to, name } = self;
        let mark = if name.is_empty() { "" } else { "-" };
        format!("{from}-{to}{mark}{}", encode(name))
    }
}

/// The longest window.
const SECONDS_MAX: u64 = joey_shared::window::SECONDS_MAX;

/// `name` without spaces around it and without control characters, cut to [`NAME_MAX`] characters.
#[must_use]
pub fn clip_name(name: &str) -> String {
    name.trim().chars().filter(|character| !character.is_control()).take(NAME_MAX).collect()
}

/// The window of an application that was kept to compare others with.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Which seconds it covers, and its name.
    pub range: BaselineRange,
    /// Whether it comes from a recording. Then no relay has its data, so it is not part of the address.
    pub is_recorded: bool,
    store: AppStore,
    /// The statistics of its views, by index. They do not change.
    statistics: Vec<Option<ViewStatistics>>,
}

impl Baseline {
    /// The baseline that consists of the whole window of `store`.
    #[must_use]
    pub fn new(name: &str, store: AppStore) -> Self {
        let (from, to) = window_range(&store);
        let range = BaselineRange { from, to, name: clip_name(name) };
        Self { range, is_recorded: false, store, statistics: Vec::new() }
    }

    /// The same baseline, of a recording or not.
    #[must_use]
    pub const fn recorded(mut self, is_recorded: bool) -> Self {
        self.is_recorded = is_recorded;
        self
    }

    /// The baseline that consists of the window that `store` shows now. `None` before its first data.
    #[must_use]
    pub fn of_window(name: &str, store: &mut AppStore) -> Option<Self> {
        let (from, to) = window_range(store);
        (store.clock_ns() > 0).then(|| Self::new(name, store.between(from..=to)))
    }

    /// The baseline that consists of a range of `store`, if the store has received all of it.
    #[must_use]
    pub fn of_range(range: &BaselineRange, store: &mut AppStore) -> Option<Self> {
        let is_received = second_of(store.clock_ns()) >= range.to;
        let mut baseline = is_received.then(|| Self::new(&range.name, store.between(range.from..=range.to)))?;
        // The store extends it to whole steps; the address stays as it is.
        baseline.range = range.clone();
        Some(baseline)
    }

    /// What it was measured with.
    pub const fn store(&mut self) -> &mut AppStore {
        &mut self.store
    }

    /// The statistics of the view with this key.
    pub fn statistics(&mut self, key: &ViewKey) -> Option<ViewStatistics> {
        let at = self.store.find(key)?;
        if self.statistics.len() <= at {
            self.statistics.resize_with(at + 1, || None);
        }
        if self.statistics[at].is_none() {
            self.statistics[at] = view_statistics(&mut self.store, at);
        }
        self.statistics[at].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{store_of, update};
    use joey_shared::view::Kind;

    #[test]
    fn a_reference_in_the_address_parses_back() {
        let names = ["plain", "a/b?c#d%e&vs=x", "مرحبا", "..", "x-1"];
        for (a, b) in names.iter().flat_map(|a| names.iter().map(move |b| (*a, *b))) {
            let key = ViewKey { worker: Some(b.to_owned()), ..ViewKey::computation(a) };
            let by_worker = ViewKey { kind: Kind::ComputationByWorker, pipeline: Some(String::new()), ..key };
            for reference in [
                Reference::App(a.to_owned()),
                Reference::View(a.to_owned(), ViewKey::computation(b)),
                Reference::View(b.to_owned(), by_worker),
            ] {
                let text = reference.text().unwrap();
                assert!(!text.contains(['&', '?', '#', '=']), "{text}");
                assert_eq!(Reference::parse(&text), Some(reference));
            }
        }
        assert_eq!(Reference::Baseline.text(), None);
        for bad in ["", "%", "App/", "App/dashboard", "App/computation", "App/computation/a/b", "/", "%ff"] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_baseline_in_the_address_is_bounded() {
        for range in [
            BaselineRange { from: 1, to: 1, name: String::new() },
            BaselineRange { from: 1_790_000_000, to: 1_790_003_599, name: "before-the & deploy".to_owned() },
        ] {
            assert_eq!(BaselineRange::parse(&range.text()), Some(range));
        }
        for bad in ["", "1", "0-5", "2-1", "1-3601", "-1-5", "a-b", "1-99999999999999999999", "1- 2"] {
            assert_eq!(BaselineRange::parse(bad), None, "{bad}");
        }
        let long = BaselineRange::parse(&format!("1-2-{}", "x".repeat(500))).unwrap();
        assert_eq!(long.name.len(), NAME_MAX);
        assert_eq!(BaselineRange::parse("1-2-%00a%0Ab ").unwrap().name, "ab");
    }

    #[test]
    fn pages_of_one_application_keep_an_application_and_lose_a_view() {
        let [a, b] = ["a", "b"].map(|app| Page::Dashboard(app.to_owned()));
        let detail = Page::Detail("a".to_owned(), ViewKey::computation("n"));
        let app = Reference::App("b".to_owned());
        assert!(app.stays(&a, &detail) && !app.stays(&a, &b) && !app.stays(&a, &Page::Landing));
        let view = Reference::View("a".to_owned(), ViewKey::computation("m"));
        assert!(view.stays(&detail, &detail) && !view.stays(&detail, &a));
        assert!(Reference::Baseline.stays(&a, &b));
        assert_eq!((app.app(), Reference::Baseline.app()), (Some("b"), None));
    }

    #[test]
    fn a_baseline_keeps_the_window_and_its_statistics() {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 0, 102, &[900; 2])]);
        let mut baseline = Baseline::of_window("  before ", &mut store).unwrap();
        let key = ViewKey::computation("n");
        store.apply(1, &update(3, 0, 104, &[7; 9]), 0);
        let statistics = baseline.statistics(&key).unwrap();
        assert_eq!((statistics.count, baseline.range.name.as_str(), baseline.range.to), (6, "before", 102));
        assert_eq!(baseline.statistics(&key), Some(statistics));
        assert_eq!(baseline.statistics(&ViewKey::computation("other")), None);
        assert!(Baseline::of_window("", &mut AppStore::default()).is_none());
        // A range that has not been received completely is not a baseline yet.
        let range = |from, to| BaselineRange { from, to, name: String::new() };
        assert!(Baseline::of_range(&range(100, 105), &mut store).is_none());
        let mut first = Baseline::of_range(&range(99, 101), &mut store).unwrap();
        assert_eq!(first.statistics(&key).map(|statistics| statistics.count), Some(4));
    }
}
