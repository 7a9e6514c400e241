//! The order of names as people expect it: numbers in them by their values, so that `number 2` is before `number 10`.

use core::cmp::Ordering;

/// The order of `a` and `b`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    // Different names are never equal, so that rows do not change places.
    alphanumeric_sort::compare_str(a, b).then_with(|| a.cmp(b))
}

/// `names`, in order.
#[must_use]
pub fn sorted<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a String> {
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort_by(|a, b| compare(a, b));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_their_values() {
        let expected =
            ["", "a", "number", "number 0", "number 2", "number 10", "number 10 b", "v1.9.0", "v1.10.0", "中"];
        let names = expected.map(str::to_owned);
        assert_eq!(sorted(names.iter().rev()), names.iter().collect::<Vec<_>>());
    }

    #[test]
    fn different_names_are_never_equal() {
        assert_ne!(compare("a1", "a01"), Ordering::Equal);
        assert_eq!(compare("a1", "a01"), compare("a01", "a1").reverse());
        assert_eq!(compare("a1", "a1"), Ordering::Equal);
    }
}
