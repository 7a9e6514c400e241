//! The rows that the user marked with a star, for each application. They are in the browser's local storage.

use std::sync::Arc;

use joey_shared::view::ViewKey;

use crate::route::key_path;
use crate::table_rows::TableRow;

/// Maximum number of favourites of an application. The oldest are removed first.
const FAVOURITES_MAX: usize = 200;

/// The favourites of one application, oldest first, as the paths of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Favourites(Vec<String>);

impl Favourites {
    /// The favourites that [`text`](Self::text) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut favourites = Self::default();
        text.lines().filter(|path| !path.is_empty()).for_each(|path| favourites.add(path.to_owned()));
        favourites
    }

    /// One path a line. Paths are percent-encoded, so they contain no line break.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.join("\n")
    }

    /// Whether the view is a favourite.
    #[must_use]
    pub fn contains(&self, key: &ViewKey) -> bool {
        // Building a path takes longer than this test.
        !self.0.is_empty() && self.0.contains(&key_path(key))
    }

    /// Adds the view, or removes it.
    pub fn toggle(&mut self, key: &ViewKey) {
        let path = key_path(key);
        match self.0.iter().position(|known| *known == path) {
            Some(index) => drop(self.0.remove(index)),
            None => self.add(path),
        }
    }

    fn add(&mut self, path: String) {
        if self.0.len() == FAVOURITES_MAX {
            self.0.remove(0);
        }
        self.0.push(path);
    }

    /// `rows` with the favourites first, or only them. The order is the same otherwise.
    #[must_use]
    pub fn first(&self, rows: Arc<Vec<Arc<TableRow>>>, only: bool) -> Arc<Vec<Arc<TableRow>>> {
        if self.0.is_empty() && !only {
            return rows;
        }
        let (mut favourites, others): (Vec<Arc<TableRow>>, Vec<Arc<TableRow>>) =
            rows.iter().cloned().partition(|row| self.contains(&row.key));
        if !only {
            favourites.extend(others);
        }
        Arc::new(favourites)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> TableRow {
        TableRow {
            view_index: 0,
            key: ViewKey::computation(name),
            position: 0,
            label: name.to_owned(),
            qualifier: None,
        }
    }

    #[test]
    fn favourites_are_first_and_survive_a_reload() {
        let mut favourites = Favourites::default();
        let rows = || Arc::new(["a", "b/\n", "c"].map(row).map(Arc::new).to_vec());
        let labels = |favourites: &Favourites, only| {
            favourites.first(rows(), only).iter().map(|row| row.label.clone()).collect::<Vec<_>>()
        };
        assert_eq!((labels(&favourites, false).len(), labels(&favourites, true).len()), (3, 0));
        favourites.toggle(&ViewKey::computation("c"));
        favourites.toggle(&ViewKey::computation("b/\n"));
        let again = Favourites::parse(&favourites.text());
        assert_eq!(again, favourites);
        assert_eq!(labels(&again, false), ["b/\n", "c", "a"]);
        assert_eq!(labels(&again, true), ["b/\n", "c"]);
        favourites.toggle(&ViewKey::computation("c"));
        assert_eq!(labels(&favourites, true), ["b/\n"]);
        // A worker of the same name is another view.
        assert!(!favourites.contains(&ViewKey::worker("b/\n")));
    }

    #[test]
    fn the_number_of_favourites_is_limited() {
        let mut favourites = Favourites::default();
        let key = |number: usize| ViewKey::computation(&number.to_string());
        (0..FAVOURITES_MAX + 5).for_each(|number| favourites.toggle(&key(number)));
        assert_eq!(favourites.0.len(), FAVOURITES_MAX);
        assert!(!favourites.contains(&key(4)) && favourites.contains(&key(5)));
    }
}
