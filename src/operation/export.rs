//! `$export`: <https://hl7.org/fhir/uv/bulkdata/export.html>.
//!
//! The kick-off decides what is to be exported: on one snapshot, under the grant of the request, by the same sets as a search. The lists
//! that come of it are kept before it is answered, and a job writes the files ([`crate::bulk`]).

mod deleted;
mod gather;
mod members;
mod organize;
mod provenance;
mod wanted;

use crate::auth::witness::Witness;
use crate::bulk::pins::Pins;
use crate::bulk::{Asked, Form, LONGEST, List, Note, export as work};
use crate::clock::Micros;
use crate::error::{Category, Error, Issue, Result};
use crate::interaction::call::{Verb, method_not_allowed};
use crate::interaction::{Answer, Context, Pending, Request, Status, job, reach};
use crate::jobs::New;
use crate::retention::spare;
use crate::store::Rid;
use gather::{ByType, Gathered, gather};
use organize::Organized;
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
    let witness = context.witness(&request);
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
    let begun = begin(context, wanted, level, (&id, url, &witness)).await;
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
    (id, request, witness): (&str, String, &Witness),
) -> Result<crate::jobs::Job> {
    let tenant = context.grant.tenant();
    let (moment, gathered) = {
        let records = context.open()?;
        let gathered = gather(context, &records, &mut wanted, level).map_err(too_much)?;
        (records.view().position().0.max(0), gathered)
    };
    let until = after(context, LONGEST);
    let reached = |name: &str| Some((name.into(), reach::of_type(&context.grant, name)?));
    let names = gathered.resources.keys().chain(gathered.deleted.keys());
    let reach = names.filter_map(|name| reached(name)).collect();
    let (mut lists, mut keeps) = (Vec::new(), Vec::new());
    for (list, rids) in parts(gathered, &mut wanted) {
        let (list, pinned) = pinned(id, lists.len(), list, &rids, until)?;
        keeps.extend(pinned);
        lists.push(list);
    }
    while keeps.len() > TOGETHER {
        let some = keeps.split_off(keeps.len() - TOGETHER);
        context.store.keeper().keep(tenant, some).await?;
    }
    keeps.push(spare::stay(id, until)?);
    let asked = Asked {
        request,
        base: context.base.to_string(),
        moment,
        reach,
        lists,
        organized_by: wanted.organize,
        is_partial: wanted.is_partial,
        elements: wanted.elements,
        notes: wanted.notes,
    };
    let parameters = serde_json::to_value(&asked).map_err(Error::internal)?;
    let new = New { kind: work::KIND, owner: context.trail.agent().into_owned(), parameters };
    context.begin_job(witness, id.to_owned(), new, keeps).await
}

/// The lists that come of it, in the order of the files. What is in no block is told.
fn parts(gathered: Gathered, wanted: &mut Wanted) -> Vec<(List, Vec<Rid>)> {
    let Gathered { resources, organized, deleted } = gathered;
    let list = |type_name, rids: &[Rid]| List { type_name, form: Form::Resources, chunks: 0, count: rids.len() as u64 };
    let of = |all: ByType, form: Form| {
        let part = move |(type_name, rids): (Box<str>, Vec<Rid>)| (List { form, ..list(type_name, &rids) }, rids);
        all.into_iter().map(part).collect::<Vec<_>>()
    };
    let mut parts = match (organized, &wanted.organize) {
        (Some(organized), Some(by)) => {
            if organized.left_out > 0 {
                let left_out = organized.left_out;
                let text = format!(
                    "{left_out} of the resources belong to no {by}, and refer to none that does: they are left out."
                );
                wanted.notes.push(Note { code: "incomplete".into(), text: text.into() });
            }
            let Organized { numbers, count, .. } = organized;
            let list = List { form: Form::Blocks, count, ..list(by.as_str().into(), &numbers) };
            if numbers.is_empty() { Vec::new() } else { vec![(list, numbers)] }
        }
        _ => of(resources, Form::Resources),
    };
    parts.extend(of(deleted, Form::Deletions));
    parts
}

/// A list with the records that keep it.
fn pinned(
    id: &str,
    nth: usize,
    list: List,
    rids: &[Rid],
    until: Micros,
) -> Result<(List, Vec<crate::auth::keeper::Keep>)> {
    let mut pins = Pins::default();
    for rid in rids {
        pins.push(*rid)?;
    }
    let keeps = pins.into_keeps(id, nth, until)?;
    let chunks = u32::try_from(keeps.len()).map_err(Error::internal)?;
    Ok((List { chunks, ..list }, keeps))
}

fn too_much(error: Error) -> Error {
    if error.category != Category::Timeout {
        return error;
    }
    let text = "What is to be exported can't be decided on in the time of a request (limits.request_timeout_ms): ask for \
                fewer types, or for fewer patients.";
    Error::new(Category::Timeout, "too-costly", text)
}
