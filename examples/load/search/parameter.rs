//! A search parameter as the naive reading understands it: the paths of its expression, walked over plain JSON.
//!
//! Only definitions are taken from the server's crate, as data. What is not a plain path is not understood, and not asked for.

use pharos::fhir::definitions::{self, ParamType, SearchParameter};
use pharos::fhir::tree::Value;

/// A search parameter of one type.
pub struct Parameter {
    pub code: String,
    pub param_type: ParamType,
    pub targets: Vec<&'static str>,
    pub components: Vec<Component>,
    paths: Vec<Path>,
}

/// A part of a composite.
pub struct Component {
    pub param_type: ParamType,
    paths: Vec<Path>,
}

type Path = Vec<Step>;

#[derive(Debug)]
enum Step {
    Member(String),
    /// The value is of this type.
    As(String),
    /// The reference is to this type.
    To(String),
}

/// An element, and its type where the name of its member says so (`valueQuantity`).
#[derive(Clone, Copy)]
struct Found<'v> {
    value: &'v Value<'static>,
    choice: Option<&'v str>,
}

impl Parameter {
    /// `None` where the expression is more than paths.
    pub fn read(definition: &SearchParameter, type_name: &str) -> Option<Self> {
        let paths = paths(&definition.expression, Some(type_name))?;
        let component = |(url, expression): &(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            let param_type = definitions::r4().search_parameter_by_url(url)?.param_type;
            Some(Component { param_type, paths: paths_of_component(expression)? })
        };
        Some(Self {
            code: definition.code.to_string(),
            param_type: definition.param_type,
            targets: definition.targets.clone(),
            components: definition.components.iter().map(component).collect::<Option<_>>()?,
            paths,
        })
    }

    /// The elements of a resource that the parameter is about.
    pub fn elements<'v>(&self, resource: &'v Value<'static>) -> Vec<&'v Value<'static>> {
        walk(&self.paths, resource)
    }
}

impl Component {
    pub fn elements<'v>(&self, element: &'v Value<'static>) -> Vec<&'v Value<'static>> {
        walk(&self.paths, element)
    }
}

fn walk<'v>(paths: &[Path], root: &'v Value<'static>) -> Vec<&'v Value<'static>> {
    let mut all = Vec::new();
    for path in paths {
        let start = vec![Found { value: root, choice: None }];
        let found = path.iter().fold(start, |found, step| found.into_iter().flat_map(|at| step.from(at)).collect());
        all.extend(found.into_iter().map(|found| found.value));
    }
    all
}

impl Step {
    fn from<'v>(&self, at: Found<'v>) -> Vec<Found<'v>> {
        match self {
            Self::Member(name) => members(at.value, name),
            Self::As(name) => {
                let is_it = at.choice.is_none_or(|choice| choice.eq_ignore_ascii_case(name));
                if is_it { vec![at] } else { Vec::new() }
            }
            Self::To(name) => {
                let reference = at.value.get("reference").and_then(Value::as_str).unwrap_or_default();
                let is_it = reference.rsplit('/').nth(1) == Some(name);
                if is_it { vec![at] } else { Vec::new() }
            }
        }
    }
}

/// The items of a member, or of the one form of a choice that is there.
fn members<'v>(value: &'v Value<'static>, name: &str) -> Vec<Found<'v>> {
    let Some(object) = value.as_object() else { return Vec::new() };
    if let Some(member) = object.get(name) {
        return member.items().iter().map(|value| Found { value, choice: None }).collect();
    }
    let choice = object.iter().find_map(|(member, value)| {
        let choice = member.strip_prefix(name)?;
        is_type(choice).then_some(Found { value, choice: Some(choice) })
    });
    choice.into_iter().collect()
}

/// Whether the end of a member's name is a type: `Quantity`, `DateTime`.
fn is_type(end: &str) -> bool {
    let Some(first) = end.chars().next().filter(char::is_ascii_uppercase) else { return false };
    let lower = format!("{}{}", first.to_ascii_lowercase(), end.get(1..).unwrap_or_default());
    let named = |name: &str| definitions::r4().type_named(name).is_some();
    named(end) || named(&lower)
}

fn paths_of_component(expression: &str) -> Option<Vec<Path>> {
    paths(expression, None)
}

/// The alternatives of an expression, of those that start with `root` where there is one. `None` where there is none, or one
/// of them is more than a path.
fn paths(expression: &str, root: Option<&str>) -> Option<Vec<Path>> {
    let mut paths = Vec::new();
    for alternative in split(expression, '|') {
        let mut text = alternative.trim();
        while let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
            text = inner.trim();
        }
        let (text, cast) = text.split_once(" as ").map_or((text, None), |(text, cast)| (text, Some(cast.trim())));
        let mut segments = split(text.trim(), '.').into_iter();
        if let Some(root) = root
            && segments.next().is_none_or(|head| head != root && head != "Resource" && head != "DomainResource")
        {
            continue;
        }
        let mut path = segments.map(segment).collect::<Option<Path>>()?;
        path.extend(cast.map(|name| Step::As(name.to_owned())));
        paths.push(path);
    }
    (!paths.is_empty()).then_some(paths)
}

fn segment(text: &str) -> Option<Step> {
    let argument = |function: &str| text.strip_prefix(function)?.strip_suffix(')');
    if let Some(name) = argument("as(").or_else(|| argument("ofType(")) {
        return Some(Step::As(name.to_owned()));
    }
    if let Some(name) = argument("where(resolve() is ") {
        return Some(Step::To(name.to_owned()));
    }
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| Step::Member(text.to_owned()))
}

/// Splits where no parenthesis is open.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if char == separator && depth == 0 => {
                parts.extend(text.get(start..at));
                start = at + char.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}
