//! The evaluator: walks the compiled form over the tree.

use super::arithmetic;
use super::ast::{self, Expr, Kind, Operator};
use super::compare;
use super::context::Context;
use super::error::EvalError;
use super::functions::Call;
use super::item::{Collection, Item, Node};
use super::navigate;
use super::quantity::Quantity;
use super::reference;
use super::types::{self, TypeSpecifier};
use std::borrow::Cow;

/// The longest text that a function or operator may make, in bytes.
pub const TEXT_RESULT_LIMIT: usize = 8 << 20;

/// How many steps an operation on quantities counts for: looking up an unknown unit takes long.
pub const UNIT_STEPS: usize = 200;

/// How many bytes of a text that is looked at or copied count for a step.
const STEP_BYTES: usize = 64;

/// The result of evaluating a part of an expression.
pub type Evaluated<'t> = Result<Collection<'t>, EvalError>;

/// What `$this`, `$index` and `$total` are.
#[derive(Clone)]
pub struct Scope<'t> {
    /// `$this`; nothing where a function was called on nothing.
    pub this: Option<Item<'t>>,
    /// `$index`.
    pub index: Option<i32>,
    /// `$total`.
    pub total: Option<Collection<'t>>,
}

/// The state of one evaluation.
pub struct Evaluator<'c, 't> {
    /// The surroundings.
    pub context: &'c Context<'t>,
    input: Item<'t>,
}

/// Evaluates an expression over `input`.
pub fn evaluate<'t>(expr: &'t Expr, context: &Context<'t>, input: Item<'t>) -> Evaluated<'t> {
    let evaluator = Evaluator { context, input: input.clone() };
    evaluator.eval(expr, &Scope { this: Some(input), index: None, total: None })
}

