//! Reads the text files that `examples/distil.rs` writes. In all of them a line that starts with `#` and an empty line
//! mean nothing, and a line that starts with a blank belongs to the last one that does not.
//!
//! `types.txt`: `kind name base [abstract]`, then an element a line: `name min..max types [required=ValueSet] [summary]
//! [modifier]`. The name of a choice ends in `[x]`; its types stand between `|`; a type that points to others lists them in
//! parentheses: `Reference(Patient,Group)`; a nested element has the type that is called by its path. What a base type
//! gives unchanged is left out; an element of the same name replaces the inherited one, and `0..0` takes it away.
//!
//! `search-parameters.txt`: `url code type`, then `base types…`, `expression …`, `target types…`, `component url expression`.
//!
//! `compartments.txt`: `url code`, then `type parameters…`.
//!
//! `operations.txt`: `url code levels types`, the last two with commas.
//!
//! `code-systems.txt`: `url case-sensitive|case-insensitive|case-unknown [not-embedded]`, then a concept a line: as many
//! blanks as it is deep, the code and, after a tab, the display where it is not the code itself.
//!
//! `value-sets.txt`: `url [not-enumerable]`, then rules: `+` or `-` to include or exclude, and one of `system`,
//! `system TAB code TAB code…`, `system is-a code`, `system descendent-of code`, `valueset url`.

use super::{
    Compartment, Definitions, Element, FxHashMap, Kind, Operation, ParamType, Primitive, SearchParameter, Type, TypeRef,
};

const TYPES: &str = include_str!("../../../profiles/r4/types.txt");
const SEARCH_PARAMETERS: &str = include_str!("../../../profiles/r4/search-parameters.txt");
const COMPARTMENTS: &str = include_str!("../../../profiles/r4/compartments.txt");
const OPERATIONS: &str = include_str!("../../../profiles/r4/operations.txt");

/// What reading gives, or the line that can't be read.
pub(super) type Read<T> = Result<T, &'static str>;

/// A line that starts an entry, and the lines that belong to it.
pub(super) struct Entry {
    pub(super) head: &'static str,
    /// Without the first blank.
    pub(super) lines: Vec<&'static str>,
}

/// Splits a file into entries.
pub(super) fn entries(text: &'static str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix(' '), entries.last_mut()) {
            (Some(inner), Some(entry)) => entry.lines.push(inner),
            _ => entries.push(Entry { head: line, lines: Vec::new() }),
        }
    }
    entries
}

pub(super) fn r4() -> Read<Definitions> {
    let types = types(TYPES)?;
    let types_by_name = types.iter().enumerate().map(|(n, found)| (found.name, n)).collect();
    let mut resource_types: Vec<_> = types.iter().filter(|t| t.is_concrete_resource()).map(|t| t.name).collect();
    resource_types.sort_unstable();
    let entries_of_parameters = entries(SEARCH_PARAMETERS);
    let search_parameters = entries_of_parameters.iter().map(search_parameter).collect::<Read<Vec<_>>>()?;
    let urls = entries_of_parameters.iter().filter_map(|entry| entry.head.split(' ').next());
    let mut by_base: FxHashMap<_, Vec<usize>> = FxHashMap::default();
    for (n, parameter) in search_parameters.iter().enumerate() {
        for base in &parameter.base {
            by_base.entry(*base).or_default().push(n);
        }
    }
    Ok(Definitions {
        types,
        types_by_name,
        resource_types,
        search_parameters_by_base: by_base,
        search_parameters_by_url: urls.enumerate().map(|(n, url)| (url, n)).collect(),
        search_parameters,
        compartments: entries(COMPARTMENTS).iter().map(compartment).collect::<Read<_>>()?,
        operations: entries(OPERATIONS).iter().map(operation).collect::<Read<_>>()?,
    })
}

