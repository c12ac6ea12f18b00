//! Resources as trees, to hold what comes back against what was sent: text of numbers, text of strings, order of members.

use super::Answer;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::{Object, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// The bytes as a tree.
#[track_caller]
pub fn tree(bytes: &[u8]) -> Value<'_> {
    parse(bytes, 200).unwrap_or_else(|error| panic!("{error}"))
}

impl Answer {
    /// The resource of the body, as a tree.
    #[track_caller]
    pub fn tree(&self) -> Object<'_> {
        match tree(self.bytes()) {
            Value::Object(object) => object,
            other => panic!("a resource, not {}", other.kind()),
        }
    }
}

/// What the `fullUrl`s of a transaction became: `urn:uuid:…` -> `Patient/1`.
pub type Links = HashMap<String, String>;

/// The first difference between a resource as it was sent and as it came back: `None` where the server has set `id`,
/// `meta.versionId` and `meta.lastUpdated`, replaced the links in references and narratives, and changed nothing else.
pub fn difference(sent: &Object<'_>, got: &Object<'_>, links: &Links) -> Option<String> {
    let (sent, got) = (without_stamps(sent), without_stamps(got));
    let place = sent.resource_type().unwrap_or("?").to_owned();
    of_objects(&sent, &got, links, &place)
}

/// Without what the server sets: the id, the version and the time. A meta that holds nothing else goes too.
fn without_stamps<'a>(resource: &Object<'a>) -> Object<'a> {
    let mut resource = resource.clone();
    resource.remove("id");
    let meta = resource.remove("meta");
    if let Some(Value::Object(mut meta)) = meta {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        if !meta.is_empty() {
            // Where meta stands is the server's choice.
            resource.insert_at(1, "meta", Value::Object(meta));
        }
    }
    resource
}

fn of_objects(sent: &Object<'_>, got: &Object<'_>, links: &Links, place: &str) -> Option<String> {
    let names = |object: &Object<'_>| object.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    if names(sent) != names(got) {
        return Some(format!("{place}: members {:?} became {:?}", names(sent), names(got)));
    }
    sent.iter().zip(got.iter()).find_map(|((name, sent), (_, got))| of_values(sent, got, links, place, name))
}

fn of_values(sent: &Value<'_>, got: &Value<'_>, links: &Links, place: &str, name: &str) -> Option<String> {
    let place = format!("{place}.{name}");
    match (sent, got) {
        (Value::Object(sent), Value::Object(got)) => of_objects(sent, got, links, &place),
        (Value::Array(sent), Value::Array(got)) if sent.len() == got.len() => {
            sent.iter().zip(got).find_map(|(sent, got)| of_values(sent, got, links, &place, name))
        }
        (Value::String(sent), Value::String(got)) => {
            let expected = with_links(sent, links, name);
            (expected != *got).then(|| format!("{place}: {expected:?} became {got:?}"))
        }
        _ => (sent != got).then(|| format!("{place}: {sent:?} became {got:?}")),
    }
}

/// What a text becomes: a reference as a whole, a narrative in its links.
fn with_links<'t>(text: &'t str, links: &Links, name: &str) -> Cow<'t, str> {
    match name {
        "reference" => links.get(text).map_or(Cow::Borrowed(text), |link| Cow::Owned(link.clone())),
        "div" if links.keys().any(|url| text.contains(url.as_str())) => {
            let mut text = text.to_owned();
            for (url, link) in links {
                for attribute in ["href=\"", "src=\""] {
                    text = text.replace(&format!("{attribute}{url}\""), &format!("{attribute}{link}\""));
                }
            }
            Cow::Owned(text)
        }
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pharos::tree;

    fn differs(sent: &Value<'_>, got: &Value<'_>) -> bool {
        let links = Links::from([("urn:uuid:a".to_owned(), "Patient/1".to_owned())]);
        difference(sent.as_object().unwrap(), got.as_object().unwrap(), &links).is_some()
    }

    #[test]
    fn only_stamps_and_links_may_differ() {
        let one = Value::Number(Cow::Borrowed("1.00"));
        let sent = tree!({ "resourceType": "Basic", "id": "x", "subject": { "reference": "urn:uuid:a" }, "n": (one.clone()),
            "text": { "div": "<a href=\"urn:uuid:a\">urn:uuid:a</a>" } });
        let got = |reference: &str, number: Value<'static>| {
            let reference = reference.to_owned();
            tree!({ "resourceType": "Basic", "id": "y", "meta": { "versionId": "1", "lastUpdated": "2020" },
                "subject": { "reference": (reference) }, "n": (number),
                "text": { "div": "<a href=\"Patient/1\">urn:uuid:a</a>" } })
        };
        assert!(!differs(&sent, &got("Patient/1", one.clone())));
        assert!(differs(&sent, &got("urn:uuid:a", one)));
        assert!(differs(&sent, &got("Patient/1", Value::Number(Cow::Borrowed("1.0")))));
        assert!(differs(&tree!({ "a": 1, "b": 2 }), &tree!({ "b": 2, "a": 1 })));
        assert!(differs(&tree!({ "a": [1] }), &tree!({ "a": [1, 1] })));
        let tagged = tree!({ "resourceType": "Basic", "meta": { "versionId": "7", "source": "s" } });
        assert!(differs(&tagged, &tree!({ "resourceType": "Basic", "meta": { "versionId": "1" } })));
    }
}
