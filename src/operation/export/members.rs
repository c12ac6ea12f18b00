//! Whom an export is about: the members of a Group, and the patients that are named.

use super::Level;
use super::wanted::Wanted;
use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::bulk::Note;
use crate::bulk::lines::version_at;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::fhir::parse::parse;
use crate::fhir::reference::Reference;
use crate::fhir::tree::{Object, Value};
use crate::interaction::{Context, body_of, gone, reach};
use crate::key::date::Span;
use crate::search;
use crate::store::{Records, Version};
use std::collections::{BTreeMap, BTreeSet};

/// The patients, each with whether all of the record is wanted, whatever `_since` says: those who came into the Group since then. Nothing
/// where it is about all patients, or about the whole system. `notes` hears of those who are left out.
///
/// # Errors
/// 404 for a Group that is not there; 400 for a patient who is not there or no member, unless handling is lenient.
pub fn patients(
    context: &Context,
    records: &Records,
    wanted: &Wanted,
    level: Level<'_>,
) -> Result<Option<BTreeMap<String, bool>>> {
    let members = match level {
        Level::Group(id) => Some(members_of(context, records, wanted, id)?),
        Level::System | Level::Patient => None,
    };
    let Some(named) = &wanted.patients else { return Ok(members) };
    let mut found = BTreeMap::new();
    for id in named {
        let is_whole = match &members {
            Some(members) => members.get(id).copied(),
            None => reach::current(context, records, Letters::READ, "Patient", id)?
                .filter(|version| version.body.is_some())
                .map(|_| false),
        };
        found.extend(is_whole.map(|is_whole| (id.clone(), is_whole)));
    }
    Ok(Some(found))
}

/// What is to be told of patients who were named and are not there.
///
/// # Errors
/// 400 for any, unless handling is lenient.
pub fn missing(wanted: &Wanted, found: Option<&BTreeMap<String, bool>>) -> Result<Option<Note>> {
    let (Some(named), Some(found)) = (&wanted.patients, found) else { return Ok(None) };
    let count = named.iter().filter(|id| !found.contains_key(*id)).count();
    let text = format!("{count} of the patients in `patient` are not on the server, or no members of the Group.");
    match count {
        0 => Ok(None),
        _ if wanted.is_lenient => Ok(Some(Note { code: "not-found".into(), text: text.into() })),
        _ => Err(Error::invalid(text).at("patient")),
    }
}

fn members_of(context: &Context, records: &Records, wanted: &Wanted, id: &str) -> Result<BTreeMap<String, bool>> {
    let group = group(context, records, id)?.ok_or_else(Error::not_found)?;
    if group.body.is_none() {
        return Err(gone(group.version));
    }
    let now = context.clock.now();
    let mut reading = Reading { context, records, seen: BTreeSet::new(), moment: None, at: now };
    let members = reading.read(&group)?;
    let Some(since) = wanted.since else { return Ok(members.into_iter().map(|id| (id, false)).collect()) };
    let mut reading = Reading { context, records, seen: BTreeSet::new(), moment: Some(since), at: Micros(since) };
    let before = match version_at(records.view(), group.rid, since)? {
        Some(version) => reading.read(&version)?,
        None => BTreeSet::new(),
    };
    Ok(members.into_iter().map(|id| (id.clone(), !before.contains(&id))).collect())
}

/// A Group, a deletion included, as far as scopes and roles reach it. It is not given out, so no member's consent decides on it: each member's
/// own data is narrowed by that. Clients that ask for the scopes of what they want exported seldom name Group: whoever may see all
/// patients may have them by a Group whose id is known.
fn group(context: &Context, records: &Records, id: &str) -> Result<Option<Version>> {
    let (view, grant) = (records.view(), records.grant());
    let found = view.find("Group", id)?.map(|rid| view.current(rid)).transpose()?.flatten();
    match grant.allowed_by_scopes("Group", Letters::READ) {
        Allowed::Everything => Ok(found),
        Allowed::Nothing if grant.allowed_by_scopes("Patient", Letters::SEARCH) == Allowed::Everything => Ok(found),
        Allowed::Nothing => Err(reach::insufficient_scope()),
        Allowed::Part(expr) => {
            let Some(version) = found else { return Ok(None) };
            let number = if version.body.is_some() { version.version } else { version.version.saturating_sub(1) };
            let keys = view.version_keys(version.rid, number)?.filter(|keys| !keys.is_empty());
            let is_reached = match keys {
                Some(keys) => search::holds(records, "Group", &keys, &expr, &context.search_budget())?,
                None => false,
            };
            Ok(Some(version).filter(|_| is_reached))
        }
    }
}

/// Reads the members of Groups, those of Groups in them included.
struct Reading<'r> {
    context: &'r Context,
    records: &'r Records,
    seen: BTreeSet<String>,
    /// The moment of the versions that are read; the current ones where there is none.
    moment: Option<i64>,
    /// When somebody has to be a member.
    at: Micros,
}

impl Reading<'_> {
    fn read(&mut self, group: &Version) -> Result<BTreeSet<String>> {
        let (mut patients, mut waiting) = (BTreeSet::new(), vec![group.clone()]);
        while let Some(group) = waiting.pop() {
            if group.body.is_none() || !self.seen.insert(group.id.to_string()) {
                continue;
            }
            let json = body_of(&group)?;
            let tree = parse(&json, usize::MAX).map_err(Error::internal)?;
            let members = tree.get("member").map(Value::items).unwrap_or_default();
            for member in members.iter().filter_map(Value::as_object).filter(|member| self.is_in_force(member)) {
                let entity = member.get("entity").and_then(|entity| entity.get("reference")).and_then(Value::as_str);
                let reference = Reference::parse(entity.unwrap_or_default()).relative_to(&self.context.base);
                match reference.literal() {
                    Some(literal) if literal.type_name == "Patient" => drop(patients.insert(literal.id.to_owned())),
                    Some(literal) if literal.type_name == "Group" => waiting.extend(self.inner(literal.id)?),
                    _ => {}
                }
            }
        }
        Ok(patients)
    }

    fn is_in_force(&self, member: &Object<'_>) -> bool {
        let period = member.get("period").and_then(Value::as_object).and_then(Span::of_period);
        let is_inactive = matches!(member.get("inactive"), Some(Value::Bool(true)));
        !is_inactive && period.is_none_or(|period| period.low <= self.at.0 && self.at.0 <= period.high)
    }

    /// A Group in a Group, as far as it is to be seen.
    fn inner(&self, id: &str) -> Result<Option<Version>> {
        let found = group(self.context, self.records, id)?;
        match (found, self.moment) {
            (Some(version), Some(moment)) => version_at(self.records.view(), version.rid, moment),
            (found, _) => Ok(found),
        }
    }
}
