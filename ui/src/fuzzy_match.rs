//! Which names match what somebody types into the search, and how well.
//!
//! Every word must be in the name, its letters in order but not necessarily next to each other. A match is better if
//! its letters are next to each other, begin words, and come early.

/// How well `name` matches `query`: higher is better. `None` if it does not. An empty query matches everything with zero.
#[must_use]
pub fn score(query: &str, name: &str) -> Option<i32> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    // Only the first word should come early: `worker 2` is rather `worker-2` than `2 of worker`.
    query
        .to_lowercase()
        .split_whitespace()
        .zip([1].into_iter().chain(std::iter::repeat(0)))
        .map(|(word, weight)| word_score(word, &name, weight))
        .sum()
}

fn word_score(word: &str, name: &[char], start_weight: i32) -> Option<i32> {
    let letters: Vec<char> = word.chars().collect();
    let starts = (0..name.len()).filter(|&at| name[at] == letters[0]);
    // The best of a few beginnings: enough for names, and bounded.
    starts.take(16).filter_map(|start| score_from(start, &letters, name, start_weight)).max()
}

fn score_from(start: usize, letters: &[char], name: &[char], start_weight: i32) -> Option<i32> {
    let (mut at, mut score) = (start, 0);
    for (index, letter) in letters.iter().enumerate() {
        let found = at + name.get(at..)?.iter().position(|other| other == letter)?;
        let begins_word = found == 0 || !name[found - 1].is_alphanumeric();
        score += match (index > 0 && found == at, begins_word) {
            (true, _) => 8,
            (false, true) => 6,
            (false, false) => 1 - i32::try_from(found - at).unwrap_or(i32::MAX).min(4),
        };
        at = found + 1;
    }
    let length = i32::try_from(name.len()).unwrap_or(i32::MAX).min(64);
    Some(score * 4 - start_weight * i32::try_from(start).unwrap_or(i32::MAX).min(16) - length / 8)
}

/// The positions in `names` of the best matches, best first, at most `max`. Equally good ones keep their order.
#[must_use]
pub fn best<'a>(query: &str, names: impl Iterator<Item = &'a str>, max: usize) -> Vec<usize> {
    let mut found: Vec<(i32, usize)> =
        names.enumerate().filter_map(|(at, name)| score(query, name).map(|score| (-score, at))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, at)| at).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, names: &[&str], expected: &[&str]) {
        let found: Vec<&str> = best(query, names.iter().copied(), 10).into_iter().map(|at| names[at]).collect();
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn better_matches_come_first() {
        check("co", &["Decode", "Check order", "Count"], &["Count", "Check order", "Decode"]);
        check("chor", &["Decode", "Search", "Check order"], &["Check order"]);
        check("worker 2", &["worker-1", "worker-2", "2 of worker"], &["worker-2", "2 of worker"]);
        check("WIN", &["window", "Rewind"], &["window", "Rewind"]);
    }

    #[test]
    fn an_empty_query_keeps_the_order_and_the_number_is_bounded() {
        check("", &["b", "a"], &["b", "a"]);
        assert_eq!(best(" ", ["x"; 50].into_iter(), 3), [0, 1, 2]);
    }

    #[test]
    fn any_script_can_be_searched() {
        check("طلب", &["orders", "طلبات 12"], &["طلبات 12"]);
        check("הזמ", &["הזמנות (3)", "x"], &["הזמנות (3)"]);
        check("é", &["Décodage", "Decode"], &["Décodage"]);
    }

    #[test]
    fn any_text_matches_itself_and_is_searched_without_a_panic() {
        let texts = ["", " ", "ß", "İstanbul", "👩‍🚀 x", "a\u{301}b", "..", "\u{202e}abc", "worker-2 worker-2"];
        for (query, name) in texts.iter().flat_map(|query| texts.map(|name| (*query, name))) {
            assert!(score(query, name).is_some() || query != name, "{query}");
        }
    }
}
