//! A SearchParameter resource as a definition: <https://hl7.org/fhir/R4/searchparameter.html>.

use super::extract::is_indexed;
use super::parameters::types_of;
use super::path::{Branch, mended};
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::fhir::tree::{Object, Value};
use crate::fhirpath::Expression;

/// Why a SearchParameter can't take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// The element, as FHIRPath.
    pub element: &'static str,
    /// A sentence for the person who wrote it.
    pub reason: String,
}

fn unusable<T>(element: &'static str, reason: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable { element, reason: reason.into() })
}

/// What a SearchParameter defines beside the official parameters. `None` where it takes no effect of its own: it is retired
/// or of unknown status, it is an official parameter, or one derived from the official one with the same code, which
/// answers in its place.
///
/// # Errors
/// Why it can't take effect.
pub fn definition(resource: &Object<'_>) -> Result<Option<SearchParameter>, Unusable> {
    if !matches!(resource.str("status"), Some("active" | "draft")) {
        return Ok(None);
    }
    let definitions = definitions::r4();
    let (url, code) = (resource.str("url").unwrap_or_default(), resource.str("code").unwrap_or_default());
    let base = base(resource)?;
    let is_official = |type_name: &&str| definitions.search_parameter(type_name, code).is_some();
    let derived = resource.str("derivedFrom").and_then(|from| from.split('|').next());
    if definitions.search_parameter_by_url(url).is_some() {
        return Ok(None);
    }
    let mut definition = SearchParameter {
        url: url.to_owned().into(),
        code: code.to_owned().into(),
        param_type: ParamType::Special,
        base,
        expression: resource.str("expression").unwrap_or_default().to_owned().into(),
        targets: names(resource, "target"),
        components: Vec::new(),
    };
    if let Some(type_name) = types_of(&definition).find(is_official) {
        let same = definitions.search_parameter(type_name, code).is_some_and(|known| derived == Some(&*known.url));
        let text = format!(
            "{type_name} has an official search parameter with this code; name that in derivedFrom, or take another code."
        );
        return if same { Ok(None) } else { unusable("SearchParameter.code", text) };
    }
    if !is_name(code) {
        return unusable(
            "SearchParameter.code",
            "A code is made of letters, digits, `-` and `_`, and starts with a letter.",
        );
    }
    definition.param_type = param_type(resource)?;
    definition.components = components(resource, definition.param_type)?;
    compile(&definition)?;
    Ok(Some(definition))
}

/// A code must not be read as something else in a query.
fn is_name(code: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    code.len() <= 64 && code.starts_with(|first: char| first.is_ascii_alphabetic()) && code.bytes().all(is_part)
}

fn names(resource: &Object<'_>, element: &str) -> Vec<&'static str> {
    let texts = resource.get(element).map(Value::items).unwrap_or_default().iter().filter_map(Value::as_str);
    texts.filter_map(|name| definitions::r4().type_named(name)).map(|found| found.name).collect()
}

fn base(resource: &Object<'_>) -> Result<Vec<&'static str>, Unusable> {
    let base = names(resource, "base");
    let definitions = definitions::r4();
    let stated = resource.get("base").map(Value::items).unwrap_or_default().len();
    let all_resources = base.iter().all(|name| definitions.is_subtype_of(name, "Resource"));
    if base.is_empty() || base.len() != stated || !all_resources {
        return unusable("SearchParameter.base", "The base names what is no resource type.");
    }
    Ok(base)
}

fn param_type(resource: &Object<'_>) -> Result<ParamType, Unusable> {
    match resource.str("type").and_then(ParamType::from_code) {
        Some(ParamType::Special) | None => {
            unusable("SearchParameter.type", "This server can't answer further parameters of this type.")
        }
        Some(found) => Ok(found),
    }
}

type Components = Vec<(std::borrow::Cow<'static, str>, std::borrow::Cow<'static, str>)>;

fn components(resource: &Object<'_>, param_type: ParamType) -> Result<Components, Unusable> {
    let stated = resource.get("component").map(Value::items).unwrap_or_default();
    let mut components = Vec::with_capacity(stated.len());
    for component in stated {
        let text = |name| component.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (url, expression) = (text("definition"), text("expression"));
        let url = url.split('|').next().unwrap_or_default();
        if definitions::r4().search_parameter_by_url(url).is_none() {
            let text = "A component must name an official search parameter, whose type it has.";
            return unusable("SearchParameter.component.definition", text);
        }
        if let Err(error) = Expression::compile(&mended(&expression)) {
            return unusable("SearchParameter.component.expression", error.to_string());
        }
        components.push((url.to_owned().into(), expression.into()));
    }
    if (param_type == ParamType::Composite) != (components.len() > 1) {
        let text = "A composite has two components or more, and no other type has any.";
        return unusable("SearchParameter.component", text);
    }
    Ok(components)
}

fn compile(definition: &SearchParameter) -> Result<(), Unusable> {
    const ELEMENT: &str = "SearchParameter.expression";
    if !is_indexed(definition) {
        return unusable(ELEMENT, "Without an expression nothing can be found.");
    }
    let expression = match Expression::compile(&mended(&definition.expression)) {
        Ok(expression) => expression,
        Err(error) => return unusable(ELEMENT, error.to_string()),
    };
    if let Err(error) = expression.check(&definition.base) {
        return unusable(ELEMENT, error.to_string());
    }
    match types_of(definition).find(|name| Branch::all_of(&definition.expression, name).is_empty()) {
        Some(name) => {
            unusable(ELEMENT, format!("No alternative of the expression is for {name}, which the base names."))
        }
        None => Ok(()),
    }
}
