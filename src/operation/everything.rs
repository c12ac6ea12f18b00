//! `$everything`: <https://hl7.org/fhir/R4/patient-operation-everything.html>,
//! <https://hl7.org/fhir/R4/encounter-operation-everything.html>.
//!
//! First the resources of the compartment, type by type, then what they refer to outside of it. A page link holds the place
//! where a page ended, in an order that does not change, so that no page repeats a resource.

mod wanted;

use super::parameters;
use crate::auth::compartment::{compartment as inside, of_any_patient, shared};
use crate::auth::scope::Letters;
use crate::error::{Error, Result};
use crate::fhir::definitions::{self, Compartment};
use crate::interaction::searchset::{Links, Searchset, Warnings};
use crate::interaction::{Answer, Context, Request, reach};
use crate::key::Expr;
use crate::search::{self, Cursor, Page, Query, ReferredPlace, Sources, Target};
use crate::store::body::Body;
use crate::store::{Records, Rid};
use wanted::Wanted;

/// The record of one patient, or of all that the request may reach.
///
/// # Errors
/// 404 and 410 as for a read; 400 for parameters that are unknown or malformed.
pub fn patient(context: &Context, mut request: Request<'_>, id: Option<&str>) -> Result<Answer> {
    let wanted = Wanted::read(context, &parameters::pairs(&mut request)?, request.handling, true)?;
    let records = context.open()?;
    let around = compartment("Patient")?;
    let sets = if let Some(id) = id {
        reach::live(context, &records, Letters::READ, "Patient", id)?;
        let sources = sources(around, &wanted, |name| inside("Patient", id, name));
        let sources = sources.into_iter().map(|target| wanted.in_care_dates(target)).collect();
        Sets { sources, referred: shared_types().chain([everything_of("Binary")]).collect(), walks: true }
    } else {
        let is_inside = |name: &str| name == around.code || !around.params(name).is_empty();
        let sources = sources(around, &wanted, |name| is_inside(name).then(|| of_any_patient(name)));
        let sources: Vec<_> = sources.into_iter().map(|target| wanted.in_care_dates(target)).collect();
        let referred = shared_types().map(|target| referred_by(&sources, target)).collect();
        Sets { sources, referred, walks: false }
    };
    let path = id.map_or_else(|| "Patient/$everything".to_owned(), |id| format!("Patient/{id}/$everything"));
    answer(context, &request, (&records, &sets, &wanted), &path)
}

/// An encounter, what belongs to it, and what those refer to: of its patient's record, and what belongs to no patient.
///
/// # Errors
/// 404 and 410 as for a read; 400 for parameters that are unknown or malformed.
pub fn encounter(context: &Context, mut request: Request<'_>, id: &str) -> Result<Answer> {
    let wanted = Wanted::read(context, &parameters::pairs(&mut request)?, request.handling, false)?;
    let records = context.open()?;
    let rid = reach::live(context, &records, Letters::READ, "Encounter", id)?.rid;
    let around = compartment("Encounter")?;
    let own = |name: &str| inside("Encounter", id, name);
    let sources = sources(around, &wanted, own);
    let keys = records.view().keys(rid)?.unwrap_or_default();
    let patient = search::references(&keys, "patient").find(|(name, _)| *name == "Patient").map(|(_, id)| id);
    let mut referred: Vec<_> = shared_types().chain([everything_of("Binary")]).collect();
    for (name, _) in
        patient.and_then(|_| definitions::r4().compartment("Patient")).into_iter().flat_map(|it| &it.resources)
    {
        if let Some(expr) = patient.and_then(|patient| inside("Patient", patient, name)) {
            let outside = own(name).map(Expr::negate);
            referred.push(Target { type_name: (*name).into(), expr: Expr::and([expr].into_iter().chain(outside)) });
        }
    }
    let path = format!("Encounter/{id}/$everything");
    answer(context, &request, (&records, &Sets { sources, referred, walks: true }, &wanted), &path)
}

/// What an answer is gathered from.
struct Sets {
    /// The compartment.
    sources: Vec<Target>,
    /// What may come along, if something in the compartment refers to it.
    referred: Vec<Target>,
    /// Whether what is referred to is found by walking the compartment, which suits a small one; else each of `referred` says
    /// so itself.
    walks: bool,
}

/// Where a page ends.
enum Place {
    /// In the compartment.
    Inside(Cursor),
    /// In what it refers to; at its start where there is no place.
    Outside(Option<ReferredPlace>),
}

