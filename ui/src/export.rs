//! Tables as files: CSV, JSON, and tab-separated text for the clipboard.
//!
//! A file contains what the page shows, with exact values: counts as integers, ranges as two columns in ns. A name
//! cannot run as a formula when a spreadsheet opens the file.

use joey_shared::histogram::QuantileRange;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// There is no value.
    Missing,
    /// A name, or other text.
    Text(String),
    /// A count, or a duration in ns.
    Integer(u128),
    /// A rate or a share.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

impl Cell {
    /// A name, if there is one.
    #[must_use]
    pub fn name(name: Option<&String>) -> Self {
        name.map_or(Self::Missing, |name| Self::Text(name.clone()))
    }

    /// A rate, if it is known.
    #[must_use]
    pub fn rate(rate: Option<f64>) -> Self {
        rate.map_or(Self::Missing, Self::Number)
    }

    /// The two cells of a range.
    #[must_use]
    pub fn range(range: Option<QuantileRange>) -> [Self; 2] {
        range.map_or([Self::Missing, Self::Missing], |range| {
            [Self::Integer(range.low.into()), Self::Integer(range.high)]
        })
    }

    /// The value as text; empty if there is none.
    fn text(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Missing => "null".to_owned(),
            Self::Text(text) => json_text(text),
            // JSON has no other numbers.
            Self::Number(number) if !number.is_finite() => "null".to_owned(),
            other => other.text(),
        }
    }
}

/// What a file says about where its values come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The application.
    pub app: String,
    /// The view or the table.
    pub view: String,
    /// The length of the window in seconds.
    pub window_seconds: u64,
    /// When the values were shown, by the relay's clock in UTC: `2026-11-28T10:44:32Z`.
    pub time: String,
}

/// Maximum length of a name in the name of a file, in characters.
const NAME_MAX: usize = 60;

impl Origin {
    /// A name for a file: `joey_App_Pipelines_300s_2026-11-28T10-44-32Z.csv`.
    #[must_use]
    pub fn file_name(&self, extension: &str) -> String {
        let (app, view, time) = (file_part(&self.app), file_part(&self.view), file_part(&self.time));
        format!("joey_{app}_{view}_{}s_{time}.{extension}", self.window_seconds)
    }

    /// The same in words, for an image.
    #[must_use]
    pub fn caption(&self) -> String {
        let Self { app, view, window_seconds, time } = self;
        format!("{app} · {view} · {window_seconds} s until {time}")
    }
}

/// Letters, digits and dots of `name`; everything else becomes a single dash.
pub(crate) fn file_part(name: &str) -> String {
    let mut part = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() || (character == '.' && part.ends_with(char::is_alphanumeric)) {
            part.push(character);
        } else if !part.ends_with('-') {
            part.push('-');
        }
    }
    let short: String = part.trim_matches(['-', '.']).chars().take(NAME_MAX).collect();
    if short.is_empty() { "unnamed".to_owned() } else { short }
}

/// A table to be saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportTable {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl ExportTable {
    /// The names of the two columns of a range.
    #[must_use]
    pub fn range_columns(name: &str) -> [String; 2] {
        [format!("{name}_low_ns"), format!("{name}_high_ns")]
    }

    /// The table as CSV (RFC 4180).
    #[must_use]
    pub fn csv(&self) -> String {
        self.lines(|cell| quoted(&cell), ",", "\r\n")
    }

    /// The table as tab-separated text, which spreadsheets take from the clipboard.
    #[must_use]
    pub fn tsv(&self) -> String {
        self.lines(|cell| cell.replace(['\t', '\r', '\n'], " "), "\t", "\n")
    }

    fn lines(&self, written: impl Fn(String) -> String, separator: &str, end: &str) -> String {
        let head = self.columns.iter().map(|column| written(harmless(column))).collect::<Vec<String>>();
        let mut text = head.join(separator) + end;
        for row in &self.rows {
            let cell = |cell: &Cell| match cell {
                Cell::Text(name) => written(harmless(name)),
                other => written(other.text()),
            };
            text.push_str(&row.iter().map(cell).collect::<Vec<String>>().join(separator));
            text.push_str(end);
        }
        text
    }

    /// The table as JSON: its origin, and one object for each row.
    #[must_use]
    pub fn json(&self, origin: &Origin) -> String {
        let Origin { app, view, window_seconds, time } = origin;
        let row = |row: &Vec<Cell>| {
            let pairs =
                self.columns.iter().zip(row).map(|(column, cell)| format!("{}:{}", json_text(column), cell.json()));
            format!("{{{}}}", pairs.collect::<Vec<String>>().join(","))
        };
        let rows = self.rows.iter().map(row).collect::<Vec<String>>().join(",\n");
        format!(
            "{{\"app\":{},\"view\":{},\"window_s\":{window_seconds},\"time\":{},\"rows\":[\n{rows}\n]}}\n",
            json_text(app),
            json_text(view),
            json_text(time)
        )
    }
}

