//! patch: <https://hl7.org/fhir/R4/http.html#patch>, with JSON Patch and FHIRPath Patch; conditional patch.

use super::condition::expect;
use super::criteria::{self, Matched};
use super::writing::{self, Decision, Stored};
use super::{Answer, Context, Request, body_of, reach};
use crate::auth::scope::Letters;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::json_patch::{self, PatchError, PatchFailure};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::fhirpath;
use crate::interaction::call::Call;
use crate::store::{Guard, Method, Records, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The result of a patch on a snapshot.
pub struct Patched {
    /// The resource type.
    pub type_name: String,
    /// The id.
    pub id: String,
    /// The version that was patched.
    pub current: Version,
    /// The resource after the patch, checked.
    pub resource: Object<'static>,
}

/// Applies a patch to a resource, or to the one resource that the URL's criteria match.
///
/// # Errors
/// 400 for a malformed patch, or one that makes the resource structurally wrong; 422 for one that can't be applied; 404 and 410
/// as for a read; 412 for conditions that do not hold and for several matches.
pub async fn patch(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let provenance = request.provenance.take();
    let (stored, committed) = writing::decide(context, |records| {
        let (patched, guards) = decide(context, records, &request)?;
        let Patched { type_name, id, current, resource } = patched;
        writing::check_references(context, records, &resource, &|_, _| false)?;
        let content = writing::content(context, &resource);
        let body = content.body.clone();
        let mut changes = vec![writing::put(&type_name, &id, expect(Some(&current)), Method::Patch, content)];
        let targets = [format!("{type_name}/{id}")];
        changes.extend(writing::provenance(context, provenance.clone(), &targets)?);
        Ok(Decision { changes, guards, then: Stored { type_name, id, body } })
    })
    .await?;
    let committed = committed.ok_or_else(|| Error::internal("a patch without a commit"))?;
    writing::answer(context, &request, &stored, &committed)
}

/// Finds what is to be patched and patches it.
///
/// # Errors
/// See [`patch`].
pub fn decide(context: &Context, records: &Records, request: &Request<'_>) -> Result<(Patched, Vec<Guard>)> {
    let (current, guards) = find(context, records, request)?;
    request.conditions.hold(Some(&current))?;
    let bytes = body_of(&current)?;
    let tree = parse(&bytes, usize::MAX).map_err(Error::internal)?.into_owned();
    let Value::Object(resource) = tree else { return Err(Error::internal("a stored resource that is no object")) };
    let resource = apply(context, resource, request.body.as_ref())?;
    let (type_name, id) = (current.type_name.to_string(), current.id.to_string());
    if resource.resource_type() != Some(&type_name) || resource.id() != Some(&id) {
        let text = "A patch must not change the type or the id of a resource.";
        return Err(Error::new(Category::Unprocessable, "business-rule", text));
    }
    writing::check(&resource, &type_name)?;
    Ok((Patched { type_name, id, current, resource }, guards))
}

fn find(context: &Context, records: &Records, request: &Request<'_>) -> Result<(Version, Vec<Guard>)> {
    match &request.call {
        Call::Patch { type_name, id } => {
            Ok((reach::live(context, records, Letters::UPDATE, type_name, id)?, Vec::new()))
        }
        Call::ConditionalPatch { type_name } => {
            let criteria = criteria::required(&request.query)?;
            match criteria::find(context, records, type_name, &criteria)? {
                (Matched::One(version), guards) => Ok((version, guards)),
                (Matched::None, _) => Err(Error::not_found()),
                (Matched::Several, _) => Err(criteria::several()),
            }
        }
        _ => Err(Error::internal("not a patch")),
    }
}

/// A patch is the array of a JSON Patch, Parameters of a FHIRPath Patch, or, in a Bundle, a Binary that holds a JSON Patch.
fn apply(context: &Context, resource: Object<'static>, body: Option<&Value<'_>>) -> Result<Object<'static>> {
    let patch = body.ok_or_else(|| Error::new(Category::Invalid, "required", "The request has no body."))?;
    let unknown = || {
        let text = "A patch is a JSON Patch, or Parameters with a FHIRPath Patch.";
        Error::new(Category::Invalid, "structure", text)
    };
    match patch {
        Value::Array(_) => json(resource, patch),
        Value::Object(object) => match object.resource_type() {
            Some("Parameters") => {
                let Value::Object(parameters) = patch.clone().into_owned() else { return Err(unknown()) };
                let step_limit = u32::try_from(context.limits.fhirpath_steps).unwrap_or(u32::MAX);
                fhirpath::patch::apply(resource, &parameters, step_limit).map_err(|error| failed(&error))
            }
            Some("Binary") => {
                let data = STANDARD.decode(object.str("data").unwrap_or_default()).map_err(|_| unknown())?;
                let patch = parse(&data, context.limits.json_depth)
                    .map_err(|error| Error::new(Category::Invalid, "structure", error.to_string()))?;
                json(resource, &patch)
            }
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

fn json(resource: Object<'static>, patch: &Value<'_>) -> Result<Object<'static>> {
    let patched =
        json_patch::apply(Value::Object(resource), &patch.clone().into_owned()).map_err(|error| failed(&error))?;
    match patched {
        Value::Object(patched) => Ok(patched),
        _ => Err(Error::new(Category::Unprocessable, "processing", "The patch leaves no object.")),
    }
}

fn failed(error: &PatchError) -> Error {
    let category = match error.kind {
        PatchFailure::Malformed => Category::Invalid,
        PatchFailure::Unprocessable => Category::Unprocessable,
    };
    Error::from_issues(category, vec![Issue::error("processing", error.to_string())])
}
