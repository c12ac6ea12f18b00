//! One patient's entries under construction.

use super::datatypes::{Transaction, Tree, reference};
use super::random::Random;
use crate::fhir::tree::Value;
use std::collections::BTreeMap;

/// The Bundle of one patient.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) random: Random,
    number: u64,
    patient: String,
    counts: BTreeMap<String, u32>,
    transaction: Transaction,
}

impl Chart {
    /// Begins the record of patient `number`.
    pub(super) fn new(number: u64, mut random: Random) -> Self {
        let patient = random.uuid().urn().to_string();
        Self { random, number, patient, counts: BTreeMap::new(), transaction: Transaction::default() }
    }

    /// The patient's `fullUrl`.
    pub(super) fn patient_url(&self) -> &str {
        &self.patient
    }

    /// A `Reference` to the patient.
    pub(super) fn patient(&self) -> Tree {
        reference(self.patient.clone())
    }

    /// Adds the patient.
    pub(super) fn put_patient(&mut self, patient: Tree) {
        self.transaction.put(self.patient.clone(), &format!("demo-{}", self.number), patient);
    }

    /// Adds a resource as `demo-{patient}-{count within its type}`; gives a `Reference` to it.
    pub(super) fn put(&mut self, resource: Tree) -> Tree {
        let type_name = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        let count = self.counts.entry(type_name.to_owned()).or_default();
        *count += 1;
        let id = format!("demo-{}-{count}", self.number);
        let full_url = self.random.uuid().urn().to_string();
        self.transaction.put(full_url.clone(), &id, resource);
        reference(full_url)
    }

    /// The finished Bundle.
    pub(super) fn into_bundle(self) -> Tree {
        self.transaction.into_bundle()
    }
}
