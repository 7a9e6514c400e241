//! What the search finds: pages, actions and percentiles.

use crate::fuzzy_match;
use crate::typed_percentile::TypedPercentile;

/// Maximum number of results: more than fit on a screen are found faster by typing another letter.
pub const RESULTS_MAX: usize = 40;

/// What happens when an item is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The action at this position of the table.
    Action(usize),
    /// The page with this address.
    Address(String),
    /// A column for this percentile.
    Percentile(TypedPercentile),
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The names that it consists of, each with a writing direction of its own.
    pub names: Vec<String>,
    /// What it is: `application`, `computation`.
    pub kind: String,
    /// What happens when it is chosen.
    pub target: Target,
}

impl Item {
    /// What is searched.
    fn text(&self) -> String {
        format!("{} {}", self.names.join(" on "), self.kind)
    }
}

/// The best items for `query`, best first, at most [`RESULTS_MAX`]. A percentile that is typed is one of them.
#[must_use]
pub fn results(query: &str, items: &[Item]) -> Vec<Item> {
    let texts: Vec<String> = items.iter().map(Item::text).collect();
    let best = fuzzy_match::best(query, texts.iter().map(String::as_str), RESULTS_MAX);
    let mut results: Vec<Item> = best.into_iter().filter_map(|at| items.get(at).cloned()).collect();
    if let Some(percentile) = TypedPercentile::parse(query) {
        let item = Item {
            names: vec![percentile.label()],
            kind: "add as a column".to_owned(),
            target: Target::Percentile(percentile),
        };
        results.insert(0, item);
        results.truncate(RESULTS_MAX);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(names: &[&str], kind: &str) -> Item {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let target = Target::Address(names.join("/"));
        Item { names, kind: kind.to_owned(), target }
    }

    #[test]
    fn items_are_found_by_name_and_kind_and_a_number_is_a_percentile() {
        let items = [item(&["Check order", "worker-2"], "computation"), item(&["Orders"], "pipeline")];
        let found =
            |query: &str| results(query, &items).into_iter().map(|item| item.names[0].clone()).collect::<Vec<_>>();
        assert_eq!(found("pipeline"), ["Orders"]);
        assert_eq!(found("check w2"), ["Check order"]);
        assert_eq!(found("99.95"), ["p99.95"]);
        assert_eq!(found(""), ["Check order", "Orders"]);
    }

    #[test]
    fn the_number_of_results_is_bounded() {
        let items = vec![item(&["p99 x"], "computation"); 500];
        assert_eq!(results("p99", &items).len(), RESULTS_MAX);
        assert_eq!(results("", &items).len(), RESULTS_MAX);
    }
}
