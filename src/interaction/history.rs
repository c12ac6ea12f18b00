//! history: <https://hl7.org/fhir/R4/http.html#history>, of an instance, a type, or the whole system.
//!
//! Newest first. A page link holds the place in the change log where the page ended, so that a page costs the same at
//! any depth and nothing that changes meanwhile is repeated or lost.

use super::call::Target;
use super::{Answer, Context, Request, reach, shown};
use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, EntryRequest, EntryResponse};
use crate::key::date::Span;
use crate::store::{Method, Records, Version};

/// What a history is asked for.
struct Wanted {
    /// The entries of a page; with 0, nothing but the total is told.
    count: usize,
    /// Versions made at or after this time.
    since: Micros,
    /// Versions that were current at some point from the first to before the second.
    at: Option<(Micros, Micros)>,
}

/// The place in the log before which the next page goes on.
type Place = (Micros, u32);

/// The versions of a resource, of a type's resources, or of all, newest first.
///
/// # Errors
/// 404 for an instance that never was; 400 for a parameter that history does not have.
pub fn history(context: &Context, request: &Request<'_>, target: &Target) -> Result<Answer> {
    let wanted = wanted(context, request)?;
    let path = match target {
        Target::System => "_history".to_owned(),
        Target::Type(type_name) => format!("{type_name}/_history"),
        Target::Instance(type_name, id) => format!("{type_name}/{id}/_history"),
    };
    let kept = request.query.iter().filter(|(name, value)| name != "_cursor" && is_known(name) && !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
    let binding = format!("{} {path}?{query}", context.grant.tenant().0);
    let start = match request.parameter("_cursor") {
        Some(cursor) => decode(&context.cursors.open(context.clock.now(), binding.as_bytes(), cursor)?)?,
        None => (Micros(i64::MAX), u32::MAX),
    };
    let records = context.open()?;
    let page = match target {
        Target::Instance(type_name, id) => instance(context, &records, (type_name, id), &wanted, start)?,
        Target::Type(type_name) => from_log(context, &records, Some(type_name), &wanted, start)?,
        Target::System => from_log(context, &records, None, &wanted, start)?,
    };
    let mut writer = BundleWriter::new(BundleType::History, Some(context.clock.now()));
    if let Some(total) = page.total {
        writer.total(total);
    }
    let url = |extra: Option<&str>| link(context, &path, &query, extra);
    writer.link("self", &url(request.parameter("_cursor")));
    if let Some(next) = page.next {
        let cursor = context.cursors.seal(context.clock.now(), binding.as_bytes(), &encode(next))?;
        writer.link("next", &url(Some(&cursor)));
    }
    for version in &page.versions {
        write_entry(context, &mut writer, version)?;
    }
    Ok(Answer::ok(writer.finish()))
}

struct Page {
    versions: Vec<Version>,
    next: Option<Place>,
    total: Option<u64>,
}

/// An instance's versions lie side by side: no need for the log. The place counts in versions.
fn instance(
    context: &Context,
    records: &Records,
    (type_name, id): (&str, &str),
    wanted: &Wanted,
    start: Place,
) -> Result<Page> {
    let view = records.view();
    let current = reach::current(context, records, Letters::READ, type_name, id)?.ok_or_else(Error::not_found)?;
    let (rid, newest) = (current.rid, current.version);
    let first = u64::try_from(start.0.0).unwrap_or(u64::MAX).min(newest + 1) - 1;
    let mut page = Page { versions: Vec::new(), next: None, total: None };
    let sees_all = records.grant().allowed(type_name, Letters::READ) == Allowed::Everything;
    let everything = sees_all && wanted.since == Micros(i64::MIN) && wanted.at.is_none();
    if everything {
        page.total = Some((newest + 1).saturating_sub(view.oldest(rid)?));
    }
    let mut until = Micros(i64::MAX);
    if first < newest {
        until = view.version(rid, first + 1)?.map_or(until, |version| version.time);
    }
    for number in (1..=first).rev() {
        let Some(version) = view.version(rid, number)? else { break };
        let (time, next_time) = (version.time, std::mem::replace(&mut until, version.time));
        if time < wanted.since || wanted.at.is_some_and(|(from, _)| next_time <= from) {
            break;
        }
        if wanted.at.is_some_and(|(_, to)| time >= to) {
            continue;
        }
        if !reach::reaches_version(context, records, Letters::READ, &version)? {
            continue;
        }
        if page.versions.len() == wanted.count {
            page.next = (wanted.count > 0).then_some((Micros(i64::try_from(number + 1).unwrap_or(i64::MAX)), 0));
            break;
        }
        page.versions.push(version);
    }
    Ok(page)
}

fn from_log(
    context: &Context,
    records: &Records,
    type_name: Option<&str>,
    wanted: &Wanted,
    start: Place,
) -> Result<Page> {
    let view = records.view();
    // `_at` passes over what was replaced before that time: no longer than a search may take.
    let budget = context.search_budget();
    let mut page = Page { versions: Vec::new(), next: None, total: None };
    let start = match wanted.at {
        Some((_, to)) => start.min((to, 0)),
        None => start,
    };
    let mut last = start;
    for entry in view.log_back(type_name, start) {
        let entry = entry?;
        budget.step()?;
        if entry.time < wanted.since {
            break;
        }
        if let Some((from, _)) = wanted.at
            && entry.time < from
            && view.version(entry.rid, entry.version + 1)?.is_some_and(|next| next.time <= from)
        {
            continue;
        }
        let Some(version) = view.version(entry.rid, entry.version)? else { continue };
        if !reach::reaches_both(context, records, Letters::SEARCH, &version)? {
            continue;
        }
        if page.versions.len() == wanted.count {
            page.next = (wanted.count > 0).then_some(last);
            break;
        }
        last = (entry.time, entry.index);
        page.versions.push(version);
    }
    Ok(page)
}

fn write_entry(context: &Context, writer: &mut BundleWriter, version: &Version) -> Result<()> {
    let resource = if version.body.is_some() { Some(context.give(version)?) } else { None };
    let (method, status) = match version.method {
        Method::Create => ("POST", "201 Created"),
        Method::Update if version.version == 1 => ("PUT", "201 Created"),
        Method::Update => ("PUT", "200 OK"),
        Method::Patch => ("PATCH", "200 OK"),
        Method::Delete => ("DELETE", "204 No Content"),
    };
    let url = match version.method {
        Method::Create => version.type_name.to_string(),
        _ => format!("{}/{}", version.type_name, version.id),
    };
    writer.entry(&Entry {
        full_url: Some(&context.url(&version.type_name, &version.id, None)),
        resource: resource.as_deref(),
        request: Some(EntryRequest { method, url: &url }),
        response: Some(EntryResponse {
            status,
            location: Some(&context.url(&version.type_name, &version.id, Some(version.version))),
            version: Some(version.version),
            last_modified: Some(version.time),
            outcome: None,
        }),
        ..Entry::default()
    });
    Ok(())
}

fn wanted(context: &Context, request: &Request<'_>) -> Result<Wanted> {
    let mut wanted = Wanted { count: context.limits.page_default, since: Micros(i64::MIN), at: None };
    for (name, value) in &request.query {
        let bad = |what: &str| Err(Error::invalid(format!("{name} must be {what}.")).at(name.clone()));
        match name.as_str() {
            _ if value.is_empty() => {}
            "_format" | "_pretty" | "_cursor" => {}
            "_count" => match value.parse::<usize>() {
                Ok(count) => wanted.count = count.min(context.limits.page_max),
                Err(_) => return bad("a whole number"),
            },
            "_since" => match Span::parse(value) {
                Some(span) => wanted.since = Micros(span.low),
                None => return bad("an instant"),
            },
            "_at" => match Span::parse(value) {
                Some(span) => wanted.at = Some((Micros(span.low), Micros(span.high.saturating_add(1)))),
                None => return bad("a date or a time"),
            },
            _ if request.handling == crate::config::Handling::Lenient => {}
            _ => return Err(Error::invalid(format!("history has no parameter {}.", shown(name)))),
        }
    }
    Ok(wanted)
}

fn is_known(name: &str) -> bool {
    matches!(name, "_count" | "_since" | "_at" | "_format" | "_pretty" | "_cursor")
}

fn link(context: &Context, path: &str, query: &str, cursor: Option<&str>) -> String {
    let base = &context.base;
    match (query.is_empty(), cursor) {
        (true, None) => format!("{base}/{path}"),
        (false, None) => format!("{base}/{path}?{query}"),
        (true, Some(cursor)) => format!("{base}/{path}?_cursor={cursor}"),
        (false, Some(cursor)) => format!("{base}/{path}?{query}&_cursor={cursor}"),
    }
}

fn encode(place: Place) -> Vec<u8> {
    let mut bytes = place.0.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&place.1.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Place> {
    let invalid = || Error::invalid("The page link is not valid.").at("_cursor");
    let (time, rest) = bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
    let (index, _) = rest.split_first_chunk::<4>().ok_or_else(invalid)?;
    Ok((Micros(i64::from_be_bytes(*time)), u32::from_be_bytes(*index)))
}
