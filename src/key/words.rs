//! Words of the narrative and of all texts: `w word`, folded, each once.
//!
//! <https://hl7.org/fhir/R4/search.html#text>

use super::bytes::{END, open_text, text};
use super::fold::fold;
use super::prefix_of;
use super::range::KeyRange;
use crate::fhir::tree::{Object, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The parameter that searches the narrative.
pub const TEXT: &str = "_text";
/// The parameter that searches everything.
pub const CONTENT: &str = "_content";
/// So many distinct words of one resource are kept, the first ones, for each of the two parameters.
pub const WORDS_MAX: usize = 1000;
/// Longer words are not kept: they are data in base 64, or the like.
const WORD_CHARS_MAX: usize = 64;

/// The keys of the words of a resource's narrative.
#[must_use]
pub fn narrative_keys(resource: &Object<'_>) -> Vec<Box<[u8]>> {
    let mut words = Words::default();
    words.add_narrative(resource);
    words.keys(TEXT)
}

/// The keys of the words of all texts of a resource, its narrative and those of contained resources among them; not of
/// Base 64 data, whose letters mean nothing.
#[must_use]
pub fn content_keys(resource: &Object<'_>) -> Vec<Box<[u8]>> {
    let mut words = Words::default();
    words.add_object(resource);
    words.keys(CONTENT)
}

/// The range of a word, or of all words that start with it.
#[must_use]
pub fn matching(word: &str, is_start: bool) -> KeyRange {
    let mut bytes = vec![b'w'];
    open_text(&mut bytes, word);
    if is_start {
        return KeyRange::prefix(&bytes);
    }
    bytes.push(END);
    KeyRange::exactly(&bytes)
}

/// The folded words of a plain text. An apostrophe does not part a word.
pub fn words(plain: &str) -> impl Iterator<Item = String> {
    let pieces = plain.split(|char: char| char.is_whitespace() || (char.is_ascii_punctuation() && char != '\''));
    pieces
        .map(fold)
        .flat_map(|folded| folded.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| !word.is_empty())
}

#[derive(Default)]
struct Words(BTreeSet<String>);

impl Words {
    fn add(&mut self, plain: &str) {
        for word in words(plain).filter(|word| word.chars().count() <= WORD_CHARS_MAX) {
            if self.0.len() == WORDS_MAX {
                return;
            }
            self.0.insert(word);
        }
    }

    fn add_narrative(&mut self, resource: &Object<'_>) {
        if let Some(div) = resource.get("text").and_then(Value::as_object).and_then(|text| text.str("div")) {
            self.add(&plain_text(div));
        }
    }

    fn add_object(&mut self, object: &Object<'_>) {
        for (name, value) in object.iter() {
            match value {
                Value::String(div) if name == "div" => self.add(&plain_text(div)),
                Value::String(_) if name == "data" || name == "resourceType" => {}
                other => self.add_value(other),
            }
        }
    }

    fn add_value(&mut self, value: &Value<'_>) {
        match value {
            Value::String(plain) => self.add(plain),
            Value::Object(object) => self.add_object(object),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            _ => {}
        }
    }

    fn keys(self, code: &str) -> Vec<Box<[u8]>> {
        let prefix = [&prefix_of(code)[..], b"w"].concat();
        let key = |word: String| {
            let mut key = prefix.clone();
            text(&mut key, &word);
            key.into()
        };
        self.0.into_iter().map(key).collect()
    }
}

/// The text of XHTML without its tags; the few entities that XHTML needs are resolved, others part words.
fn plain_text(div: &str) -> Cow<'_, str> {
    if !div.contains(['<', '&']) {
        return Cow::Borrowed(div);
    }
    let mut plain = String::with_capacity(div.len());
    let mut rest = div;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        let end = if after.starts_with('<') { '>' } else { ';' };
        let Some((mark, following)) = after.split_once(end) else { return Cow::Owned(plain) };
        plain.push(if end == ';' { entity(mark) } else { ' ' });
        rest = following;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The character of an entity such as `&#233` (without its semicolon); a blank where it is punctuation or not known.
fn entity(mark: &str) -> char {
    let code = mark.strip_prefix("&#").and_then(|number| match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    });
    match mark {
        "&apos" => '\'',
        _ => code.and_then(char::from_u32).unwrap_or(' '),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::parse::parse;

    fn read(keys: &[Box<[u8]>], code: &str) -> Vec<String> {
        let word = |key: &[u8]| String::from_utf8(key[code.len() + 2..key.len() - 1].to_vec()).unwrap();
        keys.iter().map(|key| word(key)).collect()
    }

    #[test]
    fn narrative_and_content() {
        let json = r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div class=\"x\">Bone<b>-marrow</b> &amp; liver; O'Neil, Andr&#233; bone</div>"},"name":[{"family":"Müller"}],"photo":[{"data":"QUJD"}]}"#;
        let tree = parse(json.as_bytes(), 64).unwrap();
        let patient = tree.as_object().unwrap();
        assert_eq!(read(&narrative_keys(patient), TEXT), ["andre", "bone", "liver", "marrow", "oneil"]);
        let all = read(&content_keys(patient), CONTENT);
        assert_eq!(all, ["andre", "bone", "generated", "liver", "marrow", "muller", "oneil"]);
    }

    #[test]
    fn words_are_bounded() {
        let many: Vec<_> = (0..5000).map(|number| format!("w{number}")).collect();
        let json = format!(
            r#"{{"resourceType":"Basic","text":{{"div":"<div>{} {}</div>"}}}}"#,
            "x".repeat(999),
            many.join(" ")
        );
        let tree = parse(json.as_bytes(), 64).unwrap();
        let keys = narrative_keys(tree.as_object().unwrap());
        assert_eq!(keys.len(), WORDS_MAX);
    }
}
