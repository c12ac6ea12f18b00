//! Where a grant meets single resources: what of them a request may see and change. For sets of resources that is
//! `search::restricted`. Scopes: <https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>.
//!
//! The rules:
//! - A type and interaction that no scope covers is 403; that tells nothing of any resource.
//! - A resource outside of what is allowed is answered exactly as one that is not there. So there is no update as create where
//!   scopes and roles reach a part of a type only, and no conditional write where they or the consents of patients do.
//! - An old version is to be seen by who may see it by its own keys *and* the resource by its current ones, if it has any. A
//!   deleted one is there (410) for those who could have read its last version.
//! - A change needs its letter for what is stored and for what is submitted.
//! - Only a Binary that could be read may be attached to a resource.

use super::call::{Call, Target};
use super::{Context, Request, gone};
use crate::auth::access::Allowed;
use crate::auth::grant::Grant;
use crate::auth::scope::Letters;
use crate::auth::secret::hash;
use crate::error::{Category, Error, Result};
use crate::key::last_updated::ALL;
use crate::key::ties::ATTACHMENT;
use crate::key::{Expr, KeyList};
use crate::search::{self, Query};
use crate::store::{Change, Expect, Method, Records, Rid, Version};

/// An id that no resource has.
const NOBODYS_ID: &str = "";

/// 403: no scope covers this.
#[must_use]
pub fn insufficient_scope() -> Error {
    Error::new(Category::Forbidden, "forbidden", "The granted scopes and roles do not cover this.")
}

/// 403: this is for administrators.
fn not_an_administrator() -> Error {
    let text = "This needs an access token with the scope admin, of a user who is an administrator.";
    Error::new(Category::Forbidden, "forbidden", text)
}

/// Refuses what no scope covers, whatever resource it is about.
///
/// # Errors
/// 403.
pub fn cover(context: &Context, request: &Request<'_>) -> Result<()> {
    let grant = &context.grant;
    if grant.is_unrestricted() {
        return Ok(());
    }
    let any = |type_name: &str, letters| match grant.allowed(type_name, letters) {
        Allowed::Nothing => Err(insufficient_scope()),
        _ => Ok(()),
    };
    // What is decided by criteria would tell of resources that are not to be seen.
    let all = |type_name: &str, letters| match grant.allowed(type_name, letters) {
        Allowed::Everything => Ok(()),
        _ => Err(insufficient_scope()),
    };
    match &request.call {
        // Whose job it is, is looked at with the job.
        Call::Job { .. }
        | Call::JobFile { .. }
        | Call::Capabilities
        | Call::Bundle
        | Call::Search { type_name: None }
        | Call::CompartmentSearch { type_name: None, .. }
        | Call::History { target: Target::System } => Ok(()),
        Call::Read { type_name, .. }
        | Call::Vread { type_name, .. }
        | Call::History { target: Target::Instance(type_name, _) } => any(type_name, Letters::READ),
        Call::Search { type_name: Some(type_name) }
        | Call::CompartmentSearch { type_name: Some(type_name), .. }
        | Call::History { target: Target::Type(type_name) } => any(type_name, Letters::SEARCH),
        Call::Create { type_name } => {
            any(type_name, Letters::CREATE)?;
            match &request.conditions.if_none_exist {
                Some(_) => all(type_name, Letters::CREATE).and_then(|()| all(type_name, Letters::SEARCH)),
                None => Ok(()),
            }
        }
        Call::Update { type_name, .. } | Call::Patch { type_name, .. } => any(type_name, Letters::UPDATE),
        Call::Delete { type_name, .. } => any(type_name, Letters::DELETE),
        Call::ConditionalUpdate { type_name } => {
            all(type_name, Letters::CREATE)?;
            all(type_name, Letters::UPDATE).and_then(|()| all(type_name, Letters::SEARCH))
        }
        Call::ConditionalPatch { type_name } => {
            all(type_name, Letters::UPDATE).and_then(|()| all(type_name, Letters::SEARCH))
        }
        Call::ConditionalDelete { type_name } => {
            all(type_name, Letters::DELETE).and_then(|()| all(type_name, Letters::SEARCH))
        }
        Call::Operation { target, name } => match (target, name.as_str()) {
            (Target::Instance(..), "consent-explain") => any("Consent", Letters::READ),
            (_, "purge") if grant.is_admin() => Ok(()),
            (_, "purge") => Err(not_an_administrator()),
            // What it may have of each type is decided with the types.
            (_, "export" | "import") | (Target::System, "meta") => Ok(()),
            (Target::Instance(type_name, _), "meta-add" | "meta-delete") => any(type_name, Letters::UPDATE),
            (Target::Instance(type_name, _), _) => any(type_name, Letters::READ),
            (Target::Type(type_name), _) => any(type_name, Letters::SEARCH),
            (Target::System, _) if grant.is_whole() => Ok(()),
            (Target::System, _) => Err(insufficient_scope()),
        },
    }
}

/// What [`of_type`] says of a type that is reached whole.
pub const WHOLE: &str = "whole";

