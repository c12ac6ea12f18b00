//! The lines of the files: resources as they were at the moment of the export, and deletions.

use super::Asked;
use crate::error::{Error, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryRequest};
use crate::fhir::subset::{Elements, Subset};
use crate::store::{Rid, Version, View};
use memchr::memmem::Finder;

/// How a reference to the content of a Binary begins in minified JSON. (Inside of a string the quotes would have backslashes.)
const TO_BINARY: &[u8] = b"\"url\":\"Binary/";
const BEFORE_BINARY: usize = TO_BINARY.len() - b"Binary/".len();

/// Makes the lines of resources.
pub struct Lines {
    subset: Option<Subset>,
    base: String,
    to_binary: Finder<'static>,
}

impl Lines {
    /// As a request wants them.
    #[must_use]
    pub fn new(asked: &Asked) -> Self {
        let subset = asked.elements.as_deref().and_then(Elements::parse).map(Subset::Elements);
        Self { subset, base: format!("{}/", asked.base), to_binary: Finder::new(TO_BINARY) }
    }

    /// The JSON of a version: with the elements that are wanted, and absolute URLs of attachments that are Binaries here.
    /// <https://hl7.org/fhir/uv/bulkdata/export.html#attachments>
    ///
    /// # Errors
    /// For a deletion, and bytes that are damaged.
    pub fn of(&self, version: &Version) -> Result<Vec<u8>> {
        let body = version.body.as_ref().ok_or_else(|| Error::internal("a deletion among what is exported"))?;
        let json = body.unpack(version.version, version.time)?;
        let json = match &self.subset {
            Some(subset) => subset.apply_to_bytes(&json)?,
            None => json,
        };
        Ok(self.with_absolute_urls(json))
    }

    fn with_absolute_urls(&self, json: Vec<u8>) -> Vec<u8> {
        let mut places = self.to_binary.find_iter(&json).map(|at| at + BEFORE_BINARY).peekable();
        if places.peek().is_none() {
            return json;
        }
        let (mut out, mut from) = (Vec::with_capacity(json.len() + 2 * self.base.len()), 0);
        for place in places {
            out.extend_from_slice(json.get(from..place).unwrap_or_default());
            out.extend_from_slice(self.base.as_bytes());
            from = place;
        }
        out.extend_from_slice(json.get(from..).unwrap_or_default());
        out
    }
}

/// Deletions as a transaction: <https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest>.
#[must_use]
pub fn deletions<'u>(urls: impl IntoIterator<Item = &'u str>) -> Vec<u8> {
    let mut writer = BundleWriter::new(BundleType::Transaction, None);
    for url in urls {
        let request = Some(EntryRequest { method: "DELETE", url });
        writer.entry(&Entry { request, ..Entry::default() });
    }
    writer.finish()
}

/// The version of a resource that was current at a moment; nothing where it was erased since.
///
/// # Errors
/// When the store fails.
pub fn version_at(view: &dyn View, rid: Rid, moment: i64) -> Result<Option<Version>> {
    let Some(current) = view.current(rid)? else { return Ok(None) };
    // Entries of the ledger have one version; their time is no commit's.
    if current.time.0 <= moment || rid.entry().is_some() {
        return Ok(Some(current));
    }
    for number in (view.oldest(rid)?..current.version).rev() {
        match view.version(rid, number)? {
            Some(version) if version.time.0 <= moment => return Ok(Some(version)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Method, Rid, body::Body};

    fn lines(elements: Option<&str>) -> Lines {
        let asked = Asked {
            request: String::new(),
            base: "http://x/fhir".into(),
            moment: 0,
            lists: Vec::new(),
            organized_by: None,
            is_partial: false,
            elements: elements.map(str::to_owned),
            notes: Vec::new(),
            reach: std::collections::BTreeMap::new(),
        };
        Lines::new(&asked)
    }

    fn line(lines: &Lines, resource: &crate::fhir::tree::Value<'_>) -> String {
        let body = Some(Body::pack(resource.as_object().unwrap()));
        let version = Version {
            rid: Rid(1),
            type_name: "DocumentReference".into(),
            id: "d".into(),
            version: 2,
            time: crate::clock::Micros(0),
            method: Method::Update,
            patients: Box::default(),
            body,
        };
        String::from_utf8(lines.of(&version).unwrap()).unwrap()
    }

    #[test]
    fn binaries_are_named_by_absolute_urls_and_nothing_else_changes() {
        let document = crate::tree!({
            "resourceType": "DocumentReference", "id": "d", "description": "say \"url\":\"Binary/x\"",
            "content": [{ "attachment": { "url": "Binary/1" } }, { "attachment": { "url": "https://y/Binary/2" } },
                { "attachment": { "contentType": "text/plain", "url": "Binary/3" } }]
        });
        let line = line(&lines(None), &document);
        assert_eq!(line.matches("http://x/fhir/Binary/").count(), 2);
        assert!(line.contains(r#""url":"http://x/fhir/Binary/1""#) && line.contains(r#""url":"https://y/Binary/2""#));
        assert!(line.contains(r#"say \"url\":\"Binary/x\""#) && line.contains(r#""versionId":"2""#), "{line}");
    }

    #[test]
    fn of_elements_only_those_that_are_wanted_stay() {
        let patient = crate::tree!({ "resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1999" });
        let line = line(&lines(Some("Patient.gender")), &patient);
        assert!(line.contains("gender") && line.contains("SUBSETTED") && !line.contains("1999"), "{line}");
    }

    #[test]
    fn deletions_are_a_transaction() {
        let bundle = String::from_utf8(deletions(["Patient/1", "Patient/2"])).unwrap();
        let entry = |id: u8| format!(r#"{{"request":{{"method":"DELETE","url":"Patient/{id}"}}}}"#);
        let entries = format!("[{},{}]", entry(1), entry(2));
        assert_eq!(bundle, format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":{entries}}}"#));
    }
}
