//! `_filter` as algebra: each comparison becomes ranges of keys, `and`, `or` and `not` join them, paths become chains.
//!
//! <https://hl7.org/fhir/R4/search_filter.html>

mod parse;

use super::criteria::Criteria;
use super::query::{Refusal, refuse};
use super::value::Place;
use crate::fhir::definitions::{ParamType, SearchParameter};
use crate::key::bytes::{TEXT_MAX, URL_MAX, can_start_text};
use crate::key::date::{Span, Window};
use crate::key::fold::fold;
use crate::key::{Expr, KeyRange, prefix_of, reference, string, token};
use parse::{Filter, Step, Test};

/// The resources of a type that a filter lets through.
pub fn read(criteria: Criteria<'_>, type_name: &str, depth: usize) -> Result<Expr, Refusal> {
    let bad = |code, text: String| Refusal::Bad(refuse(code, text));
    let (filter, tests) = parse::parse(criteria.value).map_err(|(why, at)| {
        bad("value", format!("The value of `{}` is no filter: at character {at}, {why}.", criteria.start_of_name()))
    })?;
    let limit = criteria.options.limits.clauses;
    if tests > limit {
        let text = format!("The filter of `{}` has more than {limit} comparisons.", criteria.start_of_name());
        return Err(bad("too-costly", text));
    }
    compile(criteria, type_name, &filter, depth)
}

fn compile(criteria: Criteria<'_>, type_name: &str, filter: &Filter, depth: usize) -> Result<Expr, Refusal> {
    let part = |filter| compile(criteria, type_name, filter, depth);
    match filter {
        Filter::Not(inner) => part(inner).map(Expr::negate),
        Filter::And(left, right) => Ok(Expr::and([part(left)?, part(right)?])),
        Filter::Or(left, right) => Ok(Expr::or([part(left)?, part(right)?])),
        Filter::Test(test) => path(criteria, type_name, &test.path, test, depth),
    }
}

/// A comparison at the end of a path: each step but the last refers to a resource, of which its filter must hold.
fn path(criteria: Criteria<'_>, type_name: &str, steps: &[Step], test: &Test, depth: usize) -> Result<Expr, Refusal> {
    let Some((step, rest)) = steps.split_first() else { return Ok(Expr::All) };
    if rest.is_empty() {
        return comparison(criteria, type_name, &step.name, test);
    }
    criteria.refers(type_name, &step.name, depth, &|target, depth| {
        let end = path(criteria, target, rest, test, depth)?;
        match &step.filter {
            Some(filter) => Ok(Expr::and([compile(criteria, target, filter, depth)?, end])),
            None => Ok(end),
        }
    })
}

fn comparison(criteria: Criteria<'_>, type_name: &str, code: &str, test: &Test) -> Result<Expr, Refusal> {
    let parameter = criteria.parameter(type_name, code)?;
    let comparison = Comparison { criteria, parameter, operator: &test.operator, value: &test.value };
    let present = Expr::Keys(KeyRange::prefix(&prefix_of(code)));
    let under = |ranges: Vec<KeyRange>| Expr::any(ranges.into_iter().map(|range| range.under(&prefix_of(code))));
    match (test.operator.as_str(), test.value.as_str()) {
        ("pr", "true") => Ok(present),
        ("pr", "false") => Ok(present.negate()),
        ("pr", _) => Err(comparison.bad("value", "is compared with what is not true or false")),
        ("ne", _) if !comparison.is_ordered() => Ok(Expr::and([present, under(comparison.equal()?).negate()])),
        _ => comparison.ranges().map(under),
    }
}

/// An operator on a parameter.
#[derive(Clone, Copy)]
struct Comparison<'q> {
    criteria: Criteria<'q>,
    parameter: &'q SearchParameter,
    operator: &'q str,
    value: &'q str,
}

impl Comparison<'_> {
    fn bad(self, code: &'static str, why: &str) -> Refusal {
        let (name, of) = (&self.parameter.code, self.criteria.start_of_name());
        let operator: String = self.operator.chars().take(20).collect();
        Refusal::Bad(refuse(
            code,
            format!("In `{of}`, the search parameter `{name}` with the operator `{operator}` {why}."),
        ))
    }

    const fn is_ordered(self) -> bool {
        matches!(self.parameter.param_type, ParamType::Date | ParamType::Number | ParamType::Quantity)
    }

    /// The ranges of what the operator and the value mean, without the parameter's code before them.
    fn ranges(self) -> Result<Vec<KeyRange>, Refusal> {
        use ParamType::{Composite, Date, Reference, String, Token, Uri};
        match (self.operator, self.parameter.param_type) {
            ("eq", param_type) if !self.is_ordered() && param_type != Composite => self.equal(),
            ("eq" | "ne" | "gt" | "lt" | "ge" | "le" | "ap" | "sa" | "eb", _) if self.is_ordered() => {
                self.as_search(None, &[self.operator, self.value].concat())
            }
            ("po", Date) => match Span::parse(self.value) {
                Some(span) => Ok(Window::overlapping(span).ranges()),
                None => Err(self.bad("value", "is compared with what is no date")),
            },
            ("co" | "sw" | "ew", String) => self.part(b'n', &fold(self.value), TEXT_MAX),
            ("co" | "sw" | "ew", Token) => self.part(b'c', &token::fold_code(self.value), TEXT_MAX),
            ("co" | "sw" | "ew", Uri) => self.part(b'u', self.value, URL_MAX),
            ("in", Token) => self.as_search(Some("in"), self.value),
            ("ss", Token) => self.as_search(Some("below"), self.value),
            ("sb", Token) => self.as_search(Some("above"), self.value),
            ("re", Reference) => self.as_search(None, self.value),
            _ => Err(self.bad("not-supported", &format!("of type {:?} is not supported", self.parameter.param_type))),
        }
    }

    /// The same as a search with this modifier and value would mean.
    fn as_search(self, modifier: Option<&str>, value: &str) -> Result<Vec<KeyRange>, Refusal> {
        let (parameter, options) = (self.parameter, self.criteria.options);
        Ok(Place { parameter, name: &self.parameter.code, modifier, options }.ranges(value)?)
    }

    /// What is equal: strings as a whole, but folded.
    fn equal(self) -> Result<Vec<KeyRange>, Refusal> {
        match self.parameter.param_type {
            _ if self.parameter.code == "_id" => Ok(vec![KeyRange::exactly(&[b"i", self.value.as_bytes()].concat())]),
            ParamType::String => Ok(vec![string::matching_folded(&fold(self.value))]),
            ParamType::Uri => Ok(vec![reference::matching_uri(self.value)]),
            ParamType::Composite | ParamType::Special => Err(self.bad("not-supported", "is not supported")),
            _ => self.as_search(None, self.value),
        }
    }

    /// The texts of a kind that contain the value, start or end with it.
    fn part(self, kind: u8, text: &str, max: usize) -> Result<Vec<KeyRange>, Refusal> {
        if text.is_empty() || !can_start_text(text, max) {
            return Err(self.bad("value", "is compared with a text that is too short or too long"));
        }
        Ok(vec![match self.operator {
            "sw" => string::starting(kind, text),
            "ew" => string::ending(kind, text),
            _ => string::containing(kind, text),
        }])
    }
}
