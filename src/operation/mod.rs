//! One file per `$operation`: <https://hl7.org/fhir/R4/operations.html>.

pub mod consent_explain;
pub mod docref;
pub mod everything;
pub mod export;
pub mod import;
pub mod lastn;
pub mod meta;
pub mod parameters;
pub mod purge;
pub mod reindex;
pub mod verify;

use crate::error::{Category, Error, Result};
use crate::fhir::definitions::{self, Operation};
use crate::interaction::call::{Call, Target};
use crate::interaction::{Answer, Context, LEDGER, Request};
use export::Level;
use std::sync::LazyLock;

/// The operations of R4 that are built, on all levels and types of their definitions.
const BUILT: [&str; 6] = [
    "http://hl7.org/fhir/OperationDefinition/Encounter-everything",
    "http://hl7.org/fhir/OperationDefinition/Observation-lastn",
    "http://hl7.org/fhir/OperationDefinition/Patient-everything",
    "http://hl7.org/fhir/OperationDefinition/Resource-meta",
    "http://hl7.org/fhir/OperationDefinition/Resource-meta-add",
    "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete",
];

/// The operations that are built and are not R4's own.
static OTHERS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let docref = Operation {
        url: "http://hl7.org/fhir/us/core/OperationDefinition/docref",
        code: "docref",
        levels: vec!["type"],
        resources: vec!["DocumentReference"],
    };
    let reindex = Operation {
        url: "urn:pharos:OperationDefinition:reindex",
        code: "reindex",
        levels: vec!["system"],
        resources: Vec::new(),
    };
    let verify = Operation {
        url: "urn:pharos:OperationDefinition:verify",
        code: "verify",
        levels: vec!["type"],
        resources: vec![LEDGER],
    };
    let consent_explain = Operation {
        url: "urn:pharos:OperationDefinition:consent-explain",
        code: "consent-explain",
        levels: vec!["instance"],
        resources: vec!["Patient"],
    };
    let purge = Operation {
        url: "http://hl7.org/fhir/OperationDefinition/Patient-purge",
        code: "purge",
        levels: vec!["instance"],
        resources: vec!["Patient"],
    };
    let import = Operation {
        url: "urn:pharos:OperationDefinition:import",
        code: "import",
        levels: vec!["system"],
        resources: Vec::new(),
    };
    let export = |url, level, resources| Operation { url, code: "export", levels: vec![level], resources };
    let of_all = export("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export", "system", Vec::new());
    let of_patients =
        export("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export", "type", vec!["Patient"]);
    let of_group =
        export("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export", "instance", vec!["Group"]);
    vec![consent_explain, docref, of_all, of_group, of_patients, import, purge, reindex, verify]
});

/// The definitions of the operations that are built.
#[must_use]
pub fn built() -> Vec<&'static Operation> {
    let of_r4 = definitions::r4().operations().iter().filter(|operation| BUILT.contains(&operation.url));
    of_r4.chain(OTHERS.iter()).collect()
}

/// Calls the operation that a request names.
///
/// # Errors
/// 404 for an operation that is not there, and whatever it refuses.
pub async fn call(context: &Context, request: Request<'_>) -> Result<Answer> {
    let Call::Operation { target, name } = request.call.clone() else { return Err(Error::internal("no operation")) };
    match (name.as_str(), &target) {
        ("everything", Target::Type(type_name)) if type_name == "Patient" => {
            everything::patient(context, request, None)
        }
        ("everything", Target::Instance(type_name, id)) if type_name == "Patient" => {
            everything::patient(context, request, Some(id))
        }
        ("everything", Target::Instance(type_name, id)) if type_name == "Encounter" => {
            everything::encounter(context, request, id)
        }
        ("consent-explain", Target::Instance(type_name, id)) if type_name == "Patient" => {
            consent_explain::consent_explain(context, request, id)
        }
        ("lastn", Target::Type(type_name)) if type_name == "Observation" => lastn::lastn(context, request),
        ("docref", Target::Type(type_name)) if type_name == "DocumentReference" => docref::docref(context, request),
        ("verify", Target::Type(type_name)) if type_name == LEDGER => verify::verify(context).await,
        ("purge", Target::Instance(type_name, id)) if type_name == "Patient" => {
            purge::purge(context, request, id).await
        }
        ("reindex", Target::System) => reindex::reindex(context, request).await,
        ("import", Target::System) => import::import(context, request).await,
        ("export", Target::System) => export::export(context, request, Level::System).await,
        ("export", Target::Type(type_name)) if type_name == "Patient" => {
            export::export(context, request, Level::Patient).await
        }
        ("export", Target::Instance(type_name, id)) if type_name == "Group" => {
            export::export(context, request, Level::Group(id)).await
        }
        ("meta", Target::System) => meta::in_use(context, None),
        ("meta", Target::Type(type_name)) => meta::in_use(context, Some(type_name)),
        ("meta", Target::Instance(type_name, id)) => meta::meta(context, type_name, id),
        ("meta-add", Target::Instance(type_name, id)) => {
            meta::change(context, request, type_name, id, meta::Change::Add).await
        }
        ("meta-delete", Target::Instance(type_name, id)) => {
            meta::change(context, request, type_name, id, meta::Change::Delete).await
        }
        _ => Err(Error::new(Category::NotFound, "not-supported", "There is no such operation here.")),
    }
}
