//! What references point to: <https://hl7.org/fhir/R4/fhirpath.html#functions>, `resolve()`.

use super::context::Context;
use super::item::{Collection, Item};
use super::navigate;
use super::types::{self, derives};
use crate::fhir::definitions::{Kind, Type};

/// The resource that a Reference, uri or canonical points to: contained in this one, or as the hooks know.
pub fn resolve<'t>(context: &Context<'t>, item: &Item<'t>) -> Option<Item<'t>> {
    let reference = text(item)?;
    match reference.strip_prefix('#') {
        Some(id) => contained(context, id),
        None => context.hooks.resolve(reference),
    }
}

/// Whether what a reference points to is of a type (or one derived from it). Told from the reference's text or its `type` where
/// that is possible, so the target need not exist; `None` where it can't be told at all.
pub fn target_is<'t>(context: &Context<'t>, item: &Item<'t>, wanted: &Type) -> Option<bool> {
    let told = text(item).and_then(type_in_text);
    let told = told.or_else(|| item.as_object().and_then(|object| object.str("type")).and_then(types::definition));
    let target = match told {
        Some(target) => target,
        None => resolve(context, item)?.as_node()?.definition?,
    };
    Some(derives(target, wanted))
}

fn text<'i>(item: &'i Item) -> Option<&'i str> {
    match item.as_object() {
        Some(reference) => reference.str("reference"),
        None => item.as_str(),
    }
}

/// `Patient` of `Patient/1`, of `https://example.org/fhir/Patient/1` and of `Patient/1/_history/2`.
fn type_in_text(reference: &str) -> Option<&'static Type> {
    let path = reference.split_once("/_history/").map_or(reference, |(path, _)| path);
    let mut parts = path.rsplit('/');
    parts.next()?;
    types::definition(parts.next()?).filter(|ty| ty.kind == Kind::Resource)
}

/// The contained resource with an id; the container itself for an empty one.
fn contained<'t>(context: &Context<'t>, id: &str) -> Option<Item<'t>> {
    if id.is_empty() {
        return Some(context.root_resource.clone());
    }
    let mut resources: Collection = Vec::new();
    navigate::member(&context.root_resource, "contained", &mut resources);
    resources.into_iter().find(|resource| resource.as_object().and_then(|object| object.id()) == Some(id))
}
