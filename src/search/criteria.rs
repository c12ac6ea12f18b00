//! One criterion of a query as algebra: its modifiers, its chain, its `_has`.
//!
//! <https://hl7.org/fhir/R4/search.html#chaining>, <https://hl7.org/fhir/R4/search.html#has>

use super::query::{Options, Refusal, refuse};
use super::registry::Registry;
use super::text::{split, unescape};
use super::value::Place;
use crate::error::Result;
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::key::{Expr, KeyRange, id_key, prefix_of};
use std::cell::Cell;

/// A chain without types branches into every type that its references may point to; into no more than so many branches.
const BRANCHES_MAX: usize = 2000;

/// A criterion: its whole name, for messages, and its value.
#[derive(Clone, Copy)]
pub struct Criteria<'q> {
    pub registry: &'q Registry,
    pub options: &'q Options,
    pub whole: &'q str,
    pub value: &'q str,
    /// How many branches there are so far.
    pub branches: &'q Cell<usize>,
}

impl<'q> Criteria<'q> {
    /// The resources of a type that meet the criterion `name`, which is the whole name or the rest of it after `depth` steps.
    pub fn read(self, type_name: &str, name: &str, depth: usize) -> Result<Expr, Refusal> {
        self.branches.set(self.branches.get() + 1);
        if depth > self.options.limits.chain_depth || self.branches.get() > BRANCHES_MAX {
            let text =
                format!("`{}` is a chain of too many steps, or of too many types: name them.", self.start_of_name());
            return Err(Refusal::Bad(refuse("too-costly", text)));
        }
        if let Some(rest) = name.strip_prefix("_has:") {
            return self.has(type_name, rest, depth);
        }
        match name.split_once('.') {
            Some((head, rest)) => self.chain(type_name, head, rest, depth),
            None => self.leaf(type_name, name),
        }
    }

    /// The name for messages: chains can be long.
    fn start_of_name(self) -> String {
        self.whole.chars().take(80).collect()
    }

    fn unknown(self, type_name: &str, code: &str) -> Refusal {
        let code: String = code.chars().take(80).collect();
        let text =
            format!("The search parameter `{code}` is not known for {type_name} (in `{}`).", self.start_of_name());
        Refusal::Unknown(refuse("not-supported", text))
    }

    fn bad(self, why: &str) -> Refusal {
        Refusal::Bad(refuse("value", format!("The search parameter `{}` {why}.", self.start_of_name())))
    }

    fn reference(self, type_name: &str, code: &str) -> Result<&'q SearchParameter, Refusal> {
        let found = self.registry.parameter(type_name, code).ok_or_else(|| self.unknown(type_name, code))?;
        if found.param_type == ParamType::Reference {
            Ok(found)
        } else {
            Err(self.bad("chains through what is no reference"))
        }
    }

    fn has(self, type_name: &str, rest: &str, depth: usize) -> Result<Expr, Refusal> {
        let mut parts = rest.splitn(3, ':');
        let (Some(source), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(self.bad("is not of the form _has:Type:reference:parameter"));
        };
        if !definitions::r4().is_resource_type(source) {
            return Err(self.bad("names a resource type that does not exist"));
        }
        let reference = self.reference(source, code)?;
        if !reference.targets.is_empty() && !reference.targets.contains(&type_name) {
            return Err(self.bad("names a reference that does not point to the type that is searched"));
        }
        let expr = Box::new(self.read(source, rest, depth + 1)?);
        Ok(Expr::ReferredBy { source: source.into(), code: code.into(), expr })
    }

    fn chain(self, type_name: &str, head: &str, rest: &str, depth: usize) -> Result<Expr, Refusal> {
        let (code, named) = head.split_once(':').map_or((head, None), |(code, name)| (code, Some(name)));
        let reference = self.reference(type_name, code)?;
        let definitions = definitions::r4();
        let targets = match named {
            Some(name) if definitions.is_resource_type(name) => vec![name],
            Some(_) => return Err(self.bad("names a resource type that does not exist")),
            None if reference.targets.is_empty() => definitions.resource_types().to_vec(),
            None => reference.targets.clone(),
        };
        let (mut parts, mut unknown) = (Vec::new(), None);
        for target in targets.into_iter().filter(|target| definitions.is_resource_type(target)) {
            match self.read(target, rest, depth + 1) {
                Ok(expr) => parts.push(Expr::Refers { code: code.into(), target: target.into(), expr: Box::new(expr) }),
                Err(Refusal::Unknown(error)) => unknown = Some(error),
                Err(bad) => return Err(bad),
            }
        }
        match unknown {
            Some(error) if parts.is_empty() => Err(Refusal::Unknown(error)),
            _ => Ok(Expr::or(parts)),
        }
    }

    fn leaf(self, type_name: &str, name: &str) -> Result<Expr, Refusal> {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
        let parameter = self.registry.parameter(type_name, code).ok_or_else(|| self.unknown(type_name, code))?;
        let prefix = prefix_of(code);
        if modifier == Some("missing") {
            let present = Expr::Keys(KeyRange::prefix(&prefix));
            return match self.value {
                "true" => Ok(present.negate()),
                "false" => Ok(present),
                _ => Err(self.bad("is not true or false")),
            };
        }
        let values = split(self.value, ',');
        let limit = self.options.limits.or_values;
        if values.len() > limit {
            let text = format!("The search parameter `{}` has more than {limit} values.", self.start_of_name());
            return Err(Refusal::Bad(refuse("too-costly", text)));
        }
        let mut ranges = Vec::new();
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            if code == "_id" && modifier.is_none() {
                ranges.push(KeyRange::exactly(&id_key(&unescape(value))));
                continue;
            }
            let place = Place { parameter, name: self.whole, modifier, options: self.options };
            ranges.extend(place.ranges(value)?.into_iter().map(|range| range.under(&prefix)));
        }
        let any = Expr::any(ranges);
        Ok(if matches!(modifier, Some("not" | "not-in")) { any.negate() } else { any })
    }
}
