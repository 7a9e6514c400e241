//! The latency objectives of an application, and their outcome for each of its views.
//!
//! Each objective is evaluated over its own window, which ends with the newest second; while a range of time is selected, over
//! that range. An outcome is computed again only after its view has changed, and of many views only some at each tick.

use joey_shared::objective::{Objective, Under, Verdict, parse_list};
use joey_shared::series::{COMPUTATION, Filter, NODE_INGRESS_EGRESS, START_TO_END};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::window::second_of;

/// Maximum number of objectives of an application.
pub const OBJECTIVES_MAX: usize = 20;

/// Maximum number of views that are evaluated at a tick. With 1,000 views, each is at most ten seconds old.
const EVALUATED_MAX: usize = 50;

/// The outcome of an objective for one view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The index of the objective in [`AppObjectives::list`].
    pub objective: usize,
    /// Whether it was met.
    pub verdict: Verdict,
    /// The events under its threshold.
    pub under: Under,
}

/// The number of views with each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Views that met the objective.
    pub met: usize,
    /// Views that missed it.
    pub missed: usize,
    /// Views whose verdict is unknown because the threshold cuts a bin.
    pub undecided: usize,
    /// Views without events.
    pub no_data: usize,
}

/// The objectives of an application.
#[derive(Debug, Default)]
pub struct AppObjectives {
    list: Vec<Objective>,
    /// By view index.
    views: Vec<Option<Evaluated>>,
    /// The view index at which the next tick continues.
    next: usize,
}

/// What the outcomes depend on: revision of the view, clock, length of the windows, whether a range is selected.
type State = (u64, u64, u64, bool);

#[derive(Debug)]
struct Evaluated {
    state: State,
    outcomes: Vec<Outcome>,
}

impl AppObjectives {
    /// Evaluates these objectives from now on; at most [`OBJECTIVES_MAX`].
    #[must_use]
    pub fn new(mut list: Vec<Objective>) -> Self {
        list.truncate(OBJECTIVES_MAX);
        Self { list, ..Self::default() }
    }

    /// The objectives.
    #[must_use]
    pub fn list(&self) -> &[Objective] {
        &self.list
    }

    /// Computes all outcomes anew: another store is shown.
    pub fn forget_outcomes(&mut self) {
        self.views.clear();
    }

    /// The outcomes for the view at `view_index` of `store`. While a range is selected, `store` has only that range.
    pub fn outcomes(&mut self, store: &mut AppStore, view_index: usize, is_range: bool) -> &[Outcome] {
        let Some(view) = store.views().get(view_index) else { return &[] };
        if self.list.is_empty() {
            return &[];
        }
        let state = (view.revision, second_of(store.clock_ns()), store.seconds(), is_range);
        if self.views.len() <= view_index {
            self.views.resize_with(view_index + 1, || None);
        }
        if self.views[view_index].as_ref().is_none_or(|known| known.state != state) {
            let key = view.key.clone();
            let matching: Vec<usize> = (0..self.list.len()).filter(|&at| self.list[at].matches(&key)).collect();
            let outcome = |objective: usize| {
                let wanted = &self.list[objective];
                let seconds = if is_range { store.seconds() } else { wanted.window_seconds() };
                let histogram = store.recent_histogram(view_index, seconds);
                let under = Under::of(&histogram, wanted.threshold_ns());
                Outcome { objective, verdict: under.verdict(wanted.quantile()), under }
            };
            let outcomes = matching.into_iter().map(outcome).collect();
            self.views[view_index] = Some(Evaluated { state, outcomes });
        }
        self.views[view_index].as_ref().map_or(&[], |known| known.outcomes.as_slice())
    }

    /// Evaluates some of the views; the others at the next ticks.
    pub fn advance(&mut self, store: &mut AppStore, is_range: bool) {
        let count = store.views().len();
        if self.list.is_empty() || count == 0 {
            return;
        }
        self.views.truncate(count);
        for _ in 0..count.min(EVALUATED_MAX) {
            self.next = (self.next + 1) % count;
            self.outcomes(store, self.next, is_range);
        }
    }

    /// The known outcomes of all views, with view indices.
    pub fn known(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let views = self.views.iter().enumerate().filter_map(|(at, known)| Some((at, known.as_ref()?)));
        views.flat_map(|(at, known)| known.outcomes.iter().map(move |outcome| (at, outcome)))
    }

    /// The number of views with each verdict, for each objective.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.list.len()];
        for (_, outcome) in self.known() {
            let tally = &mut tallies[outcome.objective];
            *match outcome.verdict {
                Verdict::Met => &mut tally.met,
                Verdict::Missed => &mut tally.missed,
                Verdict::Undecided => &mut tally.undecided,
                Verdict::NoData => &mut tally.no_data,
            } += 1;
        }
        tallies
    }
}

/// The topics of an application that have all views that match `objective`.
#[must_use]
pub fn filters(objective: &Objective) -> Vec<Filter> {
    let kind = objective.views().split('/').next().unwrap_or_default();
    let categories = match kind {
        _ if kind.contains(['*', '?']) => return vec![Filter::All],
        START_TO_END | "start-to-end-by-worker" => &[START_TO_END][..],
        COMPUTATION | "computation-by-worker" => &[COMPUTATION],
        // The totals of a service's instances are of its operations.
        NODE_INGRESS_EGRESS => &[NODE_INGRESS_EGRESS, START_TO_END],
        "node-ingress-egress-by-pipeline" => &[NODE_INGRESS_EGRESS],
        // The name of an unknown category, or what follows it, may contain slashes.
        _ if objective.views().matches('/').count() > 1 => return vec![Filter::All],
        other => &[other],
    };
    categories.iter().map(|category| Filter::Category((*category).to_owned())).collect()
}

