//! One file per `$operation`: <https://hl7.org/fhir/R4/operations.html>.

pub mod meta;

use crate::error::{Category, Error, Result};
use crate::fhir::definitions::{self, Operation};
use crate::interaction::call::{Call, Target};
use crate::interaction::{Answer, Context, Request};

/// The operations that are built, all on instances of every type.
const BUILT: [&str; 3] = [
    "http://hl7.org/fhir/OperationDefinition/Resource-meta",
    "http://hl7.org/fhir/OperationDefinition/Resource-meta-add",
    "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete",
];

/// The definitions of the operations that are built.
#[must_use]
pub fn built() -> Vec<&'static Operation> {
    definitions::r4().operations().iter().filter(|operation| BUILT.contains(&operation.url)).collect()
}

/// Calls the operation that a request names.
///
/// # Errors
/// 404 for an operation that is not there, and whatever it refuses.
pub async fn call(context: &Context, request: Request<'_>) -> Result<Answer> {
    let Call::Operation { target, name } = request.call.clone() else { return Err(Error::internal("no operation")) };
    match (name.as_str(), &target) {
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
