//! The house rules that a machine can check. Taste stays with people; for the eye, `lengths` prints the longest pieces.
//!
//! Everything here reads the files of the repository as text: no rule knows what the code does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/deploy.rs"]
mod deploy;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/schema.rs"]
mod schema;

use files::{Source, read, sources};
use regex::Regex;
use std::collections::BTreeMap;

/// The layers of `src/`, from the top. Each uses only what stands below it; modules of one row may use each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["http"],
    &["serve"],
    &["app"],
    &["interaction", "operation"],
    &["bulk"],
    &["retention"],
    &["jobs"],
    &["audit"],
    &["validate"],
    &["terminology"],
    &["search"],
    &["store"],
    &["consent"],
    &["auth"],
    &["key"],
    &["tenant"],
    &["fhirpath"],
    &["fhir"],
    &["error", "clock", "config"],
];

/// Files of `src/interaction` and `src/operation` that several interactions share, and that are none themselves.
const PLUMBING: [&str; 13] = [
    "call",
    "condition",
    "conformance",
    "consenting",
    "contexts",
    "criteria",
    "cursor",
    "parameters",
    "quota",
    "reach",
    "resolve",
    "searchset",
    "writing",
];

/// The most lines of a file in `src/`.
const LONGEST_FILE: usize = 500;

/// What no Rust file may have outside strings and comments.
const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// What no committed file may have: paths of the machines on which the project is worked on.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/tmp", "/w/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];

/// Fails with all that was found at once.
fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

#[test]
fn every_module_has_its_layer() {
    let all = sources("src");
    let without = all.iter().filter(|source| !source.is_root() && layer(source.top()).is_none());
    assert_none("missing in the table of layers", &without.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn each_layer_uses_only_what_stands_below_it() {
    let mut found = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_root() && !source.is_test()) {
        for used in source.uses() {
            let (Some(own), Some(other)) = (layer(source.top()), layer(&used)) else { continue };
            if other < own {
                found.push(format!("{} uses {used}", source.path));
            }
        }
    }
    assert_none("a layer uses one above it", &found);
}

#[test]
fn actix_appears_only_in_http() {
    let outside = |source: &Source| source.top() != "http" && source.code().contains("actix");
    let found = sources("src").into_iter().filter(outside).map(|source| source.path).collect::<Vec<_>>();
    assert_none("actix belongs into src/http", &found);
}

#[test]
fn grants_are_made_in_few_places() {
    let is_allowed = |source: &Source, call: &str| {
        let path = source.path.as_str();
        if call == "Grant::limited" {
            return ["src/auth/bearer.rs", "src/auth/delegate.rs"].contains(&path);
        }
        let own = ["src/app.rs", "src/app/index.rs", "src/interaction/conformance.rs", "src/jobs/run.rs"];
        source.top() == "cli" || own.contains(&path)
    };
    let mut found = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test() && !source.path.ends_with("search/memory.rs"))
    {
        let calls = ["Grant::limited", "Grant::unrestricted"].into_iter();
        let wrong = calls.filter(|call| source.code().contains(*call) && !is_allowed(source, call));
        found.extend(wrong.map(|call| format!("{}: {call}", source.path)));
    }
    assert_none("a grant is made by what decides on requests, and for what the server or its operator does", &found);
}

#[test]
fn every_kind_of_kept_record_goes_with_its_tenant() {
    // What belongs to the installation, and the proof of what was done.
    let staying = ["tenant", "tenant-number", "checkpoint"];
    let kind = Regex::new(r#"const KIND: &'static str = "([a-z-]+)";"#).unwrap();
    let erased = read("src/retention/tenant.rs").expect("src/retention/tenant.rs");
    let mut missing = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let kinds = kind.captures_iter(&source.text).map(|kind| kind[1].to_owned());
        let lost = |kind: &String| !staying.contains(&&**kind) && !erased.contains(&format!("    \"{kind}\",\n"));
        missing.extend(kinds.filter(lost).map(|kind| format!("{}: {kind}", source.path)));
    }
    assert_none("a kind of records that stays behind when a tenant is erased", &missing);
}

#[test]
fn every_file_is_reached_from_the_root() {
    let all = sources("src");
    let declared = |source: &Source| {
        let line = format!("mod {};", source.name());
        let file = format!("#[path = \"{}.rs\"]", source.name());
        let parents = source.parents();
        let declares = |other: &Source| parents.contains(&other.path) && other.text.contains(&line);
        all.iter().any(|other| declares(other) || other.text.contains(&file))
    };
    let found = all.iter().filter(|source| !source.is_root() && !declared(source)).map(|source| source.path.clone());
    assert_none("no module declares this file", &found.collect::<Vec<_>>());
}