/// What scopes and roles let be searched of a type, in a form that can be kept and held against what another token may: [`WHOLE`], or
/// the hash of the set. Nothing where that is nothing.
#[must_use]
pub fn of_type(grant: &Grant, type_name: &str) -> Option<String> {
    match grant.allowed_by_scopes(type_name, Letters::SEARCH) {
        Allowed::Nothing => None,
        Allowed::Everything => Some(WHOLE.to_owned()),
        Allowed::Part(expr) => Some(hash(&format!("{expr:?}"))),
    }
}

/// Refuses a query that asks about types that no scope lets search: by a chain, by `_has`, or by naming them in `_type`. A search
/// over all types passes over those that are not covered. How a page was found (`_explain`) tells how much there is beside what may be
/// seen: it is for those who may see everything.
///
/// # Errors
/// 403.
pub fn cover_query(context: &Context, request: &Request<'_>, query: &Query) -> Result<()> {
    let grant = &context.grant;
    if grant.is_unrestricted() {
        return Ok(());
    }
    let names_types = request.parameter("_type").is_some_and(|types| !types.is_empty());
    let is_closed = |target: &search::Target| grant.allowed(&target.type_name, Letters::SEARCH) == Allowed::Nothing;
    let is_uncovered = |target: &search::Target| search::is_uncovered(grant, &target.expr);
    if query.explain && !grant.sees_everything() {
        return Err(insufficient_scope());
    }
    if (names_types && query.targets.iter().any(is_closed)) || query.targets.iter().any(is_uncovered) {
        return Err(insufficient_scope());
    }
    Ok(())
}

/// The current version of a resource, a deletion included, where any of the letters reaches it.
///
/// # Errors
/// When the store fails, or the grant's own criteria take too long.
pub fn current(
    context: &Context,
    records: &Records,
    letters: Letters,
    type_name: &str,
    id: &str,
) -> Result<Option<Version>> {
    let view = records.view();
    let found = view.find(type_name, id)?;
    let version = found.map(|rid| view.current(rid)).transpose()?.flatten();
    match (records.grant().allowed(type_name, letters), version) {
        (Allowed::Everything, version) => Ok(version),
        (Allowed::Nothing, _) => Ok(None),
        (Allowed::Part(expr), Some(version)) => {
            let keys = if version.body.is_some() {
                view.keys(version.rid)?
            } else {
                view.version_keys(version.rid, version.version.saturating_sub(1))?
            };
            let is_reached = holds(context, records, type_name, keys.as_ref(), &expr)?;
            Ok(Some(version).filter(|_| is_reached))
        }
        (Allowed::Part(expr), None) => {
            look_at_another(context, records, type_name, &expr)?;
            Ok(None)
        }
    }
}

/// What is absent takes the time of what is not to be seen: another resource is looked at in its place.
fn look_at_another(context: &Context, records: &Records, type_name: &str, expr: &Expr) -> Result<()> {
    let view = records.view();
    if let Some(rid) = view.rids(type_name, ALL, Rid(0)).next().transpose()? {
        let (_, keys) = (view.current(rid)?, view.keys(rid)?);
        holds(context, records, type_name, keys.as_ref(), expr)?;
    }
    Ok(())
}

/// The current version of a resource that is there.
///
/// # Errors
/// 404 where there is none, 410 where it is deleted.
pub fn live(context: &Context, records: &Records, letters: Letters, type_name: &str, id: &str) -> Result<Version> {
    let version = current(context, records, letters, type_name, id)?.ok_or_else(Error::not_found)?;
    if version.body.is_none() { Err(gone(version.version)) } else { Ok(version) }
}

/// One version of a resource, current or old, a deletion included, where any of the letters reaches it.
///
/// # Errors
/// As [`current`].
pub fn version(
    context: &Context,
    records: &Records,
    letters: Letters,
    (type_name, id): (&str, &str),
    number: u64,
) -> Result<Option<Version>> {
    let Some(current) = current(context, records, letters, type_name, id)? else { return Ok(None) };
    let Some(version) = records.view().version(current.rid, number)? else { return Ok(None) };
    let is_reached = reaches_version(context, records, letters, &version)?;
    Ok(Some(version).filter(|_| is_reached))
}

/// Whether a version is reached by its own keys; a deletion by those of the version before.
///
/// # Errors
/// As [`current`].
pub fn reaches_version(context: &Context, records: &Records, letters: Letters, version: &Version) -> Result<bool> {
    match records.grant().allowed(&version.type_name, letters) {
        Allowed::Everything => Ok(true),
        Allowed::Nothing => Ok(false),
        Allowed::Part(expr) => {
            let number = if version.body.is_some() { version.version } else { version.version.saturating_sub(1) };
            let keys = records.view().version_keys(version.rid, number)?;
            holds(context, records, &version.type_name, keys.as_ref(), &expr)
        }
    }
}

