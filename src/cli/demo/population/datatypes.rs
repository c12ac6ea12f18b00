//! FHIR's data types as the generator writes them. <https://hl7.org/fhir/R4/datatypes.html>

use crate::fhir::tree::Value;
use crate::tree;
use jiff::civil::DateTime;
use std::borrow::Cow;

pub(super) type Tree = Value<'static>;

pub(super) const SNOMED: &str = "http://snomed.info/sct";
pub(super) const LOINC: &str = "http://loinc.org";
pub(super) const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
pub(super) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(super) const CVX: &str = "http://hl7.org/fhir/sid/cvx";
pub(super) const UCUM: &str = "http://unitsofmeasure.org";
const HL7: &str = "http://terminology.hl7.org/CodeSystem";

/// The URL of one of HL7's code systems.
pub(super) fn hl7(name: &str) -> String {
    format!("{HL7}/{name}")
}

/// A `Coding`.
pub(super) fn coding(system: impl Into<Tree>, code: &'static str, display: &'static str) -> Tree {
    tree!({ "system": (system.into()), "code": (code), "display": (display) })
}

/// A `CodeableConcept` with one coding.
pub(super) fn concept(system: impl Into<Tree>, code: &'static str, display: &'static str) -> Tree {
    tree!({ "coding": [(coding(system, code, display))], "text": (display) })
}

/// A `CodeableConcept` whose only coding has no display.
pub(super) fn code_of(system: &str, code: &'static str) -> Tree {
    tree!({ "coding": [{ "system": (hl7(system)), "code": (code) }] })
}

/// A `Reference`.
pub(super) fn reference(target: impl Into<Tree>) -> Tree {
    tree!({ "reference": (target.into()) })
}

/// A `decimal`: `value` counted in units of ten to the minus `digits`.
pub(super) fn decimal(value: i64, digits: u32) -> Tree {
    let scale = 10_u64.pow(digits);
    let sign = if value < 0 { "-" } else { "" };
    let whole = value.unsigned_abs() / scale;
    let text = match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{:0width$}", value.unsigned_abs() % scale, width = digits as usize),
    };
    Value::Number(Cow::Owned(text))
}

/// An amount of `Money` in cents of a US dollar.
pub(super) fn dollars(cents: i64) -> Tree {
    tree!({ "value": (decimal(cents, 2)), "currency": "USD" })
}

/// A `dateTime` (or `instant`) in the time zone of the sample towns.
pub(super) fn moment(time: DateTime) -> String {
    format!("{time}-05:00")
}

/// An `Address`.
pub(super) fn address(line: String, town: super::names::Town) -> Tree {
    tree!({
        "use": "home", "type": "both", "line": [(line)], "city": (town.name), "state": "ME",
        "postalCode": (town.postal_code), "country": "US"
    })
}

/// The same object with one more member.
pub(super) fn with(mut resource: Tree, name: &'static str, value: impl Into<Tree>) -> Tree {
    if let Some(object) = resource.as_object_mut() {
        object.set(name, value.into());
    }
    resource
}

/// A transaction of `PUT`s under construction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    entries: Vec<Tree>,
}

impl Transaction {
    /// Adds `PUT {type}/{id}`; `full_url` is what the other entries refer to.
    pub(super) fn put(&mut self, full_url: String, id: &str, mut resource: Tree) {
        let type_name = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(object) = resource.as_object_mut() {
            object.insert_at(1, "id", Value::from(id.to_owned()));
        }
        let request = tree!({ "method": "PUT", "url": (format!("{type_name}/{id}")) });
        self.entries.push(tree!({ "fullUrl": (full_url), "resource": (resource), "request": (request) }));
    }

    /// The finished Bundle.
    pub(super) fn into_bundle(self) -> Tree {
        tree!({ "resourceType": "Bundle", "type": "transaction", "entry": (self.entries) })
    }
}
