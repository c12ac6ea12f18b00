//! What every resource is held to before it is stored. `docs/validation.md` tells it for users.
//!
//! Structure (this module): <https://hl7.org/fhir/R4/json.html>, <https://hl7.org/fhir/R4/datatypes.html>,
//! <https://hl7.org/fhir/R4/references.html>, <https://hl7.org/fhir/R4/narrative.html>. All of it comes from the
//! definitions; what a definition can't say (dates that exist, references that resolve) has a file of its own.

mod binding;
mod contained;
mod element;
mod path;
mod primitive;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::Issue;
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};
use contained::Scope;
use path::Path;
use std::borrow::Cow;

/// No more issues than this are reported for one resource.
pub const ISSUES_MAX: usize = 50;

/// Checks the structure of a resource, those inside of it included (`contained`, entries of a Bundle, Parameters).
///
/// Gives the issues in the order of the resource, at most [`ISSUES_MAX`], all of severity `error`; none means that the
/// structure is sound. Each names its element as a `FHIRPath`, and none holds a value of the resource.
#[must_use]
pub fn structure(resource: &Object<'_>) -> Vec<Issue> {
    run(resource, false)
}

/// The same for a resource in an entry of a transaction, where references may be conditional.
#[must_use]
pub fn structure_in_transaction(resource: &Object<'_>) -> Vec<Issue> {
    run(resource, true)
}

fn run(resource: &Object<'_>, in_transaction: bool) -> Vec<Issue> {
    let mut check = Check { issues: Vec::new(), scope: Scope::default(), in_transaction };
    check.resource(resource, &Path::root(resource.resource_type().unwrap_or("Resource")));
    check.issues
}

/// One run of the checks.
struct Check<'r> {
    issues: Vec<Issue>,
    /// The resource that is checked now, with what it contains.
    scope: Scope<'r>,
    /// Within a transaction, references may be conditional: `Patient?identifier=…`.
    in_transaction: bool,
}

impl<'r> Check<'r> {
    /// A resource that stands for itself: not a contained one.
    fn resource(&mut self, resource: &'r Object<'r>, path: &Path<'_>) {
        let outer = std::mem::replace(&mut self.scope, Scope::of(resource));
        let was_in_transaction = self.in_transaction;
        if resource.resource_type() == Some("Bundle") {
            self.in_transaction = resource.str("type") == Some("transaction");
        }
        self.typed_resource(resource, path);
        self.contained_rules(resource, path);
        self.in_transaction = was_in_transaction;
        self.scope = outer;
    }

    /// The elements of a resource, according to its `resourceType`.
    fn typed_resource(&mut self, resource: &'r Object<'r>, path: &Path<'_>) {
        match resource.get("resourceType") {
            None => self.issue("required", "`resourceType` is missing.", path),
            Some(Value::String(name)) => match definitions::r4().type_named(name) {
                Some(found) if found.is_concrete_resource() => self.object(resource, found, false, path),
                _ => self.issue("structure", "This is not a resource type of FHIR R4.", path),
            },
            Some(_) => self.issue("structure", "`resourceType` must be a string.", path),
        }
    }

    fn issue(&mut self, code: &'static str, diagnostics: impl Into<Cow<'static, str>>, path: &Path<'_>) {
        if !self.is_full() {
            self.issues.push(Issue::error(code, diagnostics).at(path.to_string()));
        }
    }

    const fn is_full(&self) -> bool {
        self.issues.len() >= ISSUES_MAX
    }
}
