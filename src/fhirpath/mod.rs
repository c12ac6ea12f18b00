//! FHIRPath: compiled once, evaluated over the tree without copying it.
//!
//! <http://hl7.org/fhirpath/N1/> with the additions of <https://hl7.org/fhir/R4/fhirpath.html>.
//!
//! ```
//! use pharos::fhir::parse::parse;
//! use pharos::fhirpath::{Context, Expression, Item};
//!
//! let tree = parse(br#"{"resourceType":"Patient","name":[{"family":"Du"}]}"#, 64).unwrap();
//! let expression = Expression::compile("Patient.name.family").unwrap();
//! let root = Item::resource(tree.as_object().unwrap());
//! let names = expression.evaluate(&Context::new(&root), root.clone()).unwrap();
//! assert_eq!(names[0].as_str(), Some("Du"));
//! ```

mod arithmetic;
mod ast;
mod check;
mod compare;
mod context;
mod embedded;
mod error;
mod eval;
mod functions;
mod item;
mod lexer;
mod navigate;
mod parser;
pub mod patch;
mod quantity;
mod reference;
mod temporal;
#[cfg(test)]
mod tests;
mod types;

pub use context::{Context, Hooks, STEP_LIMIT};
pub use error::{CompileError, EvalError};
pub use item::{Collection, Content, Item, Node};
pub use parser::{DEPTH_LIMIT, TEXT_LIMIT};
pub use quantity::{Calendar, Quantity, Unit};
pub use temporal::{Precision, Temporal, TemporalKind};

/// A compiled expression. It can be kept, shared and evaluated at once from many threads.
#[derive(Debug)]
pub struct Expression {
    root: ast::Expr,
}

impl Expression {
    /// Compiles the text of an expression.
    ///
    /// # Errors
    /// Where the text is no expression, names a function or type that does not exist, or exceeds [`TEXT_LIMIT`] or [`DEPTH_LIMIT`].
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        Ok(Self { root: parser::parse(text)? })
    }

    /// Checks the expression against the definitions of the types that it is to be evaluated over (`SearchParameter.base`): elements that no
    /// item can have, `as()` of several items, and the like. Evaluation finds nothing for these; here they are errors.
    ///
    /// # Errors
    /// The first such place, or that there is no such type.
    pub fn check(&self, type_names: &[&str]) -> Result<(), CompileError> {
        let inputs = type_names.iter().map(|name| types::definition(name)).collect::<Option<Vec<_>>>();
        check::check(&self.root, inputs.ok_or_else(|| CompileError::new("there is no such type", 0))?)
    }

    /// Evaluates the expression over `input`, which is also its `%context`.
    ///
    /// # Errors
    /// Where the specification says that evaluation ends with an error, or the step limit is reached.
    pub fn evaluate<'t>(&'t self, context: &Context<'t>, input: Item<'t>) -> Result<Collection<'t>, EvalError> {
        eval::evaluate(&self.root, context, input)
    }
}
