//! The text of a `Reference.reference`: what it points to, without a copy.
//!
//! <https://hl7.org/fhir/R4/references.html#literal>, <https://hl7.org/fhir/R4/http.html#trules> for conditional ones.

use std::fmt;

/// What the text of a reference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `#id`: a contained resource, without the `#`; the empty text means the containing resource.
    Fragment(&'a str),
    /// `Type/id` or `Type/id/_history/version`, on the same server.
    Relative(Literal<'a>),
    /// The same on a server that is named: `base` has no slash at its end.
    Absolute {
        /// The address of the server, `http://…` or `https://…`.
        base: &'a str,
        /// The rest.
        literal: Literal<'a>,
    },
    /// `urn:uuid:…`, without the prefix.
    Uuid(&'a str),
    /// `urn:oid:…`, without the prefix.
    Oid(&'a str),
    /// `Type?criteria`: to be resolved by a search when a transaction is processed.
    Conditional {
        /// The resource type.
        type_name: &'a str,
        /// The query, as it was sent.
        criteria: &'a str,
    },
    /// Any other `http://…` or `https://…`.
    Url(&'a str),
    /// Anything else.
    Other(&'a str),
}

/// `Type/id`, with or without a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Literal<'a> {
    /// The resource type; of the form of a type's name, whether or not there is such a type.
    pub type_name: &'a str,
    /// The logical id.
    pub id: &'a str,
    /// The version, where the reference is version-specific.
    pub version: Option<&'a str>,
}

/// Whether a text has the form of FHIR's `id`: 1 to 64 of letters, digits, `-` and `.`.
///
/// <https://hl7.org/fhir/R4/datatypes.html#id>
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Whether a text has the form of a resource type's name: letters, the first of them upper case.
#[must_use]
pub fn has_type_form(text: &str) -> bool {
    text.bytes().next().is_some_and(|first| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

impl<'a> Reference<'a> {
    /// Reads a reference; every text is one of the forms.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        if let Some(id) = text.strip_prefix('#') {
            return Self::Fragment(id);
        }
        if let Some(uuid) = text.strip_prefix("urn:uuid:") {
            return Self::Uuid(uuid);
        }
        if let Some(oid) = text.strip_prefix("urn:oid:") {
            return Self::Oid(oid);
        }
        if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
            return Self::parse_url(text, text.len() - rest.len());
        }
        if let Some((type_name, criteria)) = text.split_once('?') {
            let is_conditional = has_type_form(type_name);
            return if is_conditional { Self::Conditional { type_name, criteria } } else { Self::Other(text) };
        }
        match Literal::parse_end(text) {
            Some(("", literal)) => Self::Relative(literal),
            _ => Self::Other(text),
        }
    }

    /// `scheme` is the length of `http://` or `https://`.
    fn parse_url(text: &'a str, scheme: usize) -> Self {
        match Literal::parse_end(text) {
            Some((base, literal)) if base.len() > scheme => Self::Absolute { base, literal },
            _ => Self::Url(text),
        }
    }

    /// The same reference as a server at `base` (no slash at its end) sees it: its own address is left out.
    #[must_use]
    pub fn relative_to(self, own_base: &str) -> Self {
        match self {
            Self::Absolute { base, literal } if base == own_base => Self::Relative(literal),
            other => other,
        }
    }

    /// Type, id and version, where this is a relative or an absolute reference.
    #[must_use]
    pub const fn literal(&self) -> Option<Literal<'a>> {
        match self {
            Self::Relative(literal) | Self::Absolute { literal, .. } => Some(*literal),
            _ => None,
        }
    }
}

impl<'a> Literal<'a> {
    /// Splits `…/Type/id[/_history/version]` into what stands before the type (without its slash) and the literal.
    fn parse_end(text: &'a str) -> Option<(&'a str, Self)> {
        let (before, last) = text.rsplit_once('/')?;
        let (before, id, version) = match before.strip_suffix("/_history") {
            Some(before) => {
                let (before, id) = before.rsplit_once('/')?;
                (before, id, Some(last))
            }
            None => (before, last, None),
        };
        let (base, type_name) = before.rsplit_once('/').unwrap_or(("", before));
        let good = has_type_form(type_name) && is_id(id) && version.is_none_or(is_id);
        // A text that starts with a slash is no relative reference.
        let rooted = base.is_empty() && before.len() != type_name.len();
        (good && !rooted).then_some((base, Self { type_name, id, version }))
    }

    /// The absolute URL on a server at `base`, which may end in a slash.
    #[must_use]
    pub fn on(&self, base: &str) -> String {
        format!("{}/{self}", base.trim_end_matches('/'))
    }

    /// The same without a version.
    #[must_use]
    pub const fn unversioned(self) -> Self {
        Self { version: None, ..self }
    }
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.type_name, self.id)?;
        self.version.map_or(Ok(()), |version| write!(f, "/_history/{version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reference::{Absolute, Conditional, Fragment, Oid, Other, Relative, Url, Uuid};

    const fn literal<'a>(type_name: &'a str, id: &'a str, version: Option<&'a str>) -> Literal<'a> {
        Literal { type_name, id, version }
    }

    #[test]
    fn every_form_is_told_apart() {
        let cases = [
            ("#p1", Fragment("p1")),
            ("#", Fragment("")),
            ("Patient/1", Relative(literal("Patient", "1", None))),
            ("Patient/a-b.c/_history/2", Relative(literal("Patient", "a-b.c", Some("2")))),
            ("http://x.org/Patient/1", Absolute { base: "http://x.org", literal: literal("Patient", "1", None) }),
            (
                "https://x.org:8080/t/a/fhir/Patient/1/_history/7",
                Absolute { base: "https://x.org:8080/t/a/fhir", literal: literal("Patient", "1", Some("7")) },
            ),
            ("urn:uuid:c757873d-ec9a", Uuid("c757873d-ec9a")),
            ("urn:oid:1.2.3", Oid("1.2.3")),
            ("Patient?identifier=a|b", Conditional { type_name: "Patient", criteria: "identifier=a|b" }),
            ("http://hl7.org/fhir/ValueSet/", Url("http://hl7.org/fhir/ValueSet/")),
            ("http://x.org/Patient?identifier=1", Url("http://x.org/Patient?identifier=1")),
            ("http://Patient/1", Url("http://Patient/1")),
            ("https://x.org", Url("https://x.org")),
            ("patient?name=a", Other("patient?name=a")),
            ("Patient", Other("Patient")),
            ("Patient/", Other("Patient/")),
            ("/Patient/1", Other("/Patient/1")),
            ("a/Patient/1", Other("a/Patient/1")),
            ("Patient/a b", Other("Patient/a b")),
            ("Patient/1/_history/", Other("Patient/1/_history/")),
            ("Patient/_history/1", Other("Patient/_history/1")),
            ("Patient/1/", Other("Patient/1/")),
            ("mailto:a@b.c", Other("mailto:a@b.c")),
            ("", Other("")),
        ];
        for (text, expected) in cases {
            assert_eq!(Reference::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_form_of_an_id() {
        assert!(is_id("A-z.09") && is_id(&"x".repeat(64)));
        for bad in ["", "a_b", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_server_knows_itself() {
        let own = "http://x.org/fhir";
        assert_eq!(
            Reference::parse("http://x.org/fhir/Patient/1").relative_to(own),
            Relative(literal("Patient", "1", None))
        );
        let foreign = Reference::parse("http://y.org/fhir/Patient/1");
        assert_eq!(foreign.relative_to(own), foreign);
    }

    #[test]
    fn a_literal_is_written_as_it_was_read() {
        for text in ["Patient/1", "Patient/1/_history/2"] {
            let found = Reference::parse(text).literal().unwrap();
            assert_eq!(found.to_string(), text);
            assert_eq!(found.on("http://x.org/fhir/"), format!("http://x.org/fhir/{text}"));
            assert_eq!(found.unversioned().to_string(), "Patient/1");
        }
        assert_eq!(Reference::parse("#a").literal(), None);
    }
}
