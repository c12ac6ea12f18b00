//! References between the resources of a transaction, and what they become when the server gives these their ids.
//!
//! <https://hl7.org/fhir/R4/http.html#trules>: links are replaced in `Reference.reference`, in elements of type uri, url, oid
//! and uuid, and in `href` and `src` of the narrative; never in elements of type canonical. Relative references are resolved
//! against the `fullUrl` of their entry first (<https://hl7.org/fhir/R4/bundle.html#references>).

use super::narrative::replace_links;
use super::place::{Place, strings, strings_mut};
use super::reference::{Literal, Reference};
use super::tree::Object;
use std::borrow::Cow;
use std::collections::HashMap;

/// What the `fullUrl`s and the conditional references of a transaction stand for.
///
/// The keys come from the client: the maps hash with a random key, so that nobody can make them slow.
#[derive(Debug, Default)]
pub struct Links {
    targets: HashMap<Box<str>, Target>,
    conditional: HashMap<Box<str>, Box<str>>,
}

#[derive(Debug)]
struct Target {
    reference: Box<str>,
    version: Option<u64>,
}

/// What a rewrite did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// How many links were replaced.
    pub replaced: usize,
    /// How many version-specific links were left as they are, because their target's version is not known. With the versions
    /// given, a second run replaces them.
    pub without_version: usize,
}

impl Links {
    /// Says what a `fullUrl` stands for: `reference` is `Type/id`; `version` is the one that the transaction makes, and may be
    /// left out unless a version-specific reference needs it. False where this `fullUrl` was there already.
    pub fn insert(&mut self, full_url: &str, reference: &str, version: Option<u64>) -> bool {
        self.targets.insert(full_url.into(), Target { reference: reference.into(), version }).is_none()
    }

    /// Says what a conditional reference (its whole text, `Patient?identifier=…`) stands for.
    pub fn insert_conditional(&mut self, text: &str, reference: &str) {
        self.conditional.insert(text.into(), reference.into());
    }

    /// Whether there is nothing to replace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.conditional.is_empty()
    }

    /// What a link becomes. `base` is that of the entry's `fullUrl`, for relative links.
    fn find(&self, text: &str, base: Option<&str>) -> Found {
        let (url, fragment) = text.find('#').map_or((text, ""), |at| text.split_at(at));
        let (url, version) = url.rsplit_once("/_history/").map_or((url, None), |(url, version)| (url, Some(version)));
        let target = if is_absolute(url) {
            self.targets.get(url)
        } else {
            base.and_then(|base| Some(relative(url)?.on(base))).and_then(|url| self.targets.get(url.as_str()))
        };
        match (target, version) {
            (None, _) => Found::Nothing,
            (Some(target), None) => Found::Link(format!("{}{fragment}", target.reference)),
            (Some(Target { version: None, .. }), Some(_)) => Found::NeedsVersion,
            (Some(Target { reference, version: Some(version) }), Some(_)) => {
                Found::Link(format!("{reference}/_history/{version}{fragment}"))
            }
        }
    }
}

enum Found {
    Nothing,
    Link(String),
    NeedsVersion,
}

/// Whether a text can be a `fullUrl`: these are absolute.
fn is_absolute(text: &str) -> bool {
    text.starts_with("urn:") || text.contains("://")
}

fn relative(text: &str) -> Option<Literal<'_>> {
    match Reference::parse(text) {
        Reference::Relative(literal) => Some(literal),
        _ => None,
    }
}

/// Replaces all links of a resource, whose entry has the `fullUrl` given. Conditional references without an entry in
/// `links` are left as they are.
pub fn rewrite(resource: &mut Object<'_>, links: &Links, full_url: Option<&str>) -> Rewritten {
    let mut done = Rewritten::default();
    if links.is_empty() {
        return done;
    }
    let base = match full_url.map(Reference::parse) {
        Some(Reference::Absolute { base, .. }) => Some(base),
        _ => None,
    };
    strings_mut(resource, &mut |place, text| {
        if let Some(new) = new_text(place, text, links, base, &mut done) {
            *text = Cow::Owned(new);
            done.replaced += 1;
        }
    });
    done
}

fn new_text(place: &Place<'_>, text: &str, links: &Links, base: Option<&str>, done: &mut Rewritten) -> Option<String> {
    match place.member() {
        "reference" if text.contains('?') => {
            let found = links.conditional.get(text)?;
            place.is_literal_reference().then(|| found.to_string())
        }
        "div" if text.contains('<') => {
            let is_xhtml = place.definition().is_some_and(|definition| definition.name == "xhtml");
            let mut replace = |link: &str| taken(links.find(link, base), done);
            is_xhtml.then(|| replace_links(text, &mut replace)).flatten()
        }
        "reference" if is_absolute(text) || base.is_some() => match links.find(text, base) {
            Found::Nothing => None,
            found if place.is_literal_reference() || is_link_type(place) => taken(found, done),
            _ => None,
        },
        _ if is_absolute(text) => match links.find(text, None) {
            Found::Nothing => None,
            found if is_link_type(place) => taken(found, done),
            _ => None,
        },
        _ => None,
    }
}

