//! Folding: the form of a text in which case, accents, punctuation and extra blanks make no difference.
//!
//! <https://hl7.org/fhir/R4/search.html#string>

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Folds a text.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() { fold_chars(text.chars()) } else { fold_chars(text.nfkd().filter(|c| !is_combining_mark(*c))) }
}

fn fold_chars(chars: impl Iterator<Item = char>) -> String {
    let mut folded = String::new();
    let mut blank = false;
    for char in chars {
        if char.is_whitespace() {
            blank = true;
        } else if char.is_alphanumeric() || !(char.is_ascii() || is_punctuation(char)) {
            if blank && !folded.is_empty() {
                folded.push(' ');
            }
            blank = false;
            match char {
                'ß' => folded.push_str("ss"),
                'ø' | 'Ø' => folded.push('o'),
                'ł' | 'Ł' => folded.push('l'),
                'đ' | 'Đ' => folded.push('d'),
                'æ' | 'Æ' => folded.push_str("ae"),
                'œ' | 'Œ' => folded.push_str("oe"),
                _ => folded.extend(char.to_lowercase()),
            }
        }
    }
    folded
}

/// Dashes, quotation marks, dots, brackets and the like beyond ASCII.
const fn is_punctuation(char: char) -> bool {
    matches!(char, '\u{a0}'..='\u{bf}' | '\u{2010}'..='\u{205e}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}')
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn case_accents_punctuation_and_blanks_make_no_difference() {
        let cases = [
            ("O'Brien", "obrien"),
            ("  Anne-Marie \t Müller ", "annemarie muller"),
            ("José", "jose"),
            ("Jose\u{301}", "jose"),
            ("Straße", "strasse"),
            ("Ångström", "angstrom"),
            ("李 明", "李 明"),
            ("“Łukasz”", "lukasz"),
            ("--", ""),
        ];
        for (text, folded) in cases {
            assert_eq!(fold(text), folded);
            assert_eq!(fold(folded), folded, "folding twice changes nothing");
        }
    }
}
