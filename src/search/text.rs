//! The text of a value: separators and their escapes.
//!
//! <https://hl7.org/fhir/R4/search.html#escaping>

use crate::key::Prefix;

/// Splits at each separator that no backslash stands before. The parts keep their escapes.
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, char) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if char == '\\' {
            escaped = true;
        } else if char == separator {
            parts.extend(text.get(start..at));
            start = at + char.len_utf8();
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// Takes the backslashes off `\,`, `\|`, `\$` and `\\`. Any other backslash stands for itself.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match chars.peek() {
            Some(next) if char == '\\' && matches!(next, ',' | '|' | '$' | '\\') => plain.extend(chars.next()),
            _ => plain.push(char),
        }
    }
    plain
}

/// Splits a prefix off a number or date; `None` where two letters stand there that are no prefix.
pub fn prefixed(text: &str) -> Option<(Prefix, &str)> {
    let letters = text.get(..2).filter(|letters| letters.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let Some(letters) = letters else { return Some((Prefix::Eq, text)) };
    let prefix = match letters {
        "eq" => Prefix::Eq,
        "ne" => Prefix::Ne,
        "gt" => Prefix::Gt,
        "lt" => Prefix::Lt,
        "ge" => Prefix::Ge,
        "le" => Prefix::Le,
        "sa" => Prefix::Sa,
        "eb" => Prefix::Eb,
        "ap" => Prefix::Ap,
        _ => return None,
    };
    Some((prefix, text.get(2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(split(r"a\,b,c\\,d", ','), [r"a\,b", r"c\\", "d"]);
        assert_eq!(split("", ','), [""]);
        assert_eq!(unescape(r"a\,b\|c\$d\\e\f\"), r"a,b|c$d\e\f\");
        assert_eq!(split(r"http://a\|b|c", '|'), [r"http://a\|b", "c"]);
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefixed("ge2020"), Some((Prefix::Ge, "2020")));
        assert_eq!(prefixed("2020"), Some((Prefix::Eq, "2020")));
        assert_eq!(prefixed("xx2020"), None);
        assert_eq!(prefixed("é1"), Some((Prefix::Eq, "é1")));
    }
}
