//! Tokens into the compiled form, by precedence: <http://hl7.org/fhirpath/N1/grammar.html>.

use super::ast::{AsForm, Call, Expr, Kind, Operator};
use super::error::CompileError;
use super::functions::{self, Function};
use super::item::Item;
use super::lexer::{self, Kind as Lexeme, Token};
use super::quantity::{Calendar, Quantity, Unit};
use super::types::{self, TypeSpecifier};
use regex::{Regex, RegexBuilder};
use rust_decimal::Decimal;
use std::borrow::Cow;

/// The longest text of an expression, in bytes.
pub const TEXT_LIMIT: usize = 64 * 1024;
/// How many parts of an expression may stand inside each other.
pub const DEPTH_LIMIT: usize = 200;
/// The most memory that a compiled regular expression may take, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// How strongly `is` and `as` bind, among the levels of [`operator`].
const TYPE_LEVEL: u8 = 8;
/// Binds more strongly than all binary operators.
const UNARY_LEVEL: u8 = 11;

type Parsed<T> = Result<T, CompileError>;

/// Parses a whole text.
pub fn parse(text: &str) -> Parsed<Expr> {
    if text.len() > TEXT_LIMIT {
        return Err(CompileError::new("the expression is too long", TEXT_LIMIT));
    }
    let mut parser = Parser { tokens: lexer::tokens(text)?.into(), depth: 0 };
    let expr = parser.expression(0)?;
    match parser.peek() {
        Lexeme::End => Ok(expr),
        _ => parser.fail("expected an operator or the end of the expression"),
    }
}

/// A regular expression as `FHIRPath` uses them: `.` matches line ends too; bounded in size.
pub fn regex(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).dot_matches_new_line(true).size_limit(REGEX_LIMIT).build().ok()
}

/// The level (higher binds more strongly) of a binary operator.
fn operator(lexeme: &Lexeme) -> Option<(u8, Operator)> {
    let text = match lexeme {
        Lexeme::Symbol(symbol) => symbol,
        Lexeme::Name(name) => name.as_str(),
        _ => return None,
    };
    Some(match text {
        "*" => (10, Operator::Multiply),
        "/" => (10, Operator::Divide),
        "div" => (10, Operator::Div),
        "mod" => (10, Operator::Mod),
        "+" => (9, Operator::Add),
        "-" => (9, Operator::Subtract),
        "&" => (9, Operator::Concatenate),
        "|" => (7, Operator::Union),
        "<" => (6, Operator::Less),
        "<=" => (6, Operator::LessOrEqual),
        ">" => (6, Operator::Greater),
        ">=" => (6, Operator::GreaterOrEqual),
        "=" => (5, Operator::Equal),
        "!=" => (5, Operator::NotEqual),
        "~" => (5, Operator::Equivalent),
        "!~" => (5, Operator::NotEquivalent),
        "in" => (4, Operator::In),
        "contains" => (4, Operator::Contains),
        "and" => (3, Operator::And),
        "or" => (2, Operator::Or),
        "xor" => (2, Operator::Xor),
        "implies" => (1, Operator::Implies),
        _ => return None,
    })
}

