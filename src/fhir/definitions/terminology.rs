//! Code systems of HL7 and the value sets over them. Read at first use; a value set is expanded when it is first asked.

use super::read::{Entry, Read, entries};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{LazyLock, OnceLock};

/// A value set may import others, this many deep.
const IMPORT_DEPTH: usize = 8;

/// The value sets and code systems of FHIR R4.
pub(super) static R4: LazyLock<Terminology> = LazyLock::new(|| match r4() {
    Ok(terminology) => terminology,
    // The text is part of the binary, and a test reads all of it.
    Err(line) => unreachable!("a line of the embedded terminology can't be read: {line}"),
});

/// Value sets and code systems by their URLs.
#[derive(Debug)]
pub(super) struct Terminology {
    pub(super) value_sets: FxHashMap<&'static str, ValueSet>,
    pub(super) code_systems: FxHashMap<&'static str, CodeSystem>,
}

impl Terminology {
    pub(super) fn value_set(&'static self, url: &str) -> Option<&'static ValueSet> {
        self.value_sets.get(url)
    }

    pub(super) fn code_system(&'static self, url: &str) -> Option<&'static CodeSystem> {
        self.code_systems.get(url)
    }
}

/// A value set of the official definitions: those of required bindings, and those over HL7's own code systems.
#[derive(Debug)]
pub struct ValueSet {
    /// The canonical URL without version.
    pub url: &'static str,
    /// `None` where the value set can't be enumerated from what is embedded (all of BCP-47, of UCUM …).
    rules: Option<Vec<Rule>>,
    expansion: OnceLock<Option<Expansion>>,
}

/// One line of a composition: whether it includes or excludes, and what.
#[derive(Debug)]
struct Rule {
    includes: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    System(&'static str),
    Codes(&'static str, Vec<&'static str>),
    IsA { system: &'static str, code: &'static str, itself: bool },
    ValueSet(&'static str),
}

#[derive(Debug)]
struct Expansion {
    codes: Vec<(&'static str, &'static str)>,
    pairs: FxHashSet<(&'static str, &'static str)>,
    plain: FxHashSet<&'static str>,
}

impl ValueSet {
    /// The codes (system, code) in order; `None` where the value set can't be enumerated from what is embedded
    /// (for example all of BCP-47 or of UCUM).
    pub fn codes(&'static self) -> Option<&'static [(&'static str, &'static str)]> {
        self.expansion().map(|expansion| expansion.codes.as_slice())
    }

    /// Whether the code is in the value set; `None` where that can't be told from what is embedded.
    pub fn contains(&'static self, system: &str, code: &str) -> Option<bool> {
        self.expansion().map(|expansion| expansion.pairs.contains(&(system, code)))
    }

    /// The same for an element of type `code`, which names no system.
    pub fn contains_code(&'static self, code: &str) -> Option<bool> {
        self.expansion().map(|expansion| expansion.plain.contains(code))
    }

    fn expansion(&'static self) -> Option<&'static Expansion> {
        let expand = || {
            let codes = self.expand(IMPORT_DEPTH)?;
            let pairs = codes.iter().copied().collect();
            Some(Expansion { pairs, plain: codes.iter().map(|(_, code)| *code).collect(), codes })
        };
        self.expansion.get_or_init(expand).as_ref()
    }

    fn expand(&self, depth: usize) -> Option<Vec<(&'static str, &'static str)>> {
        let (mut codes, mut seen) = (Vec::new(), FxHashSet::default());
        for rule in self.rules.as_ref()? {
            let found = rule.content.codes(depth.checked_sub(1)?)?;
            if rule.includes {
                codes.extend(found.into_iter().filter(|code| seen.insert(*code)));
            } else {
                let found: FxHashSet<_> = found.into_iter().collect();
                codes.retain(|code| !found.contains(code));
            }
        }
        Some(codes)
    }
}

impl Content {
    fn codes(&self, depth: usize) -> Option<Vec<(&'static str, &'static str)>> {
        match self {
            Self::System(system) => {
                Some(R4.code_system(system)?.concepts.iter().map(|concept| (*system, concept.code)).collect())
            }
            Self::Codes(system, codes) => Some(codes.iter().map(|code| (*system, *code)).collect()),
            Self::IsA { system, code, itself } => {
                let found = R4.code_system(system)?;
                let inside = |concept: &&Concept| found.is_a(concept.code, code) && (*itself || concept.code != *code);
                Some(found.concepts.iter().filter(inside).map(|concept| (*system, concept.code)).collect())
            }
            Self::ValueSet(url) => R4.value_set(url)?.expand(depth),
        }
    }
}

/// A code system's codes and hierarchy.
#[derive(Debug)]
pub struct CodeSystem {
    /// The canonical URL.
    pub url: &'static str,
    /// `CodeSystem.caseSensitive`.
    pub case_sensitive: Option<bool>,
    /// Whether all its concepts are known here.
    pub is_complete: bool,
    /// The concepts in order, each after its parent.
    pub concepts: Vec<Concept>,
    positions: OnceLock<FxHashMap<&'static str, usize>>,
}

/// A concept of a [`CodeSystem`].
#[derive(Debug)]
pub struct Concept {
    /// The code.
    pub code: &'static str,
    /// The name for people.
    pub display: &'static str,
    /// The position of its parent in [`CodeSystem::concepts`].
    pub parent: Option<usize>,
}

impl CodeSystem {
    /// The concept with this code, its case as defined.
    pub fn concept(&self, code: &str) -> Option<&Concept> {
        let positions = || self.concepts.iter().enumerate().map(|(n, concept)| (concept.code, n)).collect();
        self.concepts.get(*self.positions.get_or_init(positions).get(code)?)
    }

    /// Whether `code` is `ancestor` or stands below it in the hierarchy. False for unknown codes.
    pub fn is_a(&self, code: &str, ancestor: &str) -> bool {
        let parent = |concept: &&Concept| self.concepts.get(concept.parent?);
        std::iter::successors(self.concept(code), parent).any(|concept| concept.code == ancestor)
    }
}

fn r4() -> Read<Terminology> {
    let code_systems = entries(include_str!("../../../terminology/r4/code-systems.txt"));
    let value_sets = entries(include_str!("../../../terminology/r4/value-sets.txt"));
    let code_systems = code_systems.iter().map(code_system).collect::<Read<Vec<_>>>()?;
    let value_sets = value_sets.iter().map(value_set).collect::<Read<Vec<_>>>()?;
    Ok(Terminology {
        code_systems: code_systems.into_iter().map(|found| (found.url, found)).collect(),
        value_sets: value_sets.into_iter().map(|found| (found.url, found)).collect(),
    })
}

fn code_system(entry: &Entry) -> Read<CodeSystem> {
    let mut words = entry.head.split(' ');
    let (Some(url), Some(case)) = (words.next(), words.next()) else { return Err(entry.head) };
    let case_sensitive = match case {
        "case-sensitive" => Some(true),
        "case-insensitive" => Some(false),
        "case-unknown" => None,
        _ => return Err(entry.head),
    };
    let mut concepts = Vec::with_capacity(entry.lines.len());
    // The positions of the concepts that the next one may stand below.
    let mut above: Vec<usize> = Vec::new();
    for line in &entry.lines {
        let text = line.trim_start_matches(' ');
        above.truncate(line.len() - text.len());
        let (code, display) = text.split_once('\t').unwrap_or((text, text));
        let parent = above.last().copied();
        above.push(concepts.len());
        concepts.push(Concept { code, display, parent });
    }
    let is_complete = words.next() != Some("not-embedded");
    Ok(CodeSystem { url, case_sensitive, is_complete, concepts, positions: OnceLock::new() })
}

fn value_set(entry: &Entry) -> Read<ValueSet> {
    let (url, rules) = match entry.head.split_once(' ') {
        Some((url, "not-enumerable")) => (url, None),
        Some(_) => return Err(entry.head),
        None => (entry.head, Some(entry.lines.iter().map(|line| rule(line)).collect::<Read<_>>()?)),
    };
    Ok(ValueSet { url, rules, expansion: OnceLock::new() })
}

fn rule(line: &'static str) -> Read<Rule> {
    let (sign, content) = line.split_once(' ').ok_or(line)?;
    let includes = match sign {
        "+" => true,
        "-" => false,
        _ => return Err(line),
    };
    let content = if let Some((system, codes)) = content.split_once('\t') {
        Content::Codes(system, codes.split('\t').collect())
    } else {
        match content.split(' ').collect::<Vec<_>>().as_slice() {
            ["valueset", url] => Content::ValueSet(url),
            [system] => Content::System(system),
            [system, "is-a", code] => Content::IsA { system, code, itself: true },
            [system, "descendent-of", code] => Content::IsA { system, code, itself: false },
            _ => return Err(line),
        }
    };
    Ok(Rule { includes, content })
}
