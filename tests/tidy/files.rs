//! The repository's files as text, and as much of Rust as telling code from comments, strings and tests takes.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// Folders that hold what is built or fetched, never what is committed.
const NOT_COMMITTED: [&str; 6] = ["target", ".git", "pharos-data", "fuzz/corpus", "fuzz/artifacts", "fuzz/coverage"];

/// The folder of Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, by its path from the root; `None` where it is absent or no text.
pub fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// The paths, from the root, of all files that are or could be committed, sorted.
pub fn committed() -> Vec<String> {
    below(root())
}

fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = from_root(&path);
            if path.is_dir() {
                let kept = !path.ends_with("target") && !NOT_COMMITTED.contains(&name.as_str());
                waiting.extend(kept.then_some(path));
            } else if path != root().join(".git") {
                // In a linked work tree `.git` is a file that says where the repository is.
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// All Rust files below a folder; none where it does not exist.
pub fn sources(folder: &str) -> Vec<Source> {
    let is_rust = |path: &String| Path::new(path).extension().is_some_and(|ending| ending == "rs");
    let paths = below(&root().join(folder)).into_iter().filter(is_rust);
    paths.filter_map(|path| Some(Source { text: read(&path)?, path })).collect()
}

/// A Rust file.
pub struct Source {
    /// From the root: `src/fhir/tree.rs`.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Whether this is the root of the library or of the program.
    pub fn is_root(&self) -> bool {
        self.module().is_empty()
    }

    /// Whether the whole file is a test module.
    pub fn is_test(&self) -> bool {
        self.module().iter().any(|name| *name == "tests" || name.ends_with("_tests"))
    }

    /// The module path: `["fhir", "tree"]` for `src/fhir/tree.rs`, `["fhir"]` for `src/fhir/mod.rs`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').skip(1).filter(|name| !matches!(*name, "lib" | "main")).collect()
    }

    /// The last part of the module path.
    pub fn name(&self) -> &str {
        self.module().last().copied().unwrap_or_default()
    }

    /// The first part of the module path.
    pub fn top(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }

    /// The files that may declare this module.
    pub fn parents(&self) -> Vec<String> {
        match self.module().split_last() {
            Some((_, [])) | None => vec!["src/lib.rs".into(), "src/main.rs".into()],
            Some((_, parents)) => {
                let parent = parents.join("/");
                vec![format!("src/{parent}.rs"), format!("src/{parent}/mod.rs")]
            }
        }
    }

    /// The text without comments, and with empty strings.
    pub fn code(&self) -> String {
        static NOT_CODE: LazyLock<Regex> = LazyLock::new(|| {
            let parts = [
                r"//[^\n]*",
                r"(?s:/\*.*?\*/)",
                r##"(?s:b?r#+".*?"#+)"##,
                r#"b?r"[^"]*""#,
                r#"(?s:b?"(?:[^"\\]|\\.)*")"#,
                r"b?'(?:[^'\\\n]|\\[^\n]{1,8}?)'",
            ];
            Regex::new(&parts.join("|")).unwrap()
        });
        let blank = |found: &regex::Captures<'_>| "\n".repeat(found[0].matches('\n').count());
        NOT_CODE.replace_all(&self.text, blank).into_owned()
    }

    /// The modules below the root of the crate that the code, tests apart, uses.
    pub fn uses(&self) -> BTreeSet<String> {
        static USE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\b(crate::|(?:super::)+)(?:(\w+)|\{([^;]*)\};)").unwrap());
        static IN_BRACES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:^|,)\s*(\w+)").unwrap());
        let code = without_tests(&self.code());
        let depth = self.module().len();
        let mut names = BTreeSet::new();
        for found in USE.captures_iter(&code) {
            if &found[1] != "crate::" && found[1].matches("super").count() != depth {
                continue;
            }
            match (found.get(2), found.get(3)) {
                (Some(name), _) => drop(names.insert(name.as_str().to_owned())),
                (_, Some(list)) => {
                    names.extend(IN_BRACES.captures_iter(list.as_str()).map(|name| name[1].to_owned()));
                }
                _ => {}
            }
        }
        names
    }

    /// Each function with its number of lines, as rustfmt lays them out.
    pub fn functions(&self) -> Vec<(usize, String)> {
        static START: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^( *)(?:[a-z()]+ )*fn (\w+)").unwrap());
        let lines = self.text.lines().collect::<Vec<_>>();
        let mut found = Vec::new();
        for (n, line) in lines.iter().enumerate() {
            let Some(start) = START.captures(line) else { continue };
            let end = format!("{}}}", &start[1]);
            if !line.ends_with([';', '}'])
                && let Some(length) = lines[n..].iter().position(|line| **line == end)
            {
                found.push((length + 1, format!("{} {}", self.path, &start[2])));
            }
        }
        found
    }
}

/// Leaves out what follows `#[cfg(test)]`, up to the end of that item.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &&str| {
            line.len() - line.trim_start().len() == indent && (line.ends_with(';') || line.ends_with('}'))
        };
        lines.find(ends);
    }
    kept
}

#[test]
fn code_is_told_from_comments_strings_and_tests() {
    let text = r##"
use crate::fhir::tree; // crate::http
use crate::{clock::Clock, store::{Store, View}, error};
use super::super::key;
fn f() { let a = "crate::cli \" crate::cli"; let b = '"'; let c = r#"crate::cli"#; let d: &'static str = ""; }
#[cfg(test)]
mod tests {
    use crate::serve;
}
type X = super::sibling::Y;
"##;
    let source = Source { path: "src/a/b.rs".into(), text: text.into() };
    let uses = source.uses().into_iter().collect::<Vec<_>>();
    assert_eq!(uses, ["View", "clock", "error", "fhir", "key", "store"]);
    assert_eq!(source.parents(), ["src/a.rs", "src/a/mod.rs"]);
    assert_eq!(source.functions(), []);
}
