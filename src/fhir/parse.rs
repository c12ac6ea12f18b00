//! The parser: bytes into a [`Value`], strictly as RFC 8259 says, in one pass.
//!
//! Refused, with the position: invalid UTF-8, duplicate members, nesting over a limit, objects with more than
//! [`MOST_MEMBERS`], trailing text, lone surrogates, control characters in strings and numbers that are not of JSON's
//! grammar. One byte order mark at the start is passed over, as RFC 8259 allows.

use super::scan;
use super::tree::{Object, Value};
use std::borrow::Cow;
use std::collections::HashSet;

/// Objects with more members than this are checked for duplicates with a set.
const FEW_MEMBERS: usize = 24;

/// The most members of one object. The largest objects of FHIR have about 200, `_siblings` included; beyond this limit
/// stand only texts that want to make every look-up of a member costly.
pub const MOST_MEMBERS: usize = 1000;

/// Why bytes are not an acceptable JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line}, column {column}")]
pub struct ParseError {
    /// What is wrong. Never holds text of the input.
    pub reason: &'static str,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in bytes.
    pub column: usize,
}

/// Parses one JSON text.
///
/// # Errors
/// See the module's list; `depth` is how many arrays and objects may stand inside each other.
pub fn parse(bytes: &[u8], depth: usize) -> Result<Value<'_>, ParseError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match simdutf8::compat::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(error_at(bytes, error.valid_up_to(), "invalid UTF-8")),
    };
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, depth };
    parser.document().map_err(|reason| error_at(bytes, parser.at, reason))
}

fn error_at(bytes: &[u8], at: usize, reason: &'static str) -> ParseError {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
    ParseError { reason, line, column }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn document(&mut self) -> Parsed<Value<'a>> {
        self.blanks();
        let value = self.value()?;
        self.blanks();
        if self.at < self.bytes.len() { Err("text after the end of the JSON value") } else { Ok(value) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        self.at += scan::blank_len(self.rest());
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Parsed<Value<'a>> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(Cow::Borrowed(self.number()?))),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err("unexpected character"),
            None => Err("unexpected end of the JSON text"),
        }
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<Value<'a>>) -> Parsed<Value<'a>> {
        self.depth = self.depth.checked_sub(1).ok_or("nested too deeply")?;
        self.at += 1;
        self.blanks();
        let value = inner(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Parsed<Value<'a>> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err("unexpected character");
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self) -> Parsed<Value<'a>> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            if self.eat(b']') {
                return Ok(Value::Array(items));
            }
            if !self.eat(b',') {
                return Err("expected `,` or `]`");
            }
            self.blanks();
        }
    }

    fn object(&mut self) -> Parsed<Value<'a>> {
        let mut object = Object::new();
        let mut seen: Option<HashSet<Cow<'a, str>>> = None;
        if self.eat(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err("expected a member name in quotes");
            }
            let name = self.string()?;
            if is_duplicate(&object, &mut seen, &name) {
                self.at = start;
                return Err("duplicate member");
            }
            if object.len() == MOST_MEMBERS {
                self.at = start;
                return Err("too many members in one object");
            }
            self.blanks();
            if !self.eat(b':') {
                return Err("expected `:`");
            }
            self.blanks();
            object.push(name, self.value()?);
            self.blanks();
            if self.eat(b'}') {
                return Ok(Value::Object(object));
            }
            if !self.eat(b',') {
                return Err("expected `,` or `}`");
            }
            self.blanks();
        }
    }

    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        self.text.get(start..self.at).ok_or("malformed number")
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err("malformed number") } else { Ok(()) }
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let end = self.run()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(self.text.get(start..end).ok_or("malformed string")?));
        }
        let mut text = String::from(self.text.get(start..end).ok_or("malformed string")?);
        loop {
            if self.eat(b'"') {
                return Ok(Cow::Owned(text));
            }
            self.at += 1;
            text.push(self.escape()?);
            let start = self.at;
            let end = self.run()?;
            text.push_str(self.text.get(start..end).ok_or("malformed string")?);
        }
    }

    /// Steps over plain characters; stands then at a quote or a backslash.
    fn run(&mut self) -> Parsed<usize> {
        self.at += scan::plain_len(self.rest());
        match self.peek() {
            Some(b'"' | b'\\') => Ok(self.at),
            Some(_) => Err("control character in a string"),
            None => Err("string without an end"),
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let byte = self.peek().ok_or("string without an end")?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err("unknown escape"),
        })
    }

    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).ok_or("lone surrogate");
        }
        if !(self.eat(b'\\') && self.eat(b'u')) {
            return Err("lone surrogate");
        }
        let second = self.hex()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err("lone surrogate");
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or("lone surrogate")
    }

    fn hex(&mut self) -> Parsed<u32> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or("malformed \\u escape")?;
        let mut value = 0;
        for digit in digits {
            value = value * 16 + char::from(*digit).to_digit(16).ok_or("malformed \\u escape")?;
        }
        self.at += 4;
        Ok(value)
    }
}

#[allow(clippy::ptr_arg, reason = "a borrowed name goes into the set without a copy")]
fn is_duplicate<'a>(object: &Object<'a>, seen: &mut Option<HashSet<Cow<'a, str>>>, name: &Cow<'a, str>) -> bool {
    if object.len() < FEW_MEMBERS {
        return object.get(name).is_some();
    }
    let seen = seen.get_or_insert_with(|| object.iter().map(|(name, _)| Cow::Owned(name.to_owned())).collect());
    !seen.insert(name.clone())
}

#[cfg(test)]
mod tests;
