//! capabilities: <https://hl7.org/fhir/R4/http.html#capabilities>.
//!
//! What is stated here is what is built: the tables below stand beside `call.rs`, and the parameters are those that have keys.

pub mod installed;
pub mod statement;

use super::{Answer, Context, LEDGER, Request};
use crate::error::{Error, Result};
use crate::fhir::definitions::SearchParameter;
use crate::fhir::subset::Subset;
use crate::fhir::tree::Value;
use crate::fhir::{definitions, write};
use crate::key::parameters::Further;
use crate::key::{Parameters, extract};
use crate::operation;
use crate::search;
use crate::tree;
use installed::Installed;
use statement::{Capabilities, FurtherParameter, Mode, Policy, ResourceSupport, Search};

/// Interactions with every resource type.
const INTERACTIONS: [&str; 9] =
    ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];

/// Interactions with the whole system.
/// What can be done with the type of the ledger.
const LEDGER_INTERACTIONS: [&str; 3] = ["read", "vread", "search-type"];
const SYSTEM_INTERACTIONS: [&str; 4] = ["transaction", "batch", "search-system", "history-system"];

/// What is fulfilled whatever is installed.
const BULK_DATA: &str = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data";

/// The day on which what is stated here last changed.
const DATE: &str = "2026-11-22";

/// What the server can do, as a CapabilityStatement, or as TerminologyCapabilities with `mode=terminology`.
///
/// # Errors
/// 400 for an unknown `mode`; when the store fails.
pub fn capabilities(context: &Context, request: &Request<'_>) -> Result<Answer> {
    let mode = Mode::from_code(request.parameter("mode"))
        .ok_or_else(|| Error::invalid("mode must be full, normative or terminology.").at("mode"))?;
    let bytes = context.conformance.statement(mode, || {
        let installed = Installed::read(context.open()?.view())?;
        Ok(state(context, mode, &installed))
    })?;
    match Subset::from_query(&request.query)? {
        Some(part) => {
            part.check(&[if mode == Mode::Terminology { "TerminologyCapabilities" } else { "CapabilityStatement" }])?;
            Ok(Answer::ok(part.apply_to_bytes(&bytes)?))
        }
        None => Ok(Answer::ok(bytes)),
    }
}

fn state(context: &Context, mode: Mode, installed: &Installed) -> Vec<u8> {
    let definitions = definitions::r4();
    let support = |type_name| {
        let profiles = installed.profiles.get(type_name).into_iter().flatten();
        let supported_profiles = profiles.map(String::as_str).collect();
        let interactions = if type_name == LEDGER { &LEDGER_INTERACTIONS[..] } else { &INTERACTIONS };
        ResourceSupport { type_name, interactions, supported_profiles }
    };
    let instantiates: Vec<&str> =
        std::iter::once(BULK_DATA).chain(installed.instantiates.iter().map(String::as_str)).collect();
    let further = further(context.conformance.parameters());
    let operations = operation::built();
    let compartments: Vec<&str> = definitions.compartments().iter().map(|compartment| compartment.url).collect();
    let has_content = context.conformance.has_content();
    let is_built = |_: &str, parameter: &SearchParameter| {
        extract::is_indexed(parameter) || search::is_special(&parameter.code, has_content)
    };
    let capabilities = Capabilities {
        base_url: &context.base,
        software: "Pharos",
        version: env!("CARGO_PKG_VERSION"),
        description: "A FHIR R4 server",
        date: DATE,
        security: context.auth.as_deref().map(|auth| security(&auth.oauth_uris(context.grant.tenant()))),
        instantiates: &instantiates,
        resources: definitions.resource_types().iter().copied().map(support).collect(),
        system_interactions: &SYSTEM_INTERACTIONS,
        operations: &operations,
        compartments: &compartments,
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
        search: Search { is_built: &is_built, further: &further, includes: true },
        code_systems: &[],
    };
    write::to_vec(&capabilities.resource(mode))
}

/// How requests are authorized: <https://hl7.org/fhir/smart-app-launch/conformance.html>, as clients read it that came before
/// `.well-known/smart-configuration`.
fn security(uris: &[(&'static str, String)]) -> Value<'static> {
    let uris = uris.iter().map(|(name, url)| tree!({ "url": (*name), "valueUri": (url.clone()) })).collect();
    let oauth_uris = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";
    let service = "http://terminology.hl7.org/CodeSystem/restful-security-service";
    tree!({
        "extension": [{ "url": (oauth_uris), "extension": (Value::Array(uris)) }],
        "cors": true,
        "service": [{
            "coding": [{ "system": (service), "code": "SMART-on-FHIR" }],
            "text": "OAuth 2.0 with SMART App Launch (see smart-configuration)"
        }]
    })
}

fn further(parameters: &Parameters) -> Vec<FurtherParameter<'_>> {
    let mut all = Vec::new();
    for type_name in parameters.types_with_further() {
        for definition in parameters.further(type_name).iter().map(Further::definition) {
            let (code, url, param_type) = (&*definition.code, &*definition.url, definition.param_type);
            all.push(FurtherParameter { type_name, code, url, param_type, targets: &definition.targets });
        }
    }
    all
}