impl<'t> Evaluator<'_, 't> {
    /// Counts `steps`; an error once there were too many.
    pub fn step(&self, steps: usize, at: usize) -> Result<(), EvalError> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.context.steps.get().checked_sub(steps));
        self.context.steps.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| EvalError::new("the expression takes too many steps", at))
    }

    /// Counts a text that is looked at or copied.
    pub fn step_text(&self, length: usize, at: usize) -> Result<(), EvalError> {
        self.step(length / STEP_BYTES, at)
    }

    /// Counts the items that a function or operator works on, and the text of a single one.
    fn step_operand(&self, items: &[Item<'t>], at: usize) -> Result<(), EvalError> {
        self.step(items.len(), at)?;
        match items {
            [item] => self.step_text(item.as_str().map_or(0, str::len), at),
            _ => Ok(()),
        }
    }

    /// Evaluates a part.
    pub fn eval(&self, expr: &'t Expr, scope: &Scope<'t>) -> Evaluated<'t> {
        self.step(1, expr.at)?;
        match &expr.kind {
            Kind::Empty => Ok(Vec::new()),
            Kind::Literal(item) => Ok(vec![literal(item)]),
            Kind::This => Ok(scope.this.iter().cloned().collect()),
            Kind::Index => Ok(scope.index.map(Item::Integer).into_iter().collect()),
            Kind::Total => Ok(scope.total.clone().unwrap_or_default()),
            Kind::Variable(name) => self.variable(name, expr.at),
            Kind::Type(ty) => Ok(scope.this.iter().filter(|this| types::is_a(this, ty)).cloned().collect()),
            Kind::Name(name) => self.members(scope.this.as_slice(), name, expr.at),
            Kind::Member(focus, name) => {
                let focus = self.eval(focus, scope)?;
                self.members(&focus, name, expr.at)
            }
            Kind::Indexer(focus, index) => self.indexer(focus, index, scope),
            Kind::Call(call) => self.call(call, scope, expr.at),
            Kind::Plus(operand) => self.eval(operand, scope),
            Kind::Negate(operand) => arithmetic::negate(self.eval(operand, scope)?, expr.at),
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right, scope, expr.at),
            Kind::Is(operand, specifier) => self.is(operand, *specifier, scope),
            Kind::As(operand, specifier, _) => {
                let mut items = self.eval(operand, scope)?;
                items.retain(|item| specifier.of(item));
                Ok(items)
            }
        }
    }

    fn members(&self, focus: &[Item<'t>], name: &str, at: usize) -> Evaluated<'t> {
        let mut members = Vec::new();
        for item in focus {
            navigate::member(item, name, &mut members);
        }
        self.step(focus.len() + members.len(), at)?;
        Ok(members)
    }

    fn variable(&self, name: &str, at: usize) -> Evaluated<'t> {
        if let Some((_, items)) = self.context.variables.iter().find(|(known, _)| known == name) {
            return Ok(items.clone());
        }
        let text = match name {
            "resource" => return Ok(vec![self.context.resource.clone()]),
            "rootResource" => return Ok(vec![self.context.root_resource.clone()]),
            "context" => return Ok(vec![self.input.clone()]),
            "ucum" => Cow::Borrowed("http://unitsofmeasure.org"),
            "sct" => Cow::Borrowed("http://snomed.info/sct"),
            "loinc" => Cow::Borrowed("http://loinc.org"),
            _ => match (name.strip_prefix("vs-"), name.strip_prefix("ext-")) {
                (Some(id), _) => Cow::Owned(format!("http://hl7.org/fhir/ValueSet/{id}")),
                (_, Some(id)) => Cow::Owned(format!("http://hl7.org/fhir/StructureDefinition/{id}")),
                _ => return Err(EvalError::new(format!("there is no environment variable `%{name}`"), at)),
            },
        };
        Ok(vec![Item::String(text)])
    }

    fn indexer(&self, focus: &'t Expr, index: &'t Expr, scope: &Scope<'t>) -> Evaluated<'t> {
        let items = self.eval(focus, scope)?;
        let Some(Item::Integer(position)) = self.single(index, scope)? else { return Ok(Vec::new()) };
        let position = usize::try_from(position).ok();
        Ok(position.and_then(|position| items.into_iter().nth(position)).into_iter().collect())
    }

    fn call(&self, call: &'t ast::Call, scope: &Scope<'t>, at: usize) -> Evaluated<'t> {
        let focus = match &call.focus {
            Some(focus) => self.eval(focus, scope)?,
            None => scope.this.iter().cloned().collect(),
        };
        self.step_operand(&focus, at)?;
        (call.function.run)(
            self,
            Call { name: call.function.name, focus, args: &call.args, scope, regex: call.regex.as_ref(), at },
        )
    }

    fn is(&self, operand: &'t Expr, specifier: TypeSpecifier, scope: &Scope<'t>) -> Evaluated<'t> {
        // What type a reference points to mostly stands in the reference, so `resolve() is Patient` need not resolve it.
        if let Kind::Call(call) = &operand.kind
            && call.function.name == "resolve"
            && let Some(wanted) = specifier.fhir
        {
            let references = match &call.focus {
                Some(focus) => self.eval(focus, scope)?,
                None => scope.this.iter().cloned().collect(),
            };
            let is = |item| reference::target_is(self.context, item, wanted);
            return Ok(references.iter().filter_map(is).map(Item::Boolean).take(1).collect());
        }
        let items = self.eval(operand, scope)?;
        match items.as_slice() {
            [] => Ok(Vec::new()),
            [item] => Ok(vec![Item::Boolean(specifier.is(item))]),
            _ => Err(EvalError::new("`is` needs a single item", operand.at)),
        }
    }

    /// The only item of a part's value, as a computed value where it is a primitive.
    ///
    /// # Errors
    /// Where there are several.
    pub fn single(&self, expr: &'t Expr, scope: &Scope<'t>) -> Result<Option<Item<'t>>, EvalError> {
        singleton(self.eval(expr, scope)?, expr.at)
    }

    /// The truth value of a part, by the rules of singletons: a single item that is no boolean is true.
    pub fn truth(&self, expr: &'t Expr, scope: &Scope<'t>) -> Result<Option<bool>, EvalError> {
        truth(&self.eval(expr, scope)?, expr.at)
    }

    fn binary(
        &self,
        operator: Operator,
        left: &'t Expr,
        right: &'t Expr,
        scope: &Scope<'t>,
        at: usize,
    ) -> Evaluated<'t> {
        use Operator as O;
        match operator {
            O::And | O::Or | O::Xor | O::Implies => return self.logic(operator, left, right, scope),
            O::Union => {
                let mut items = self.eval(left, scope)?;
                items.extend(self.eval(right, scope)?);
                return compare::distinct(self, items, at);
            }
            _ => {}
        }
        let (a, b) = (self.eval(left, scope)?, self.eval(right, scope)?);
        self.step_operand(&a, at)?;
        self.step_operand(&b, at)?;
        if a.first().is_some_and(navigate::is_quantity) || b.first().is_some_and(navigate::is_quantity) {
            self.step(UNIT_STEPS, at)?;
        }
        let answer = match operator {
            O::Equal => compare::equal(self, &a, &b, at)?,
            O::NotEqual => compare::equal(self, &a, &b, at)?.map(|equal| !equal),
            O::Equivalent => Some(compare::equivalent(self, &a, &b, at)?),
            O::NotEquivalent => Some(!compare::equivalent(self, &a, &b, at)?),
            O::In => compare::contains(self, &b, &a, at)?,
            O::Contains => compare::contains(self, &a, &b, at)?,
            O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual => {
                let (Some(a), Some(b)) = (singleton(a, at)?, singleton(b, at)?) else { return Ok(Vec::new()) };
                compare::order(&a, &b, at)?.map(|order| match operator {
                    O::Less => order.is_lt(),
                    O::LessOrEqual => order.is_le(),
                    O::Greater => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
            operator => return arithmetic::calculate(operator, singleton(a, at)?, singleton(b, at)?, at),
        };
        Ok(answer.map(Item::Boolean).into_iter().collect())
    }

    /// The three-valued operators; the right side is evaluated only where it matters.
    fn logic(&self, operator: Operator, left: &'t Expr, right: &'t Expr, scope: &Scope<'t>) -> Evaluated<'t> {
        let a = self.truth(left, scope)?;
        let answer = match (operator, a) {
            (Operator::And | Operator::Implies, Some(false)) => Some(operator == Operator::Implies),
            (Operator::Or, Some(true)) => Some(true),
            _ => {
                let b = self.truth(right, scope)?;
                match operator {
                    Operator::And if b == Some(false) => Some(false),
                    // The left side of `implies` is true or not known here.
                    Operator::Or | Operator::Implies if b == Some(true) => Some(true),
                    Operator::Xor => a.zip(b).map(|(a, b)| a != b),
                    _ => a.and(b),
                }
            }
        };
        Ok(answer.map(Item::Boolean).into_iter().collect())
    }
}

/// The only item, as a computed value where it is a primitive.
pub fn singleton(items: Collection<'_>, at: usize) -> Result<Option<Item<'_>>, EvalError> {
    if items.len() > 1 {
        return Err(EvalError::new("expected a single item", at));
    }
    Ok(items.into_iter().next().and_then(navigate::value))
}

/// The truth value of a collection; a single item that is no boolean is true.
pub fn truth(items: &[Item<'_>], at: usize) -> Result<Option<bool>, EvalError> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item.as_bool().unwrap_or(true))),
        _ => Err(EvalError::new("expected a single truth value", at)),
    }
}

/// A literal, borrowed from the compiled expression.
fn literal<'t>(item: &'t Item<'static>) -> Item<'t> {
    match item {
        Item::String(text) => Item::String(Cow::Borrowed(text)),
        Item::Quantity(quantity) => Item::Quantity(Quantity { value: quantity.value, unit: quantity.unit.borrowed() }),
        Item::Boolean(value) => Item::Boolean(*value),
        Item::Integer(value) => Item::Integer(*value),
        Item::Decimal(value) => Item::Decimal(*value),
        Item::Temporal(value) => Item::Temporal(*value),
        Item::TypeInfo { namespace, name } => Item::TypeInfo { namespace, name },
        Item::Node(node) => Item::Node(Node { ..*node }),
    }
}
