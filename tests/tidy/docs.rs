//! The pages: every link and every named file is there.

use super::assert_none;
use super::files::{committed, read, root};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;

/// The text of each Markdown page, by its path from the root.
pub fn pages() -> BTreeMap<String, String> {
    let markdown = |path: &String| Path::new(path).extension().is_some_and(|ending| ending == "md");
    committed().into_iter().filter(markdown).filter_map(|path| Some((path.clone(), read(&path)?))).collect()
}

#[test]
fn links_resolve() {
    let link = Regex::new(r"\]\(([^)\s]*)\)").unwrap();
    let mut found = Vec::new();
    for (path, text) in pages() {
        for target in link.captures_iter(&text).map(|link| link[1].to_owned()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let page = if file.is_empty() { root().join(&path) } else { root().join(&path).with_file_name(file) };
            let good = page.exists() && (anchor.is_empty() || anchors(&page).iter().any(|known| known == anchor));
            if !good {
                found.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none("a link leads nowhere", &found);
}

/// The anchors of a page's headings, as Markdown viewers make them.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn named_files_exist() {
    let name = Regex::new(r"`((?:src|tests|examples|docs|profiles|terminology|fuzz)/[\w./-]*)`").unwrap();
    let mut found = Vec::new();
    for (path, text) in pages().into_iter().filter(|(path, _)| path != "CHANGELOG.md") {
        let missing =
            name.captures_iter(&text).map(|name| name[1].to_owned()).filter(|name| !root().join(name).exists());
        found.extend(missing.map(|name| format!("{path}: {name}")));
    }
    assert_none("a page names a file that is not there", &found);
}
