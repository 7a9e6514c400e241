//! The rows of the tables: which views a table lists, in which order, and which of them match a filter.
//!
//! Nothing here depends on the browser. The values in a row's cells come from `statistics.rs` when the row is rendered.

use core::cmp::Ordering;
use std::sync::Arc;

use joey_shared::store::AppStore;
use joey_shared::view::{Kind, ViewKey};

use crate::natural_order;
use crate::recent_change::RecentChange;
use crate::row_change::ChangeColumn;
use crate::row_filter::RowFilter;
use crate::statistics::PERCENTILES;
use crate::typed_percentile::TypedPercentile;
use crate::vocabulary::Words;

/// The views that a table lists. The tables are those of the original Metrics UI, and two more for services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every pipeline.
    Pipelines,
    /// Every worker.
    Workers,
    /// Every computation.
    Computations,
    /// Every counter.
    Counters,
    /// Every metric of a category that Joey does not know.
    Others,
    /// The workers of a pipeline.
    PipelineByWorker(String),
    /// The computations of a pipeline, over all workers.
    ComputationsFor(String),
    /// The pipelines of a worker.
    PipelinesOn(String),
    /// The operations of an instance of a service.
    OperationsOn(String),
    /// The computations of a worker.
    ComputationsOn(String),
    /// The workers of a computation.
    ComputationOnWorker(String),
    /// The computations of a pipeline on a worker.
    ComputationsForOn(String, String),
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// The index of its view in the store.
    pub view_index: usize,
    /// The key of its view.
    pub key: ViewKey,
    /// The position of a computation in its pipeline.
    pub position: u16,
    /// Its name in this table.
    pub label: String,
    /// What distinguishes it from other rows with the same name.
    pub qualifier: Option<String>,
}

/// A column that a table can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The name.
    Name,
    /// A percentile, by its index in [`PERCENTILES`](crate::statistics::PERCENTILES).
    Percentile(usize),
    /// A percentile that the user typed.
    Typed(TypedPercentile),
    /// The minimum rate.
    Min,
    /// The median rate.
    Median,
    /// The maximum rate.
    Max,
    /// The number of events.
    Events,
    /// How much the last minute differs from the minutes before.
    LastMinute,
    /// The difference from what the table is compared with.
    Change(ChangeColumn),
}

/// The order that the user chose for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: Column,
    /// Whether the largest value is first.
    pub descending: bool,
}

impl Sort {
    /// The order after the user pressed the head of `column`: first by numbers descending or names ascending, then the other
    /// way, then the table's own order.
    #[must_use]
    pub fn after_press(current: Option<Self>, column: Column) -> Option<Self> {
        let initially_descending = column != Column::Name;
        match current {
            Some(sort) if sort.column == column => {
                (sort.descending == initially_descending).then_some(Self { column, descending: !sort.descending })
            }
            _ => Some(Self { column, descending: initially_descending }),
        }
    }
}

impl Listing {
    /// The title of the table.
    #[must_use]
    pub fn title(&self, words: &Words) -> String {
        let Words { pipelines, computations, worker_in_text, on_worker, .. } = words;
        match self {
            Self::Pipelines => (*pipelines).to_owned(),
            Self::Workers => words.workers.to_owned(),
            Self::Computations => (*computations).to_owned(),
            Self::Counters => "Counters".to_owned(),
            Self::Others => "Other metrics".to_owned(),
            Self::PipelineByWorker(pipeline) => format!("{pipeline} by {worker_in_text}"),
            Self::ComputationsFor(pipeline) => format!("{computations} for {pipeline}"),
            Self::PipelinesOn(worker) | Self::OperationsOn(worker) => format!("{pipelines} on {worker}"),
            Self::ComputationsOn(worker) => format!("{computations} on {worker}"),
            Self::ComputationOnWorker(name) => format!("{name} {on_worker}"),
            Self::ComputationsForOn(pipeline, worker) => format!("{computations} for {pipeline} on {worker}"),
        }
    }

