//! Resources inside of others. <https://hl7.org/fhir/R4/references.html#contained>

use super::{Check, Path};
use crate::fhir::tree::{Object, Value};
use std::collections::{HashMap, HashSet};

/// A resource and what its references need to know of it.
#[derive(Default)]
pub(super) struct Scope<'r> {
    contained: HashMap<&'r str, &'r Object<'r>>,
    /// Which of the contained resources is checked now.
    inside: Option<usize>,
    /// The local references (`#id`, and `#` for the container) with where they stand.
    local: Vec<(&'r str, Option<usize>)>,
}

impl<'r> Scope<'r> {
    pub(super) fn of(resource: &'r Object<'r>) -> Self {
        let contained = resource.get("contained").and_then(Value::as_array).unwrap_or_default();
        let by_id = |inner: &'r Value<'r>| inner.as_object().and_then(|inner| Some((inner.id()?, inner)));
        Self { contained: contained.iter().filter_map(by_id).collect(), inside: None, local: Vec::new() }
    }

    /// Remembers a local reference.
    pub(super) fn note(&mut self, text: &'r str) {
        if !self.contained.is_empty() {
            self.local.push((text, self.inside));
        }
    }

    /// Whether a contained resource is checked now.
    pub(super) const fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// The contained resource with this id.
    pub(super) fn contained(&self, id: &str) -> Option<&'r Object<'r>> {
        self.contained.get(id).copied()
    }
}

impl<'r> Check<'r> {
    /// The value of an element of type `Resource`.
    pub(super) fn inner_resource(&mut self, resource: &'r Object<'r>, element: &str, path: &Path<'_>) {
        if element != "contained" {
            return self.resource(resource, path);
        }
        if self.scope.is_inside() {
            return self.issue("invariant", "A contained resource can't contain others (dom-2).", path);
        }
        self.scope.inside = path.last_index();
        self.typed_resource(resource, path);
        self.scope.inside = None;
        let meta = resource.get("meta");
        let has = |name| meta.and_then(|meta| meta.get(name)).is_some();
        if has("versionId") || has("lastUpdated") {
            self.issue(
                "invariant",
                "A contained resource has neither version nor time of its own (dom-4).",
                &path.name("meta"),
            );
        }
        if has("security") {
            self.issue(
                "invariant",
                "A contained resource has no security label of its own (dom-5).",
                &path.name("meta"),
            );
        }
    }

    /// What can be told only when the whole resource is known: ids and who refers to whom.
    pub(super) fn contained_rules(&mut self, resource: &'r Object<'r>, path: &Path<'_>) {
        let contained = resource.get("contained").and_then(Value::as_array).unwrap_or_default();
        let list = path.name("contained");
        if contained.is_empty() {
            return;
        }
        let mut ids = HashSet::new();
        let local: HashSet<&str> = self.scope.local.iter().map(|(text, _)| *text).collect();
        let upward = self.scope.local.iter().filter(|(text, _)| *text == "#").filter_map(|(_, inside)| *inside);
        let upward: HashSet<usize> = upward.collect();
        for (n, inner) in contained.iter().enumerate() {
            let here = list.index(n);
            match inner.get("id").and_then(Value::as_str) {
                None => self.issue("required", "A contained resource needs an id.", &here),
                Some(id) if !ids.insert(id) => {
                    self.issue("duplicate", "Another contained resource has this id.", &here);
                }
                Some(id) if !local.contains(format!("#{id}").as_str()) && !upward.contains(&n) => {
                    let message =
                        "Nothing refers to this contained resource, nor does it refer to its container (dom-3).";
                    self.issue("invariant", message, &here);
                }
                Some(_) => {}
            }
        }
    }
}