/// A type as it stands in the file: with its own elements only.
struct Own {
    head: &'static str,
    kind: Kind,
    name: &'static str,
    base: Option<&'static str>,
    is_abstract: bool,
    elements: Vec<Element>,
}

fn types(text: &'static str) -> Read<Vec<Type>> {
    let entries = entries(text);
    let positions: FxHashMap<_, _> =
        entries.iter().enumerate().filter_map(|(n, entry)| Some((entry.head.split(' ').nth(1)?, n))).collect();
    let own = entries.iter().map(|entry| own_type(entry, &positions)).collect::<Read<Vec<_>>>()?;
    own.iter().map(|one| whole_type(one, &own, &positions)).collect()
}

type Positions = FxHashMap<&'static str, usize>;

fn own_type(entry: &Entry, positions: &Positions) -> Read<Own> {
    let mut words = entry.head.split(' ');
    let (Some(kind), Some(name), Some(base)) = (words.next(), words.next(), words.next()) else {
        return Err(entry.head);
    };
    let kind = match kind {
        "primitive" => Kind::Primitive,
        "complex" => Kind::Complex,
        "resource" => Kind::Resource,
        _ => return Err(entry.head),
    };
    let elements = entry.lines.iter().map(|line| element(line, positions)).collect::<Read<_>>()?;
    let base = Some(base).filter(|base| *base != "-");
    Ok(Own { head: entry.head, kind, name, base, is_abstract: words.next() == Some("abstract"), elements })
}

fn element(line: &'static str, positions: &Positions) -> Read<Element> {
    let mut words = line.split(' ');
    let (Some(name), Some(cardinality), Some(types)) = (words.next(), words.next(), words.next()) else {
        return Err(line);
    };
    let (min, max) = cardinality.split_once("..").ok_or(line)?;
    let mut element = Element {
        name: name.strip_suffix("[x]").unwrap_or(name),
        is_choice: name.ends_with("[x]"),
        min: min.parse().map_err(|_| line)?,
        max: if max == "*" { None } else { Some(max.parse().map_err(|_| line)?) },
        types: types.split('|').map(|text| type_ref(text, positions).ok_or(line)).collect::<Read<_>>()?,
        required_binding: None,
        is_summary: false,
        is_modifier: false,
    };
    for word in words {
        match word.strip_prefix("required=") {
            Some(url) => element.required_binding = Some(url),
            None if word == "summary" => element.is_summary = true,
            None if word == "modifier" => element.is_modifier = true,
            None => return Err(line),
        }
    }
    Ok(element)
}

fn type_ref(text: &'static str, positions: &Positions) -> Option<TypeRef> {
    let (name, targets) = text.split_once('(').unwrap_or((text, ")"));
    let targets = targets.strip_suffix(')')?.split(',').filter(|target| !target.is_empty()).collect();
    Some(TypeRef { name, targets, position: *positions.get(name)? })
}

/// The type with the elements of its bases before its own.
fn whole_type(own: &Own, all: &[Own], positions: &Positions) -> Read<Type> {
    let base_of = |child: &&Own| child.base.and_then(|base| all.get(*positions.get(base)?));
    let mut lineage: Vec<&Own> = std::iter::successors(Some(own), base_of).take(8).collect();
    lineage.reverse();
    let mut elements: Vec<Element> = Vec::new();
    for element in lineage.iter().flat_map(|ancestor| &ancestor.elements) {
        match elements.iter_mut().find(|inherited| inherited.name == element.name) {
            Some(inherited) => *inherited = element.clone(),
            None => elements.push(element.clone()),
        }
    }
    elements.retain(|element| element.max != Some(0));
    let primitive = if own.kind == Kind::Primitive { Some(primitive(own.name).ok_or(own.head)?) } else { None };
    let mut by_json_name = FxHashMap::default();
    for (n, element) in elements.iter().enumerate() {
        for (t, type_ref) in element.types.iter().enumerate() {
            by_json_name.insert(element.json_name(type_ref).into_boxed_str(), (n, t));
        }
    }
    let is_required = |(n, element): (usize, &Element)| (element.min > 0).then_some(1_u128 << n);
    Ok(Type {
        required: elements.iter().take(128).enumerate().filter_map(is_required).sum(),
        name: own.name,
        kind: own.kind,
        is_abstract: own.is_abstract,
        base: own.base,
        primitive,
        by_json_name,
        by_name: elements.iter().enumerate().map(|(n, element)| (element.name, n)).collect(),
        elements,
    })
}

