//! A blind index: search keys of what identifies persons, as keyed hashes.
//!
//! A key list has plain keys, and is sealed. Postings are not, so that here those of hidden parameters are made of *marks*: for each
//! plain key a few beginnings of it that a query may ask for, and for a date the decade, year, month and day in which it lies.
//! The posting of a mark is `code 0x00 ~ hash`, where the hash is HMAC-SHA-256, cut to 16 bytes, of type, code and mark.
//! What a range of plain keys can hold is found by the postings of few marks: its [`Cover`]. Where the marks say less than the range, each
//! resource is held against the range by its key list, as any other criterion is that no posting answers.
//!
//! | kind of key | marks beside the whole key |
//! |---|---|
//! | `n` string | each start of the folded text of up to [`START_MAX`] characters; the folded text |
//! | `t` display or text | each start of up to [`START_MAX`] characters |
//! | `w` word | the first [`WORD_START`] characters |
//! | `c` code, `i` identifier of a reference | the code or value without its system |
//! | `l` and `h` date | instead of the whole key: see [`days`] |
//! | all | that there is one |

mod days;

use super::KeyList;
use super::bytes::END;
use super::range::{KeyRange, after_prefix};
use super::words::{CONTENT, TEXT};
use crate::fhir::definitions::{ParamType, SearchParameter, r4};
use aws_lc_rs::hmac;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The longest start of a text, in characters, that has a mark.
pub const START_MAX: usize = 6;
/// The start of a word, in characters, that has a mark.
pub const WORD_START: usize = 3;
/// The kind of a posting's key that is a hash.
const KIND: u8 = b'~';
/// The length of a hash.
const HASH_LEN: usize = 16;
/// The parameter by which canonical references lead to resources.
pub const URL: &str = "url";

/// The codes of hidden parameters by resource type.
pub type Hidden = BTreeMap<Box<str>, BTreeSet<Box<str>>>;

/// The type of what the ledger records. Its postings are hidden from the entry on that is first folded under a list that has this type:
/// those of before can be plain, and are looked for beside.
pub const LEDGER: &str = "AuditEvent";

/// The types that are persons, and what identifies them, where the settings do not say; and who did what from where in the ledger.
#[must_use]
pub fn hidden_by_default() -> Hidden {
    const OF_LEDGER: [&str; 4] = ["address", "agent-name", "altid", "entity-name"];
    const TYPES: [&str; 4] = ["Patient", "Person", "Practitioner", "RelatedPerson"];
    const CODES: [&str; 16] = [
        "address",
        "address-city",
        "address-country",
        "address-postalcode",
        "address-state",
        "address-use",
        "birthdate",
        "death-date",
        "email",
        "family",
        "given",
        "identifier",
        "name",
        "phone",
        "phonetic",
        "telecom",
    ];
    let codes = |type_name: &str| {
        let is_there = |code: &&str| r4().search_parameter(type_name, code).is_some();
        CODES.into_iter().filter(is_there).map(Box::from).collect()
    };
    let ledger = (LEDGER.into(), OF_LEDGER.into_iter().map(Box::from).collect());
    TYPES.into_iter().map(|type_name| (type_name.into(), codes(type_name))).chain([ledger]).collect()
}

/// The type of a parameter of FHIR's own.
fn type_of(owner: &str, code: &str) -> Option<ParamType> {
    r4().search_parameter(owner, code).map(|known| known.param_type)
}

/// Since which rules listed URIs are hidden. Before, they were plain.
const HIDES_URIS: u8 = 1;

/// The first rules by which a list means what it does now.
#[must_use]
pub fn rules_for(hidden: &Hidden) -> u8 {
    let is_uri = |owner: &str, code: &str| code != URL && type_of(owner, code) == Some(ParamType::Uri);
    let has_uri = hidden.iter().any(|(owner, codes)| codes.iter().any(|code| is_uri(owner, code)));
    if has_uri { HIDES_URIS } else { 0 }
}

/// Which postings answer a range of plain keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// Resources with a key in the range have a posting in any of these ranges.
    pub postings: Vec<KeyRange>,
    /// Whether all that have such a posting have such a key.
    pub is_exact: bool,
}

/// How a tenant's hidden keys are blinded.
pub struct Blind {
    hidden: Hidden,
    key: hmac::Key,
    rules: u8,
}

impl std::fmt::Debug for Blind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blind")
    }
}