/// How bad a missed objective is, for sorting: the smallest possible burn rate. `None` if it was not certainly missed.
#[must_use]
pub fn badness(objective: &Objective, outcome: &Outcome) -> Option<f64> {
    let rate = outcome.under.burn_rate(objective.quantile()).map_or(0.0, |(low, _)| low);
    (outcome.verdict == Verdict::Missed).then_some(rate)
}

/// The objectives in a saved text. Lines that are not objectives are dropped one by one.
#[must_use]
pub fn parse_saved(text: &str) -> Vec<Objective> {
    let mut list = Vec::new();
    for objective in text.lines().filter_map(|line| parse_list(line).ok()).flatten() {
        if !list.contains(&objective) && list.len() < OBJECTIVES_MAX {
            list.push(objective);
        }
    }
    list
}

/// The objectives as text, one on each line, as `joey watch` reads them.
#[must_use]
pub fn saved_text(list: &[Objective]) -> String {
    list.iter().map(|objective| format!("{objective}\n")).collect()
}

/// The glob that matches exactly the view `key`, as far as its names allow: `*` and `?` in a name match themselves, and more.
#[must_use]
pub fn glob_of(key: &ViewKey) -> String {
    // Spaces at the ends of a text are not part of a glob.
    let path = joey_shared::objective::view_path(key);
    let trimmed = path.trim();
    let trimmed = if trimmed.len() < path.len() { format!("{trimmed}*") } else { path };
    trimmed.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{S, fine_update, service_of};
    use joey_shared::wire::Update;

    fn objective(text: &str) -> Objective {
        text.parse().unwrap()
    }

    /// A service whose events take 1 ms, and 9 ms in the last ten of 300 seconds.
    fn store() -> AppStore {
        let duration = |second: u64| if second > 590 { 9_000_000 } else { 1_000_000 };
        let updates: Vec<Update> =
            (301..=600).map(|second| fine_update(second, 0, second, &[duration(second); 4])).collect();
        service_of(&updates)
    }

    fn verdicts(objectives: &mut AppObjectives, store: &mut AppStore, is_range: bool) -> Vec<Verdict> {
        objectives.outcomes(store, 0, is_range).iter().map(|outcome| outcome.verdict).collect()
    }

    #[test]
    fn the_topics_of_an_objective_have_all_views_that_it_names() {
        let of = |views: &str| filters(&objective(&format!("{views}: p99 < 1ms over 1m")));
        let category = |name: &str| Filter::Category(name.to_owned());
        assert_eq!(of("*"), [Filter::All]);
        assert_eq!(of("computation-by-worker/Check/w1"), [category(COMPUTATION)]);
        assert_eq!(of("gc-pause/young"), [category("gc-pause")]);
        // The category may be `db/query`.
        assert_eq!(of("db/query/read"), [Filter::All]);
    }

    #[test]
    fn each_objective_is_evaluated_over_its_own_window() {
        let mut store = store();
        let over = |window: &str| objective(&format!("*: p90 < 2ms over {window}"));
        let mut objectives = AppObjectives::new(vec![over("10s"), over("5m"), objective("none/*: p90 < 2ms over 10s")]);
        assert_eq!(verdicts(&mut objectives, &mut store, false), [Verdict::Missed, Verdict::Met]);
        // The whole store is the selected range.
        assert_eq!(verdicts(&mut objectives, &mut store, true), [Verdict::Met, Verdict::Met]);
        let outcome = objectives.outcomes(&mut store, 0, false)[0];
        assert_eq!((outcome.under.low, outcome.under.total), (0, 40));
        assert_eq!(badness(&objectives.list()[0], &outcome), Some(10.0));
    }

    #[test]
    fn outcomes_follow_their_view_and_are_counted() {
        let mut store = store();
        let mut objectives = AppObjectives::new(vec![objective("*: p90 < 2ms over 10s")]);
        objectives.advance(&mut store, false);
        let missed = objectives.tallies()[0].missed;
        assert!(missed >= 1 && objectives.known().count() >= missed);
        for seq in 0..20 {
            store.apply(1, &fine_update(1_000 + seq, 0, 601 + seq, &[1_000_000; 4]), (700 + seq) * S);
        }
        objectives.advance(&mut store, false);
        assert_eq!(objectives.tallies()[0].missed, 0);
        objectives.forget_outcomes();
        assert_eq!(objectives.tallies(), [Tally::default()]);
    }

    #[test]
    fn a_saved_list_is_read_line_by_line() {
        let text = "*: p99 < 10ms over 1m\nnonsense\n\n# comment\n*: p99 < 10ms over 1m\n*: p50 < 1ms over 5m\n";
        let list = parse_saved(text);
        assert_eq!(saved_text(&list), "*: p99 < 10ms over 1m\n*: p50 < 1ms over 5m\n");
        let many: String = (1..=50).map(|ms| format!("*: p99 < {ms}ms over 1m\n")).collect();
        assert_eq!(parse_saved(&many).len(), OBJECTIVES_MAX);
    }

    #[test]
    fn the_objective_of_a_view_matches_the_view() {
        for name in ["GET /users", "a*b?c", "tab\there", " padded ", "x: p99 < 1ms over 1m", "日本"] {
            let key = ViewKey::computation(name);
            let text = format!("{}: p99 < 10ms over 1m", glob_of(&key));
            assert!(objective(&text).matches(&key), "{text:?}");
        }
    }
}
