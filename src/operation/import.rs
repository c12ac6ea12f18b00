//! `$import`: NDJSON from addresses, or sent with the request, is stored by a job. The form of the request is that of the draft of Bulk
//! Data Import, <https://github.com/smart-on-fhir/bulk-import/blob/master/import-manifest.md>, in JSON or as Parameters. The rest goes by
//! <https://hl7.org/fhir/R4/async.html>.

pub mod batch;
mod lines;
mod wanted;
pub mod work;

use crate::auth::access::Allowed;
use crate::auth::delegate::Delegation;
use crate::auth::scope::Letters;
use crate::bulk::files::{File, Kind, Writing};
use crate::bulk::import::{Asked, Input, KIND, Matching};
use crate::error::{Error, Issue, Result};
use crate::fhir::definitions;
use crate::fhir::tree::Value;
use crate::interaction::call::{Verb, method_not_allowed};
use crate::interaction::{Answer, Context, Pending, Request, Status, job, reach};
use crate::jobs::New;
use wanted::Wanted;

/// Begins an import.
///
/// # Errors
/// 400 for parameters that are unknown, malformed or missing, and for sources and manifests that can't be read; 403 where scopes and roles do not let
/// all resources of a type be created and changed; 429 where the tenant has too many jobs; 503 where what was sent can't be kept.
pub async fn import(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    if request.verb != Verb::Post {
        return Err(method_not_allowed());
    }
    let (tenant, id) = (context.grant.tenant(), context.clock.new_id());
    let witness = context.witness(&request);
    let text = match request.body.take() {
        Some(Value::String(text)) => Some(text),
        body => {
            request.body = body;
            None
        }
    };
    let mut wanted = Wanted::read(context, &mut request, text.is_some())?;
    // Nobody is asked for a manifest on behalf of somebody who may not import.
    covers(context, None, wanted.matching)?;
    context.jobs.check_room(tenant)?;
    let warning = wanted.pull(context).await?;
    wanted.inputs.iter().try_for_each(|(type_name, _)| covers(context, type_name.as_deref(), wanted.matching))?;
    let mut inputs: Vec<_> =
        wanted.inputs.into_iter().map(|(type_name, url)| Input { type_name, url, file: None }).collect();
    if let (Some(text), Some(input)) = (text, inputs.first_mut()) {
        input.file = Some(keep(context, &id, &text)?);
    }
    let asked = Asked {
        request: format!("{}/$import", context.base),
        inputs,
        validation: wanted.validation,
        matching: wanted.matching,
        delegation: Delegation::of(&context.grant),
    };
    let parameters = serde_json::to_value(&asked).map_err(Error::internal)?;
    let new = New { kind: KIND, owner: context.trail.agent().into_owned(), parameters };
    let job = context.begin_job(&witness, id, new, Vec::new()).await?;
    let text = "The import has begun: ask for it at the address in Content-Location.";
    let pending = Pending { content_location: Some(job::url(context, &job.id)), ..job::pending(&job) };
    let issues = std::iter::once(Issue::information("informational", text)).chain(warning).collect();
    Ok(Answer { issues, pending: Some(pending), ..Answer::empty(Status::Accepted) })
}

/// Whether resources of a type may be imported; where none is named, whether those of any type may: each line is looked at then.
fn covers(context: &Context, type_name: Option<&str>, matching: Matching) -> Result<()> {
    let grant = &context.grant;
    let may = |name: &str, letter| grant.allowed_by_scopes(name, letter) == Allowed::Everything;
    let stores = |name: &str| may(name, Letters::CREATE) && may(name, Letters::UPDATE);
    // As for a conditional update: criteria would tell of what is not to be seen.
    let finds = |name: &str| {
        let letters = [Letters::CREATE, Letters::UPDATE, Letters::SEARCH];
        matching == Matching::Id || letters.iter().all(|letter| grant.allowed(name, *letter) == Allowed::Everything)
    };
    let covered = |name: &str| stores(name) && finds(name);
    let is_covered =
        type_name.map_or_else(|| definitions::r4().resource_types().iter().any(|name| covered(name)), covered);
    if is_covered { Ok(()) } else { Err(reach::insufficient_scope()) }
}

/// Keeps what was sent, sealed, until it is imported.
fn keep(context: &Context, id: &str, text: &str) -> Result<File> {
    let place = context.exports.place(&context.store, &context.grant, id);
    place.check_room(context.exports.free_floor())?;
    let mut writing = Writing::open(&place, File::new(1, Kind::Input, "upload"))?;
    writing.append(text.as_bytes())?;
    writing.finish()
}
