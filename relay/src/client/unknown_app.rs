//! What a client says if nobody sends for the application that it was asked for: which ones there are, or that it waits.

use joey_shared::viewer::Viewer;

use super::Outcome;
use super::output::printable;
use crate::runtime::console;

/// Maximum number of applications that are named instead of an unknown one.
const NAMES_MAX: usize = 10;

/// There is no `app` among those that are known, which `place` has: `this relay`.
pub(super) fn no_such_app<'a>(app: &str, place: &str, known: impl ExactSizeIterator<Item = &'a String>) -> Outcome {
    let (number, app) = (known.len(), printable(app));
    let names: Vec<_> = known.take(NAMES_MAX).map(|name| printable(name)).collect();
    let more = if number > NAMES_MAX { ", …" } else { "" };
    let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") + more };
    Outcome::NoData(format!("no such application: {app}; {place} has {names}"))
}

/// Tells once which applications a client waits for.
#[derive(Default)]
pub(super) struct AbsentApps {
    is_told: bool,
}

impl AbsentApps {
    /// Tells which of the `wanted` applications are not there, once the catalogue of `viewer` is.
    pub(super) fn tell(&mut self, wanted: &[String], viewer: &Viewer) {
        if self.is_told || !viewer.has_catalogue() {
            return;
        }
        self.is_told = true;
        for app in wanted.iter().filter(|app| !viewer.catalogue().contains_key(*app)) {
            console::line(format_args!("joey: no application {} yet; waiting for it", printable(app)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_ten_known_applications_are_named() {
        let message = |number: usize| {
            let known: Vec<String> = (0..number).map(|at| format!("App{at}")).collect();
            let Outcome::NoData(message) = no_such_app("a\tb", "this relay", known.iter()) else { panic!() };
            message
        };
        assert_eq!(message(0), "no such application: a\\tb; this relay has none yet");
        assert_eq!(message(2), "no such application: a\\tb; this relay has App0, App1");
        assert!(message(10).ends_with("App8, App9") && message(11).ends_with("App8, App9, …"), "{}", message(11));
    }
}
