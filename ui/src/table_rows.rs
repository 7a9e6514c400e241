//! The tables: which views a table lists, in which order, and which of them a filter leaves.
//!
//! Pure. What a row's cells say is read from `figures.rs` when the row is drawn.

use joey_shared::histogram::QuantileRange;
use joey_shared::store::AppStore;
use joey_shared::view::{Kind, ViewKey};

use crate::sort::sorted;
use crate::statistics::ViewStatistics;

/// Rows drawn before somebody asks for all of them: more than anybody reads, few enough to stay quick.
pub const ROWS_MAX: usize = 200;

/// A table of views. The tables are those of the original Metrics UI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every pipeline.
    Pipelines,
    /// Every worker.
    Workers,
    /// Every computation.
    Computations,
    /// Every metric of a category that Joey does not know.
    Others,
    /// A pipeline's workers.
    PipelineByWorker(String),
    /// The computations of a pipeline, over all workers.
    ComputationsFor(String),
    /// A worker's pipelines.
    PipelinesOn(String),
    /// A worker's computations.
    ComputationsOn(String),
    /// A computation's workers.
    ComputationOnWorker(String),
    /// The computations of a pipeline on a worker.
    ComputationsForOn(String, String),
}

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position of its view in the store.
    pub at: usize,
    /// What it shows.
    pub key: ViewKey,
    /// Where in the pipeline it sits.
    pub id: u16,
    /// What it is called here.
    pub label: String,
    /// What tells it from others of the same name.
    pub aside: Option<String>,
}

/// What a table may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Names.
    Name,
    /// A percentile, by its position in [`PERCENTILES`](crate::statistics::PERCENTILES).
    Percentile(usize),
    /// The least busy second.
    Min,
    /// The middle.
    Median,
    /// The busiest second.
    Max,
}

/// How a table is sorted, and whether the largest comes first; `None` is its own order.
pub type Order = Option<(Column, bool)>;

/// `order` as one number, for a signal of numbers.
#[must_use]
pub fn to_number(order: Order) -> u64 {
    let place = |column| match column {
        Column::Name => 0,
        Column::Min => 1,
        Column::Median => 2,
        Column::Max => 3,
        Column::Percentile(at) => 4 + at as u64,
    };
    order.map_or(0, |(column, descending)| 2 + place(column) * 2 + u64::from(descending))
}

/// The order that [`to_number`] made `number` of.
#[must_use]
pub fn from_number(number: u64) -> Order {
    let column = match number.checked_sub(2)? / 2 {
        0 => Column::Name,
        1 => Column::Min,
        2 => Column::Median,
        3 => Column::Max,
        at => Column::Percentile(usize::try_from(at - 4).ok()?),
    };
    Some((column, number % 2 == 1))
}

/// The order after somebody pressed the head of `column`: numbers begin with the largest, names with the first.
#[must_use]
pub fn pressed(order: Order, column: Column) -> Order {
    let descending_first = column != Column::Name;
    match order {
        Some((current, descending)) if current == column => {
            (descending == descending_first).then_some((column, !descending))
        }
        _ => Some((column, descending_first)),
    }
}

