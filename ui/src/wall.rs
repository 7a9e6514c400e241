//! Wall mode: which pages a screen on a wall shows, one after the other, and for how long each.

use core::fmt;
use core::ops::RangeInclusive;

use crate::route::{Page, Route, decode, encode};

/// How long a page can be shown, in seconds.
const SECONDS: RangeInclusive<u32> = 3..=3_600;

/// How long a page is shown if nothing else has been chosen, in seconds.
pub const SECONDS_DEFAULT: u32 = 30;

/// Maximum number of pages, so that an address stays short enough to be sent around.
pub const PAGES_MAX: usize = 20;

/// Wall mode as the address has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall {
    /// How long each page is shown, in seconds.
    pub seconds: u32,
    /// The chosen pages, in order. If there are none, all applications are shown.
    pub pages: Vec<Page>,
}

impl Wall {
    /// Parses the parameters `wall=` and `pages=` of an address. `None` if `seconds` is not a number; one that is too
    /// small or too large becomes the nearest possible one. What is not a page is ignored.
    #[must_use]
    pub fn parse(seconds: &str, pages: &str) -> Option<Self> {
        let seconds: u32 = seconds.parse().ok()?;
        let page = |address: &str| Some(Route::parse(&decode(address)?).page);
        let pages = pages.split(',').filter(|address| !address.is_empty()).filter_map(page);
        let pages = pages.filter(|page| !matches!(page, Page::Unknown(_))).take(PAGES_MAX).collect();
        Some(Self { seconds: seconds.clamp(*SECONDS.start(), *SECONDS.end()), pages })
    }

    /// Adds `page`, or removes it if it has been chosen. Returns whether it is chosen now; there may be too many.
    pub fn toggle(&mut self, page: &Page) -> bool {
        if let Some(at) = self.pages.iter().position(|other| other == page) {
            self.pages.remove(at);
            return false;
        }
        if self.pages.len() >= PAGES_MAX || matches!(page, Page::Unknown(_)) {
            return false;
        }
        self.pages.push(page.clone());
        true
    }

    /// The pages that are shown, where the relay has `apps`: the chosen ones, or all applications and the dashboard of each.
    #[must_use]
    pub fn shown<'a>(&self, apps: impl Iterator<Item = &'a str>) -> Vec<Page> {
        if !self.pages.is_empty() {
            return self.pages.clone();
        }
        let dashboards = apps.map(|app| Page::Dashboard(app.to_owned()));
        core::iter::once(Page::Landing).chain(dashboards).take(PAGES_MAX).collect()
    }
}

impl fmt::Display for Wall {
    /// The parameters of an address: `wall=30&pages=…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wall={}", self.seconds)?;
        let address = |page: &Page| encode(Route::to(page.clone()).address().trim_start_matches('#'));
        if !self.pages.is_empty() {
            write!(f, "&pages={}", self.pages.iter().map(address).collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

/// The position of the page after `current` in `pages`. If `current` is not one of them, that is the first one.
#[must_use]
pub fn next(pages: &[Page], current: &Page) -> usize {
    pages.iter().position(|page| page == current).map_or(0, |at| (at + 1) % pages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard(app: &str) -> Page {
        Page::Dashboard(app.to_owned())
    }

    #[test]
    fn seconds_are_bounded_and_unknown_pages_are_ignored() {
        let seconds = |text: &str| Wall::parse(text, "").map(|wall| wall.seconds);
        assert_eq!([seconds("0"), seconds("30"), seconds("99999")], [Some(3), Some(30), Some(3_600)]);
        assert_eq!([seconds(""), seconds("x"), seconds("-1")], [None; 3]);
        let pages = Wall::parse("30", "%2F,,nowhere,%,%2Fapplications%2Fa%252Cb%2Fdashboard").map(|wall| wall.pages);
        assert_eq!(pages, Some(vec![Page::Landing, dashboard("a,b")]));
        assert_eq!(Wall::parse("30", &"%2F,".repeat(100)).map(|wall| wall.pages.len()), Some(PAGES_MAX));
    }

    #[test]
    fn pages_are_shown_in_turn() {
        let mut wall = Wall { seconds: 30, pages: Vec::new() };
        let all = wall.shown(["a", "b"].into_iter());
        assert_eq!(all, [Page::Landing, dashboard("a"), dashboard("b")]);
        assert_eq!([next(&all, &Page::Landing), next(&all, &dashboard("b")), next(&all, &dashboard("c"))], [1, 0, 0]);
        assert!(wall.toggle(&dashboard("b")) && wall.toggle(&dashboard("a")) && !wall.toggle(&dashboard("b")));
        assert_eq!(wall.shown(["a", "b"].into_iter()), [dashboard("a")]);
        assert_eq!(wall.to_string(), "wall=30&pages=%2Fapplications%2Fa%2Fdashboard");
    }
}
