//! The crates that the server is built from: their licences, where they come from, and what is known against them.
//!
//! Works offline, from Cargo.lock, from what cargo knows of the crates, from the licences of deny.toml and from
//! .ci/advisories.txt. `cargo deny` checks licences and sources too, and `cargo deny check advisories` the whole current
//! database, where both are at hand.

use super::assert_none;
use super::files::{read, root};
use regex::Regex;
use std::collections::BTreeSet;
use std::iter::Peekable;
use std::process::Command;

/// Crates that cost much time to build or much space, and must be there once.
const HEAVY: [&str; 10] = [
    "actix-http",
    "aws-lc-sys",
    "clap_builder",
    "fjall",
    "regex-automata",
    "rustls",
    "serde_json",
    "tokio",
    "tracing-subscriber",
    "zstd-sys",
];

struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

/// What Cargo.lock lists: for all platforms, tests included.
fn locked() -> Vec<Locked> {
    let lock = read("Cargo.lock").expect("Cargo.lock");
    let field = |block: &str, name: &str| {
        let start = format!("{name} = \"");
        block.lines().find_map(|line| Some(line.strip_prefix(&start)?.trim_end_matches('"').to_owned()))
    };
    let package = |block: &str| {
        Some(Locked { name: field(block, "name")?, version: field(block, "version")?, source: field(block, "source") })
    };
    let found = lock.split("[[package]]").filter_map(package).collect::<Vec<_>>();
    assert!(found.iter().any(|package| package.name == "pharos"), "Cargo.lock can't be read");
    found
}

#[test]
fn all_come_from_the_one_registry() {
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let other =
        locked().into_iter().filter(|package| package.source.as_deref().is_some_and(|source| source != registry));
    let path = locked().into_iter().filter(|package| package.source.is_none() && package.name != "pharos");
    assert_none("not from the public registry", &other.chain(path).map(|package| package.name).collect::<Vec<_>>());
}

#[test]
fn heavy_ones_are_there_once() {
    let all = locked();
    let count = |name: &&str| all.iter().filter(|package| package.name == **name).count();
    let twice = HEAVY.iter().filter(|name| count(name) > 1).map(|name| (*name).to_owned());
    assert_none("in more than one version", &twice.collect::<Vec<_>>());
}

#[test]
fn none_has_a_known_advisory() {
    let list = read(".ci/advisories.txt").expect(".ci/advisories.txt");
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>();
    assert!(lines.len() > 10, "the list of advisories can't be read");
    let mut found = Vec::new();
    for line in lines {
        let fields = line.split('|').map(str::trim).collect::<Vec<_>>();
        let [name, affected, id, what] = fields[..] else { panic!("not of the form of the list: {line}") };
        let hit =
            locked().into_iter().filter(|package| package.name == name && is_affected(&package.version, affected));
        found.extend(hit.map(|package| format!("{name} {}: {id}, {what}", package.version)));
    }
    assert_none("a known advisory", &found);
}

/// Whether a version lies in one of the ranges `>=a <b, >=c <d`; `*` is every version.
fn is_affected(version: &str, ranges: &str) -> bool {
    let holds = |bound: &str| match (bound.strip_prefix(">="), bound.strip_prefix('<')) {
        (Some(least), _) => triple(version) >= triple(least),
        (_, Some(fixed)) => triple(version) < triple(fixed),
        _ => {
            assert_eq!(bound, "*", "not a bound");
            true
        }
    };
    ranges.split(',').any(|range| range.split_whitespace().all(holds))
}

fn triple(version: &str) -> [u64; 3] {
    let numbers = version.split(['+', '-']).next().unwrap_or_default();
    let mut parts = numbers.split('.').map(|part| part.parse().expect("a version"));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

#[test]
fn ranges_of_versions_are_understood() {
    let ranges = ">=1.38.0 <1.38.2, >=1.39.0 <1.42.1";
    let hit = |version: &str| is_affected(version, ranges);
    assert!(
        hit("1.38.0") && hit("1.38.1+x") && hit("1.42.0") && is_affected("0.1.0", "*") && is_affected("0.9.9", "<1")
    );
    assert!(!hit("1.37.9") && !hit("1.38.2") && !hit("1.42.1") && !is_affected("1.0.0", "<1"));
}

#[test]
fn all_licences_are_allowed() {
    let allowed = allowed_licences();
    let mut found = Vec::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let expression = package["license"].as_str().unwrap_or("no licence named");
        if !is_allowed(expression, &allowed) {
            found.push(format!("{} {}: {expression}", package["name"], package["version"]));
        }
    }
    assert_none("a licence that deny.toml does not allow", &found);
}

/// What cargo knows of the crates that are built on this platform.
fn metadata() -> serde_json::Value {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root()).output().expect("cargo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let cargo = env!("CARGO");
    let about = String::from_utf8(run(cargo, &["-vV"])).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("the host's name");
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
    serde_json::from_slice(&run(cargo, &arguments)).unwrap()
}

fn allowed_licences() -> BTreeSet<String> {
    let deny = read("deny.toml").expect("deny.toml");
    let list = Regex::new(r"(?s)\nallow = \[(.*?)\]").unwrap();
    let list = list.captures(&deny).expect("the list of licences in deny.toml")[1].to_owned();
    list.lines().map(|line| line.trim().trim_matches([',', '"']).to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `/` is an old way to write `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'w> = Peekable<std::vec::IntoIter<&'w str>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut good = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        good |= all_of(words, allowed);
    }
    good
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut good = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => {
            let good = any_of(words, allowed);
            words.next_if_eq(&")").is_some() && good
        }
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            words.next().is_some_and(|exception| allowed.contains(&format!("{licence} WITH {exception}")))
        }
        Some(licence) => allowed.contains(licence),
        None => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(String::from));
    let good = ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "ISC AND (MIT OR GPL-3.0)", "Apache-2.0 WITH LLVM-exception"];
    let bad = ["GPL-3.0", "MIT AND GPL-3.0", "ISC AND (Apache-2.0 OR GPL-3.0)", "", "MIT GPL-3.0", "(MIT"];
    let refused = good.into_iter().filter(|expression| !is_allowed(expression, &allowed)).collect::<Vec<_>>();
    let accepted = bad.into_iter().filter(|expression| is_allowed(expression, &allowed)).collect::<Vec<_>>();
    assert_eq!((refused, accepted), (vec![], vec![]));
}