fn answer(
    context: &Context,
    request: &Request<'_>,
    (records, sets, wanted): (&Records, &Sets, &Wanted),
    path: &str,
) -> Result<Answer> {
    let mut query = search::parse(
        &context.conformance.registry(),
        Some("Patient"),
        &[],
        &context.search_options(request.handling),
    )?;
    query.count = wanted.count;
    query.targets = wanted.narrowed(&sets.sources);
    let referred = wanted.narrowed(&sets.referred);
    if !sets.walks {
        query.targets.extend_from_slice(&referred);
    }
    let binding = format!("{} {path}?{:?}", context.grant.tenant().0, wanted.used);
    let searchset = Searchset { context, path, binding: &binding, pairs: &wanted.used };
    let given = request.parameter("_cursor");
    let place = given.map(|cursor| Place::from_bytes(&searchset.open(cursor)?, &query)).transpose()?;
    let budget = context.search_budget();
    let mut outside = None;
    let mut page = match place {
        Some(Place::Outside(place)) => {
            outside = place;
            Page::default()
        }
        Some(Place::Inside(cursor)) => search::run(records, &query, Some(&cursor), &budget)?,
        None => search::run(records, &query, None, &budget)?,
    };
    page.total = None;
    let mut next = page.next.take().map(Place::Inside);
    if next.is_none() && sets.walks && !referred.is_empty() {
        let room = wanted.count.saturating_sub(page.matches.len());
        // Where this page holds the whole compartment, its bodies need not be read again.
        let is_whole = given.is_none() && query.targets == sets.sources;
        if is_whole {
            open_bodies(&mut page)?;
        }
        let sources = if is_whole { Sources::Opened(&page.matches) } else { Sources::Sets(&sets.sources) };
        let base = Some(&*context.base);
        let mut found = search::referred(records, (sources, &referred), base, outside, room + 1, &budget)?;
        if found.len() > room {
            found.truncate(room);
            next = Some(Place::Outside(found.last().map_or(outside, |(place, _)| Some(*place))));
        }
        page.included = found.into_iter().map(|(_, version)| version).collect();
    }
    let next = next.map(|next| next.to_bytes(&query));
    searchset.answer(
        &page,
        Links { given, next: next.as_deref(), prev: None },
        None,
        &Warnings { dropped: &wanted.dropped, ..Warnings::default() },
    )
}

fn open_bodies(page: &mut Page) -> Result<()> {
    for found in &mut page.matches {
        found.version.body = found.version.body.take().map(Body::opened).transpose()?;
    }
    Ok(())
}

impl Place {
    fn to_bytes(&self, query: &Query) -> Vec<u8> {
        match self {
            Self::Inside(cursor) => [&[0], &*cursor.to_bytes(query)].concat(),
            Self::Outside(None) => vec![1],
            Self::Outside(Some((target, rid))) => [&[2], &target.to_be_bytes()[..], &rid.0.to_be_bytes()].concat(),
        }
    }

    fn from_bytes(bytes: &[u8], query: &Query) -> Result<Self> {
        let bad = || Error::invalid("The page link is not one of this operation.").at("_cursor");
        match bytes.split_first().ok_or_else(bad)? {
            (0, cursor) => Cursor::from_bytes(cursor, query).map(Self::Inside),
            (1, []) => Ok(Self::Outside(None)),
            (2, place) => {
                let (target, rid) = place.split_first_chunk().ok_or_else(bad)?;
                let rid = rid.try_into().map_err(|_| bad())?;
                Ok(Self::Outside(Some((u16::from_be_bytes(*target), Rid(u64::from_be_bytes(rid))))))
            }
            _ => Err(bad()),
        }
    }
}

fn compartment(code: &str) -> Result<&'static Compartment> {
    definitions::r4().compartment(code).ok_or_else(|| Error::internal("a compartment without definition"))
}

/// The sets that a compartment is made of: the type it is around first.
fn sources(around: &Compartment, wanted: &Wanted, of_type: impl Fn(&str) -> Option<Expr>) -> Vec<Target> {
    let others = around.resources.iter().map(|(name, _)| *name).filter(|name| *name != around.code);
    let names = std::iter::once(around.code).chain(others);
    let names = names.filter(|name| wanted.is_of_record(name));
    names.filter_map(|name| Some(Target { type_name: name.into(), expr: of_type(name)? })).collect()
}

fn everything_of(type_name: &str) -> Target {
    Target { type_name: type_name.into(), expr: Expr::All }
}

/// The types of which resources may belong to no patient.
fn shared_types() -> impl Iterator<Item = Target> {
    let names = definitions::r4().resource_types().iter();
    names.filter_map(|name| Some(Target { type_name: (*name).into(), expr: shared(name)? }))
}

/// Of a set, what any of the sources refers to.
fn referred_by(sources: &[Target], target: Target) -> Target {
    let mut parts = Vec::new();
    for source in sources {
        for parameter in search::Registry::default().references(&source.type_name) {
            if parameter.targets.is_empty() || parameter.targets.contains(&&*target.type_name) {
                let (source, expr) = (source.type_name.clone(), Box::new(source.expr.clone()));
                parts.push(Expr::ReferredBy { source, code: (*parameter.code).into(), expr });
            }
        }
    }
    // A conjunction, so that the few resources of such a type are walked and each is checked.
    Target { type_name: target.type_name, expr: Expr::And(vec![target.expr, Expr::Or(parts)]) }
}