    /// What a row of the table is.
    #[must_use]
    pub const fn subject(&self, words: &'static Words) -> &'static str {
        match self {
            Self::Pipelines | Self::PipelinesOn(_) | Self::OperationsOn(_) => words.pipeline,
            Self::Workers | Self::PipelineByWorker(_) | Self::ComputationOnWorker(_) => words.worker,
            Self::Computations | Self::ComputationsFor(_) | Self::ComputationsOn(_) | Self::ComputationsForOn(..) => {
                words.computation_column
            }
            Self::Counters => "Counter",
            Self::Others => "Metric",
        }
    }

    /// Whether its rows are computations.
    const fn is_computations(&self) -> bool {
        matches!(
            self,
            Self::Computations | Self::ComputationsFor(_) | Self::ComputationsOn(_) | Self::ComputationsForOn(..)
        )
    }

    /// Whether its rows have latencies.
    #[must_use]
    pub const fn has_latency(&self) -> bool {
        !matches!(self, Self::Counters)
    }

    /// Whether only some applications have such a table. It is not shown without rows.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        matches!(self, Self::Counters | Self::Others)
    }

    /// Whether its rows show the rate in beside the rate out.
    #[must_use]
    pub const fn shows_ingestion(&self) -> bool {
        matches!(self, Self::Pipelines)
    }

    /// The rows in the table's own order: computations by their position in the pipeline, everything else by name.
    #[must_use]
    pub fn rows(&self, store: &AppStore) -> Vec<TableRow> {
        let computations =
            if let Self::ComputationsFor(pipeline) = self { computations_of(store, pipeline) } else { Vec::new() };
        let mut rows: Vec<TableRow> = store
            .views_by_key()
            .filter(|(_, view)| self.contains(&view.key, store, &computations))
            .map(|(view_index, view)| {
                let (label, qualifier) = self.label(&view.key);
                TableRow { view_index, key: view.key.clone(), position: view.id, label, qualifier }
            })
            .collect();
        let position = |row: &TableRow| if self.is_computations() { row.position } else { 0 };
        rows.sort_by(|a, b| position(a).cmp(&position(b)).then_with(|| by_name(a, b)));
        rows
    }

    fn contains(&self, key: &ViewKey, store: &AppStore, computations: &[&str]) -> bool {
        let has_pipeline = |name: &String| key.pipeline.as_ref() == Some(name);
        let has_worker = |name: &String| key.worker.as_ref() == Some(name);
        match self {
            Self::Pipelines => match key.kind {
                Kind::StartToEnd => true,
                // A pipeline that ingests but completes nothing is the most important one to see.
                Kind::PipelineIngestion => {
                    key.pipeline.as_deref().is_some_and(|name| store.find(&ViewKey::pipeline(name)).is_none())
                }
                _ => false,
            },
            Self::Workers => key.kind == Kind::NodeIngressEgress,
            Self::Computations => key.kind == Kind::Computation,
            Self::Counters => key.kind == Kind::Throughput,
            Self::Others => matches!(key.kind, Kind::Other(_)),
            Self::PipelineByWorker(name) => key.kind == Kind::StartToEndByWorker && has_pipeline(name),
            Self::ComputationsFor(_) => {
                key.kind == Kind::Computation
                    && key.name.as_deref().is_some_and(|name| computations.binary_search(&name).is_ok())
            }
            Self::PipelinesOn(name) => key.kind == Kind::NodeIngressEgressByPipeline && has_worker(name),
            Self::OperationsOn(name) => key.kind == Kind::StartToEndByWorker && has_worker(name),
            Self::ComputationsOn(name) => key.kind == Kind::ComputationByWorker && has_worker(name),
            Self::ComputationOnWorker(name) => key.kind == Kind::ComputationByWorker && key.name.as_ref() == Some(name),
            Self::ComputationsForOn(pipeline, worker) => {
                key.kind == Kind::ComputationByWorker && has_pipeline(pipeline) && has_worker(worker)
            }
        }
    }

    /// The label and the qualifier of a row.
    fn label(&self, key: &ViewKey) -> (String, Option<String>) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let pipeline = || key.pipeline.clone().filter(|name| !name.is_empty());
        match (self, &key.kind) {
            (Self::Pipelines, Kind::PipelineIngestion) => {
                (text(&key.pipeline), Some("nothing completed yet".to_owned()))
            }
            (Self::Pipelines | Self::PipelinesOn(_) | Self::OperationsOn(_), _) => (text(&key.pipeline), None),
            // The total of an instance over its spans has a name.
            (Self::Workers | Self::PipelineByWorker(_), _) => (text(&key.worker), key.name.clone()),
            (Self::ComputationOnWorker(_), _) => (text(&key.worker), pipeline()),
            (Self::ComputationsOn(_), _) => (text(&key.name), pipeline()),
            (Self::Others, Kind::Other(category)) => (text(&key.name), Some(category.clone())),
            _ => (text(&key.name), None),
        }
    }
}