impl Listing {
    /// What the table is called.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Pipelines => "Pipelines".to_owned(),
            Self::Workers => "Workers".to_owned(),
            Self::Computations => "Computations".to_owned(),
            Self::Others => "Other metrics".to_owned(),
            Self::PipelineByWorker(pipeline) => format!("{pipeline} by worker"),
            Self::ComputationsFor(pipeline) => format!("Computations for {pipeline}"),
            Self::PipelinesOn(worker) => format!("Pipelines on {worker}"),
            Self::ComputationsOn(worker) => format!("Computations on {worker}"),
            Self::ComputationOnWorker(name) => format!("{name} on worker"),
            Self::ComputationsForOn(pipeline, worker) => format!("Computations for {pipeline} on {worker}"),
        }
    }

    /// What its lines are.
    #[must_use]
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::Pipelines | Self::PipelinesOn(_) => "Pipeline",
            Self::Workers | Self::PipelineByWorker(_) | Self::ComputationOnWorker(_) => "Worker",
            Self::Computations | Self::ComputationsFor(_) | Self::ComputationsOn(_) | Self::ComputationsForOn(..) => {
                "Computation"
            }
            Self::Others => "Metric",
        }
    }

    /// Whether its lines show what goes in beside what comes out.
    #[must_use]
    pub const fn shows_ingestion(&self) -> bool {
        matches!(self, Self::Pipelines)
    }

    /// Its lines, in its own order: computations as they sit in the pipeline, everything else by name.
    #[must_use]
    pub fn rows(&self, store: &AppStore) -> Vec<Row> {
        let parts = if let Self::ComputationsFor(pipeline) = self { parts_of(store, pipeline) } else { Vec::new() };
        let rows: Vec<Row> = store
            .views_by_key()
            .filter(|(_, view)| self.admits(&view.key, store, &parts))
            .map(|(at, view)| {
                let (label, aside) = self.label(&view.key);
                Row { at, key: view.key.clone(), id: view.id, label, aside }
            })
            .collect();
        let computations = self.subject() == "Computation";
        let id = |row: &Row| if computations { row.id } else { 0 };
        sorted(rows, &|a, b| (id(a), &a.label, &a.aside).cmp(&(id(b), &b.label, &b.aside)))
    }

    fn admits(&self, key: &ViewKey, store: &AppStore, parts: &[&str]) -> bool {
        let pipeline = |name: &String| key.pipeline.as_ref() == Some(name);
        let worker = |name: &String| key.worker.as_ref() == Some(name);
        match self {
            Self::Pipelines => match key.kind {
                Kind::StartToEnd => true,
                // A pipeline that takes in and never completes anything is worth seeing most of all.
                Kind::PipelineIngestion => {
                    key.pipeline.as_deref().is_some_and(|name| store.find(&ViewKey::pipeline(name)).is_none())
                }
                _ => false,
            },
            Self::Workers => key.kind == Kind::NodeIngressEgress,
            Self::Computations => key.kind == Kind::Computation,
            Self::Others => matches!(key.kind, Kind::Other(_)),
            Self::PipelineByWorker(name) => key.kind == Kind::StartToEndByWorker && pipeline(name),
            Self::ComputationsFor(_) => {
                key.kind == Kind::Computation
                    && key.name.as_deref().is_some_and(|name| parts.binary_search(&name).is_ok())
            }
            Self::PipelinesOn(name) => key.kind == Kind::NodeIngressEgressByPipeline && worker(name),
            Self::ComputationsOn(name) => key.kind == Kind::ComputationByWorker && worker(name),
            Self::ComputationOnWorker(name) => key.kind == Kind::ComputationByWorker && key.name.as_ref() == Some(name),
            Self::ComputationsForOn(p, w) => key.kind == Kind::ComputationByWorker && pipeline(p) && worker(w),
        }
    }

    fn label(&self, key: &ViewKey) -> (String, Option<String>) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        match (self, &key.kind) {
            (Self::Pipelines, Kind::PipelineIngestion) => {
                (text(&key.pipeline), Some("nothing completed yet".to_owned()))
            }
            (Self::Pipelines | Self::PipelinesOn(_), _) => (text(&key.pipeline), None),
            (Self::Workers | Self::PipelineByWorker(_), _) => (text(&key.worker), None),
            (Self::ComputationOnWorker(_), _) => (text(&key.worker), key.pipeline.clone()),
            (Self::ComputationsOn(_), _) => (text(&key.name), key.pipeline.clone()),
            (Self::Others, Kind::Other(category)) => (text(&key.name), Some(category.clone())),
            _ => (text(&key.name), None),
        }
    }
}

/// The computations that have a part in `pipeline`, sorted.
fn parts_of<'a>(store: &'a AppStore, pipeline: &str) -> Vec<&'a str> {
    let part = |key: &ViewKey| key.kind == Kind::ComputationByWorker && key.pipeline.as_deref() == Some(pipeline);
    let names = store.views().iter().filter(|view| part(&view.key)).filter_map(|view| view.key.name.as_deref());
    sorted(names.collect(), &Ord::cmp)
}

