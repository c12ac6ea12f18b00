//! The functions, each a row in the table of its file.

// All functions have the same form: they may take what they are called on, and they may fail.
#![allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]

mod boundary;
mod collections;
mod convert;
mod encode;
mod existence;
mod fhir;
mod math;
mod strings;

use super::ast::Expr;
use super::error::EvalError;
use super::eval::{Evaluated, Evaluator, Scope, TEXT_RESULT_LIMIT, singleton};
use super::item::{Collection, Item};
use super::navigate::operand;
use regex::Regex;
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::LazyLock;

/// A function that expressions can call.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The least number of arguments.
    pub least: usize,
    /// The greatest number of arguments.
    pub most: usize,
    /// What it does.
    pub run: Run,
}

/// What a function does.
pub type Run = for<'t> fn(&Evaluator<'_, 't>, Call<'_, 't>) -> Evaluated<'t>;

const fn function(name: &'static str, least: usize, most: usize, run: Run) -> Function {
    Function { name, least, most, run }
}

/// The function of a name.
pub fn named(name: &str) -> Option<&'static Function> {
    static BY_NAME: LazyLock<FxHashMap<&str, &Function>> = LazyLock::new(|| {
        let tables = [
            boundary::FUNCTIONS,
            collections::FUNCTIONS,
            convert::FUNCTIONS,
            encode::FUNCTIONS,
            existence::FUNCTIONS,
            fhir::FUNCTIONS,
            math::FUNCTIONS,
            strings::FUNCTIONS,
        ];
        tables.into_iter().flatten().map(|function| (function.name, function)).collect()
    });
    BY_NAME.get(name).copied()
}

/// The regular expression that a function makes of its first argument; `None` where it takes none.
pub fn pattern<'p>(function: &str, argument: &'p str) -> Option<Cow<'p, str>> {
    match function {
        "matches" | "replaceMatches" => Some(Cow::Borrowed(argument)),
        "matchesFull" => Some(Cow::Owned(format!("^(?:{argument})$"))),
        _ => None,
    }
}

/// A call that is being evaluated.
pub struct Call<'a, 't> {
    /// The function's name.
    pub name: &'static str,
    /// What the function is called on.
    pub focus: Collection<'t>,
    /// The arguments, not evaluated.
    pub args: &'t [Expr],
    /// What `$this` and the others are where the call stands.
    pub scope: &'a Scope<'t>,
    /// The regular expression of the first argument, where that is a literal.
    pub regex: Option<&'t Regex>,
    /// Where the call stands in the text.
    pub at: usize,
}

impl<'t> Call<'_, 't> {
    fn error(&self, reason: impl Into<Cow<'static, str>>) -> EvalError {
        EvalError::new(reason, self.at)
    }

    /// The only item of the focus, if there is one.
    fn single(&self) -> Result<Option<&Item<'t>>, EvalError> {
        match self.focus.as_slice() {
            [] => Ok(None),
            [item] => Ok(Some(item)),
            _ => Err(self.error(format!("`{}` needs a single item", self.name))),
        }
    }

    /// The only item of the focus, as a computed value where it is a primitive or quantity.
    fn input(&self) -> Result<Option<Item<'t>>, EvalError> {
        self.single()?;
        Ok(singleton(self.focus.clone(), self.at)?.map(operand))
    }

    /// The focus as a string.
    fn text(&self) -> Result<Option<Cow<'t, str>>, EvalError> {
        match self.input()? {
            None => Ok(None),
            Some(Item::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(format!("`{}` needs a string", self.name))),
        }
    }

    /// An argument, not evaluated.
    fn argument(&self, position: usize) -> Result<&'t Expr, EvalError> {
        self.args.get(position).ok_or_else(|| self.error("wrong number of arguments"))
    }

    /// The value of an argument.
    fn evaluate(&self, e: &Evaluator<'_, 't>, position: usize) -> Evaluated<'t> {
        e.eval(self.argument(position)?, self.scope)
    }

    /// The value of an argument that has at most one item.
    fn value(&self, e: &Evaluator<'_, 't>, position: usize) -> Result<Option<Item<'t>>, EvalError> {
        Ok(e.single(self.argument(position)?, self.scope)?.map(operand))
    }

    /// The value of an argument that is a string.
    fn string(&self, e: &Evaluator<'_, 't>, position: usize) -> Result<Option<Cow<'t, str>>, EvalError> {
        match self.value(e, position)? {
            None => Ok(None),
            Some(Item::String(text)) => {
                e.step_text(text.len(), self.at)?;
                Ok(Some(text))
            }
            Some(_) => Err(self.error(format!("`{}` needs a string as argument", self.name))),
        }
    }

    /// The value of an argument that is an integer.
    fn integer(&self, e: &Evaluator<'_, 't>, position: usize) -> Result<Option<i32>, EvalError> {
        match self.value(e, position)? {
            None => Ok(None),
            Some(Item::Integer(number)) => Ok(Some(number)),
            Some(_) => Err(self.error(format!("`{}` needs an integer as argument", self.name))),
        }
    }

    /// The scope in which an argument is evaluated for one item of the focus.
    fn scope_of(&self, item: &Item<'t>, index: usize) -> Scope<'t> {
        Scope { this: Some(item.clone()), index: i32::try_from(index).ok(), total: self.scope.total.clone() }
    }

    /// A text that the function made, counted in steps by its length.
    fn made(&self, e: &Evaluator<'_, 't>, text: String) -> Evaluated<'t> {
        self.check_length(text.len())?;
        e.step_text(text.len(), self.at)?;
        Ok(vec![Item::String(Cow::Owned(text))])
    }

    fn check_length(&self, length: usize) -> Result<(), EvalError> {
        if length > TEXT_RESULT_LIMIT { Err(self.error("the resulting text is too long")) } else { Ok(()) }
    }
}