/// The computations of `pipeline`, sorted.
fn computations_of<'a>(store: &'a AppStore, pipeline: &str) -> Vec<&'a str> {
    let matches = |key: &ViewKey| key.kind == Kind::ComputationByWorker && key.pipeline.as_deref() == Some(pipeline);
    let views = store.views().iter().filter(|view| matches(&view.key));
    let mut names: Vec<&str> = views.filter_map(|view| view.key.name.as_deref()).collect();
    names.sort_unstable();
    names
}

/// The order of rows by name.
fn by_name(a: &TableRow, b: &TableRow) -> Ordering {
    let [a_qualifier, b_qualifier] = [a, b].map(|row| row.qualifier.as_deref().unwrap_or_default());
    natural_order::compare(&a.label, &b.label).then_with(|| natural_order::compare(a_qualifier, b_qualifier))
}

/// The rows of one table that match the filter, in the table's own order or by name. They are kept until the views or the filter
/// change, because thousands of names take longer to sort than a frame lasts.
#[derive(Debug, Default)]
pub struct RowCache {
    generation: u64,
    /// The store's revision of the views, the filter, and whether rows are sorted by name, and then descending.
    state: Option<(u64, String, Option<bool>)>,
    total: usize,
    rows: Arc<Vec<Arc<TableRow>>>,
    axis_views: Vec<usize>,
}

impl RowCache {
    /// Forgets the rows if they are of another generation of stores.
    pub fn use_for(&mut self, generation: u64) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
    }

    /// The number of rows without the filter, and the rows that match `filter`, in the order of `sort` or as they are for `None`.
    pub fn rows(
        &mut self,
        listing: &Listing,
        store: &mut AppStore,
        sort: Option<Sort>,
        filter: &str,
    ) -> (usize, Arc<Vec<Arc<TableRow>>>) {
        let by_name = sort.filter(|sort| sort.column == Column::Name).map(|sort| sort.descending);
        let is_known = self.state.as_ref().is_some_and(|(revision, known, order)| {
            *revision == store.views_revision() && *known == filter && *order == by_name
        });
        if !is_known {
            let rows = listing.rows(store);
            self.total = rows.len();
            let with_latency = rows.iter().filter(|row| row.key.kind.has_latency());
            self.axis_views = with_latency.take(AXIS_ROWS_MAX).map(|row| row.view_index).collect();
            self.rows = Arc::new(filtered(rows, by_name, filter).into_iter().map(Arc::new).collect());
            self.state = Some((store.views_revision(), filter.to_owned(), by_name));
        }
        let rows = match sort.filter(|_| by_name.is_none()) {
            Some(sort) => Arc::new(ranked(&self.rows, sort, store)),
            None => Arc::clone(&self.rows),
        };
        (self.total, rows)
    }

    /// The views whose latencies decide the axis of the small histograms: those of the first rows, whether they match
    /// the filter or not.
    #[must_use]
    pub fn axis_views(&self) -> &[usize] {
        &self.axis_views
    }
}

/// Maximum number of rows whose latencies decide the axis of the small histograms even if they are out of sight.
pub const AXIS_ROWS_MAX: usize = 200;

/// The rows that match `filter`, sorted by name if this is wanted.
fn filtered(mut rows: Vec<TableRow>, by_name_descending: Option<bool>, filter: &str) -> Vec<TableRow> {
    let filter = RowFilter::parse(filter);
    if !filter.is_empty() {
        rows.retain(|row| filter.matches(&[row.label.as_str(), row.qualifier.as_deref().unwrap_or_default()]));
    }
    if let Some(descending) = by_name_descending {
        rows.sort_by(by_name);
        if descending {
            rows.reverse();
        }
    }
    rows
}

/// The rows in the order of their values in a column.
fn ranked(rows: &[Arc<TableRow>], Sort { column, descending }: Sort, store: &mut AppStore) -> Vec<Arc<TableRow>> {
    let ranked = rows.iter().map(|row| (rank(store, row.view_index, column), Arc::clone(row))).collect();
    sorted_by_rank(ranked, descending)
}

