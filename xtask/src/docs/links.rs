//! Links between documents, as text only: which pages there are, which links lead nowhere, and the same pages with links that work
//! on a site.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

/// The pages of the site, by their paths from the root of the checkout.
pub(crate) struct Pages {
    summary: String,
    pages: BTreeMap<String, String>,
}

/// One link or image of a page.
struct Link {
    /// The whole link in the text of the page.
    range: Range<usize>,
    destination: String,
}

impl Pages {
    /// A site with the contents `text`, which is at `summary`.
    pub(super) fn new(summary: &str, text: String) -> Self {
        Self { summary: summary.to_owned(), pages: BTreeMap::from([(summary.to_owned(), text)]) }
    }

    /// The paths of the pages that the summary lists, in its order.
    pub(super) fn listed(&self) -> Vec<String> {
        let links = links(&self.pages[&self.summary]);
        links.iter().filter_map(|link| Some(resolve(&self.summary, &link.destination)?.0)).collect()
    }

    pub(super) fn add(&mut self, path: String, text: String) {
        self.pages.insert(path, text);
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.pages.contains_key(path)
    }

    /// Number of pages without the summary.
    pub(super) fn len(&self) -> usize {
        self.pages.len() - 1
    }

    /// Number of links within the checkout.
    pub(super) fn links(&self) -> usize {
        let within = |(path, text): (&String, &String)| {
            links(text).iter().filter(|link| resolve(path, &link.destination).is_some()).count()
        };
        self.pages.iter().map(within).sum()
    }

    /// The links that lead nowhere, each as `page: link`. `read` returns the text of a file of the checkout, an empty text for a
    /// folder, and `None` if there is neither.
    pub(super) fn broken(&self, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let mut known: HashMap<String, BTreeSet<String>> = HashMap::new();
        let mut broken = Vec::new();
        for (page, text) in &self.pages {
            for link in links(text) {
                let Some((path, fragment)) = resolve(page, &link.destination) else { continue };
                let leads = match (read(&path), fragment) {
                    (None, _) => false,
                    (Some(text), Some(fragment)) if path.ends_with(".md") => {
                        known.entry(path.clone()).or_insert_with(|| anchors(&text)).contains(&fragment)
                    }
                    (Some(_), _) => true,
                };
                if !leads {
                    broken.push(format!("{page}: {}", link.destination));
                }
            }
        }
        broken
    }

    /// The files with these extensions that pages show or link to.
    pub(super) fn images(&self, extensions: &[&str]) -> BTreeSet<String> {
        let paths = self.pages.iter().flat_map(|(page, text)| {
            links(text).into_iter().filter_map(move |link| Some(resolve(page, &link.destination)?.0))
        });
        paths.filter(|path| extensions.iter().any(|extension| path.ends_with(&format!(".{extension}")))).collect()
    }

    /// The pages for mdBook: links to files that are neither pages nor `images` lead to `repository`, and the summary, as
    /// `SUMMARY.md`, is at the root. mdBook calls a `README.md` `index`.
    pub(super) fn for_site(&self, repository: &str, images: &BTreeSet<String>) -> Vec<(String, String)> {
        let for_site = |(page, text): (&String, &String)| {
            let is_summary = *page == self.summary;
            let place = if is_summary { "SUMMARY.md" } else { page };
            let text = replace(text, |destination| {
                let (path, fragment) = resolve(page, destination)?;
                let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
                if path == self.summary {
                    // The list of pages is beside every page of the site.
                    return Some(relative(place, "index.md"));
                }
                if !self.contains(&path) && !images.contains(&path) {
                    return Some(format!("{repository}/{path}{fragment}"));
                }
                // The summary names files, and everything else names pages.
                let path = if is_summary { path } else { as_index(&path) };
                Some(relative(place, &path) + &fragment)
            });
            (place.to_owned(), text)
        };
        self.pages.iter().map(for_site).collect()
    }
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES
}

/// The links and images of a text.
fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
        if let Event::Start(Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. }) = event
            && link_type != LinkType::Email
        {
            links.push(Link { range, destination: dest_url.into_string() });
        }
    }
    links
}