/// `text`, with an apostrophe before it if a spreadsheet would read it as a formula.
fn harmless(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    if is_formula || text.starts_with(['\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() }
}

/// A field of CSV.
fn quoted(text: &str) -> String {
    let is_plain = !text.contains(['"', ',', ';', '\r', '\n', '\t']) && text.trim() == text;
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// A string of JSON.
fn json_text(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> ExportTable {
        let row = |name: &&str| {
            let [low, high] = Cell::range(Some(QuantileRange { low: 1, high: 1 << 64 }));
            vec![Cell::Text((*name).to_owned()), low, high, Cell::Number(0.1), Cell::Missing, Cell::Flag(true)]
        };
        let columns = ["name", "p99_low_ns", "p99_high_ns", "rate", "in", "complete"].map(ToOwned::to_owned).to_vec();
        ExportTable { columns, rows: names.iter().map(row).collect() }
    }

    #[test]
    fn csv_keeps_every_name_and_runs_none() {
        let field = |name: &str| {
            let csv = table(&[name]).csv();
            let (_, row) = csv.split_once("\r\n").unwrap();
            row.strip_suffix(",1,18446744073709551616,0.1,,true\r\n").unwrap().to_owned()
        };
        for (name, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (" =1", "' =1"),
            ("a ", "\"a \""),
            ("\t=1", "\"'\t=1\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("Décodage · 解码", "Décodage · 解码"),
        ] {
            assert_eq!(field(name), expected, "{name:?}");
        }
        assert!(table(&[]).csv().ends_with("complete\r\n"));
    }

    #[test]
    fn tsv_has_one_line_for_each_row() {
        let tsv = table(&["a\tb\nc", "=1"]).tsv();
        assert_eq!(
            tsv.lines().skip(1).collect::<Vec<_>>(),
            ["a b c\t1\t18446744073709551616\t0.1\t\ttrue", "'=1\t1\t18446744073709551616\t0.1\t\ttrue"]
        );
    }

    #[test]
    fn json_is_exact_and_escaped() {
        let origin =
            Origin { app: "a\"\\\n".to_owned(), view: "=v".to_owned(), window_seconds: 60, time: String::new() };
        assert_eq!(
            table(&["=\u{1}<b>"]).json(&origin),
            "{\"app\":\"a\\\"\\\\\\u000a\",\"view\":\"=v\",\"window_s\":60,\"time\":\"\",\"rows\":[\n\
             {\"name\":\"=\\u0001<b>\",\"p99_low_ns\":1,\"p99_high_ns\":18446744073709551616,\"rate\":0.1,\"in\":null,\
             \"complete\":true}\n]}\n"
        );
        assert_eq!(Cell::Number(f64::NAN).json(), "null");
    }

    #[test]
    fn the_name_of_a_file_is_valid_everywhere() {
        let name = |app: &str, view: &str| {
            let time = "2026-11-28T10:44:32Z".to_owned();
            Origin { app: app.to_owned(), view: view.to_owned(), window_seconds: 300, time }.file_name("csv")
        };
        assert_eq!(
            name("Market Spread: e2e", "Pipelines"),
            "joey_Market-Spread-e2e_Pipelines_300s_2026-11-28T10-44-32Z.csv"
        );
        assert_eq!(name("../../etc", "a/b\\c"), "joey_etc_a-b-c_300s_2026-11-28T10-44-32Z.csv");
        assert_eq!(name("", "解码"), "joey_unnamed_解码_300s_2026-11-28T10-44-32Z.csv");
        assert!(name(&"x".repeat(255), &"y".repeat(255)).len() < 180);
    }
}