fn primitive(name: &str) -> Option<Primitive> {
    Some(match name {
        "base64Binary" => Primitive::Base64Binary,
        "boolean" => Primitive::Boolean,
        "canonical" => Primitive::Canonical,
        "code" => Primitive::Code,
        "date" => Primitive::Date,
        "dateTime" => Primitive::DateTime,
        "decimal" => Primitive::Decimal,
        "id" => Primitive::Id,
        "instant" => Primitive::Instant,
        "integer" => Primitive::Integer,
        "markdown" => Primitive::Markdown,
        "oid" => Primitive::Oid,
        "positiveInt" => Primitive::PositiveInt,
        "string" => Primitive::String,
        "time" => Primitive::Time,
        "unsignedInt" => Primitive::UnsignedInt,
        "uri" => Primitive::Uri,
        "url" => Primitive::Url,
        "uuid" => Primitive::Uuid,
        "xhtml" => Primitive::Xhtml,
        _ => return None,
    })
}

fn search_parameter(entry: &Entry) -> Read<SearchParameter> {
    let mut words = entry.head.split(' ');
    let (Some(url), Some(code), Some(param_type)) = (words.next(), words.next(), words.next()) else {
        return Err(entry.head);
    };
    let param_type = param_type_named(param_type).ok_or(entry.head)?;
    let mut parameter = SearchParameter {
        url: url.into(),
        code: code.into(),
        param_type,
        base: Vec::new(),
        expression: "".into(),
        targets: Vec::new(),
        components: Vec::new(),
    };
    for line in &entry.lines {
        match line.split_once(' ').ok_or(*line)? {
            ("base", types) => parameter.base = types.split(' ').collect(),
            ("expression", expression) => parameter.expression = expression.into(),
            ("target", types) => parameter.targets = types.split(' ').collect(),
            ("component", part) => {
                let (url, expression) = part.split_once(' ').ok_or(*line)?;
                parameter.components.push((url.into(), expression.into()));
            }
            _ => return Err(line),
        }
    }
    Ok(parameter)
}

pub(super) fn param_type_named(name: &str) -> Option<ParamType> {
    Some(match name {
        "number" => ParamType::Number,
        "date" => ParamType::Date,
        "string" => ParamType::String,
        "token" => ParamType::Token,
        "reference" => ParamType::Reference,
        "composite" => ParamType::Composite,
        "quantity" => ParamType::Quantity,
        "uri" => ParamType::Uri,
        "special" => ParamType::Special,
        _ => return None,
    })
}

fn compartment(entry: &Entry) -> Read<Compartment> {
    let (url, code) = entry.head.split_once(' ').ok_or(entry.head)?;
    let resource = |line: &&'static str| -> Read<_> {
        let (name, params) = line.split_once(' ').ok_or(*line)?;
        Ok((name, params.split(' ').collect()))
    };
    let mut resources = entry.lines.iter().map(resource).collect::<Read<Vec<(&str, Vec<&str>)>>>()?;
    resources.sort_unstable();
    Ok(Compartment { url, code, resources })
}

fn operation(entry: &Entry) -> Read<Operation> {
    let words: Vec<&'static str> = entry.head.split(' ').collect();
    let [url, code, levels, resources] = words.as_slice() else { return Err(entry.head) };
    Ok(Operation { url, code, levels: levels.split(',').collect(), resources: resources.split(',').collect() })
}
