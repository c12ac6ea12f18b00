//! One criterion of a query as algebra: its modifiers, its chain, its `_has`.
//!
//! <https://hl7.org/fhir/R4/search.html#chaining>, <https://hl7.org/fhir/R4/search.html#has>

use super::filter;
use super::query::{Options, Refusal, refuse};
use super::registry::Registry;
use super::text::{split, unescape};
use super::value::Place;
use crate::error::Result;
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::key::date::Window;
use crate::key::decimal::Decimal;
use crate::key::path::is_single;
use crate::key::{Expr, KeyRange, id_key, near, prefix_of, reference, token, unit, words};
use std::cell::Cell;

/// A chain without types branches into every type that its references may point to; into no more than so many branches.
const BRANCHES_MAX: usize = 2000;

/// The distance of `near` where the query gives none.
const NEAR_DEFAULT_KM: &str = "50";

/// Whether a parameter that has no expression of its own is answered.
#[must_use]
pub fn is_special(code: &str, has_content: bool) -> bool {
    matches!(code, words::TEXT | near::NEAR) || (code == words::CONTENT && has_content)
}

/// Whether the values that a query gives for a parameter in several places are read together: a resource has one date, so that
/// it has to be in the range that they have in common.
#[must_use]
pub fn is_joined(registry: &Registry, type_name: &str, name: &str) -> bool {
    let parameter = registry.parameter(type_name, name);
    parameter.is_some_and(|found| found.param_type == ParamType::Date && is_single(found, type_name))
}

/// A criterion: its whole name, for messages, and its value.
#[derive(Clone, Copy)]
pub struct Criteria<'q> {
    pub registry: &'q Registry,
    pub options: &'q Options,
    pub whole: &'q str,
    pub value: &'q str,
    /// More values of the parameter, which must hold, too: of one that [`is_joined`].
    pub also: &'q [&'q str],
    /// How many branches there are so far.
    pub branches: &'q Cell<usize>,
}

impl<'q> Criteria<'q> {
    /// The resources of a type that meet the criterion `name`, which is the whole name or the rest of it after `depth` steps.
    pub fn read(self, type_name: &str, name: &str, depth: usize) -> Result<Expr, Refusal> {
        self.count_branch(depth)?;
        if let Some(rest) = name.strip_prefix("_has:") {
            return self.has(type_name, rest, depth);
        }
        match name.split_once('.') {
            Some((head, rest)) => self.chain(type_name, head, rest, depth),
            None => self.leaf(type_name, name, depth),
        }
    }

    fn count_branch(self, depth: usize) -> Result<(), Refusal> {
        self.branches.set(self.branches.get() + 1);
        if depth > self.options.limits.chain_depth || self.branches.get() > BRANCHES_MAX {
            let text = format!(
                "`{}` is a chain of too many steps (limits.chain_depth), or of too many types: name them.",
                self.start_of_name()
            );
            return Err(Refusal::Bad(refuse("too-costly", text)));
        }
        Ok(())
    }

