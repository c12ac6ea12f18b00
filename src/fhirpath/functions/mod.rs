//! The functions, each a row in the table of its file.

use super::ast::Expr;
use super::error::EvalError;
use super::eval::{Evaluated, Evaluator, Scope};
use super::item::{Collection, Item};
use regex::Regex;
use std::borrow::Cow;

/// A function that expressions can call.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The least number of arguments.
    pub least: usize,
    /// The greatest number of arguments.
    pub most: usize,
    /// Whether the first argument is a regular expression.
    pub takes_regex: bool,
    /// What it does.
    pub run: Run,
}

/// What a function does.
pub type Run = for<'t> fn(&Evaluator<'_, 't>, Call<'_, 't>) -> Evaluated<'t>;

/// A call that is being evaluated.
pub struct Call<'a, 't> {
    /// What the function is called on.
    pub focus: Collection<'t>,
    /// The arguments, not evaluated.
    pub args: &'t [Expr],
    /// What `$this` and the others are where the call stands.
    pub scope: &'a Scope<'t>,
    /// The first argument, compiled already.
    pub regex: Option<&'t Regex>,
    /// Where the call stands in the text.
    pub at: usize,
}

/// The function of a name.
pub fn named(name: &str) -> Option<&'static Function> {
    let _ = name;
    None
}

/// The pattern that a function makes of its argument.
pub fn pattern<'p>(function: &Function, pattern: &'p str) -> Cow<'p, str> {
    if function.name == "matchesFull" { Cow::Owned(format!("^(?:{pattern})$")) } else { Cow::Borrowed(pattern) }
}

impl<'t> Call<'_, 't> {
    /// The only item of the focus, if there is one.
    pub fn single(&self) -> Result<Option<&Item<'t>>, EvalError> {
        match self.focus.as_slice() {
            [] => Ok(None),
            [item] => Ok(Some(item)),
            _ => Err(EvalError::new("expected a single item", self.at)),
        }
    }
}
