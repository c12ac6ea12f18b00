//! Text into tokens: <http://hl7.org/fhirpath/N1/#lexical-elements>.

use super::error::CompileError;
use super::temporal::Temporal;

/// What a [`Token`] is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A name; keywords are names that the parser knows.
    Name(String),
    /// A name between back ticks, which is never a keyword.
    Quoted(String),
    /// A string, unescaped.
    String(String),
    /// The text of a number.
    Number(String),
    /// A date, date-time or time.
    Temporal(Temporal),
    /// `%name`.
    Variable(String),
    /// `$this`, `$index` or `$total`, without the `$`.
    Special(String),
    /// An operator or bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it begins.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// Longer ones first, so that the first that fits is the right one.
const SYMBOLS: [&str; 22] =
    ["<=", ">=", "!=", "!~", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "&", "|", "<", ">", "=", "~", ".", ","];

/// All tokens of a text, [`Kind::End`] last.
pub fn tokens(text: &str) -> Result<Vec<Token>, CompileError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.blanks()?;
        let at = lexer.at;
        let kind = lexer.token()?;
        let ended = matches!(kind, Kind::End);
        tokens.push(Token { kind, at });
        if ended {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn error<T>(at: usize, reason: &'static str) -> Result<T, CompileError> {
        Err(CompileError::new(reason, at))
    }

    /// Blanks and comments.
    fn blanks(&mut self) -> Result<(), CompileError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let rest = self.rest();
            if rest.starts_with("//") {
                self.take_while(|c| c != '\n' && c != '\r');
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(length) = comment.find("*/") else { return Self::error(self.at, "comment without an end") };
                self.at += length + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Kind, CompileError> {
        let start = self.at;
        let Some(c) = self.peek() else { return Ok(Kind::End) };
        match c {
            'a'..='z' | 'A'..='Z' | '_' => Ok(Kind::Name(self.name().to_owned())),
            '0'..='9' => Ok(Kind::Number(self.number().to_owned())),
            '\'' => Ok(Kind::String(self.quoted('\'')?)),
            '`' => Ok(Kind::Quoted(self.quoted('`')?)),
            '@' => {
                self.temporal().map_or_else(|| Self::error(start, "malformed date or time"), |t| Ok(Kind::Temporal(t)))
            }
            '%' => self.variable(),
            '$' => {
                self.at += 1;
                match self.name() {
                    name @ ("this" | "index" | "total") => Ok(Kind::Special(name.to_owned())),
                    _ => Self::error(start, "expected `$this`, `$index` or `$total`"),
                }
            }
            _ => {
                let Some(symbol) = SYMBOLS.into_iter().find(|symbol| self.rest().starts_with(symbol)) else {
                    return Self::error(start, "unexpected character");
                };
                self.at += symbol.len();
                Ok(Kind::Symbol(symbol))
            }
        }
    }

    fn name(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn digits(&mut self) {
        self.take_while(|c| c.is_ascii_digit());
    }

    fn number(&mut self) -> &'a str {
        let start = self.at;
        self.digits();
        self.fraction();
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// `.` and digits; a `.` before anything else is not ours.
    fn fraction(&mut self) {
        let rest = self.rest().as_bytes();
        if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.digits();
        }
    }

    fn variable(&mut self) -> Result<Kind, CompileError> {
        let start = self.at;
        self.at += 1;
        let name = match self.peek() {
            Some(quote @ ('\'' | '`')) => self.quoted(quote)?,
            _ => self.name().to_owned(),
        };
        if name.is_empty() { Self::error(start, "expected a name after `%`") } else { Ok(Kind::Variable(name)) }
    }

    fn quoted(&mut self, quote: char) -> Result<String, CompileError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => return Self::error(start, "quote without an end"),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => match self.escape() {
                    Some(c) => text.push(c),
                    None => return Self::error(at, "malformed escape"),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ ('\'' | '"' | '`' | '\\' | '/') => c,
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        self.at += self.rest().strip_prefix("\\u").map(|_| 2)?;
        let second = self.hex()?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn temporal(&mut self) -> Option<Temporal> {
        self.at += 1;
        let start = self.at;
        if self.peek() == Some('T') {
            self.at += 1;
            self.clock();
            return Temporal::time(self.text.get(start + 1..self.at)?);
        }
        self.digits();
        for _ in 0..2 {
            self.part('-');
        }
        if self.peek() != Some('T') {
            return Temporal::date(self.text.get(start..self.at)?);
        }
        self.at += 1;
        self.clock();
        match self.peek() {
            Some('Z') => self.at += 1,
            // `-` may also be the operator, which an offset of hours and minutes tells from it.
            Some('+' | '-') if self.rest().get(3..4) == Some(":") => self.at += 6,
            _ => {}
        }
        Temporal::date_time(self.text.get(start..self.at)?)
    }

    /// `hh:mm:ss.f`, as far as it goes.
    fn clock(&mut self) {
        self.digits();
        if self.part(':') && self.part(':') {
            self.fraction();
        }
    }

    /// A separator and the digits after it.
    fn part(&mut self, separator: char) -> bool {
        let rest = self.rest().as_bytes();
        let fits =
            rest.first().copied().map(char::from) == Some(separator) && rest.get(1).is_some_and(u8::is_ascii_digit);
        if fits {
            self.at += 1;
            self.digits();
        }
        fits
    }
}
