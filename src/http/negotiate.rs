//! Which format a client accepts, which one it sends, and how it wants the answer shown.
//!
//! <https://hl7.org/fhir/R4/http.html#mime-type>, <https://hl7.org/fhir/R4/http.html#parameters>,
//! RFC 9110 section 12.5.1 for `Accept`.

use crate::error::{Category, Error, Issue, Result};

/// The media types under which the server writes JSON, the preferred one first.
const JSON_TYPES: [&str; 3] = ["application/fhir+json", "application/json", "text/json"];

/// The `Content-Type` of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// One of [`JSON_TYPES`].
    media_type: &'static str,
    /// Whether the client named the FHIR version, which the answer then does too.
    with_version: bool,
}

impl Accepted {
    /// What is sent to clients that have no wish of their own.
    pub const DEFAULT: Self = Self { media_type: "application/fhir+json", with_version: false };

    /// The value of the header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match (self.media_type, self.with_version) {
            ("application/json", false) => "application/json; charset=utf-8",
            ("application/json", true) => "application/json; charset=utf-8; fhirVersion=4.0",
            ("text/json", false) => "text/json; charset=utf-8",
            ("text/json", true) => "text/json; charset=utf-8; fhirVersion=4.0",
            (_, false) => "application/fhir+json; charset=utf-8",
            (_, true) => "application/fhir+json; charset=utf-8; fhirVersion=4.0",
        }
    }
}

/// Decides the format of the answer from the `Accept` headers (joined with commas) and the parameter `_format`, which
/// overrides them. `_format` may have come with its `+` read as a blank.
///
/// # Errors
/// [`Category::NotAcceptable`] (406) where only formats or FHIR versions are accepted that the server does not speak.
pub fn accepted(accept: Option<&str>, format: Option<&str>) -> Result<Accepted> {
    match (format.map(str::trim).filter(|text| !text.is_empty()), accept.map(str::trim)) {
        (Some(format), _) => from_format(format).ok_or_else(|| not_acceptable("_format")),
        (None, None | Some("")) => Ok(Accepted::DEFAULT),
        (None, Some(accept)) => from_accept(accept).ok_or_else(|| not_acceptable("Accept")),
    }
}

/// How much a client wants `media_type` (such as a Binary's own), in thousandths; 0 where it is not acceptable.
/// The most specific range that covers it decides.
#[must_use]
pub fn quality(accept: &str, media_type: &str) -> u16 {
    ranges(accept)
        .filter_map(|range| Some((range.covers(media_type)?, range.quality)))
        .max()
        .map_or(0, |(_, quality)| quality)
}

fn from_format(format: &str) -> Option<Accepted> {
    let range = MediaRange::parse(format);
    if !range.version_is_r4() {
        return None;
    }
    let name = range.name.replace(' ', "+").to_ascii_lowercase();
    let media_type = JSON_TYPES.iter().find(|known| **known == name).copied();
    let media_type = media_type.or_else(|| (name == "json").then_some(Accepted::DEFAULT.media_type))?;
    Some(Accepted { media_type, with_version: range.has_version() })
}

fn from_accept(accept: &str) -> Option<Accepted> {
    let mut best: Option<(u16, Accepted)> = None;
    for media_type in JSON_TYPES {
        let covering = ranges(accept).filter(MediaRange::version_is_r4);
        let Some((_, range)) = covering.filter_map(|r| Some((r.covers(media_type)?, r))).max_by_key(|(how, _)| *how)
        else {
            continue;
        };
        if range.quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((range.quality, Accepted { media_type, with_version: range.has_version() }));
        }
    }
    best.map(|(_, accepted)| accepted)
}

fn not_acceptable(what: &str) -> Error {
    let text = format!(
        "{what} asks for a format that is not supported: the server answers application/fhir+json of FHIR 4.0."
    );
    Error::new(Category::NotAcceptable, "not-supported", text)
}

/// What kind of body a request says to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// A resource in JSON.
    Resource,
    /// A JSON Patch (RFC 6902).
    JsonPatch,
    /// `application/x-www-form-urlencoded`: the parameters of a search.
    Form,
}