/// The anchors of the headings of a text, as GitHub and mdBook form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut heading) = (BTreeSet::new(), None);
    let mut used: HashMap<String, usize> = HashMap::new();
    for event in Parser::new_ext(text, options()) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let earlier = used.entry(anchor.clone()).or_default();
                anchors.insert(if *earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
                *earlier += 1;
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|character| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        other => other.is_alphanumeric().then_some(other),
    });
    kept.collect::<String>().to_lowercase()
}

/// The path from the root and the fragment of a link on `page`. `None` for a link to elsewhere.
fn resolve(page: &str, destination: &str) -> Option<(String, Option<String>)> {
    if destination.contains("://") || destination.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = match destination.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment.to_owned())),
        None => (destination, None),
    };
    if path.is_empty() {
        return Some((page.to_owned(), fragment));
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            // Beyond the root it stays, and is not found.
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some((parts.join("/"), fragment))
}

/// A link from the page `from` to `to`.
fn relative(from: &str, to: &str) -> String {
    let up = from.matches('/').count();
    "../".repeat(up) + to
}

fn as_index(path: &str) -> String {
    match path.strip_suffix("README.md") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}index.md"),
        _ => path.to_owned(),
    }
}

/// Replaces the destination of every link for which `new` returns another one.
fn replace(text: &str, new: impl Fn(&str) -> Option<String>) -> String {
    let mut result = text.to_owned();
    // From the end, so that the earlier ranges stay valid. An image in a link begins after the link and ends before it.
    let mut links = links(text);
    links.sort_by_key(|link| link.range.start);
    for link in links.iter().rev() {
        let Some(new) = new(&link.destination) else { continue };
        let whole = format!("]({}", link.destination);
        if let Some(at) = result[link.range.clone()].rfind(&whole) {
            let start = link.range.start + at + 2;
            result.replace_range(start..start + link.destination.len(), &new);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let mut pages = Pages::new("docs/SUMMARY.md", "# S\n\n- [A](a.md)\n- [Joey](../README.md)\n".to_owned());
        pages.add(
            "docs/a.md".to_owned(),
            "# One & two\n\n## `b_c`: d\n\n## `b_c`: d\n\n[x](../src/x.rs) [j](../README.md#one) [s](SUMMARY.md)"
                .to_owned(),
        );
        pages.add(
            "README.md".to_owned(),
            "# One\n\n[![i](docs/i.png)](docs/a.md) `[no](link.md)` <https://a.example>".to_owned(),
        );
        pages
    }

    #[test]
    fn links_and_anchors_must_exist() {
        let check = |link: &str, leads: bool| {
            let mut pages = pages();
            pages.add("docs/new.md".to_owned(), format!("# New\n\n[text]({link})"));
            let read = |path: &str| match path {
                "src" | "src/x.rs" | "docs/i.png" => Some(String::new()),
                path => pages.pages.get(path).cloned(),
            };
            let expected: &[String] = if leads { &[] } else { &[format!("docs/new.md: {link}")] };
            assert_eq!(pages.broken(read), expected);
        };
        for link in ["a.md", "a.md#one--two", "a.md#b_c-d", "a.md#b_c-d-1", "#new", "../src", "https://none.example"] {
            check(link, true);
        }
        for link in ["b.md", "a.md#One", "a.md#b_c-d-2", "#old", "../../README.md", "src/x.rs"] {
            check(link, false);
        }
    }

    #[test]
    fn links_of_the_site_lead_to_pages_or_to_the_repository() {
        let pages = pages();
        assert_eq!(pages.listed(), ["docs/a.md", "README.md"]);
        let images = pages.images(&["png"]);
        let site: BTreeMap<String, String> = pages.for_site("https://r", &images).into_iter().collect();
        assert_eq!(site["SUMMARY.md"], "# S\n\n- [A](docs/a.md)\n- [Joey](README.md)\n");
        assert!(
            site["docs/a.md"].ends_with("[x](https://r/src/x.rs) [j](../index.md#one) [s](../index.md)"),
            "{}",
            site["docs/a.md"]
        );
        assert!(site["README.md"].contains("[![i](docs/i.png)](docs/a.md) `[no](link.md)`"), "{}", site["README.md"]);
    }
}
