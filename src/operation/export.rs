//! `$export`: <https://hl7.org/fhir/uv/bulkdata/export.html>.
//!
//! The kick-off decides what is to be exported: on one snapshot, under the grant of the request, by the same sets as a search. The lists
//! that come of it are kept before it is answered, and a job writes the files ([`crate::bulk`]).

mod deleted;
mod gather;
mod members;
mod provenance;
mod wanted;

use crate::bulk::pins::Pins;
use crate::bulk::{Asked, LONGEST, List, export as work};
use crate::clock::Micros;
use crate::error::{Category, Error, Issue, Result};
use crate::interaction::call::{Verb, method_not_allowed};
use crate::interaction::{Answer, Context, Pending, Request, Status, job, reach};
use crate::jobs::New;
use crate::retention::spare;
use crate::store::Rid;
use gather::{Gathered, gather};
use std::collections::BTreeMap;
use wanted::Wanted;

/// A kick-off that has begun and comes to nothing is forgotten after so long, in microseconds.
const BEGINNING: i64 = 600_000_000;
/// Records that are kept together.
const TOGETHER: usize = 32;

/// What an export is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level<'l> {
    /// All that there is.
    System,
    /// What belongs to patients.
    Patient,
    /// What belongs to the members of a Group.
    Group(&'l str),
}

impl Level<'_> {
    /// The URL of a kick-off with these parameters, relative to the base.
    fn url(self, pairs: &[(String, String)]) -> String {
        let path = match self {
            Level::System => "$export".to_owned(),
            Level::Patient => "Patient/$export".to_owned(),
            Level::Group(id) => format!("Group/{id}/$export"),
        };
        let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        if pairs.is_empty() { path } else { format!("{path}?{pairs}") }
    }
}

/// Begins an export.
///
/// # Errors
/// 400 for parameters that are unknown, malformed or mean nothing here, unless handling is lenient; 403 where no scope covers a type that
/// is named; 404 for a Group that is not there; 429 where the tenant has too many jobs; 503 where it can't be decided in time
/// what is to be exported.
pub async fn export(context: &Context, mut request: Request<'_>, level: Level<'_>) -> Result<Answer> {
    if request.verb == Verb::Head {
        return Err(method_not_allowed());
    }
    let (tenant, id) = (context.grant.tenant(), context.clock.new_id());
    let url = format!("{}/{}", context.base, level.url(&request.query));
    let wanted = Wanted::read(context, &mut request, level)?;
    context.jobs.check_room(tenant)?;
    context.exports.check_room(&context.jobs.list(tenant)?, context.clock.now())?;
    if wanted.types.iter().any(|name| name == crate::interaction::LEDGER) {
        // What was done a moment ago is to be found.
        context.store.settled().await?;
    }
    let keeper = context.store.keeper();
    // From here on no rule erases what the snapshot has.
    keeper.keep(tenant, spare::begin(&id, after(context, BEGINNING))?).await?;
    let begun = begin(context, wanted, level, (&id, url)).await;
    if begun.is_err() {
        keeper.keep(tenant, vec![spare::end(&id)]).await?;
    }
    let job = begun?;
    let text = "The export has begun: ask for it at the address in Content-Location.";
    let pending = Pending { content_location: Some(job::url(context, &job.id)), ..job::pending(&job) };
    let issues = vec![Issue::information("informational", text)];
    Ok(Answer { issues, pending: Some(pending), ..Answer::empty(Status::Accepted) })
}

fn after(context: &Context, micros: i64) -> Micros {
    Micros(context.clock.now().0.saturating_add(micros))
}

/// Decides what is to be exported, keeps it, and asks for the job.
async fn begin(
    context: &Context,
    mut wanted: Wanted,
    level: Level<'_>,
    (id, request): (&str, String),
) -> Result<crate::jobs::Job> {
    let tenant = context.grant.tenant();
    let (moment, gathered) = {
        let records = context.open()?;
        let gathered = gather(context, &records, &mut wanted, level).map_err(too_much)?;
        (records.view().position().0.max(0), gathered)
    };
    let until = after(context, LONGEST);
    let Gathered { resources, deleted } = gathered;
    let (mut lists, mut keeps) = (Vec::new(), Vec::new());
    for (is_deleted, all) in [(false, resources), (true, deleted)] {
        for (type_name, rids) in all {
            let (list, pinned) = pinned(id, lists.len(), (type_name, is_deleted), &rids, until)?;
            keeps.extend(pinned);
            lists.push(list);
        }
    }
    while keeps.len() > TOGETHER {
        let some = keeps.split_off(keeps.len() - TOGETHER);
        context.store.keeper().keep(tenant, some).await?;
    }
    keeps.push(spare::stay(id, until)?);
    let reached = |list: &List| Some((list.type_name.clone(), reach::of_type(&context.grant, &list.type_name)?));
    let asked = Asked {
        request,
        base: context.base.to_string(),
        moment,
        reach: lists.iter().filter_map(reached).collect::<BTreeMap<_, _>>(),
        lists,
        elements: wanted.elements,
        notes: wanted.notes,
    };
    let parameters = serde_json::to_value(&asked).map_err(Error::internal)?;
    let new = New { kind: work::KIND, owner: context.trail.agent().into_owned(), parameters };
    context.jobs.submit_with(tenant, id.to_owned(), new, keeps).await
}

/// A list with the records that keep it.
fn pinned(
    id: &str,
    nth: usize,
    (type_name, is_deleted): (Box<str>, bool),
    rids: &[Rid],
    until: Micros,
) -> Result<(List, Vec<crate::auth::keeper::Keep>)> {
    let mut pins = Pins::default();
    for rid in rids {
        pins.push(*rid)?;
    }
    let keeps = pins.into_keeps(id, nth, until)?;
    let chunks = u32::try_from(keeps.len()).map_err(Error::internal)?;
    Ok((List { type_name, is_deleted, chunks, count: rids.len() as u64 }, keeps))
}

fn too_much(error: Error) -> Error {
    if error.category != Category::Timeout {
        return error;
    }
    let text = "What is to be exported can't be decided on in the time of a request (limits.request_timeout_ms): ask for \
                fewer types, or for fewer patients.";
    Error::new(Category::Timeout, "too-costly", text)
}