struct Parser {
    tokens: std::collections::VecDeque<Token>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Lexeme {
        self.tokens.front().map_or(&Lexeme::End, |token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.front().map_or(0, |token| token.at)
    }

    /// The next token; the end stays where it is.
    fn next(&mut self) -> Lexeme {
        match self.peek() {
            Lexeme::End => Lexeme::End,
            _ => self.tokens.pop_front().map_or(Lexeme::End, |token| token.kind),
        }
    }

    fn fail<T>(&self, reason: impl Into<Cow<'static, str>>) -> Parsed<T> {
        Err(CompileError::new(reason, self.at()))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Lexeme::Symbol(next) if *next == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.eat(symbol) { Ok(()) } else { self.fail(format!("expected `{symbol}`")) }
    }

    /// Builds a part, unless that makes the expression too deep.
    fn expr(kind: Kind, at: usize, inner: usize) -> Parsed<Expr> {
        if inner >= DEPTH_LIMIT {
            return Err(CompileError::new("the expression is nested too deeply", at));
        }
        Ok(Expr { kind, at, depth: inner + 1 })
    }

    /// An expression whose operators bind at least as strongly as `level`.
    fn expression(&mut self, level: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return self.fail("the expression is nested too deeply");
        }
        let mut left = self.unary()?;
        loop {
            let at = self.at();
            let is_type_operator = matches!(self.peek(), Lexeme::Name(name) if name == "is" || name == "as");
            if is_type_operator && TYPE_LEVEL >= level {
                let is = matches!(self.next(), Lexeme::Name(name) if name == "is");
                let specifier = self.type_specifier()?;
                let inner = left.depth;
                let kind = if is {
                    Kind::Is(left.into(), specifier)
                } else {
                    Kind::As(left.into(), specifier, AsForm::Operator)
                };
                left = Self::expr(kind, at, inner)?;
                continue;
            }
            match operator(self.peek()) {
                Some((strength, operator)) if strength >= level => {
                    self.next();
                    let right = self.expression(strength + 1)?;
                    let inner = left.depth.max(right.depth);
                    left = Self::expr(Kind::Binary(operator, left.into(), right.into()), at, inner)?;
                }
                _ => {
                    self.depth -= 1;
                    return Ok(left);
                }
            }
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let at = self.at();
        if self.eat("-") {
            let operand = self.expression(UNARY_LEVEL)?;
            let inner = operand.depth;
            return Self::expr(Kind::Negate(operand.into()), at, inner);
        }
        if self.eat("+") {
            let operand = self.expression(UNARY_LEVEL)?;
            let inner = operand.depth;
            return Self::expr(Kind::Plus(operand.into()), at, inner);
        }
        self.path()
    }

    /// A term and what is invoked on it.
    fn path(&mut self) -> Parsed<Expr> {
        let mut focus = self.term()?;
        loop {
            let at = self.at();
            if self.eat(".") {
                focus = self.invocation(focus)?;
            } else if self.eat("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                let inner = focus.depth.max(index.depth);
                focus = Self::expr(Kind::Indexer(focus.into(), index.into()), at, inner)?;
            } else {
                return Ok(focus);
            }
        }
    }

    fn invocation(&mut self, focus: Expr) -> Parsed<Expr> {
        let at = self.at();
        match self.next() {
            Lexeme::Name(name) | Lexeme::Quoted(name) if self.is_symbol("(") => self.call(Some(focus), &name, at),
            Lexeme::Name(name) | Lexeme::Quoted(name) => {
                let inner = focus.depth;
                Self::expr(Kind::Member(focus.into(), name), at, inner)
            }
            _ => Err(CompileError::new("expected the name of an element or function after `.`", at)),
        }
    }

    fn term(&mut self) -> Parsed<Expr> {
        let at = self.at();
        let kind = match self.next() {
            Lexeme::Symbol("(") => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Lexeme::Symbol("{") => {
                self.expect("}")?;
                Kind::Empty
            }
            Lexeme::String(text) => Kind::Literal(Item::String(Cow::Owned(text))),
            Lexeme::Number(text) => Kind::Literal(self.number(&text, at)?),
            Lexeme::Temporal(value) => Kind::Literal(Item::Temporal(value)),
            Lexeme::Variable(name) => Kind::Variable(name),
            Lexeme::Special(name) => match name.as_str() {
                "this" => Kind::This,
                "index" => Kind::Index,
                _ => Kind::Total,
            },
            Lexeme::Name(name) | Lexeme::Quoted(name) if self.is_symbol("(") => return self.call(None, &name, at),
            Lexeme::Name(name) if name == "true" => Kind::Literal(Item::Boolean(true)),
            Lexeme::Name(name) if name == "false" => Kind::Literal(Item::Boolean(false)),
            // No element begins with an upper case letter.
            Lexeme::Name(name) | Lexeme::Quoted(name) => match types::definition(&name) {
                Some(ty) if name.starts_with(|c: char| c.is_ascii_uppercase()) => Kind::Type(ty),
                _ => Kind::Name(name),
            },
            Lexeme::Symbol(_) => return Err(CompileError::new("expected a term", at)),
            Lexeme::End => return Err(CompileError::new("unexpected end of the expression", at)),
        };
        Self::expr(kind, at, 0)
    }

    /// An integer, decimal or, with a unit after it, quantity.
    fn number(&mut self, text: &str, at: usize) -> Parsed<Item<'static>> {
        let unit = match self.peek() {
            Lexeme::String(unit) => Some(Unit::Code(Cow::Owned(unit.clone()))),
            Lexeme::Name(word) => Calendar::from_keyword(word).map(Unit::Calendar),
            _ => None,
        };
        let decimal = || {
            Decimal::from_str_exact(text).map_err(|_| CompileError::new("a number with more digits than supported", at))
        };
        if let Some(unit) = unit {
            self.next();
            return Ok(Item::Quantity(Quantity { value: decimal()?, unit }));
        }
        if text.contains('.') {
            return decimal().map(Item::Decimal);
        }
        text.parse().map(Item::Integer).map_err(|_| CompileError::new("an integer over 2147483647", at))
    }