fn taken(found: Found, done: &mut Rewritten) -> Option<String> {
    match found {
        Found::Link(link) => Some(link),
        Found::NeedsVersion => {
            done.without_version += 1;
            None
        }
        Found::Nothing => None,
    }
}

/// Whether the element is a uri, url, oid or uuid. A canonical is derived from uri, but is not one of them.
fn is_link_type(place: &Place<'_>) -> bool {
    place.definition().is_some_and(|definition| matches!(definition.name, "uri" | "url" | "oid" | "uuid"))
}

/// The conditional references of a resource (`Patient?identifier=…`), each with its whole text, in order, as often as they
/// stand there.
#[must_use]
pub fn conditional_references<'v>(resource: &'v Object<'_>) -> Vec<&'v str> {
    let mut found = Vec::new();
    strings(resource, &mut |place, text| {
        if place.member() == "reference"
            && text.contains('?')
            && matches!(Reference::parse(text), Reference::Conditional { .. })
            && place.is_literal_reference()
        {
            found.push(text);
        }
    });
    found
}

/// Visits the text of every `Reference.reference` in a resource, those in extensions and contained resources included.
/// The place is that of `reference` itself: `Observation.subject.reference`.
pub fn references<'v>(resource: &'v Object<'_>, mut visit: impl FnMut(&Place<'_>, &'v str)) {
    strings(resource, &mut |place, text| {
        if place.is_literal_reference() {
            visit(place, text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::tree::Value;
    use crate::tree;

    fn links() -> Links {
        let mut links = Links::default();
        assert!(links.insert("urn:uuid:a", "Patient/1", Some(3)));
        assert!(links.insert("urn:oid:1.2", "Device/2", None));
        assert!(links.insert("http://old.org/fhir/Patient/9", "Patient/1", Some(3)));
        links
    }

    fn rewritten(mut resource: Value<'static>, full_url: Option<&str>) -> (Value<'static>, Rewritten) {
        let done = rewrite(resource.as_object_mut().unwrap(), &links(), full_url);
        (resource, done)
    }

    fn counts(replaced: usize, without_version: usize) -> Rewritten {
        Rewritten { replaced, without_version }
    }

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let (resource, done) = rewritten(
            tree!({
                "resourceType": "Observation",
                "contained": [{ "resourceType": "Patient", "link": [{ "other": { "reference": "urn:uuid:a" } }] }],
                "extension": [{ "url": "http://x", "valueReference": { "reference": "urn:oid:1.2" } }],
                "subject": { "reference": "urn:uuid:a", "display": "urn:uuid:a" },
                "performer": [{ "reference": "http://old.org/fhir/Patient/9" }, { "reference": "http://other.org/Patient/9" }],
                "_status": { "extension": [{ "url": "http://x", "valueReference": { "reference": "urn:uuid:a" } }] },
                "hasMember": [{ "reference": "#urn:uuid:a" }]
            }),
            None,
        );
        assert_eq!(
            resource,
            tree!({
                "resourceType": "Observation",
                "contained": [{ "resourceType": "Patient", "link": [{ "other": { "reference": "Patient/1" } }] }],
                "extension": [{ "url": "http://x", "valueReference": { "reference": "Device/2" } }],
                "subject": { "reference": "Patient/1", "display": "urn:uuid:a" },
                "performer": [{ "reference": "Patient/1" }, { "reference": "http://other.org/Patient/9" }],
                "_status": { "extension": [{ "url": "http://x", "valueReference": { "reference": "Patient/1" } }] },
                "hasMember": [{ "reference": "#urn:uuid:a" }]
            })
        );
        assert_eq!(done, counts(5, 0));
    }

    #[test]
    fn links_are_replaced_by_type_and_canonicals_never() {
        let (resource, done) = rewritten(
            tree!({
                "resourceType": "Basic",
                "implicitRules": "urn:uuid:a",
                "meta": { "source": "http://old.org/fhir/Patient/9", "profile": ["urn:uuid:a"] },
                "extension": [
                    { "url": "http://x", "valueUri": "urn:uuid:a" },
                    { "url": "http://x", "valueUrl": "http://old.org/fhir/Patient/9" },
                    { "url": "http://x", "valueUuid": "urn:uuid:a" },
                    { "url": "http://x", "valueOid": "urn:oid:1.2" },
                    { "url": "http://x", "valueCanonical": "urn:uuid:a" },
                    { "url": "http://x", "valueString": "urn:uuid:a" },
                    { "url": "http://x", "valueIdentifier": { "system": "urn:ietf:rfc:3986", "value": "urn:uuid:a" } }
                ]
            }),
            None,
        );
        assert_eq!(
            resource,
            tree!({
                "resourceType": "Basic",
                "implicitRules": "Patient/1",
                "meta": { "source": "Patient/1", "profile": ["urn:uuid:a"] },
                "extension": [
                    { "url": "http://x", "valueUri": "Patient/1" },
                    { "url": "http://x", "valueUrl": "Patient/1" },
                    { "url": "http://x", "valueUuid": "Patient/1" },
                    { "url": "http://x", "valueOid": "Device/2" },
                    { "url": "http://x", "valueCanonical": "urn:uuid:a" },
                    { "url": "http://x", "valueString": "urn:uuid:a" },
                    { "url": "http://x", "valueIdentifier": { "system": "urn:ietf:rfc:3986", "value": "urn:uuid:a" } }
                ]
            })
        );
        assert_eq!(done, counts(6, 0));
    }

    #[test]
    fn version_specific_references_stay_so() {
        let reference = |text: &'static str| {
            let given = tree!({ "resourceType": "Provenance", "target": [{ "reference": (text) }] });
            let (resource, done) = rewritten(given, None);
            let found =
                resource.get("target").unwrap().items()[0].get("reference").unwrap().as_str().unwrap().to_owned();
            (found, done)
        };
        assert_eq!(
            reference("http://old.org/fhir/Patient/9/_history/77"),
            ("Patient/1/_history/3".into(), counts(1, 0))
        );
        assert_eq!(reference("urn:uuid:a/_history/1"), ("Patient/1/_history/3".into(), counts(1, 0)));
        assert_eq!(reference("urn:oid:1.2/_history/1"), ("urn:oid:1.2/_history/1".into(), counts(0, 1)));
        assert_eq!(reference("http://old.org/fhir/Patient/9#part"), ("Patient/1#part".into(), counts(1, 0)));
    }

    #[test]
    fn relative_references_are_resolved_against_the_entry() {
        let given = tree!({ "resourceType": "Encounter", "subject": { "reference": "Patient/9" } });
        let subject = |resource: &Value<'_>| {
            resource.get("subject").unwrap().get("reference").unwrap().as_str().unwrap().to_owned()
        };
        let of_same_server = rewritten(given.clone(), Some("http://old.org/fhir/Encounter/5"));
        assert_eq!((subject(&of_same_server.0), of_same_server.1), ("Patient/1".into(), counts(1, 0)));
        let of_another = rewritten(given.clone(), Some("http://new.org/fhir/Encounter/5"));
        assert_eq!(subject(&of_another.0), "Patient/9");
        assert_eq!(subject(&rewritten(given, Some("urn:uuid:b")).0), "Patient/9");
    }

    #[test]
    fn the_narrative_is_rewritten_in_its_attributes_only() {
        let (resource, done) = rewritten(
            tree!({
                "resourceType": "Patient",
                "text": { "status": "generated", "div": "<div>urn:uuid:a <a href='urn:uuid:a'>x</a><img src=\"urn:oid:1.2\"/></div>" },
                "extension": [{ "url": "http://x", "valueString": "<a href=\"urn:uuid:a\"/>" }]
            }),
            None,
        );
        assert_eq!(
            resource.get("text").unwrap().get("div").unwrap().as_str(),
            Some("<div>urn:uuid:a <a href='Patient/1'>x</a><img src=\"Device/2\"/></div>")
        );
        assert_eq!(
            resource.get("extension").unwrap().items()[0].get("valueString").unwrap().as_str(),
            Some("<a href=\"urn:uuid:a\"/>")
        );
        assert_eq!(done.replaced, 1);
    }

    #[test]
    fn conditional_references_are_found_and_replaced() {
        let mut resource = tree!({
            "resourceType": "Observation",
            "subject": { "reference": "Patient?identifier=a|1" },
            "performer": [{ "reference": "Practitioner?identifier=b" }, { "reference": "http://x.org/Patient?name=a" }],
            "note": [{ "text": "Patient?identifier=a|1" }]
        });
        let object = resource.as_object_mut().unwrap();
        assert_eq!(conditional_references(object), ["Patient?identifier=a|1", "Practitioner?identifier=b"]);
        let mut links = Links::default();
        links.insert_conditional("Patient?identifier=a|1", "Patient/7");
        assert_eq!(rewrite(object, &links, None), counts(1, 0));
        assert_eq!(conditional_references(object), ["Practitioner?identifier=b"]);
        assert_eq!(object.get("subject").unwrap().get("reference").unwrap().as_str(), Some("Patient/7"));
    }

    #[test]
    fn references_are_visited_with_their_places() {
        let resource = tree!({
            "resourceType": "Observation",
            "subject": { "reference": "Patient/1" },
            "contained": [{ "resourceType": "Device", "owner": { "reference": "Organization/1" } }],
            "extension": [{ "url": "http://x", "valueReference": { "reference": "#a" } }]
        });
        let mut seen = Vec::new();
        references(resource.as_object().unwrap(), |place, text| seen.push(format!("{place} {text}")));
        assert_eq!(
            seen,
            [
                "Observation.subject.reference Patient/1",
                "Observation.contained[0].owner.reference Organization/1",
                "Observation.extension[0].value.reference #a"
            ]
        );
    }

    #[test]
    fn a_full_url_counts_once_and_no_links_mean_no_work() {
        assert!(!links().insert("urn:uuid:a", "Patient/2", None));
        let mut resource = tree!({ "resourceType": "Patient" });
        assert_eq!(rewrite(resource.as_object_mut().unwrap(), &Links::default(), None), counts(0, 0));
    }
}
