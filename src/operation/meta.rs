//! `$meta`, `$meta-add`, `$meta-delete`: <https://hl7.org/fhir/R4/resource-operation-meta.html>,
//! <https://hl7.org/fhir/R4/resource-operation-meta-add.html>, <https://hl7.org/fhir/R4/resource-operation-meta-delete.html>.

use crate::auth::scope::Letters;
use crate::error::{Error, Result};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::fhir::{definitions, meta, write};
use crate::interaction::call::method_not_allowed;
use crate::interaction::condition::expect;
use crate::interaction::writing::{self, Decision};
use crate::interaction::{Answer, Context, Request, body_of, reach};
use crate::key::bytes::URL_MAX;
use crate::key::prefix_of;
use crate::key::reference::url_in;
use crate::search;
use crate::store::{Method, Records, Rid, Version};

/// Which of the two changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `$meta-add`
    Add,
    /// `$meta-delete`
    Delete,
}

/// The `meta` of a resource.
///
/// # Errors
/// 404 and 410 as for a read.
pub fn meta(context: &Context, type_name: &str, id: &str) -> Result<Answer> {
    answer(context, &reach::live(context, &context.open()?, Letters::READ, type_name, id)?)
}

/// The profiles, labels and tags that resources of a type have, or of any type; for `$meta` where no resource is named. They are
/// found by the distinct search keys; from the resources only the spelling of each tag and label is read, once.
///
/// # Errors
/// When the store fails or the search limits are exceeded.
pub fn in_use(context: &Context, type_name: Option<&str>) -> Result<Answer> {
    let (records, budget) = (context.open()?, context.search_budget());
    let types = type_name.map_or_else(|| definitions::r4().resource_types().to_vec(), |name| vec![name]);
    let mut meta = Object::new();
    for type_name in types {
        for (key, rid) in search::keys_in_use(&records, type_name, b"_profile\0u", &budget)? {
            match url_in(&key, "_profile".len()).filter(|url| url.len() < URL_MAX) {
                Some(url) => {
                    let mut own = Object::new();
                    own.set("profile", Value::Array(vec![url.to_owned().into()]));
                    meta::add(&mut meta, &own);
                }
                None => add_own(&mut meta, &records, rid)?,
            }
        }
        for code in ["_security", "_tag"] {
            for (_, rid) in search::keys_in_use(&records, type_name, &[&prefix_of(code)[..], b"c"].concat(), &budget)? {
                add_own(&mut meta, &records, rid)?;
            }
        }
    }
    Ok(Answer::ok(write::to_vec(&meta::to_parameters(meta))))
}

/// Adds what one resource has.
fn add_own(all: &mut Object<'static>, records: &Records, rid: Rid) -> Result<()> {
    let Some(version) = records.view().current(rid)? else { return Ok(()) };
    let bytes = body_of(&version)?;
    if let Some(own) = meta::meta(&object(&bytes)?) {
        meta::add(all, &own.clone().into_owned());
    }
    Ok(())
}

/// Adds or deletes profiles, labels and tags, as a new version where that changes something.
///
/// # Errors
/// 404 and 410 as for a read; 400 without a `meta` parameter.
pub async fn change(
    context: &Context,
    mut request: Request<'_>,
    type_name: &str,
    id: &str,
    change: Change,
) -> Result<Answer> {
    if request.verb.is_read() {
        return Err(method_not_allowed());
    }
    let parameters = request.resource()?;
    let given = meta::from_parameters(&parameters)?;
    let targets = [format!("{type_name}/{id}")];
    let provenance = writing::provenance(context, request.provenance.take(), &targets)?;
    let ((), _) = writing::decide(context, |records| {
        let current = reach::live(context, records, Letters::UPDATE, type_name, id)?;
        request.conditions.hold(Some(&current))?;
        let bytes = body_of(&current)?;
        let mut resource = object(&bytes)?;
        let before = meta::meta(&resource).cloned();
        meta::change(&mut resource, |meta| match change {
            Change::Add => meta::add(meta, given),
            Change::Delete => meta::delete(meta, given),
        });
        let mut changes = Vec::new();
        if meta::meta(&resource) != before.as_ref() {
            writing::check(&resource, type_name)?;
            let content = writing::content(context, &resource);
            changes.push(writing::put(type_name, id, expect(Some(&current)), Method::Update, content));
            changes.extend(provenance.clone());
        }
        Ok(Decision { changes, guards: Vec::new(), then: () })
    })
    .await?;
    answer(context, &reach::live(context, &context.open()?, Letters::READ | Letters::UPDATE, type_name, id)?)
}

fn object(bytes: &[u8]) -> Result<Object<'_>> {
    match parse(bytes, usize::MAX).map_err(Error::internal)? {
        Value::Object(object) => Ok(object),
        _ => Err(Error::internal("a stored resource that is no object")),
    }
}

fn answer(context: &Context, version: &Version) -> Result<Answer> {
    let bytes = context.give(version)?;
    let resource = object(&bytes)?;
    let meta = meta::meta(&resource).cloned().unwrap_or_default();
    let mut answer = Answer::ok(write::to_vec(&meta::to_parameters(meta)));
    answer.version = Some((version.version, version.time));
    Ok(answer)
}