/// Leaves the rows that `filter` finds and puts them in `order`; `figures` gives the numbers to sort by.
#[must_use]
pub fn arrange(
    mut rows: Vec<Row>,
    order: Order,
    filter: &str,
    mut figures: impl FnMut(usize) -> Option<ViewStatistics>,
) -> Vec<Row> {
    // Folding the case of every script would cost more than the whole table.
    let wanted = filter.trim().to_ascii_lowercase().into_bytes();
    if !wanted.is_empty() {
        let holds =
            |text: &str| text.to_ascii_lowercase().into_bytes().windows(wanted.len()).any(|part| part == wanted);
        rows.retain(|row| holds(&row.label) || row.aside.as_deref().is_some_and(holds));
    }
    let Some((column, descending)) = order else { return rows };
    if column == Column::Name {
        rows = sorted(rows, &|a, b| (&a.label, &a.aside).cmp(&(&b.label, &b.aside)));
        if descending {
            rows.reverse();
        }
        return rows;
    }
    let keyed: Vec<(Option<Rank>, Row)> =
        rows.into_iter().map(|row| (figures(row.at).and_then(|figures| rank(&figures, column)), row)).collect();
    // Rows without a number stay last, whichever way the others go.
    let keyed = sorted(keyed, &|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) if descending => b.total_cmp(a),
        (Some(a), Some(b)) => a.total_cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// What a row is sorted by: a number, and a second where the first is equal.
struct Rank(f64, f64);

impl Rank {
    fn total_cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.total_cmp(&other.1))
    }
}

fn rank(figures: &ViewStatistics, column: Column) -> Option<Rank> {
    let range = |range: QuantileRange| Rank(range.high as f64, range.low as f64);
    match column {
        Column::Name => None,
        Column::Percentile(at) => figures.quantiles.get(at).copied().flatten().map(range),
        Column::Min => figures.throughput.map(|throughput| Rank(throughput.min, 0.0)),
        Column::Median => figures.throughput.map(|throughput| Rank(throughput.median, 0.0)),
        Column::Max => figures.throughput.map(|throughput| Rank(throughput.max, 0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::view_statistics;
    use crate::testing::{store_of, update};

    /// The labels of a listing's rows, sorted and filtered.
    fn check(listing: &Listing, order: Order, filter: &str, expected: &[&str]) {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 1, 100, &[900]), update(3, 4, 100, &[7])]);
        let rows = arrange(listing.rows(&store), order, filter, |at| view_statistics(&mut store, at));
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
    fn rows_are_sorted_and_filtered() {
        let on_worker = Listing::ComputationOnWorker("n".to_owned());
        check(&on_worker, Some((Column::Percentile(2), true)), "", &["b", "a"]);
        check(&on_worker, Some((Column::Percentile(2), false)), "", &["a", "b"]);
        check(&on_worker, Some((Column::Median, true)), "", &["a", "b"]);
        check(&on_worker, Some((Column::Name, true)), "", &["b", "a"]);
        check(&on_worker, None, " B ", &["b"]);
        check(&on_worker, None, "nothing", &[]);
    }

    #[test]
    fn a_head_pressed_again_turns_round_and_then_lets_go() {
        let by_p99 = pressed(None, Column::Percentile(2));
        assert_eq!(by_p99, Some((Column::Percentile(2), true)));
        let turned = pressed(by_p99, Column::Percentile(2));
        assert_eq!(turned, Some((Column::Percentile(2), false)));
        assert_eq!(pressed(turned, Column::Percentile(2)), None);
        assert_eq!(pressed(by_p99, Column::Name), Some((Column::Name, false)));
        for order in
            [None, by_p99, turned, Some((Column::Name, false)), Some((Column::Max, true)), Some((Column::Min, false))]
        {
            assert_eq!(from_number(to_number(order)), order);
        }
    }

    #[test]
    fn a_pipeline_that_only_takes_in_is_listed() {
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