/// Reads `Content-Type`: JSON under any of its names, a JSON Patch, or a form.
///
/// # Errors
/// [`Category::UnsupportedMediaType`] (415) for anything else: XML, another FHIR version, another character set than UTF-8,
/// or no type at all.
pub fn body_format(content_type: Option<&str>) -> Result<BodyFormat> {
    let Some(text) = content_type.map(str::trim).filter(|text| !text.is_empty()) else {
        return Err(unsupported("The request has a body but no Content-Type."));
    };
    let media = MediaRange::parse(text);
    if media
        .charset()
        .is_some_and(|charset| !["utf-8", "utf8", "us-ascii"].contains(&charset.to_ascii_lowercase().as_str()))
    {
        return Err(unsupported("The body must be encoded in UTF-8."));
    }
    if !media.version_is_r4() {
        return Err(unsupported("The server speaks FHIR 4.0; another fhirVersion is not supported."));
    }
    match media.name.to_ascii_lowercase().as_str() {
        name if JSON_TYPES.contains(&name) => Ok(BodyFormat::Resource),
        "application/json-patch+json" => Ok(BodyFormat::JsonPatch),
        "application/x-www-form-urlencoded" => Ok(BodyFormat::Form),
        _ => Err(unsupported("The format of the body is not supported: send application/fhir+json.")),
    }
}

/// Requires one of the kinds of body that an interaction takes.
///
/// # Errors
/// Those of [`body_format`], and 415 for another kind.
pub fn require(content_type: Option<&str>, formats: &[BodyFormat]) -> Result<()> {
    if formats.contains(&body_format(content_type)?) {
        Ok(())
    } else {
        Err(unsupported("This interaction takes another kind of body."))
    }
}

fn unsupported(text: &'static str) -> Error {
    Error::from_issues(Category::UnsupportedMediaType, vec![Issue::error("not-supported", text)])
}

/// The parameter `_pretty`; empty is false.
///
/// # Errors
/// 400 for anything but `true` and `false`.
pub fn pretty(value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err(Error::invalid("_pretty must be true or false.")),
    }
}

/// One media type or range of media types with its parameters.
#[derive(Debug, Clone, Copy)]
struct MediaRange<'a> {
    name: &'a str,
    parameters: &'a str,
    /// In thousandths.
    quality: u16,
}

fn ranges(accept: &str) -> impl Iterator<Item = MediaRange<'_>> {
    accept.split(',').map(str::trim).filter(|text| !text.is_empty()).map(MediaRange::parse)
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Self {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut range = Self { name: name.trim(), parameters, quality: 1000 };
        if let Some(q) = range.parameter("q") {
            range.quality = parse_quality(q);
        }
        range
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let named = |pair: &'a str| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        };
        self.parameters.split(';').find_map(named)
    }

    fn charset(&self) -> Option<&'a str> {
        self.parameter("charset")
    }

    fn has_version(&self) -> bool {
        self.parameter("fhirVersion").is_some()
    }

    /// Whether the parameter `fhirVersion` is absent or says R4: "4.0" (a full version is understood too).
    fn version_is_r4(&self) -> bool {
        self.parameter("fhirVersion").is_none_or(|version| matches!(version, "4.0" | "4.0.0" | "4.0.1"))
    }

    /// How closely this range covers a media type: exactly, by its main type, or as `*/*`.
    fn covers(&self, media_type: &str) -> Option<u8> {
        if self.name.eq_ignore_ascii_case(media_type) {
            return Some(if self.has_version() { 3 } else { 2 });
        }
        match self.name.split_once('/') {
            Some(("*", "*")) => Some(0),
            Some((main, "*")) => {
                let (given, _) = media_type.split_once('/')?;
                main.eq_ignore_ascii_case(given).then_some(1)
            }
            // Some clients send a lone star.
            None if self.name == "*" => Some(0),
            _ => None,
        }
    }
}