/// Whether a resource, by its current version, and a version of it by its own keys, are both reached: for histories over many.
///
/// # Errors
/// As [`current`].
pub fn reaches_both(context: &Context, records: &Records, letters: Letters, version: &Version) -> Result<bool> {
    match records.grant().allowed(&version.type_name, letters) {
        Allowed::Everything => Ok(true),
        Allowed::Nothing => Ok(false),
        Allowed::Part(_) => Ok(reaches_version(context, records, letters, version)?
            && current(context, records, letters, &version.type_name, &version.id)?.is_some()),
    }
}

/// Whether a resource of a type with these keys, stored or not, would be reached.
///
/// # Errors
/// As [`current`].
pub fn would_reach(
    context: &Context,
    records: &Records,
    letters: Letters,
    type_name: &str,
    keys: &KeyList,
) -> Result<bool> {
    match records.grant().allowed(type_name, letters) {
        Allowed::Everything => Ok(true),
        Allowed::Nothing => Ok(false),
        Allowed::Part(expr) => holds(context, records, type_name, Some(keys), &expr),
    }
}

fn holds(context: &Context, records: &Records, type_name: &str, keys: Option<&KeyList>, expr: &Expr) -> Result<bool> {
    match keys {
        Some(keys) if !keys.is_empty() => search::holds(records, type_name, keys, expr, &context.search_budget()),
        _ => Ok(false),
    }
}

/// Refuses changes that the grant does not allow, and makes the deletions of what is not to be seen those of what is not there.
/// Every commit of a request passes through here.
///
/// # Errors
/// 403 where no scope covers a change, or what is submitted is outside of what is allowed; 404 for an update of what is not to
/// be seen, or is not there and may not be created.
pub fn permit(context: &Context, records: &Records, changes: &mut [Change]) -> Result<()> {
    if records.grant().is_unrestricted() {
        return Ok(());
    }
    changes.iter_mut().try_for_each(|change| permit_one(context, records, change))?;
    permit_attachments(context, records, changes)
}

/// Refuses to attach a Binary that the grant does not reach: whoever may see the resource that has it may see the Binary, so
/// attaching would open it. What is not there is answered as what is not to be seen; one that the same commit creates is fine.
fn permit_attachments(context: &Context, records: &Records, changes: &[Change]) -> Result<()> {
    if records.grant().allowed("Binary", Letters::READ) == Allowed::Everything {
        return Ok(());
    }
    let is_created = |id: &str| {
        changes.iter().any(|one| &*one.type_name == "Binary" && one.method == Method::Create && &*one.id == id)
    };
    for content in changes.iter().filter_map(|change| change.content.as_ref()) {
        for (type_name, id) in search::references(&content.keys, ATTACHMENT) {
            let is_reached = type_name != "Binary"
                || is_created(id)
                || current(context, records, Letters::READ, type_name, id)?.is_some();
            if !is_reached {
                return Err(insufficient_scope());
            }
        }
    }
    Ok(())
}

fn permit_one(context: &Context, records: &Records, change: &mut Change) -> Result<()> {
    let letters = match change.method {
        Method::Create => Letters::CREATE,
        Method::Update | Method::Patch => Letters::UPDATE,
        Method::Delete => Letters::DELETE,
    };
    let type_name = &*change.type_name;
    let expr = match records.grant().allowed(type_name, letters) {
        Allowed::Nothing => return Err(insufficient_scope()),
        Allowed::Part(expr) => expr,
        Allowed::Everything if (change.method, change.expect) == (Method::Update, Expect::Absent) => {
            let create = records.grant().allowed(type_name, Letters::CREATE);
            return if create == Allowed::Everything { Ok(()) } else { Err(insufficient_scope()) };
        }
        Allowed::Everything => return Ok(()),
    };
    let stored = match change.method {
        Method::Create => None,
        _ => current(context, records, letters, type_name, &change.id)?,
    };
    match (&change.content, stored) {
        (None, None) => change.id = NOBODYS_ID.into(),
        // What is deleted is what was looked at.
        (None, Some(stored)) => change.expect = Expect::Version(stored.version),
        (Some(content), None) if change.method != Method::Create => {
            return permit_creation(context, records, change, &content.keys);
        }
        (Some(content), _) if holds(context, records, type_name, Some(&content.keys), &expr)? => {}
        (Some(_), _) => return Err(insufficient_scope()),
    }
    Ok(())
}

/// Permits an update that creates, where scopes and roles reach all of the type and patients' consents alone narrow what is to be
/// seen: else nobody could create under ids of their own once a single patient has decided anything. What is there and not to be
/// seen is answered as if it were not there, and it is not written over.
fn permit_creation(context: &Context, records: &Records, change: &Change, keys: &KeyList) -> Result<()> {
    let type_name = &*change.type_name;
    let reaches_all = |letters| records.grant().allowed_by_scopes(type_name, letters) == Allowed::Everything;
    let creates = (change.method, change.expect) == (Method::Update, Expect::Absent);
    if !creates || !reaches_all(Letters::UPDATE) || records.view().find(type_name, &change.id)?.is_some() {
        return Err(Error::not_found());
    }
    let may = reaches_all(Letters::CREATE) && would_reach(context, records, Letters::CREATE, type_name, keys)?;
    if may { Ok(()) } else { Err(insufficient_scope()) }
}
