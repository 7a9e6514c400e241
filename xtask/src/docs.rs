//! The documents as a site: `docs/` and the documents beside the code, built by mdBook in `target/docs/`.
//!
//! The documents are written for GitHub and for editors: their links are relative, also to source files. A copy of them
//! gets links that work on the site: to other pages, or to the repository for everything that is not a page.

mod links;

use std::{
    collections::HashMap,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::{
    checkout::{Checkout, before_path},
    setup::crates::{MDBOOK, find_or_install},
    ui::renew::files,
};
pub(crate) use links::Pages;

/// Where files that are not pages are.
const REPOSITORY: &str = "https://github.com/WallarooLabs/joey/blob/main";
/// Kinds of files that a page shows.
const IMAGES: [&str; 2] = ["png", "svg"];

/// Checks all links, then builds the site.
pub(crate) fn build(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let pages = check_links(here)?;
    let source = here.target.join("docs-source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    let images = pages.images(&IMAGES);
    for (path, text) in pages.for_site(REPOSITORY, &images) {
        write(&source.join("src").join(path), text.as_bytes())?;
    }
    for image in &images {
        write(&source.join("src").join(image), &fs::read(here.root.join(image))?)?;
    }
    fs::copy(here.root.join("docs/book.toml"), source.join("book.toml"))?;
    let output = here.target.join("docs");
    let path = before_path(&find_or_install(here, MDBOOK)?)?;
    cmd!(sh, "mdbook build {source} --dest-dir {output}").env("PATH", path).run()?;
    ensure!(output.join("index.html").is_file(), "mdBook did not write {}", output.join("index.html").display());
    check_site(&output)?;
    println!("{} pages in {}", pages.len(), output.display());
    Ok(())
}

/// Checks that every link and anchor in the documents leads somewhere.
pub(crate) fn check_links(here: &Checkout) -> Result<Pages> {
    let pages = read(here)?;
    let broken = pages.broken(|path| {
        let path = here.root.join(path);
        fs::read_to_string(&path).ok().or_else(|| path.exists().then(String::new))
    });
    ensure!(broken.is_empty(), "{} broken links:\n{}", broken.len(), broken.join("\n"));
    println!("{} links of {} pages lead somewhere", pages.links(), pages.len());
    Ok(pages)
}

/// Checks that the pages of the site refer only to files and anchors of the site, or to the web.
fn check_site(site: &Path) -> Result<()> {
    let html: Vec<PathBuf> =
        files(site)?.into_iter().filter(|file| file.extension().is_some_and(|it| it == "html")).collect();
    let mut texts = HashMap::new();
    for file in &html {
        texts.insert(file.clone(), fs::read_to_string(site.join(file))?);
    }
    let mut broken = Vec::new();
    // The print page and the page for unknown addresses have the contents of others, with their links.
    for file in
        html.iter().filter(|file| !["print.html", "404.html", "toc.html"].iter().any(|name| file.ends_with(name)))
    {
        for link in texts[file].split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            if path.contains(':') || path.starts_with("//") {
                continue;
            }
            let target = if path.is_empty() { file.clone() } else { normalized(&file.with_file_name("").join(path)) };
            let leads = match texts.get(&target) {
                Some(text) => fragment.is_empty() || text.contains(&format!("id=\"{fragment}\"")),
                None => site.join(&target).exists(),
            };
            if !leads {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    ensure!(broken.is_empty(), "{} broken links in the site:\n{}", broken.len(), broken.join("\n"));
    Ok(())
}

/// The path without `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

/// The pages that `docs/SUMMARY.md` lists, and the summary itself.
fn read(here: &Checkout) -> Result<Pages> {
    let summary = "docs/SUMMARY.md";
    let text = |path: &str| {
        fs::read_to_string(here.root.join(path)).with_context(|| format!("{path} is in {summary} and cannot be read"))
    };
    let mut pages = Pages::new(summary, text(summary)?);
    for path in pages.listed() {
        let text = text(&path)?;
        pages.add(path, text);
    }
    let documents =
        fs::read_dir(here.root.join("docs"))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut missing: Vec<String> =
        documents.filter(|name| name.ends_with(".md") && !pages.contains(&format!("docs/{name}"))).collect();
    missing.sort();
    ensure!(missing.is_empty(), "{summary} does not list {}", missing.join(", "));
    Ok(pages)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    Ok(fs::write(path, bytes)?)
}