/// `rows` in the order of how much they changed lately. Those without a change beyond chance are last in either direction.
#[must_use]
pub fn sort_by_recent_change(
    rows: &[Arc<TableRow>],
    descending: bool,
    mut change: impl FnMut(usize) -> Option<RecentChange>,
) -> Vec<Arc<TableRow>> {
    let mut rank = |row: &TableRow| change(row.view_index)?.rank().map(|rank| Rank(rank, 0.0));
    let ranked = rows.iter().map(|row| (rank(row), Arc::clone(row))).collect();
    sorted_by_rank(ranked, descending)
}

/// The rows in the order of their ranks. Those without one are last in either direction.
fn sorted_by_rank(mut ranked: Vec<(Option<Rank>, Arc<TableRow>)>, descending: bool) -> Vec<Arc<TableRow>> {
    ranked.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) if descending => b.total_cmp(a),
        (Some(a), Some(b)) => a.total_cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    ranked.into_iter().map(|(_, row)| row).collect()
}

/// A sort key: a number, and a second one for equal first ones.
struct Rank(f64, f64);

impl Rank {
    fn total_cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.total_cmp(&other.1))
    }
}

fn rank(store: &mut AppStore, view_index: usize, column: Column) -> Option<Rank> {
    let has_latency = store.views().get(view_index)?.key.kind.has_latency();
    let mut quantile = |quantile| {
        let range = if has_latency { store.quantile(view_index, quantile) } else { None }?;
        Some(Rank(range.high as f64, range.low as f64))
    };
    match column {
        // Changes need the other side: see `recent_change.rs` and `row_change.rs`.
        Column::Name | Column::LastMinute | Column::Change(_) => None,
        Column::Percentile(index) => quantile(PERCENTILES.get(index)?.quantile),
        Column::Typed(percentile) => quantile(percentile.quantile()),
        Column::Min => store.throughput(view_index).map(|throughput| Rank(throughput.min, 0.0)),
        Column::Median => store.throughput(view_index).map(|throughput| Rank(throughput.median, 0.0)),
        Column::Max => store.throughput(view_index).map(|throughput| Rank(throughput.max, 0.0)),
        Column::Events => Some(Rank(store.histogram(view_index).count() as f64, 0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{service_of, store_of, update};
    use crate::vocabulary::{SERVICE, WALLAROO};

    const P99: Column = Column::Percentile(2);

    const fn sort(column: Column, descending: bool) -> Option<Sort> {
        Some(Sort { column, descending })
    }

    /// The labels of a listing's rows, filtered and sorted.
    fn check(listing: &Listing, sort: Option<Sort>, filter: &str, expected: &[&str]) {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 1, 100, &[900]), update(3, 4, 100, &[7])]);
        let (_, rows) = RowCache::default().rows(listing, &mut store, sort, filter);
        assert_eq!(rows.iter().map(|row| row.label.as_str()).collect::<Vec<_>>(), expected, "{listing:?}");
    }

    #[test]
    fn listings_are_those_of_the_original_pages() {
        let [p, w, n] = ["p", "a", "n"].map(ToOwned::to_owned);
        check(&Listing::Pipelines, None, "", &["p"]);
        check(&Listing::Workers, None, "", &["a"]);
        check(&Listing::Computations, None, "", &["n"]);
        check(&Listing::Others, None, "", &[]);
        check(&Listing::PipelineByWorker(p.clone()), None, "", &["a"]);
        check(&Listing::ComputationsFor(p.clone()), None, "", &["n"]);
        check(&Listing::ComputationsFor(w.clone()), None, "", &[]);
        check(&Listing::PipelinesOn(w.clone()), None, "", &["p"]);
        check(&Listing::ComputationsOn(w.clone()), None, "", &["n"]);
        check(&Listing::ComputationsForOn(p, w), None, "", &["n"]);
        check(&Listing::ComputationOnWorker(n), None, "", &["a", "b"]);
    }

    #[test]
    fn a_service_has_operations_instances_and_counters() {
        let store = service_of(&[]);
        let rows = |listing: &Listing| -> Vec<(String, Option<String>)> {
            listing.rows(&store).into_iter().map(|row| (row.label, row.qualifier)).collect()
        };
        let labels = |listing: &Listing| rows(listing).into_iter().map(|(label, _)| label).collect::<Vec<_>>();
        assert_eq!(labels(&Listing::Pipelines), ["GET /", "GET / spans"]);
        let instance = |name: &str, qualifier: Option<&str>| (name.to_owned(), qualifier.map(ToOwned::to_owned));
        assert_eq!(
            rows(&Listing::Workers),
            [instance("i-1", None), instance("i-1", Some("spans")), instance("i-2", None)]
        );
        assert_eq!(labels(&Listing::Counters), ["hits"]);
        assert_eq!(labels(&Listing::OperationsOn("i-1".to_owned())), ["GET /", "GET / spans"]);
        assert_eq!(rows(&Listing::ComputationsOn("i-1".to_owned())), [instance("render", None)]);
        assert!(labels(&Listing::PipelinesOn("i-1".to_owned())).is_empty());
    }

    #[test]
    fn tables_are_named_in_the_words_of_the_application() {
        let name = || "x".to_owned();
        let listings = [
            Listing::Pipelines,
            Listing::Workers,
            Listing::Computations,
            Listing::PipelineByWorker(name()),
            Listing::OperationsOn(name()),
            Listing::ComputationOnWorker(name()),
        ];
        let named =
            |words: &'static Words| listings.each_ref().map(|listing| (listing.title(words), listing.subject(words)));
        let expected = |texts: [(&str, &'static str); 6]| texts.map(|(title, subject)| (title.to_owned(), subject));
        assert_eq!(
            named(&WALLAROO),
            expected([
                ("Pipelines", "Pipeline"),
                ("Workers", "Worker"),
                ("Computations", "Computation"),
                ("x by worker", "Worker"),
                ("Pipelines on x", "Pipeline"),
                ("x on worker", "Worker"),
            ])
        );
        assert_eq!(
            named(&SERVICE),
            expected([
                ("Operations", "Operation"),
                ("Instances", "Instance"),
                ("Internal and client operations", "Operation"),
                ("x by instance", "Instance"),
                ("Operations on x", "Operation"),
                ("x by instance", "Instance"),
            ])
        );
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let on_worker = Listing::ComputationOnWorker("n".to_owned());
        check(&on_worker, sort(P99, true), "", &["b", "a"]);
        check(&on_worker, sort(P99, false), "", &["a", "b"]);
        let p75 = Column::Typed(TypedPercentile::parse("75").unwrap());
        check(&on_worker, sort(p75, true), "", &["b", "a"]);
        check(&on_worker, sort(p75, false), "", &["a", "b"]);
        check(&on_worker, sort(Column::Median, true), "", &["a", "b"]);
        check(&on_worker, sort(Column::Name, true), "", &["b", "a"]);
        check(&on_worker, None, " B ", &["b"]);
        check(&on_worker, None, "nothing", &[]);
    }

    #[test]
    fn names_are_read_again_only_when_views_or_the_filter_change() {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 1, 100, &[900])]);
        let (listing, mut cache) = (Listing::ComputationOnWorker("n".to_owned()), RowCache::default());
        let mut rows = |store: &mut AppStore, filter: &str| cache.rows(&listing, store, None, filter).1;
        let first = rows(&mut store, "");
        store.apply(1, &update(3, 1, 102, &[900]), 0);
        assert!(Arc::ptr_eq(&first, &rows(&mut store, "")));
        assert_eq!(rows(&mut store, "b").len(), 1);
        let key = joey_shared::series::SeriesKey {
            category: joey_shared::series::COMPUTATION.to_owned(),
            pipeline: "p".to_owned(),
            worker: "c".to_owned(),
            name: "n".to_owned(),
        };
        store.announce(1, &[joey_shared::wire::SeriesEntry::new(9, 1, key)]);
        assert_eq!(rows(&mut store, "").len(), 3);
    }

    #[test]
    fn a_head_pressed_again_reverses_the_order_and_then_resets_it() {
        let by_p99 = Sort::after_press(None, P99);
        assert_eq!(by_p99, sort(P99, true));
        let reversed = Sort::after_press(by_p99, P99);
        assert_eq!(reversed, sort(P99, false));
        assert_eq!(Sort::after_press(reversed, P99), None);
        assert_eq!(Sort::after_press(by_p99, Column::Name), sort(Column::Name, false));
    }

    #[test]
    fn a_pipeline_that_only_ingests_is_listed() {
        let mut store = AppStore::default();
        let key = joey_shared::series::SeriesKey {
            category: joey_shared::series::PIPELINE_INGESTION.to_owned(),
            pipeline: "q".to_owned(),
            worker: "a".to_owned(),
            name: "q source".to_owned(),
        };
        store.announce(1, &[joey_shared::wire::SeriesEntry::new(0, 1, key)]);
        assert_eq!(Listing::Pipelines.rows(&store)[0].label, "q");
    }
}
