//! The format of `/metrics`: OpenMetrics, or the older Prometheus text format, which every scraper supports.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Text,
}

impl Format {
    /// The format that a request with these `Accept` headers prefers (RFC 9110 section 12.5.1), or text if it prefers neither.
    #[must_use]
    pub fn preferred<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut open, mut text) = (Match::default(), Match::default());
        let mut ranges = accept.into_iter().flat_map(|list| list.split(',')).peekable();
        if ranges.peek().is_none() {
            return Self::Text;
        }
        for range in ranges {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<String> = parts.collect();
            let quality = parameters.iter().find_map(|parameter| parameter.strip_prefix("q=")?.parse::<f32>().ok());
            let quality = quality.unwrap_or(1.0);
            let version = parameters.iter().find_map(|parameter| parameter.strip_prefix("version="));
            let is_version = |ours: &[&str]| version.is_none_or(|version| ours.contains(&version.trim_matches('"')));
            match media.as_str() {
                "application/openmetrics-text" if is_version(&["1.0.0", "0.0.1"]) => open.update(3, quality),
                "application/*" => open.update(2, quality),
                "text/plain" if is_version(&["0.0.4"]) => text.update(3, quality),
                "text/*" => text.update(2, quality),
                "*/*" => {
                    open.update(1, quality);
                    text.update(1, quality);
                }
                _ => {}
            }
        }
        if open.quality > text.quality || (open.quality == text.quality && open.precision > text.precision) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type of this format.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts `open`, a text in OpenMetrics, to this format.
    ///
    /// For our metrics the Prometheus text format differs in three ways: a counter's name ends in `_total` in comments too, an
    /// info is a gauge whose name ends in `_info`, and there is no final `# EOF` line.
    #[must_use]
    pub fn write(self, open: String) -> String {
        if self == Self::OpenMetrics {
            return open;
        }
        let mut kinds = BTreeMap::new();
        for line in open.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kinds.insert(name, kind);
            }
        }
        let named = |name: &str| match kinds.get(name).copied() {
            Some("counter") => format!("{name}_total"),
            Some("info") => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let line = |line: &str| -> Option<String> {
            let Some(comment) = line.strip_prefix("# ") else { return Some(line.to_owned()) };
            let (word, rest) = comment.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            let rest = match (word, rest) {
                ("TYPE", "info") => Cow::Borrowed("gauge"),
                ("TYPE", "unknown") => Cow::Borrowed("untyped"),
                ("TYPE", _) => Cow::Borrowed(rest),
                ("HELP", help) => Cow::Owned(help.replace("\\\"", "\"")),
                _ => return None,
            };
            Some(format!("# {word} {} {rest}", named(name)))
        };
        let mut text = String::with_capacity(open.len());
        for line in open.lines().filter_map(line) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// How well a format matches its most precise media range.
#[derive(Clone, Copy, Default)]
struct Match {
    /// 0 if no range matches, otherwise 1 plus the number of parts of the range that are not `*`.
    precision: u8,
    quality: f32,
}

impl Match {
    fn update(&mut self, precision: u8, quality: f32) {
        if precision >= self.precision {
            *self = Self { precision, quality };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_receives_its_preferred_format() {
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/json", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.8", Format::Text),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            // As sent by Prometheus 2 and 3, shortened.
            (
                "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::preferred([accept]), expected, "{accept}");
        }
        assert_eq!(Format::preferred(["text/html", "application/openmetrics-text"]), Format::OpenMetrics);
        assert_eq!(Format::preferred([]), Format::Text);
    }

    #[test]
    fn the_text_format_names_counters_and_infos_like_their_samples() {
        let open = "# HELP joey_frames Frames \\\"read\\\".\n# TYPE joey_frames counter\njoey_frames_total{reason=\"a\\\"b\"} 7\n\
                    # HELP joey_build The release.\n# TYPE joey_build info\njoey_build_info{version=\"1\"} 1\n\
                    # TYPE joey_viewers gauge\n# UNIT joey_viewers people\njoey_viewers 3\n# EOF\n";
        let text = "# HELP joey_frames_total Frames \"read\".\n# TYPE joey_frames_total counter\njoey_frames_total{reason=\"a\\\"b\"} 7\n\
                    # HELP joey_build_info The release.\n# TYPE joey_build_info gauge\njoey_build_info{version=\"1\"} 1\n\
                    # TYPE joey_viewers gauge\njoey_viewers 3\n";
        assert_eq!(Format::Text.write(open.to_owned()), text);
        assert_eq!(Format::OpenMetrics.write(open.to_owned()), open);
    }
}
