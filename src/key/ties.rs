//! What ties a resource to those that decide who may see it, a Binary to its context or what has it attached, and what can hold
//! anything to the patients in it: keys that no search parameter names.
//!
//! <https://hl7.org/fhir/R4/binary.html#security-context>

use super::bytes::Parts;
use super::inner::Home;
use super::prefix_of;
use super::reference::{self, Target};
use crate::fhir::tree::{Object, Value};

/// The code under which a Binary refers to its `securityContext`.
pub const SECURITY_CONTEXT: &str = "_securityContext";

/// The code under which a resource refers to the Binary resources of its attachments.
pub const ATTACHMENT: &str = "_attachment";

/// The types whose attachments are looked at, with the elements that lead there.
pub const WITH_ATTACHMENTS: [(&str, &[&str]); 3] = [
    ("DiagnosticReport", &["presentedForm"]),
    ("DocumentReference", &["content", "attachment"]),
    ("Media", &["content"]),
];

/// The code under which a resource of [`HOLDING_ANYTHING`] refers to the patients whom it is about.
pub const ABOUT: &str = "_about";

/// The types that no parameter ties to a patient, and in which there may be anything about any.
pub const HOLDING_ANYTHING: [&str; 8] = [
    "BiologicallyDerivedProduct",
    "Bundle",
    "Linkage",
    "MessageHeader",
    "Parameters",
    "PaymentNotice",
    "PaymentReconciliation",
    "VerificationResult",
];

/// The keys of a resource. `base` is the address of this server, without a slash at the end.
pub fn keys(resource: &Object<'_>, base: Option<&str>) -> Vec<Box<[u8]>> {
    let type_name = resource.resource_type().unwrap_or_default();
    let home = Home { base, held: &[] };
    let mut parts = Parts::default();
    let mut code = SECURITY_CONTEXT;
    if type_name == "Binary" {
        if let Some(context) = resource.get("securityContext").and_then(Value::as_object) {
            reference::object_parts(&mut parts, context, home);
        }
    } else if HOLDING_ANYTHING.contains(&type_name) {
        code = ABOUT;
        patients(resource, base, &mut |id| reference::resource_parts(&mut parts, "Patient", id));
    } else if let Some((_, path)) = WITH_ATTACHMENTS.iter().find(|(name, _)| *name == type_name) {
        code = ATTACHMENT;
        attachments(resource, path, &mut |attachment| {
            let url = attachment.get("url");
            let to_binary = |text: &str| matches!(Target::read(text, base), Target::Local { type_name: "Binary", .. });
            if let Some(url) = url.filter(|url| url.as_str().is_some_and(to_binary)) {
                reference::parts(&mut parts, url, home);
            }
        });
    }
    parts.iter().map(|part| [&prefix_of(code), part].concat().into()).collect()
}

/// Calls `found` with the id of each patient that something points to in an object, or that stands in it.
fn patients(object: &Object<'_>, base: Option<&str>, found: &mut dyn FnMut(&str)) {
    if object.resource_type() == Some("Patient")
        && let Some(id) = object.id()
    {
        found(id);
    }
    for (name, value) in object.iter() {
        if name == "reference"
            && let Some(Target::Local { type_name: "Patient", id, .. }) =
                value.as_str().map(|text| Target::read(text, base))
        {
            found(id);
        }
        value.items().iter().filter_map(Value::as_object).for_each(|inner| patients(inner, base, found));
    }
}

/// Calls `found` with each object at the end of a path of elements, which may repeat.
fn attachments(object: &Object<'_>, path: &[&str], found: &mut dyn FnMut(&Object<'_>)) {
    let Some((first, rest)) = path.split_first() else { return found(object) };
    match object.get(first) {
        Some(Value::Object(inner)) => attachments(inner, rest, found),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_object).for_each(|inner| attachments(inner, rest, found));
        }
        _ => {}
    }
}
