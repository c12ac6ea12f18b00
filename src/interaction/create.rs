//! create: <https://hl7.org/fhir/R4/http.html#create>, conditional create: `#ccreate`.

use super::criteria::{self, Matched};
use super::writing::{self, Decision, Stored};
use super::{Answer, Context, Request, Return, Status};
use crate::error::{Error, Result};
use crate::interaction::call::Call;
use crate::store::{Expect, Method, Version};

/// Stores a resource under a new id. With `If-None-Exist`: stores nothing where one resource matches (200 with what is
/// there), and is refused where several do.
///
/// # Errors
/// 400 for a wrong structure; 412 for several matches.
pub async fn create(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let Call::Create { type_name } = request.call.clone() else { return Err(Error::internal("not a create")) };
    let mut resource = request.resource()?;
    writing::check(&resource, &type_name)?;
    let id = context.clock.new_id();
    writing::set_id(&mut resource, &id);
    let content = writing::content(context, &resource);
    let stored = Stored { type_name: type_name.clone(), id: id.clone(), body: content.body.clone() };
    let provenance = writing::provenance(context, request.provenance.take(), &[format!("{type_name}/{id}")])?;
    let (existing, committed) = writing::decide(context, |records| {
        writing::check_references(context, records, &resource, &|_, _| false)?;
        let mut guards = Vec::new();
        if let Some(text) = &request.conditions.if_none_exist {
            let (matched, read) = criteria::find(context, records, &type_name, &criteria::parse(text)?)?;
            guards = read;
            match matched {
                Matched::None => {}
                Matched::One(version) => {
                    return Ok(Decision { changes: Vec::new(), guards, then: Some(version) });
                }
                Matched::Several => return Err(criteria::several()),
            }
        }
        let mut changes = vec![writing::put(&type_name, &id, Expect::Absent, Method::Create, content.clone())];
        changes.extend(provenance.clone());
        Ok(Decision { changes, guards, then: None })
    })
    .await?;
    match (existing, committed) {
        (_, Some(committed)) => writing::answer(context, &request, &stored, &committed),
        (Some(version), None) => already_there(context, request.prefer.unwrap_or(Return::Representation), &version),
        (None, None) => Err(Error::internal("a create that neither created nor found")),
    }
}

/// The one match of a conditional create.
pub(super) fn already_there(context: &Context, prefer: Return, version: &Version) -> Result<Answer> {
    let body = if prefer == Return::Representation { Some(context.give(version)?) } else { None };
    Ok(Answer {
        status: Status::Ok,
        version: Some((version.version, version.time)),
        location: Some(context.url(&version.type_name, &version.id, Some(version.version))),
        body,
        issues: Vec::new(),
        pending: None,
        made: None,
    })
}