    /// The parameter of a type, by its name.
    pub fn parameter(self, type_name: &str, code: &str) -> Result<&'q SearchParameter, Refusal> {
        self.registry.parameter(type_name, code).ok_or_else(|| self.unknown(type_name, code))
    }

    /// The name for messages: chains can be long.
    pub fn start_of_name(self) -> String {
        self.whole.chars().take(80).collect()
    }

    fn unknown(self, type_name: &str, code: &str) -> Refusal {
        let code: String = code.chars().take(80).collect();
        let text =
            format!("The search parameter `{code}` is not known for {type_name} (in `{}`).", self.start_of_name());
        Refusal::Unknown(refuse("not-supported", text))
    }

    fn too_many(self, what: &str) -> Refusal {
        let text = format!("The search parameter `{}` has too many {what}.", self.start_of_name());
        Refusal::Bad(refuse("too-costly", text))
    }

    fn bad(self, why: &str) -> Refusal {
        Refusal::Bad(refuse("value", format!("The search parameter `{}` {why}.", self.start_of_name())))
    }

    fn reference(self, type_name: &str, code: &str) -> Result<&'q SearchParameter, Refusal> {
        let found = self.parameter(type_name, code)?;
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
        self.refers(type_name, head, depth, &|target, depth| self.read(target, rest, depth))
    }

    /// The resources that refer, by `head` (a parameter, perhaps with a type), to what `read` says for the types it may point to.
    pub fn refers(
        self,
        type_name: &str,
        head: &str,
        depth: usize,
        read: &dyn Fn(&str, usize) -> Result<Expr, Refusal>,
    ) -> Result<Expr, Refusal> {
        self.count_branch(depth)?;
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
            match read(target, depth + 1) {
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

    fn leaf(self, type_name: &str, name: &str, depth: usize) -> Result<Expr, Refusal> {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
        if let Some(special) = self.special(type_name, (code, modifier), depth) {
            return special;
        }
        let parameter = self.parameter(type_name, code)?;
        let prefix = prefix_of(code);
        if modifier == Some("missing") && parameter.param_type != ParamType::Composite {
            return self.missing(Expr::Keys(KeyRange::prefix(&prefix)));
        }
        if code == "_id" && !matches!(modifier, None | Some("not")) {
            return Err(self.bad("is not supported with this modifier"));
        }
        if modifier.is_none() && is_joined(self.registry, type_name, code) {
            return self.dates(parameter, &prefix);
        }
        let (mut ranges, mut others) = (Vec::new(), Vec::new());
        for value in self.values()? {
            if code == "_id" {
                ranges.push(KeyRange::exactly(&id_key(&unescape(value))));
                continue;
            }
            if let Some((url, version)) = self.versioned(type_name, (parameter, modifier), value) {
                let is_named = |code: &str, range: KeyRange| Expr::Keys(range.under(&prefix_of(code)));
                let url = is_named(code, reference::matching_uri(&url));
                others.push(Expr::and([url, is_named("version", token::matching_code(None, &version))]));
                continue;
            }
            let place = Place { parameter, name: self.whole, modifier, options: self.options };
            ranges.extend(place.ranges(value)?.into_iter().map(|range| range.under(&prefix)));
        }
        let any = Expr::or(ranges.into_iter().map(Expr::Keys).chain(others));
        Ok(if matches!(modifier, Some("not" | "not-in")) { any.negate() } else { any })
    }

    /// The resources whose one date is in all the ranges asked for.
    fn dates(self, parameter: &SearchParameter, prefix: &[u8]) -> Result<Expr, Refusal> {
        let place = Place { parameter, name: self.whole, modifier: None, options: self.options };
        let mut common = vec![Window::ALWAYS];
        for value in std::iter::once(self.value).chain(self.also.iter().copied()) {
            let mut any = Vec::new();
            for value in (Self { value, ..self }).values()? {
                any.extend(place.windows(value)?);
            }
            if common.len() * any.len() > BRANCHES_MAX {
                return Err(self.too_many("values"));
            }
            common = common.iter().flat_map(|one| any.iter().filter_map(|other| one.and(*other))).collect();
        }
        // The time of a version is a moment.
        let is_moment = parameter.code == "_lastUpdated";
        let ranges = common
            .into_iter()
            .flat_map(|window| if is_moment { window.moments().into_iter().collect() } else { window.ranges() });
        Ok(Expr::any(ranges.map(|range| range.under(prefix))))
    }

    /// The parts of `url|version`, where the parameter is the canonical URL of a type that has a version.
    fn versioned(
        self,
        type_name: &str,
        (parameter, modifier): (&SearchParameter, Option<&str>),
        value: &str,
    ) -> Option<(String, String)> {
        if parameter.code != "url" || parameter.param_type != ParamType::Uri || modifier.is_some() {
            return None;
        }
        self.registry.parameter(type_name, "version").filter(|found| found.param_type == ParamType::Token)?;
        match split(value, '|').as_slice() {
            [url, version] if !version.is_empty() => Some((unescape(url), unescape(version))),
            _ => None,
        }
    }

    /// The alternatives of the value, escapes still in them.
    fn values(self) -> Result<impl Iterator<Item = &'q str>, Refusal> {
        let values = split(self.value, ',');
        let limit = self.options.limits.or_values;
        if values.len() > limit {
            return Err(self.too_many("values"));
        }
        Ok(values.into_iter().filter(|value| !value.is_empty()))
    }

    /// The parameters that have a way of their own.
    fn special(
        self,
        type_name: &str,
        (code, modifier): (&str, Option<&str>),
        depth: usize,
    ) -> Option<Result<Expr, Refusal>> {
        let found = match code {
            words::TEXT | words::CONTENT => self.words(code),
            "_filter" => filter::read(self, type_name, depth),
            "_list" => self.list(type_name),
            near::NEAR if type_name == "Location" && modifier == Some("missing") => {
                self.missing(Expr::Keys(KeyRange::prefix(&prefix_of(code))))
            }
            near::NEAR if type_name == "Location" => self.near(),
            _ => return None,
        };
        let has_bad_modifier = modifier.is_some() && (code, modifier) != (near::NEAR, Some("missing"));
        Some(if has_bad_modifier { Err(self.bad("is not supported with this modifier")) } else { found })
    }

    fn missing(self, present: Expr) -> Result<Expr, Refusal> {
        match self.value {
            "true" => Ok(present.negate()),
            "false" => Ok(present),
            _ => Err(self.bad("is not true or false")),
        }
    }

    fn words(self, code: &str) -> Result<Expr, Refusal> {
        if code == words::CONTENT && !self.options.has_content {
            let text = "The search parameter `_content` is turned off on this server (setting `search_content`).";
            return Err(Refusal::Unknown(refuse("not-supported", text.into())));
        }
        if words::words(self.value).count() > self.options.limits.or_values {
            return Err(self.too_many("words"));
        }
        super::words::read(code, self.value)
            .ok_or_else(|| self.bad("is not made of words, with `and`, `or`, `not` and parentheses between them"))
    }

    /// <https://hl7.org/fhir/R4/search.html#list>
    fn list(self, type_name: &str) -> Result<Expr, Refusal> {
        let _ = type_name;
        let mut ids = Vec::new();
        for id in self.values()? {
            if id.starts_with('$') {
                let text = "The functional lists of `_list` are not supported.";
                return Err(Refusal::Bad(refuse("not-supported", text.into())));
            }
            ids.push(KeyRange::exactly(&id_key(&unescape(id))));
        }
        Ok(Expr::ReferredBy { source: "List".into(), code: "item".into(), expr: Box::new(Expr::any(ids)) })
    }

    fn near(self) -> Result<Expr, Refusal> {
        let mut ranges = Vec::new();
        for value in self.values()? {
            let (centre, radius_m) = circle(value).ok_or_else(|| {
                self.bad("is not of the form latitude|longitude|distance|units, with a unit of length")
            })?;
            ranges
                .extend(near::matching(centre, radius_m).into_iter().map(|range| range.under(&prefix_of(near::NEAR))));
        }
        if ranges.len() > BRANCHES_MAX { Err(self.too_many("or too large circles")) } else { Ok(Expr::any(ranges)) }
    }
}

/// Reads `latitude|longitude|distance|units`: the place and the distance in metres.
fn circle(text: &str) -> Option<(near::Position, f64)> {
    let parts: Vec<_> = split(text, '|').into_iter().map(str::trim).collect();
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (centre, distance, unit) = match parts.as_slice() {
        [latitude, longitude] | [latitude, longitude, ""] | [latitude, longitude, "", ""] => {
            ((latitude, longitude), NEAR_DEFAULT_KM, "km")
        }
        [latitude, longitude, distance] | [latitude, longitude, distance, ""] => {
            ((latitude, longitude), *distance, "km")
        }
        [latitude, longitude, distance, unit] => ((latitude, longitude), *distance, *unit),
        _ => return None,
    };
    let base = unit::base(if unit == "mi" { "[mi_i]" } else { unit }).filter(|base| base.unit == "m")?;
    let metres = base.convert(Decimal::parse(distance)?)?.to_f64();
    let position = near::Position::new(number(centre.0)?, number(centre.1)?)?;
    (metres >= 0.0).then_some((position, metres))
}
