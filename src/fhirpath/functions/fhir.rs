//! What FHIR adds: <https://hl7.org/fhir/R4/fhirpath.html#functions>.

use super::{Call, Function, function};
use crate::fhir::xhtml;
use crate::fhirpath::embedded::{self, Relation};
use crate::fhirpath::eval::{Evaluated, Evaluator};
use crate::fhirpath::item::{Content, Item, Node};
use crate::fhirpath::types::{self, is_a};
use crate::fhirpath::{navigate, reference};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("extension", 1, 1, extension),
    function("hasExtension", 1, 1, has_extension),
    function("hasValue", 0, 0, has_value),
    function("getValue", 0, 0, get_value),
    function("resolve", 0, 0, resolve),
    function("memberOf", 1, 1, member_of),
    function("subsumes", 1, 1, subsumes),
    function("subsumedBy", 1, 1, subsumes),
    function("conformsTo", 1, 1, conforms_to),
    function("htmlChecks", 0, 0, html_checks),
];

/// What the definitions of types are called.
const STRUCTURE_DEFINITION: &str = "http://hl7.org/fhir/StructureDefinition/";

fn extension<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(url) = call.string(e, 0)? else { return Ok(Vec::new()) };
    let mut extensions = Vec::new();
    for item in &call.focus {
        navigate::member(item, "extension", &mut extensions);
    }
    e.step(extensions.len(), call.at)?;
    extensions.retain(|extension| extension.as_object().and_then(|object| object.str("url")) == Some(&url));
    Ok(extensions)
}

/// Not in the specification, but in an official search parameter.
fn has_extension<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(vec![Item::Boolean(!extension(e, call)?.is_empty())])
}

/// The focus, where it is one primitive with a value.
fn primitive<'t>(call: &Call<'_, 't>) -> Option<Item<'t>> {
    match call.focus.as_slice() {
        [Item::Node(Node { content: Content::Object(_) | Content::Absent, .. }) | Item::TypeInfo { .. }] => None,
        [item] => navigate::value(item.clone()),
        _ => None,
    }
}

fn has_value<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(vec![Item::Boolean(primitive(&call).is_some())])
}

fn get_value<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    Ok(primitive(&call).into_iter().collect())
}

fn resolve<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    e.step(call.focus.len(), call.at)?;
    Ok(call.focus.iter().filter_map(|item| reference::resolve(e.context, item)).collect())
}

/// An answer that must be known.
fn answer<'t>(call: &Call<'_, 't>, known: Option<bool>) -> Evaluated<'t> {
    match known {
        Some(known) => Ok(vec![Item::Boolean(known)]),
        None => Err(call.error(format!("`{}` can't be answered here", call.name))),
    }
}

fn member_of<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(coded), Some(value_set)) = (call.single()?, call.string(e, 0)?) else { return Ok(Vec::new()) };
    let known = e.context.hooks.member_of(coded, &value_set);
    answer(&call, known.or_else(|| embedded::member_of(coded, &value_set)))
}

fn subsumes<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let other = call.evaluate(e, 0)?;
    let (Some(this), [other]) = (call.single()?, other.as_slice()) else { return Ok(Vec::new()) };
    let (general, specific) = if call.name == "subsumes" { (this, other) } else { (other, this) };
    let known = e.context.hooks.subsumes(general, specific);
    let known = match known.map_or_else(|| embedded::subsumes(general, specific), Relation::from) {
        Relation::Subsumes => Some(true),
        Relation::Apart => Some(false),
        Relation::Unrelated => return Ok(Vec::new()),
        Relation::Unknown => None,
    };
    answer(&call, known)
}

fn conforms_to<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(item), Some(profile)) = (call.single()?, call.string(e, 0)?) else { return Ok(Vec::new()) };
    let known = e.context.hooks.conforms_to(item, &profile).or_else(|| {
        // The definitions of the types themselves ask for no more here than that it is of the type.
        let ty = types::definition(profile.strip_prefix(STRUCTURE_DEFINITION)?)?;
        Some(is_a(item, ty))
    });
    answer(&call, known)
}

fn html_checks<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(xhtml) = call.text()? else { return Ok(Vec::new()) };
    let known = e.context.hooks.html_checks(&xhtml);
    Ok(vec![Item::Boolean(known.unwrap_or_else(|| xhtml::check(&xhtml).is_ok()))])
}
