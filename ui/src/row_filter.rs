//! The filter of the tables: which names match what the user typed.
//!
//! A filter consists of terms separated by spaces; a row matches if all of them do. A term matches a name that contains it. A
//! term with `*` (any characters) or `?` (one character) must match the whole name or a whole word of it. `-` or `!` before a
//! term excludes the rows that match it. The case of ASCII letters is ignored.

use wildmatch::WildMatch;

/// A filter.
#[derive(Clone, Debug)]
pub struct RowFilter(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    pattern: Pattern,
    is_excluded: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    /// The name contains this text.
    Text(String),
    /// The name, or a word of it, is of this form.
    Glob(WildMatch),
}

impl RowFilter {
    /// The filter that the user typed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let terms = text.split_whitespace().filter_map(|word| {
            let excluded = word.strip_prefix(['-', '!']);
            let pattern = excluded.unwrap_or(word);
            // Without a text, the user is still typing.
            (!pattern.is_empty()).then(|| Term { pattern: Pattern::new(pattern), is_excluded: excluded.is_some() })
        });
        Self(terms.collect())
    }

    /// Whether every row matches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row with these texts matches. Each term needs only one of them.
    #[must_use]
    pub fn matches(&self, texts: &[&str]) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        self.0.iter().all(|term| texts.iter().any(|text| term.pattern.matches(text)) != term.is_excluded)
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        if text.contains(['*', '?']) { Self::Glob(WildMatch::new(text)) } else { Self::Text(text.to_owned()) }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Text(part) => text.contains(part),
            Self::Glob(glob) => glob.matches(text) || text.split_whitespace().any(|word| glob.matches(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that match the filter `text`.
    fn check(text: &str, expected: &[&str]) {
        const NAMES: [&str; 6] =
            ["GET /users/{id}", "GET /users/{id}/orders", "POST /users", "worker-1", "worker-10", "Check order"];
        let filter = RowFilter::parse(text);
        let matching: Vec<&str> = NAMES.into_iter().filter(|name| filter.matches(&[name])).collect();
        assert_eq!(matching, expected, "{text:?}");
    }

    #[test]
    fn text_matches_anywhere_in_any_case() {
        check("ORDER", &["GET /users/{id}/orders", "Check order"]);
        check("nothing", &[]);
    }

    #[test]
    fn globs_match_a_name_or_a_word() {
        check("GET /users/*", &["GET /users/{id}", "GET /users/{id}/orders"]);
        check("get*orders", &["GET /users/{id}/orders"]);
        check("worker-?", &["worker-1"]);
        check("*s", &["GET /users/{id}/orders", "POST /users"]);
    }

    #[test]
    fn all_terms_must_match() {
        check("  users   post ", &["POST /users"]);
        check("users worker", &[]);
    }

    #[test]
    fn excluded_terms_remove_rows() {
        check("users -post", &["GET /users/{id}", "GET /users/{id}/orders"]);
        check("!users !worker-*", &["Check order"]);
    }

    #[test]
    fn an_incomplete_term_removes_nothing() {
        for text in ["", "  ", "-", "! "] {
            assert!(RowFilter::parse(text).is_empty());
            assert!(RowFilter::parse(text).matches(&["any"]));
        }
    }

    #[test]
    fn a_term_may_match_any_of_the_texts() {
        assert!(RowFilter::parse("decode orders").matches(&["Decode", "Orders"]));
        assert!(!RowFilter::parse("decode -orders").matches(&["Decode", "Orders"]));
    }
}
