//! capabilities: <https://hl7.org/fhir/R4/http.html#capabilities>.
//!
//! What is stated here is what is built: the tables below stand beside `call.rs`, and the parameters are those that have keys.

pub mod statement;

use super::{Answer, Context, Request};
use crate::error::{Error, Result};
use crate::fhir::definitions::SearchParameter;
use crate::fhir::subset::Subset;
use crate::fhir::{definitions, write};
use crate::key::extract;
use crate::operation;
use crate::search;
use statement::{Capabilities, Mode, Policy, ResourceSupport, Search};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Interactions with every resource type.
const INTERACTIONS: [&str; 9] =
    ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];

/// Interactions with the whole system.
const SYSTEM_INTERACTIONS: [&str; 4] = ["transaction", "batch", "search-system", "history-system"];

/// The day on which what is stated here last changed.
const DATE: &str = "2026-11-22";

type Made = HashMap<(Arc<str>, Mode), Arc<Vec<u8>>>;

/// The statements made so far: for each base and mode they never change while the program runs.
static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);

/// What the server can do, as a CapabilityStatement, or as TerminologyCapabilities with `mode=terminology`.
///
/// # Errors
/// 400 for an unknown `mode`.
pub fn capabilities(context: &Context, request: &Request<'_>) -> Result<Answer> {
    let mode = Mode::from_code(request.parameter("mode"))
        .ok_or_else(|| Error::invalid("mode must be full, normative or terminology.").at("mode"))?;
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = made.entry((Arc::clone(&context.base), mode)).or_insert_with(|| Arc::new(state(context, mode)));
    let bytes = Arc::clone(bytes);
    drop(made);
    match Subset::from_query(&request.query)? {
        Some(part) => {
            part.check(&[if mode == Mode::Terminology { "TerminologyCapabilities" } else { "CapabilityStatement" }])?;
            Ok(Answer::ok(part.apply_to_bytes(&bytes)?))
        }
        None => Ok(Answer::ok(bytes.to_vec())),
    }
}

fn state(context: &Context, mode: Mode) -> Vec<u8> {
    let definitions = definitions::r4();
    let support =
        |type_name| ResourceSupport { type_name, interactions: &INTERACTIONS, supported_profiles: Vec::new() };
    let operations = operation::built();
    let has_content = context.extractor.has_content();
    let is_built = |_: &str, parameter: &SearchParameter| {
        extract::is_indexed(parameter) || search::is_special(parameter.code, has_content)
    };
    let capabilities = Capabilities {
        base_url: &context.base,
        software: "Pharos",
        version: env!("CARGO_PKG_VERSION"),
        description: "A FHIR R4 server",
        date: DATE,
        security: None,
        instantiates: &[],
        resources: definitions.resource_types().iter().copied().map(support).collect(),
        system_interactions: &SYSTEM_INTERACTIONS,
        operations: &operations,
        compartments: &[],
        patch_formats: &["application/json-patch+json", "application/fhir+json"],
        policy: Policy {
            versioning: Some("versioned-update"),
            read_history: true,
            update_create: true,
            conditional_create: true,
            conditional_read: Some("full-support"),
            conditional_update: true,
            conditional_delete: Some("multiple"),
            reference_policy: &["literal", "logical"],
        },
        search: Search { is_built: &is_built, further: &[], includes: true },
        code_systems: &[],
    };
    write::to_vec(&capabilities.resource(mode))
}
