//! Composites: the parts of the components of one element, side by side.
//!
//! <https://hl7.org/fhir/R4/search.html#composite>

use super::bytes::Parts;
use super::extract::item_parts;
use super::inner::Home;
use super::path::mended;
use super::range::Step;
use super::{date, number, reference, string, token};
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::fhirpath::{Context, Expression, Item};

/// More keys than this are not made of one element.
const MAX_COMBINATIONS: usize = 256;

/// One component of a composite parameter.
#[derive(Debug)]
pub struct Component {
    param_type: ParamType,
    text: Box<str>,
    expression: Expression,
}

impl PartialEq for Component {
    fn eq(&self, other: &Self) -> bool {
        (self.param_type, &self.text) == (other.param_type, &other.text)
    }
}

impl Component {
    /// Compiles the components of a composite; none where one of them can't be.
    #[must_use]
    pub fn all_of(parameter: &SearchParameter) -> Vec<Self> {
        let components = parameter.components.iter().map(|(url, text)| Self::compile(url, text));
        components.collect::<Option<_>>().unwrap_or_default()
    }

    fn compile(url: &str, text: &str) -> Option<Self> {
        let param_type = definitions::r4().search_parameter_by_url(url)?.param_type;
        // The definition of DocumentReference's `relationship` has the expressions of its two parts swapped.
        let text = match url.rsplit('/').next() {
            Some("DocumentReference-relatesto") => "target",
            Some("DocumentReference-relation") => "code",
            _ => text,
        };
        Some(Self { param_type, text: text.into(), expression: Expression::compile(&mended(text)).ok()? })
    }

    fn parts<'t>(&'t self, context: &Context<'t>, element: &Item<'t>, home: Home<'_>) -> Parts {
        let mut parts = Parts::default();
        for item in self.expression.evaluate(context, element.clone()).unwrap_or_default() {
            item_parts(&mut parts, self.param_type, &item, &[], home);
        }
        parts
    }
}

/// Adds the parts of a composite's element: every combination of its components' values.
pub fn parts<'t>(
    out: &mut Parts,
    components: &'t [Component],
    context: &Context<'t>,
    element: &Item<'t>,
    home: Home<'_>,
) {
    if components.is_empty() {
        return;
    }
    // The values stand last and are mostly of another type than this composite's: then nothing else is looked at.
    let mut of_components = Vec::with_capacity(components.len());
    for (position, component) in components.iter().enumerate().rev() {
        let parts = component.parts(context, element, home);
        if parts.is_empty() {
            return;
        }
        of_components.push((position, component.param_type, parts));
    }
    let mut combined: Vec<Vec<u8>> = vec![Vec::new()];
    for (position, param_type, parts) in of_components.iter().rev() {
        let is_last = position + 1 == components.len();
        let usable = parts.iter().filter(|part| is_last || has_shape(*param_type, part));
        let usable: Vec<_> = usable.filter(|part| !is_extra(*param_type, part)).collect();
        let pairs = combined.iter().flat_map(|start| usable.iter().map(|part| [start, *part].concat()));
        combined = pairs.take(MAX_COMBINATIONS).collect();
    }
    for key in &combined {
        if let Some((kind, rest)) = key.split_first() {
            out.add(*kind, |bytes| bytes.extend_from_slice(rest));
        }
    }
}

/// What the parts of a type look like that can stand before another component.
#[must_use]
pub const fn shape(param_type: ParamType) -> &'static [Step] {
    match param_type {
        ParamType::Token => &token::SHAPE,
        ParamType::String => &string::SHAPE,
        ParamType::Date => &date::SHAPE,
        ParamType::Number => &number::SHAPE,
        ParamType::Reference => &reference::SHAPE,
        ParamType::Uri => &reference::URI_SHAPE,
        ParamType::Quantity | ParamType::Composite | ParamType::Special => &[],
    }
}

fn has_shape(param_type: ParamType, part: &[u8]) -> bool {
    let kind = part.first().copied().unwrap_or_default();
    match param_type {
        ParamType::Token => kind == b'c',
        ParamType::String => kind == b'n',
        ParamType::Date => kind == b'l',
        ParamType::Number => kind == b'x',
        ParamType::Reference => kind == b'r',
        ParamType::Uri => kind == b'u',
        ParamType::Quantity | ParamType::Composite | ParamType::Special => false,
    }
}

/// Parts of tokens that no composite is asked for.
fn is_extra(param_type: ParamType, part: &[u8]) -> bool {
    param_type == ParamType::Token && part.first() != Some(&b'c')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_official_composite_compiles() {
        let composites = definitions::r4().search_parameters().iter().filter(|found| !found.components.is_empty());
        let broken: Vec<_> =
            composites.filter(|found| Component::all_of(found).is_empty()).map(|found| &*found.url).collect();
        assert_eq!(broken, Vec::<&str>::new());
    }
}
