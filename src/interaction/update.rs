//! update: <https://hl7.org/fhir/R4/http.html#update>, update as create: `#upsert`, conditional update: `#cond-update`.

use super::condition::{Conditions, expect};
use super::criteria::{self, Matched};
use super::writing::{self, Decision, Stored};
use super::{Answer, Context, Request, body_of, reach};
use crate::auth::scope::Letters;
use crate::error::{Category, Error, Result};
use crate::fhir::meta;
use crate::fhir::parse::parse;
use crate::fhir::reference::is_id;
use crate::fhir::tree::{Object, Value};
use crate::interaction::call::Call;
use crate::store::{Expect, Method, Records, Version};

/// Stores a resource under the id of the URL: a new version, or the first one (201). A deleted resource comes back.
///
/// # Errors
/// 400 for a wrong structure or another id in the body; 412 where `If-Match` or `If-None-Match` does not hold.
pub async fn update(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let Call::Update { type_name, id } = request.call.clone() else { return Err(Error::internal("not an update")) };
    let mut resource = request.resource()?;
    same_id(&resource, &type_name, &id)?;
    writing::check(&resource, &type_name)?;
    let provenance = writing::provenance(context, request.provenance.take(), &[format!("{type_name}/{id}")])?;
    let own_meta = resource.get("meta").cloned();
    let (stored, committed) = writing::decide(context, |records| {
        writing::check_references(context, records, &resource, &|_, _| false)?;
        let current = reach::current(context, records, Letters::UPDATE, &type_name, &id)?;
        request.conditions.hold(current.as_ref())?;
        // A decision taken anew starts from what the client sent, not from labels that may be gone by now.
        if let Some(meta) = &own_meta {
            resource.set("meta", meta.clone());
        } else {
            resource.remove("meta");
        }
        keep_labels(&mut resource, current.as_ref())?;
        let content = writing::content(context, &resource);
        let stored = Stored { type_name: type_name.clone(), id: id.clone(), body: content.body.clone() };
        let mut changes = vec![writing::put(&type_name, &id, expect(current.as_ref()), Method::Update, content)];
        changes.extend(provenance.clone());
        Ok(Decision { changes, guards: Vec::new(), then: stored })
    })
    .await?;
    let committed = committed.ok_or_else(|| Error::internal("an update without a commit"))?;
    writing::answer(context, &request, &stored, &committed)
}

/// Carries over the tags and security labels of the current version: <https://hl7.org/fhir/R4/resource.html#tag-updates>.
/// Parses the current version only where its bytes hold such a member at all.
pub(crate) fn keep_labels(update: &mut Object<'_>, current: Option<&Version>) -> Result<()> {
    let Some(current) = current.filter(|version| version.body.is_some()) else { return Ok(()) };
    let bytes = body_of(current)?;
    let has = |name: &[u8]| memchr::memmem::find(&bytes, name).is_some();
    if has(b"\"tag\":") || has(b"\"security\":") {
        let old = parse(&bytes, usize::MAX).map_err(Error::internal)?.into_owned();
        if let Value::Object(old) = old {
            meta::carry_over(update, &old);
        }
    }
    Ok(())
}

/// Updates the one resource that the URL's criteria match, or makes one where none does.
///
/// # Errors
/// 412 for several matches; 400 where the body's id is not that of the match; 409 where no resource matches and the
/// body's id is taken.
pub async fn conditional_update(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let Call::ConditionalUpdate { type_name } = request.call.clone() else {
        return Err(Error::internal("not a conditional update"));
    };
    let criteria = criteria::required(&request.query)?;
    let resource = request.resource()?;
    writing::check(&resource, &type_name)?;
    let new_id = context.clock.new_id();
    let provenance = request.provenance.take();
    let own_id = resource.id().map(str::to_owned);
    let (stored, committed) = writing::decide(context, |records| {
        let mut resource = resource.clone();
        let (matched, guards) = criteria::find(context, records, &type_name, &criteria)?;
        if let Matched::One(current) = &matched {
            keep_labels(&mut resource, Some(current))?;
        }
        let (id, expect) =
            target((context, records), matched, &type_name, own_id.as_deref(), &new_id, &request.conditions)?;
        writing::set_id(&mut resource, &id);
        writing::check_references(context, records, &resource, &|_, _| false)?;
        let content = writing::content(context, &resource);
        let stored = Stored { type_name: type_name.clone(), id: id.clone(), body: content.body.clone() };
        let targets = [format!("{type_name}/{id}")];
        let mut changes = vec![writing::put(&type_name, &id, expect, Method::Update, content)];
        changes.extend(writing::provenance(context, provenance.clone(), &targets)?);
        Ok(Decision { changes, guards, then: stored })
    })
    .await?;
    let committed = committed.ok_or_else(|| Error::internal("an update without a commit"))?;
    writing::answer(context, &request, &stored, &committed)
}

/// Which resource a conditional update writes: the table of `#cond-update`.
pub(crate) fn target(
    (context, records): (&Context, &Records),
    matched: Matched,
    type_name: &str,
    own_id: Option<&str>,
    new_id: &str,
    conditions: &Conditions,
) -> Result<(String, Expect)> {
    match (matched, own_id) {
        (Matched::Several, _) => Err(criteria::several()),
        (Matched::One(version), Some(own)) if *own != *version.id => {
            let text = "The criteria match a resource with another id than the body's.";
            Err(Error::new(Category::Invalid, "invalid", text).at(format!("{type_name}.id")))
        }
        (Matched::One(version), _) => {
            conditions.hold(Some(&version))?;
            Ok((version.id.to_string(), Expect::Version(version.version)))
        }
        (Matched::None, Some(own)) => match reach::current(context, records, Letters::UPDATE, type_name, own)? {
            Some(version) if version.body.is_some() => {
                let text = "No resource matches the criteria, and the body's id belongs to another resource.";
                Err(Error::new(Category::Conflict, "duplicate", text).at(format!("{type_name}.id")))
            }
            deleted => Ok((own.to_owned(), expect(deleted.as_ref()))),
        },
        (Matched::None, None) => Ok((new_id.to_owned(), Expect::Absent)),
    }
}

/// The body must carry the id of the URL.
pub(super) fn same_id(resource: &Object<'_>, type_name: &str, id: &str) -> Result<()> {
    let wrong = |text| Err(Error::new(Category::Invalid, "invalid", text).at(format!("{type_name}.id")));
    match resource.get("id") {
        Some(Value::String(own)) if *own == *id && is_id(id) => Ok(()),
        Some(_) => wrong("The body's id differs from the id of the URL."),
        None => wrong("The body must have the id of the URL."),
    }
}
