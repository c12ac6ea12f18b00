//! The files under `examples/deploy`: each setting and variable that they name is one that docs/configuration.md lists, and the
//! collections that they shard are those of the store.

use super::assert_none;
use super::files::{committed, read};
use regex::Regex;
use std::path::Path;

const FOLDER: &str = "examples/deploy/";

/// Variables that are no settings.
const OTHER_VARIABLES: [&str; 2] = ["PHAROS_CONFIG", "PHAROS_MASTER_KEY"];

/// Name and text of each file.
fn texts() -> Vec<(String, String)> {
    let of_folder = committed().into_iter().filter(|path| path.starts_with(FOLDER) && !path.contains("/secrets/"));
    let found = of_folder.filter_map(|path| Some((path.clone(), read(&path)?))).collect::<Vec<_>>();
    assert!(found.len() > 10, "the files under {FOLDER} can't be read");
    found
}

#[test]
fn named_settings_exist() {
    let page = read("docs/configuration.md").expect("docs/configuration.md");
    let variable = Regex::new(r"\bPHAROS_[A-Z0-9_]*[A-Z0-9]").unwrap();
    // `keys.previous` has the settings of `keys`, but for the file.
    let is_listed = |name: &str| page.contains(&format!("| `{}` |", name.replace("keys.previous.", "keys.")));
    let mut found = Vec::new();
    let deploying = ("docs/deploy.md".to_owned(), read("docs/deploy.md").expect("docs/deploy.md"));
    for (path, text) in texts().into_iter().chain([deploying]) {
        // What Kubernetes would make of the name of a service is named as what must not be.
        let text = text.replace("PHAROS_PORT", "");
        for name in variable.find_iter(&text).map(|found| found.as_str()) {
            let setting = name.trim_start_matches("PHAROS_").to_lowercase().replace("__", ".");
            if !OTHER_VARIABLES.contains(&name) && !is_listed(&setting) {
                found.push(format!("{path}: {name}"));
            }
        }
        if Path::new(&path).extension().is_some_and(|ending| ending == "toml") {
            let unknown = settings(&text).into_iter().filter(|name| !is_listed(name));
            found.extend(unknown.map(|name| format!("{path}: {name}")));
        }
    }
    assert_none("a setting that docs/configuration.md does not list", &found);
}

/// The settings of a file without arrays of tables, by their whole names.
fn settings(text: &str) -> Vec<String> {
    let mut table = String::new();
    let mut names = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((name, _)) = line.split_once('=') {
            names.push(format!("{table}{}", name.trim()));
        }
    }
    names
}

#[test]
fn settings_are_told_by_their_whole_names() {
    let text = "# a = 1\nlisten = \"x\"\n\n[bulk]\nfiles = \"y=z\"\n[bulk.s3]\nregion = \"r\"\n";
    assert_eq!(settings(text), ["listen", "bulk.files", "bulk.s3.region"]);
}

#[test]
fn sharded_collections_are_those_of_the_store() {
    let place = ["place", "parts"].map(|file| read(&format!("src/store/mongo/{file}.rs")).expect(file)).concat();
    let sharded = Regex::new(r"shardCollection\('pharos\.([a-z]+)'").unwrap();
    let text = texts().into_iter().map(|(_, text)| text).collect::<String>();
    let named = sharded.captures_iter(&text).map(|name| name[1].to_owned()).collect::<Vec<_>>();
    assert_eq!(named.len(), 4, "{named:?}");
    let unknown = named
        .into_iter()
        .filter(|name| !place.contains(&format!("=> \"{name}\"")) && !place.contains(&format!("str = \"{name}\"")));
    assert_none("no collection of the store", &unknown.collect::<Vec<_>>());
}
