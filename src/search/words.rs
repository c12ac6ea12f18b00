//! The value of `_text` and `_content`: words, `and` or blanks between those that must all be there, `or`, `|` or commas
//! between alternatives, parentheses, `not` before what must not be there, and `*` behind the start of a word.
//!
//! <https://hl7.org/fhir/R4/search.html#text>

use crate::key::words::{matching, words};
use crate::key::{Expr, prefix_of};

/// Parentheses inside each other, at most.
const DEPTH_MAX: usize = 32;

/// The resources with these words; `None` where the value is malformed.
#[must_use]
pub fn read(code: &str, text: &str) -> Option<Expr> {
    let mut reader = Reader { prefix: prefix_of(code), tokens: tokens(text).into_iter().peekable() };
    let expr = reader.alternatives(0)?;
    reader.tokens.next().is_none().then_some(expr)
}

#[derive(Debug, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    Or,
    And,
    Not,
    Word(&'t str),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_mark = |char: char| char.is_whitespace() || matches!(char, '(' | ')' | '|' | ',' | '"');
    let mut found = Vec::new();
    for piece in text.split_inclusive(is_mark) {
        let word = piece.trim_end_matches(is_mark);
        found.extend((!word.is_empty()).then(|| match word.to_ascii_lowercase().as_str() {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            _ => Token::Word(word),
        }));
        found.extend(match piece.get(word.len()..) {
            Some("(") => Some(Token::Open),
            Some(")") => Some(Token::Close),
            Some("|" | ",") => Some(Token::Or),
            _ => None,
        });
    }
    found
}

struct Reader<'t> {
    prefix: Vec<u8>,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'t>>>,
}

impl Reader<'_> {
    fn alternatives(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.all(depth)?];
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            parts.push(self.all(depth)?);
        }
        Some(Expr::or(parts))
    }

    fn all(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.one(depth)?];
        loop {
            match self.tokens.peek() {
                Some(Token::And) => drop(self.tokens.next()),
                Some(Token::Open | Token::Not | Token::Word(_)) => {}
                _ => return Some(Expr::and(parts)),
            }
            parts.push(self.one(depth)?);
        }
    }

    fn one(&mut self, depth: usize) -> Option<Expr> {
        match self.tokens.next().filter(|_| depth <= DEPTH_MAX)? {
            Token::Not => self.one(depth + 1).map(Expr::negate),
            Token::Open => {
                let inner = self.alternatives(depth + 1)?;
                self.tokens.next_if_eq(&Token::Close).map(|_| inner)
            }
            Token::Word(text) => self.word(text),
            _ => None,
        }
    }

    /// The words of a piece of text: one, or those that a hyphen joins.
    fn word(&self, text: &str) -> Option<Expr> {
        let is_start = text.ends_with('*');
        let words: Vec<_> = words(text).collect();
        let (last, before) = words.split_last()?;
        let whole = before.iter().map(|word| matching(word, false));
        let ranges = whole.chain([matching(last, is_start)]).map(|range| Expr::Keys(range.under(&self.prefix)));
        Some(Expr::and(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks() {
        let word = |text: &str| read("_text", text).unwrap();
        assert_eq!(read("_text", "bone liver"), Some(Expr::and([word("bone"), word("liver")])));
        assert_eq!(read("_text", "bone AND Liver"), read("_text", "bone liver"));
        assert_eq!(read("_text", "bone-liver"), read("_text", "bone liver"));
        for or in ["bone,liver", "bone|liver", "bone or liver", "(bone OR liver)"] {
            assert_eq!(read("_text", or), Some(Expr::or([word("bone"), word("liver")])), "{or}");
        }
        let both = Expr::and([Expr::or([word("bone"), word("liver")]), word("metastases")]);
        assert_eq!(read("_text", "(bone OR liver) and metastases"), Some(both));
        assert_eq!(read("_text", "not bone"), Some(word("bone").negate()));
        assert_ne!(word("meta*"), word("meta"));
        for bad in ["", "--", "(bone", "bone)", "bone or", "or bone", "not", &"(".repeat(9999)] {
            assert_eq!(read("_text", bad), None, "{bad}");
        }
    }
}