/// A key, taken apart.
struct Parts<'k> {
    /// The type of the resource, or of the one inside of it, whose key it is.
    owner: &'k str,
    code: &'k str,
    /// What stands before the value: all up to the end of the code.
    prefix: &'k [u8],
    /// The kind and the value.
    value: &'k [u8],
}

impl<'k> Parts<'k> {
    /// `None` for what has no whole code.
    fn of(type_name: &'k str, key: &'k [u8]) -> Option<Self> {
        let end = |from: usize| Some(from + memchr::memchr(END, key.get(from..)?)?);
        let text = |from: usize, to: usize| std::str::from_utf8(key.get(from..to)?).ok();
        let (owner, start) = if key.starts_with(b"#") {
            let first = end(1)?;
            (text(1, first)?, end(first + 1)? + 1)
        } else {
            (type_name, 0)
        };
        let code_end = end(start)?;
        let (prefix, value) = key.split_at_checked(code_end + 1)?;
        Some(Self { owner, code: text(start, code_end)?, prefix, value })
    }
}

impl Blind {
    /// With this list and this key.
    #[must_use]
    pub fn new(hidden: Hidden, key: &[u8]) -> Self {
        Self { rules: rules_for(&hidden), hidden, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The same by these rules: those by which its postings were made.
    #[must_use]
    pub fn by(self, rules: u8) -> Self {
        Self { rules, ..self }
    }

    /// Whether keys that start so are hidden: with a parameter's code, and perhaps a kind behind it.
    #[must_use]
    pub fn hides(&self, type_name: &str, start: &[u8]) -> bool {
        Parts::of(type_name, start).is_some_and(|parts| self.hides_parts(type_name, &parts))
    }

    fn hides_parts(&self, type_name: &str, parts: &Parts<'_>) -> bool {
        let Parts { owner, code, value, .. } = *parts;
        let is_listed = || self.hidden.get(owner).is_some_and(|codes| codes.contains(code));
        match (code, value.first()) {
            // What is found by the order of the entries has no postings.
            _ if type_name == LEDGER && (code == "date" || !self.hidden.contains_key(LEDGER)) => false,
            (TEXT | CONTENT, _) => true,
            _ if code.starts_with('_') => false,
            // By references, and by their own URLs, resources are found from each other.
            (_, Some(b'r' | b'v' | b'#')) | (URL, _) => false,
            (_, Some(b'u')) => self.rules >= HIDES_URIS && type_of(owner, code) == Some(ParamType::Uri) && is_listed(),
            (_, Some(b'i')) => true,
            (_, None) => type_of(owner, code) != Some(ParamType::Reference) && is_listed(),
            // What a reference displays; that of a code names nobody.
            (_, Some(b't')) => is_listed() || type_of(owner, code) != Some(ParamType::Token),
            _ => is_listed(),
        }
    }

    /// The keys of the postings that a resource with these keys has.
    #[must_use]
    pub fn postings(&self, type_name: &str, keys: &KeyList) -> KeyList {
        let mut plain = KeyList::with_capacity(keys.len(), keys.byte_len());
        let mut marks = Vec::new();
        for key in keys {
            match Parts::of(type_name, key).filter(|parts| self.hides_parts(type_name, parts)) {
                Some(parts) => add_marks(&parts, &mut marks),
                // The list has each key once, and in order.
                None => drop(plain.push_shared(0, key)),
            }
        }
        // Keys that begin alike have marks in common.
        marks.sort_unstable();
        marks.dedup();
        plain.with(marks.into_iter().map(|(prefix, mark)| self.posting(type_name, prefix, &mark)).collect())
    }

    fn posting(&self, type_name: &str, prefix: &[u8], mark: &[u8]) -> Box<[u8]> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [type_name.as_bytes(), &[END], prefix, mark] {
            context.update(part);
        }
        let tag = context.sign();
        let hash = tag.as_ref().iter().take(HASH_LEN).copied();
        prefix.iter().copied().chain([KIND]).chain(hash).collect()
    }

    /// Where postings of the ledger can be that are still plain and are to be hidden.
    #[must_use]
    pub fn plain_of_ledger(&self) -> Vec<KeyRange> {
        // A reference's identifier, and what it displays.
        let of_reference = |known: &SearchParameter| {
            [b'i', b't'].map(|kind| KeyRange::prefix(&[known.code.as_bytes(), &[END, kind]].concat()))
        };
        let of_other = |known: &SearchParameter| {
            let start = [known.code.as_bytes(), &[END]].concat();
            KeyRange { to: [&start[..], &[KIND]].concat().into(), from: start.into(), tail: None }
        };
        let mut ranges = Vec::new();
        for known in r4().search_parameters_of(LEDGER).filter(|_| self.hidden.contains_key(LEDGER)) {
            match known.param_type {
                ParamType::Reference => ranges.extend(of_reference(known)),
                _ if self.hides(LEDGER, &[known.code.as_bytes(), &[END]].concat()) => ranges.push(of_other(known)),
                _ => {}
            }
        }
        ranges
    }

    /// Which postings answer a range; `None` where those of its own keys do.
    #[must_use]
    pub fn cover(&self, type_name: &str, range: &KeyRange) -> Option<Cover> {
        let mut cover = self.cover_of_hidden(type_name, range)?;
        if type_name == LEDGER && !cover.postings.contains(range) {
            cover.postings.push(range.clone());
        }
        Some(cover)
    }

    fn cover_of_hidden(&self, type_name: &str, range: &KeyRange) -> Option<Cover> {
        let parts = Parts::of(type_name, &range.from)?;
        let prefix = parts.prefix;
        if *range.to > *after_prefix(prefix) {
            return None;
        }
        let hidden = self.hides_parts(type_name, &parts);
        let of_marks = |marks: &[Vec<u8>], is_exact| {
            let posting = |mark: &Vec<u8>| KeyRange::exactly(&self.posting(type_name, prefix, mark));
            Some(Cover { postings: marks.iter().map(posting).collect(), is_exact })
        };
        let to = range.to.strip_prefix(prefix);
        match parts.value {
            // All keys of the parameter, of which some may be hidden.
            [] if !hidden => {
                let is_whole = to.is_none() && range.tail.is_none();
                is_whole.then(|| Cover { postings: vec![range.clone()], is_exact: true })
            }
            [] => of_marks(&[Vec::new()], to.is_none() && range.tail.is_none()),
            _ if !hidden => None,
            [kind @ (b'l' | b'h'), from @ ..] => {
                let to = to.and_then(|to| to.strip_prefix(&[*kind]));
                of_marks(&days::marks_between(*kind, from, to), false)
            }
            whole if range.tail.is_none() && range.only_key().is_some() => of_marks(&[whole.to_vec()], true),
            start if *after_prefix(&range.from) == *range.to => {
                let mark = starts(start).max().and_then(|len| start.get(..len)).unwrap_or_default();
                of_marks(&[mark.to_vec()], range.tail.is_none() && mark == start)
            }
            _ => of_marks(&[Vec::new()], false),
        }
    }
}

/// Adds the marks of a key, behind what stands before its value.
fn add_marks<'k>(parts: &Parts<'k>, marks: &mut Vec<(&'k [u8], Cow<'k, [u8]>)>) {
    let Parts { prefix, value, .. } = *parts;
    marks.push((prefix, Cow::Borrowed(&[])));
    if let [kind @ (b'l' | b'h'), moment @ ..] = value {
        marks.extend(days::marks(*kind, moment).into_iter().map(|mark| (prefix, Cow::Owned(mark))));
        return;
    }
    let lens = starts(value).chain([value.len()]);
    marks.extend(lens.filter_map(|len| Some((prefix, Cow::Borrowed(value.get(..len)?)))));
}

/// The lengths of those starts of a value that have marks, as far as it goes: every value that begins with it has them, too.
fn starts(value: &[u8]) -> impl Iterator<Item = usize> {
    let kind = value.first().copied().unwrap_or_default();
    let text = value.get(1..).unwrap_or_default();
    let text_len = memchr::memchr(END, text);
    let is_start_of_char = |byte: u8| byte & 0xC0 != 0x80;
    let ends =
        (1..=text_len.unwrap_or(text.len())).filter(move |at| text.get(*at).is_none_or(|next| is_start_of_char(*next)));
    let (skipped, taken) = match kind {
        b'n' | b't' => (0, START_MAX),
        b'w' => (WORD_START - 1, 1),
        _ => (0, 0),
    };
    let whole_text = text_len.filter(|_| matches!(kind, b'n' | b'c' | b'i'));
    // Behind the kind; that of the whole text ends behind its end.
    ends.skip(skipped).take(taken).map(|at| at + 1).chain(whole_text.map(|len| len + 2))
}

#[cfg(test)]
mod tests;
