//! A value of a parameter as ranges of search keys.
//!
//! <https://hl7.org/fhir/R4/search.html#ptypes>

use super::Options;
use super::query::refuse;
use super::stored::{self, Known};
use super::text::{prefixed, split, unescape};
use crate::error::Result;
use crate::fhir::definitions::{self, ParamType, SearchParameter};
use crate::key::bytes::{TEXT_MAX, URL_MAX, can_start_text};
use crate::key::composite::shape;
use crate::key::date::{Span, Window};
use crate::key::decimal::Decimal;
use crate::key::fold::fold;
use crate::key::number::{self, Unit};
use crate::key::reference::{self, Target};
use crate::key::{KeyRange, Prefix, string, token};

/// What stands around a value: the parameter, its name in the query (for messages), its modifier.
#[derive(Clone, Copy)]
pub struct Place<'q> {
    pub parameter: &'q SearchParameter,
    pub name: &'q str,
    pub modifier: Option<&'q str>,
    pub options: &'q Options,
}

type Ranges = Result<Vec<KeyRange>>;

impl Place<'_> {
    /// The ranges, without the parameter's code before them, of one value (escapes still in it).
    pub fn ranges(self, text: &str) -> Ranges {
        match self.parameter.param_type {
            ParamType::Composite => self.composite(text),
            other => self.simple(other, text),
        }
    }

    fn simple(self, param_type: ParamType, text: &str) -> Ranges {
        match param_type {
            ParamType::Token => self.token(text),
            ParamType::String => self.string(&unescape(text)),
            ParamType::Date => self.date(text),
            ParamType::Number => self.number(text),
            ParamType::Quantity => self.quantity(text),
            ParamType::Reference => self.reference(&unescape(text), text),
            ParamType::Uri => self.uri(&unescape(text)),
            ParamType::Composite | ParamType::Special => Err(self.bad_modifier()),
        }
    }

    fn malformed(self, expected: &str) -> crate::error::Error {
        refuse("value", format!("A value of the search parameter `{}` is not {expected}.", self.name))
    }

    fn bad_modifier(self) -> crate::error::Error {
        let modifier = self.modifier.map_or_else(String::new, |modifier| format!(" with the modifier `:{modifier}`"));
        refuse("not-supported", format!("The search parameter `{}`{modifier} is not supported.", self.parameter.code))
    }

    fn token(self, text: &str) -> Ranges {
        let parts: Vec<_> = split(text, '|').into_iter().map(unescape).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        match (self.modifier, parts.as_slice()) {
            (None | Some("not"), [code]) => Ok(vec![token::matching_code(None, code)]),
            (None | Some("not"), ["", ""]) => Err(self.malformed("a code or system|code")),
            (None | Some("not"), [system, ""]) => Ok(vec![token::matching_system(system)]),
            (None | Some("not"), [system, code]) => Ok(vec![token::matching_code(Some(system), code)]),
            (Some("text"), _) => {
                self.startable(&fold(&unescape(text)), TEXT_MAX).map(|text| vec![token::matching_text(text)])
            }
            (Some("of-type"), [system, code, value]) => Ok(vec![token::matching_of_type(system, code, value)]),
            (Some("in" | "not-in"), _) => self.value_set(&unescape(text)),
            (Some("below" | "above"), [system, code]) => self.subsumed(system, code),
            (None | Some("not"), _) => Err(self.malformed("a code or system|code")),
            (Some("of-type"), _) => Err(self.malformed("of the form system|code|value")),
            (Some("below" | "above"), _) => Err(self.malformed("of the form system|code")),
            _ => Err(self.bad_modifier()),
        }
    }

    fn value_set(self, url: &str) -> Ranges {
        let (stored, base) = (self.options.stored.as_ref(), self.options.base.as_deref());
        let codes = self.known(stored::value_set(stored, url, base)?, "value set")?;
        Ok(codes.iter().map(|(system, code)| token::matching_code(Some(system), code)).collect())
    }

    fn subsumed(self, system: &str, code: &str) -> Ranges {
        let (stored, base) = (self.options.stored.as_ref(), self.options.base.as_deref());
        let found = self.known(stored::code_system(stored, system, base)?, "code system")?;
        let codes = if self.modifier == Some("below") { found.below(code) } else { found.above(code) };
        if codes.is_empty() {
            return Err(refuse("not-found", format!("The code of the search parameter `{}` is not known.", self.name)));
        }
        Ok(codes.into_iter().map(|code| token::matching_code(Some(system), code)).collect())
    }

    /// What is known of what a value names.
    fn known<T>(self, known: Known<T>, what: &str) -> Result<T> {
        let (code, is) = match known {
            Known::All(found) => return Ok(found),
            Known::Missing => ("not-found", "is not known"),
            Known::Unclear => ("not-supported", "can't be enumerated from what this server knows"),
            Known::TooMany => ("too-costly", "is too large"),
        };
        Err(refuse(code, format!("The {what} of the search parameter `{}` {is}.", self.name)))
    }

    /// A text by whose start can be searched.
    fn startable(self, text: &str, max: usize) -> Result<&str> {
        if text.is_empty() || !can_start_text(text, max) {
            return Err(self.malformed("a text with letters or digits and of a length that is searched for"));
        }
        Ok(text)
    }

    fn string(self, text: &str) -> Ranges {
        Ok(vec![match self.modifier {
            None => string::matching_start(self.startable(&fold(text), TEXT_MAX)?),
            Some("contains") => string::matching_part(self.startable(&fold(text), TEXT_MAX)?),
            Some("exact") => string::matching_exact(text),
            Some(_) => return Err(self.bad_modifier()),
        }])
    }

    fn prefixed(self, text: &str) -> Result<(Prefix, &str)> {
        if self.modifier.is_some() {
            return Err(self.bad_modifier());
        }
        prefixed(text).ok_or_else(|| self.malformed("one with a prefix that is known"))
    }

    fn date(self, text: &str) -> Ranges {
        Ok(self.windows(text)?.into_iter().flat_map(Window::ranges).collect())
    }

    /// The dates that a value of a date parameter asks for: those in any of the windows.
    pub fn windows(self, text: &str) -> Result<Vec<Window>> {
        let (prefix, text) = self.prefixed(text)?;
        // A `+` of a time zone that was not encoded in the URL arrives as a blank.
        let span = Span::parse(&text.replace(' ', "+")).ok_or_else(|| self.malformed("a date"))?;
        Ok(Window::matching(prefix, span, self.options.now))
    }

    fn number(self, text: &str) -> Ranges {
        let (prefix, text) = self.prefixed(text)?;
        let value = Decimal::parse(text).ok_or_else(|| self.malformed("a number"))?;
        Ok(number::number_matching(prefix, value))
    }

    fn quantity(self, text: &str) -> Ranges {
        let parts: Vec<_> = split(text, '|').into_iter().map(unescape).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let (value, unit) = match parts.as_slice() {
            [value] | [value, "", ""] => (value, Unit::Any),
            [value, "", unit] => (value, Unit::Named(unit)),
            [value, system, code] if !code.is_empty() => (value, Unit::Coded(system, code)),
            _ => return Err(self.malformed("of the form number|system|code")),
        };
        let (prefix, value) = self.prefixed(value)?;
        let value = Decimal::parse(value).ok_or_else(|| self.malformed("a number"))?;
        Ok(number::quantity_matching(prefix, value, unit))
    }

    fn reference(self, text: &str, escaped: &str) -> Ranges {
        let base = self.options.base.as_deref();
        match self.modifier {
            None => Ok(vec![match Target::read(text, base) {
                Target::Local { type_name, id, version: None } => reference::matching_resource(type_name, id),
                Target::Local { type_name, id, version: Some(version) } => {
                    reference::matching_version(type_name, id, version)
                }
                Target::Url(url) if url.contains([':', '/']) => reference::matching_uri(url),
                Target::Url(id) => match self.parameter.targets.as_slice() {
                    [target] => reference::matching_resource(target, id),
                    _ => reference::matching_id(id),
                },
            }]),
            Some("identifier") => match split(escaped, '|').as_slice() {
                [value] => Ok(vec![reference::matching_identifier(None, &unescape(value))]),
                [system, value] if !value.is_empty() => {
                    Ok(vec![reference::matching_identifier(Some(&unescape(system)), &unescape(value))])
                }
                _ => Err(self.malformed("of the form system|value")),
            },
            Some(name) if definitions::r4().is_resource_type(name) => match Target::read(text, base) {
                Target::Local { type_name, id, version: None } if type_name == name => {
                    Ok(vec![reference::matching_resource(name, id)])
                }
                Target::Url(id) if !id.contains([':', '/']) => Ok(vec![reference::matching_resource(name, id)]),
                _ => Err(self.malformed("an id of the type that its modifier names")),
            },
            Some("text") => self.startable(&fold(text), TEXT_MAX).map(|text| vec![reference::matching_display(text)]),
            Some("below" | "above") => match Target::read(text, base) {
                Target::Url(url) if url.contains(':') => self.uri(text),
                Target::Local { type_name, id, version: None } => self.hierarchy(type_name, id),
                Target::Url(id) if let [target] = self.parameter.targets.as_slice() => self.hierarchy(target, id),
                _ => Err(self.malformed("a canonical URL, or a type and an id")),
            },
            Some(_) => Err(self.bad_modifier()),
        }
    }

    /// A resource and those below or above it.
    fn hierarchy(self, type_name: &str, id: &str) -> Ranges {
        let is_below = self.modifier == Some("below");
        let found = stored::hierarchy(self.options.stored.as_ref(), type_name, id, is_below)?;
        let ids = self.known(found, "hierarchy of the resource type")?;
        Ok(ids.iter().map(|id| reference::matching_resource(type_name, id)).collect())
    }

    fn uri(self, uri: &str) -> Ranges {
        match (self.modifier, uri.split_once('|')) {
            // A version stands above its parts: `|2` above `2.1`, and not above `20`.
            (Some("below"), Some((_, version))) if !version.is_empty() => {
                let parts = reference::matching_uri_start(self.startable(&format!("{uri}."), URL_MAX)?);
                return Ok(vec![reference::matching_uri(uri), parts]);
            }
            (Some("above"), Some((url, version))) if !version.is_empty() => {
                let ends = version.match_indices('.').map(|(at, _)| at).chain([version.len()]);
                let versions = ends.filter_map(|end| version.get(..end));
                return Ok(versions.map(|version| reference::matching_uri(&format!("{url}|{version}"))).collect());
            }
            _ => {}
        }
        match self.modifier {
            None => Ok(vec![reference::matching_uri(uri)]),
            Some("below") => Ok(vec![reference::matching_uri_start(self.startable(uri, URL_MAX)?)]),
            Some("above") => {
                let host = uri.find("://").map_or(0, |at| at + 3);
                let ends = uri.match_indices('/').map(|(at, _)| at).filter(|at| *at > host);
                let starts = ends.chain([uri.len()]).flat_map(|end| [uri.get(..end), uri.get(..=end)]).flatten();
                Ok(starts.map(reference::matching_uri).collect())
            }
            Some(_) => Err(self.bad_modifier()),
        }
    }

    fn composite(self, text: &str) -> Ranges {
        if self.modifier.is_some() {
            return Err(self.bad_modifier());
        }
        let (values, components) = (split(text, '$'), &self.parameter.components);
        if values.len() != components.len() {
            return Err(self.malformed("made of as many parts as the parameter has, separated by `$`"));
        }
        let mut whole: Option<(ParamType, Vec<KeyRange>)> = None;
        let mut shapes = Vec::new();
        for ((url, _), value) in components.iter().zip(values) {
            let part = definitions::r4().search_parameter_by_url(url);
            let param_type = part.ok_or_else(|| self.bad_modifier())?.param_type;
            let ranges = self.simple(param_type, value)?;
            if param_type == ParamType::Token && ranges.iter().any(|range| range.from.first() != Some(&b'c')) {
                return Err(self.malformed("one whose codes are code or system|code"));
            }
            whole = Some(match whole {
                None => (param_type, ranges),
                Some((before, starts)) => {
                    shapes.extend_from_slice(shape(before));
                    let pairs = starts.iter().flat_map(|start| ranges.iter().map(move |range| (start, range)));
                    let joined = pairs.map(|(start, range)| start.clone().then(&shapes, range.clone())).collect();
                    (param_type, joined)
                }
            });
        }
        whole.map(|(_, ranges)| ranges).ok_or_else(|| self.bad_modifier())
    }
}