    fn type_specifier(&mut self) -> Parsed<TypeSpecifier> {
        let at = self.at();
        let mut names = Vec::new();
        loop {
            match self.next() {
                Lexeme::Name(name) | Lexeme::Quoted(name) => names.push(name),
                _ => return Err(CompileError::new("expected the name of a type", at)),
            }
            // `x is Patient.name` would be a type `name` of a namespace `Patient`, as the grammar has it.
            if names.len() > 1 || !self.eat(".") {
                break;
            }
        }
        TypeSpecifier::new(&names).ok_or_else(|| CompileError::new("there is no such type", at))
    }

    fn call(&mut self, focus: Option<Expr>, name: &str, at: usize) -> Parsed<Expr> {
        self.expect("(")?;
        if matches!(name, "is" | "as" | "ofType") {
            let specifier = self.type_specifier()?;
            self.expect(")")?;
            let focus = match focus {
                Some(focus) => focus,
                None => Self::expr(Kind::This, at, 0)?,
            };
            let inner = focus.depth;
            let focus = Box::new(focus);
            let kind = match name {
                "is" => Kind::Is(focus, specifier),
                "as" => Kind::As(focus, specifier, AsForm::Function),
                _ => Kind::As(focus, specifier, AsForm::OfType),
            };
            return Self::expr(kind, at, inner);
        }
        let function = functions::named(name).ok_or_else(|| CompileError::new("there is no such function", at))?;
        let mut args = Vec::new();
        while !self.eat(")") {
            if !args.is_empty() {
                self.expect(",")?;
            }
            args.push(self.expression(0)?);
        }
        if !(function.least..=function.most).contains(&args.len()) {
            return Err(CompileError::new("wrong number of arguments", at));
        }
        let inner = args.iter().chain(focus.as_ref()).map(|part| part.depth).max().unwrap_or(0);
        let regex = Self::constant_regex(function, &args)?;
        Self::expr(Kind::Call(Box::new(Call { function, focus, args, regex })), at, inner)
    }

    fn constant_regex(function: &Function, args: &[Expr]) -> Parsed<Option<Regex>> {
        let Some(Expr { kind: Kind::Literal(Item::String(text)), at, .. }) = args.first() else { return Ok(None) };
        let Some(pattern) = functions::pattern(function.name, text) else { return Ok(None) };
        let regex = regex(&pattern);
        regex.map(Some).ok_or_else(|| CompileError::new("not a regular expression, or too large", *at))
    }
}