#[test]
fn interactions_and_operations_are_linked_documented_and_tested() {
    let pages = docs::pages().into_values().collect::<String>();
    let harness = read("tests/api/main.rs").unwrap_or_default();
    let mut found = Vec::new();
    for source in sources("src/interaction").iter().chain(&sources("src/operation")) {
        let name = source.name();
        if source.module().len() != 2 || PLUMBING.contains(&name) {
            continue;
        }
        let head = source.text.lines().take_while(|line| line.starts_with("//!")).collect::<String>();
        if !head.contains("hl7.org/") {
            found.push(format!("{}: no link to hl7.org in its head", source.path));
        }
        let dashed = name.replace('_', "-");
        if ![format!("`{dashed}`"), format!("`${dashed}`")].iter().any(|mention| pages.contains(mention)) {
            found.push(format!("{}: no page in docs/ mentions `{dashed}`", source.path));
        }
        if !harness.contains(&format!("mod {name};")) {
            found.push(format!("{}: no module tests/api/{name}.rs", source.path));
        }
    }
    assert_none("an interaction or operation is incomplete", &found);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for source in ["src", "tests", "examples", "fuzz"].into_iter().flat_map(sources) {
        let code = source.code();
        let marks = UNFINISHED.iter().filter(|mark| code.contains(**mark));
        found.extend(marks.map(|mark| format!("{}: {mark}", source.path)));
    }
    assert_none("unfinished work", &found);
}

#[test]
fn nothing_names_the_paths_of_a_machine() {
    let mut found = Vec::new();
    for path in files::committed() {
        let Some(text) = read(&path) else { continue };
        let marks = MACHINE_PATHS.iter().filter(|mark| text.contains(**mark));
        found.extend(marks.map(|mark| format!("{path}: {mark}")));
    }
    assert_none("a path of somebody's machine", &found);
}

#[test]
fn every_setting_is_documented() {
    let config = read("src/config.rs").expect("src/config.rs");
    let groups = ["audit", "auth", "consent"];
    let page = read("docs/configuration.md").expect("docs/configuration.md");
    let field = Regex::new(r"(?m)^    pub ([a-z0-9_]+):").unwrap();
    let missing = field
        .captures_iter(&config)
        .map(|field| field[1].to_owned())
        .filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("`limits.{name}`")))
        .filter(|name| !groups.contains(&&**name));
    let mut missing = missing.collect::<Vec<_>>();
    for group in groups {
        let file = read(&format!("src/config/{group}.rs")).expect(group);
        let name = format!("pub struct {}{} ", group[..1].to_uppercase(), &group[1..]);
        let own = &file[file.find(&name).expect("the settings")..];
        let own = &own[..own.find("\n}").expect("their end")];
        let named = field.captures_iter(own).map(|field| format!("{group}.{}", &field[1]));
        missing.extend(named.filter(|name| !page.contains(&format!("`{name}`"))));
    }
    assert_none("a setting is missing in docs/configuration.md", &missing);
    assert!(field.is_match(&config), "src/config.rs has no settings that this test can see");
}

#[test]
fn lengths() {
    let all = sources("src");
    let mut lengths = all.iter().map(|source| (source.text.lines().count(), &source.path)).collect::<Vec<_>>();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    println!("The longest files:");
    for (lines, path) in lengths.iter().take(10) {
        println!("{lines:>5} {path}");
    }

    let mut functions = all.iter().flat_map(Source::functions).collect::<Vec<_>>();
    functions.sort_unstable_by(|a, b| b.cmp(a));
    println!("The longest functions:");
    for (lines, name) in functions.iter().take(10) {
        println!("{lines:>5} {name}");
    }

    let mut layers = BTreeMap::<&str, usize>::new();
    for source in &all {
        *layers.entry(source.top()).or_default() += source.text.lines().count();
    }
    println!("Lines by module: {layers:?}");

    let long = lengths.iter().filter(|(lines, _)| *lines > LONGEST_FILE).map(|(_, path)| (*path).clone());
    assert_none("longer than 500 lines, usually two ideas in one", &long.collect::<Vec<_>>());
}
