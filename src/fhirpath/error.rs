//! Why an expression can't be compiled or evaluated. Names elements and functions, never values of a resource.

use std::borrow::Cow;

/// Why a text is no expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at position {at}")]
pub struct CompileError {
    /// What is wrong.
    pub reason: Cow<'static, str>,
    /// Where in the text, counted from 1, in bytes.
    pub at: usize,
}

impl CompileError {
    /// `at` counts from 0 here.
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, at: usize) -> Self {
        Self { reason: reason.into(), at: at + 1 }
    }
}

/// Why an evaluation failed, and at which part of the expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at position {at}")]
pub struct EvalError {
    /// What is wrong.
    pub reason: Cow<'static, str>,
    /// Which part of the expression's text failed, counted from 1, in bytes.
    pub at: usize,
}

impl EvalError {
    /// `at` counts from 0 here.
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, at: usize) -> Self {
        Self { reason: reason.into(), at: at + 1 }
    }
}
