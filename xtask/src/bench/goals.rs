//! What the figures of the page should be at most, and the figures of others that they are compared with.

use super::page::Figure;

/// The highest value of the figure `name` that meets the goal, if there is a goal for it.
pub(super) fn goal(name: &str) -> Option<f64> {
    match name {
        "first right row, loopback" => return Some(500.0),
        "first right row, 10 Mbit/s and 40 ms" => return Some(2_000.0),
        _ => {}
    }
    let (scene, what) = name.split_once(": ")?;
    match (scene.split_once(" series").map(|(count, _)| count)?, what) {
        ("1,000", "script of a frame, p95") => Some(4.0),
        ("1,000", "frames over 16 ms") => Some(0.0),
        ("1,000" | "10,000", "applying an update") => Some(1.0),
        ("10,000", "script of a frame, p95") => Some(12.0),
        // Flat: less than a thousandth of the memory in a minute.
        (_, what) if what.ends_with(", growth") => Some(0.5),
        _ => None,
    }
}

/// Pairs of figures: the page's, and that of another program with the same work.
pub(super) fn pairs(figures: &[Figure]) -> Vec<(&Figure, &Figure)> {
    let find = |name: &str| figures.iter().find(|figure| figure.name == name);
    let counterpart = |figure: &Figure| {
        let (scene, what) = figure.name.split_once(": ")?;
        match what {
            "script of a frame, p95" if scene.contains(" series") => find("uPlot, 36 rows: script of a frame, p95"),
            "applying an update" => find(&format!("plain JavaScript, {scene}: {what}")),
            _ => None,
        }
    };
    let ours = figures.iter().filter(|figure| !figure.name.starts_with("plain JavaScript"));
    ours.filter_map(|figure| Some((figure, counterpart(figure)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_for_a_number_of_series() {
        assert_eq!(goal("1,000 series, scale 3: script of a frame, p95"), Some(4.0));
        assert_eq!(goal("10,000 series, scale 0: script of a frame, p95"), Some(12.0));
        assert_eq!(goal("100 series, scale 0: script of a frame, p95"), None);
        assert_eq!(goal("plain JavaScript, 1,000 series, scale 3: applying an update"), None);
        assert_eq!(goal("1,000 series, scale 3, accelerated: document, growth"), Some(0.5));
        assert_eq!(goal("first right row, loopback"), Some(500.0));
    }

    #[test]
    fn the_page_is_compared_with_the_same_work() {
        let figure = |name: &str| Figure::read(&format!("{name}\tms\t1.0")).unwrap();
        let names = [
            "1,000 series, scale 3: applying an update",
            "plain JavaScript, 100 series, scale 3: applying an update",
            "plain JavaScript, 1,000 series, scale 3: applying an update",
        ];
        let figures = names.map(figure);
        let pairs: Vec<_> = pairs(&figures).iter().map(|(ours, others)| [&*ours.name, &*others.name]).collect();
        assert_eq!(pairs, [[names[0], names[2]]]);
    }
}
