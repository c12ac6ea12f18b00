//! The compiled form of an expression.

use super::functions::Function;
use super::item::Item;
use super::types::TypeSpecifier;
use crate::fhir::definitions::Type;
use regex::Regex;

/// A part of an expression.
#[derive(Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it begins in the text, in bytes.
    pub at: usize,
    /// How deep it is, itself included.
    pub depth: usize,
}

/// The kinds of [`Expr`].
#[derive(Debug)]
pub enum Kind {
    /// `{}`.
    Empty,
    /// A literal.
    Literal(Item<'static>),
    /// `$this`.
    This,
    /// `$index`.
    Index,
    /// `$total`.
    Total,
    /// `%name`.
    Variable(String),
    /// A name without a focus that is that of a type: the input, where it is of that type.
    Type(&'static Type),
    /// A name without a focus: a member of the input.
    Name(String),
    /// `focus.name`.
    Member(Box<Expr>, String),
    /// `focus[index]`.
    Indexer(Box<Expr>, Box<Expr>),
    /// `focus.function(…)`, or `function(…)` of the input.
    Call(Box<Call>),
    /// `-operand`.
    Negate(Box<Expr>),
    /// `+operand`.
    Plus(Box<Expr>),
    /// `left operator right`.
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `operand is Type`, `operand.is(Type)`.
    Is(Box<Expr>, TypeSpecifier),
    /// `operand as Type`, `operand.as(Type)`, `operand.ofType(Type)`.
    As(Box<Expr>, TypeSpecifier, AsForm),
}

/// How a cast is written. All forms keep the items of the type; only the static check tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsForm {
    /// `operand as Type`. The official search parameters use it on several items.
    Operator,
    /// `operand.as(Type)`.
    Function,
    /// `operand.ofType(Type)`.
    OfType,
}

/// A function call.
#[derive(Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// What it is called on; the input where it stands alone.
    pub focus: Option<Expr>,
    /// The arguments, not evaluated.
    pub args: Vec<Expr>,
    /// The first argument, where the function takes a regular expression and it is a literal.
    pub regex: Option<Regex>,
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    Multiply,
    Divide,
    Div,
    Mod,
    Add,
    Subtract,
    Concatenate,
    Union,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    In,
    Contains,
    And,
    Or,
    Xor,
    Implies,
}