/// `0`, `0.8`, `.2`, `1.000` in thousandths; what is malformed counts as 1.
fn parse_quality(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u16>()) {
        ("0" | "", Ok(thousandths)) => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_for(accept: &str) -> Option<&'static str> {
        accepted(Some(accept), None).ok().map(|accepted| accepted.media_type)
    }

    #[test]
    fn accept_is_honoured() {
        let cases = [
            ("", Some("application/fhir+json")),
            ("*/*", Some("application/fhir+json")),
            ("*", Some("application/fhir+json")),
            ("application/*", Some("application/fhir+json")),
            ("text/*", Some("text/json")),
            ("application/json", Some("application/json")),
            ("APPLICATION/JSON", Some("application/json")),
            ("text/json;q=0.5", Some("text/json")),
            ("application/json, application/fhir+json;q=0.9", Some("application/json")),
            ("application/json, application/fhir+json", Some("application/fhir+json")),
            ("application/fhir+xml, application/fhir+json;q=0.1", Some("application/fhir+json")),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
                Some("application/fhir+json"),
            ),
            ("text/html, image/gif, *; q=.2, */*; q=.2", Some("application/fhir+json")),
            ("*/*, application/fhir+json;q=0", Some("application/json")),
            ("application/fhir+xml", None),
            ("application/xml", None),
            ("text/html", None),
            ("application/fhir+json;q=0", None),
            ("application/fhir+turtle, text/xml;q=0.3", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(type_for(accept), expected, "{accept}");
        }
        assert_eq!(accepted(None, None).unwrap(), Accepted::DEFAULT);
        assert_eq!(accepted(Some("application/xml"), None).unwrap_err().category, Category::NotAcceptable);
    }

    #[test]
    fn the_fhir_version_is_honoured_and_echoed() {
        let right = accepted(Some("application/fhir+json; fhirVersion=4.0"), None).unwrap();
        assert_eq!(right.content_type(), "application/fhir+json; charset=utf-8; fhirVersion=4.0");
        assert_eq!(Accepted::DEFAULT.content_type(), "application/fhir+json; charset=utf-8");
        assert_eq!(type_for("application/fhir+json; fhirVersion=\"4.0\""), Some("application/fhir+json"));
        assert_eq!(type_for("application/fhir+json; fhirVersion=3.0"), None);
        assert_eq!(type_for("application/fhir+json; fhirVersion=5.0, application/json"), Some("application/json"));
    }

    #[test]
    fn format_overrides_accept() {
        let named = |format| accepted(Some("application/xml"), Some(format)).ok().map(|accepted| accepted.media_type);
        assert_eq!(named("json"), Some("application/fhir+json"));
        assert_eq!(named("application/fhir+json"), Some("application/fhir+json"));
        assert_eq!(named("application/fhir json"), Some("application/fhir+json"), "a plus that was read as a blank");
        assert_eq!(named("application/json"), Some("application/json"));
        assert_eq!(named("text/json"), Some("text/json"));
        assert_eq!(named("application/fhir+json;fhirVersion=4.0"), Some("application/fhir+json"));
        for wrong in ["xml", "application/fhir+xml", "text/xml", "ttl", "html", "application/fhir+json;fhirVersion=1.0"]
        {
            assert_eq!(named(wrong), None, "{wrong}");
        }
        assert!(accepted(Some("application/json"), Some("")).is_ok(), "an empty parameter is ignored");
    }

    #[test]
    fn the_type_of_the_body() {
        let cases = [
            ("application/fhir+json", Some(BodyFormat::Resource)),
            ("application/fhir+json;charset=UTF-8", Some(BodyFormat::Resource)),
            ("application/fhir+json; fhirVersion=4.0", Some(BodyFormat::Resource)),
            ("Application/JSON", Some(BodyFormat::Resource)),
            ("text/json", Some(BodyFormat::Resource)),
            ("application/json-patch+json", Some(BodyFormat::JsonPatch)),
            ("application/x-www-form-urlencoded; charset=utf-8", Some(BodyFormat::Form)),
            ("application/fhir+json; charset=iso-8859-1", None),
            ("application/fhir+json; fhirVersion=3.0", None),
            ("application/fhir+xml", None),
            ("text/plain", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(body_format(Some(text)).ok(), expected, "{text}");
        }
        assert_eq!(body_format(None).unwrap_err().category, Category::UnsupportedMediaType);
        assert!(require(Some("application/json"), &[BodyFormat::Resource]).is_ok());
        assert!(require(Some("application/json"), &[BodyFormat::Form]).is_err());
    }

    #[test]
    fn a_binary_is_negotiated_by_its_own_type() {
        assert_eq!(quality("image/png;q=0.7, */*;q=0.1", "image/png"), 700);
        assert_eq!(quality("image/*;q=0.75, */*;q=0.1", "image/png"), 750);
        assert_eq!(quality("application/fhir+json", "image/png"), 0);
    }

    #[test]
    fn pretty_is_a_boolean() {
        assert!(pretty("true").unwrap());
        assert!(!pretty("false").unwrap() && !pretty("").unwrap());
        assert!(pretty("yes").is_err());
    }
}
