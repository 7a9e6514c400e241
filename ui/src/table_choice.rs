//! How the user wants the tables: filter, order, table or small charts, and only favourites. The address contains all of it.
//!
//! `q=` is the filter, `sort=` the column with `-` before it for descending, `as=charts` the small charts, `only=favourites`.

use crate::route::{decode, encode};
use crate::row_change::{CHANGE_PERCENTILES, ChangeColumn};
use crate::statistics::{PERCENTILES, TABLE_PERCENTILES};
use crate::table_rows::{Column, Sort};
use crate::typed_percentile::TypedPercentile;

/// Maximum length of a filter in an address, in characters.
const FILTER_MAX: usize = 200;

/// How the rows of a table are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One line for each row, with its numbers.
    #[default]
    Table,
    /// One chart for each row, all on the same axis.
    Charts,
}

impl Layout {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Table => Self::Charts,
            Self::Charts => Self::Table,
        }
    }
}

/// How the user wants the tables of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChoice {
    /// What the user typed into the filter.
    pub filter: String,
    /// The order; `None` is each table's own.
    pub sort: Option<Sort>,
    /// How rows are shown.
    pub layout: Layout,
    /// Whether only favourites are shown.
    pub only_favourites: bool,
}

impl TableChoice {
    /// No filter, and each table in its own order.
    pub const DEFAULT: Self = Self { filter: String::new(), sort: None, layout: Layout::Table, only_favourites: false };

    /// The choice in an address. `value` returns the value of a parameter. What is invalid is ignored.
    #[must_use]
    pub fn parse<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let filter = value("q=").and_then(decode).filter(|filter| filter.chars().count() <= FILTER_MAX);
        Self {
            filter: filter.unwrap_or_default(),
            sort: value("sort=").and_then(parse_sort),
            layout: if value("as=") == Some("charts") { Layout::Charts } else { Layout::Table },
            only_favourites: value("only=") == Some("favourites"),
        }
    }

    /// The parameters of an address.
    #[must_use]
    pub fn parameters(&self) -> Vec<String> {
        let mut parameters = Vec::new();
        if !self.filter.is_empty() {
            let short: String = self.filter.chars().take(FILTER_MAX).collect();
            parameters.push(format!("q={}", encode(&short)));
        }
        parameters.extend(self.sort.and_then(sort_text).map(|text| format!("sort={text}")));
        if self.layout == Layout::Charts {
            parameters.push("as=charts".to_owned());
        }
        if self.only_favourites {
            parameters.push("only=favourites".to_owned());
        }
        parameters
    }
}

/// The name of a column in an address: `p99`, `p99.95`, `name`, `p99-change`. `None` if there is no such column.
#[must_use]
pub fn column_text(column: Column) -> Option<String> {
    let name = match column {
        Column::Name => "name",
        Column::Percentile(index) => PERCENTILES.get(index)?.label,
        Column::Typed(percentile) => return Some(percentile.label()),
        Column::Min => "min",
        Column::Median => "median",
        Column::Max => "max",
        Column::Events => "events",
        Column::LastMinute => "last-minute",
        Column::Change(ChangeColumn::Distance) => "change",
        Column::Change(ChangeColumn::Rate) => "rate-change",
        Column::Change(ChangeColumn::Percentile(index)) => {
            return Some(format!("{}-change", PERCENTILES.get(index)?.label));
        }
        Column::Change(ChangeColumn::Typed(percentile)) => return Some(format!("{}-change", percentile.label())),
    };
    Some(name.to_owned())
}

fn parse_column(text: &str) -> Option<Column> {
    let fixed = PERCENTILES.iter().take(TABLE_PERCENTILES).position(|percentile| percentile.label == text);
    if let Some(changed) = text.strip_suffix("-change") {
        let column = match parse_column(changed) {
            Some(Column::Percentile(index)) if CHANGE_PERCENTILES.contains(&index) => ChangeColumn::Percentile(index),
            Some(Column::Typed(percentile)) => ChangeColumn::Typed(percentile),
            _ if changed == "rate" => ChangeColumn::Rate,
            _ => return None,
        };
        return Some(Column::Change(column));
    }
    let typed = || text.strip_prefix('p').and_then(TypedPercentile::parse).map(Column::Typed);
    match text {
        "name" => Some(Column::Name),
        "min" => Some(Column::Min),
        "median" => Some(Column::Median),
        "max" => Some(Column::Max),
        "events" => Some(Column::Events),
        "last-minute" => Some(Column::LastMinute),
        "change" => Some(Column::Change(ChangeColumn::Distance)),
        _ => fixed.map(Column::Percentile).or_else(typed),
    }
}

/// The order in an address: `-p99`, `name`.
#[must_use]
pub fn sort_text(sort: Sort) -> Option<String> {
    let mark = if sort.descending { "-" } else { "" };
    Some(format!("{mark}{}", column_text(sort.column)?))
}

/// The order that [`sort_text`] wrote.
#[must_use]
pub fn parse_sort(text: &str) -> Option<Sort> {
    let ascending = text.strip_prefix('-');
    Some(Sort { column: parse_column(ascending.unwrap_or(text))?, descending: ascending.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> TableChoice {
        TableChoice::parse(|name| query.split('&').find_map(|pair| pair.strip_prefix(name)))
    }

    #[test]
    fn every_choice_parses_back() {
        let typed = TypedPercentile::parse("99.95").unwrap();
        let columns = [
            Column::Name,
            Column::Percentile(0),
            Column::Percentile(2),
            Column::Typed(typed),
            Column::Min,
            Column::Median,
            Column::Max,
            Column::Events,
            Column::LastMinute,
            Column::Change(ChangeColumn::Distance),
            Column::Change(ChangeColumn::Rate),
            Column::Change(ChangeColumn::Percentile(2)),
            Column::Change(ChangeColumn::Typed(typed)),
        ];
        let sorts = columns.into_iter().flat_map(|column| [true, false].map(|descending| Sort { column, descending }));
        for sort in sorts.map(Some).chain([None]) {
            for filter in ["", "GET /users/* -health & ?x=1#%", "解码"] {
                for (layout, only_favourites) in [(Layout::Table, false), (Layout::Charts, true)] {
                    let choice = TableChoice { filter: filter.to_owned(), sort, layout, only_favourites };
                    assert_eq!(parsed(&choice.parameters().join("&")), choice);
                }
            }
        }
    }

    #[test]
    fn what_is_invalid_is_ignored() {
        let long = format!("q={}", "x".repeat(FILTER_MAX + 1));
        for query in [
            "sort=p95-change",
            "sort=min-change",
            "sort=-change-change",
            "sort=",
            "sort=-",
            "sort=p0",
            "sort=--p99",
            "sort=x",
            "q=%",
            "q=%ff",
            "as=x",
            "only=x",
            &long,
        ] {
            assert_eq!(parsed(query), TableChoice::DEFAULT, "{query}");
        }
        // An address has no other name for a column that every table has.
        assert_eq!(parse_sort("p99"), Some(Sort { column: Column::Percentile(2), descending: false }));
    }
}
