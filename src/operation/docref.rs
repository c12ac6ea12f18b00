//! `$docref`: <http://hl7.org/fhir/us/core/STU6.1/OperationDefinition-docref.html>.
//!
//! This server keeps documents and makes none, so an answer has references to existing documents only.

use super::parameters;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::reference::is_id;
use crate::interaction::searchset::{Links, Searchset, Warnings};
use crate::interaction::{Answer, Context, Request};
use crate::key::Expr;
use crate::key::care::care_dates;
use crate::key::date::Span;
use crate::search::{self, Cursor, Grouping, LatestPlace, Query};

/// When the care was given that a document is about: its period, or where that is not told, when it was written.
const CARE_DATES: [&str; 2] = ["period", "date"];

/// The current documents of a patient: those about care in a range of time, or without one the newest of each type.
///
/// # Errors
/// 400 without a patient, and for parameters that are unknown or malformed.
pub fn docref(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let pairs = parameters::pairs(&mut request)?;
    let wanted = Wanted::read(&pairs, request.handling)?;
    let mut query = wanted.query(context)?;
    let binding = format!("{} $docref {:?}", context.grant.tenant().0, wanted.used);
    let searchset = Searchset { context, path: "DocumentReference/$docref", binding: &binding, pairs: &wanted.used };
    let given = request.parameter("_cursor");
    let (records, budget) = (context.open()?, context.search_budget());
    let cursor = given.map(|cursor| searchset.open(cursor)).transpose()?;
    if wanted.start.is_none() && wanted.end.is_none() {
        let place = cursor.map(|bytes| LatestPlace::from_bytes(&bytes)).transpose()?;
        let grouping = Grouping { code: "type", dates: &["date", "period"], max: 1 };
        let (page, next) = search::latest(&records, &query, grouping, place.as_ref(), &budget)?;
        let next = next.as_ref().map(LatestPlace::to_bytes);
        return searchset.answer(
            &page,
            Links { given, next: next.as_deref(), prev: None },
            None,
            &Warnings { dropped: &wanted.dropped, ..Warnings::default() },
        );
    }
    let dates = care_dates(&CARE_DATES, (wanted.start, wanted.end), false);
    for target in &mut query.targets {
        target.expr = Expr::and([std::mem::replace(&mut target.expr, Expr::All), dates.clone()]);
    }
    let cursor = cursor.map(|bytes| Cursor::from_bytes(&bytes, &query)).transpose()?;
    let page = search::run(&records, &query, cursor.as_ref(), &budget)?;
    let [next, prev] = [&page.next, &page.prev].map(|cursor| cursor.as_ref().map(|cursor| cursor.to_bytes(&query)));
    searchset.answer(
        &page,
        Links { given, next: next.as_deref(), prev: prev.as_deref() },
        None,
        &Warnings { dropped: &wanted.dropped, ..Warnings::default() },
    )
}

/// What is asked for.
#[derive(Default)]
struct Wanted {
    patient: String,
    start: Option<Span>,
    end: Option<Span>,
    types: Vec<String>,
    profiles: Vec<String>,
    /// Only documents that are made when they are asked for.
    on_demand: bool,
    count: Option<String>,
    used: Vec<(String, String)>,
    dropped: Vec<String>,
}

impl Wanted {
    fn read(pairs: &[(String, String)], handling: crate::config::Handling) -> Result<Self> {
        let mut wanted = Self::default();
        for (name, value) in pairs {
            let bad = |what: &str| Err(Error::invalid(format!("{name} must be {what}.")).at(name.clone()));
            match name.as_str() {
                "patient" if !wanted.patient.is_empty() => return bad("given once"),
                "patient" => match value.strip_prefix("Patient/").unwrap_or(value) {
                    id if is_id(id) => id.clone_into(&mut wanted.patient),
                    _ => return bad("the id of a patient"),
                },
                "start" | "end" => match Span::parse(value) {
                    Some(span) if name == "start" => wanted.start = Some(span),
                    Some(span) => wanted.end = Some(span),
                    None => return bad("a date or a time"),
                },
                "type" => wanted.types.push(value.clone()),
                "profile" => wanted.profiles.push(value.clone()),
                "on-demand" => match value.as_str() {
                    "true" => wanted.on_demand = true,
                    "false" => wanted.on_demand = false,
                    _ => return bad("true or false"),
                },
                "_count" => wanted.count = Some(value.clone()),
                _ if handling == crate::config::Handling::Lenient => {
                    wanted.dropped.push(name.clone());
                    continue;
                }
                _ => return Err(parameters::unknown("$docref", name)),
            }
            wanted.used.push((name.clone(), value.clone()));
        }
        if wanted.patient.is_empty() {
            let issue = Issue::error("required", "$docref needs the parameter `patient`.").at("patient");
            return Err(Error::from_issues(Category::Invalid, vec![issue]));
        }
        Ok(wanted)
    }

    fn query(&self, context: &Context) -> Result<Query> {
        let mut pairs = vec![
            ("patient".to_owned(), format!("Patient/{}", self.patient)),
            ("status".to_owned(), "current".to_owned()),
            ("_count".to_owned(), self.count.clone().unwrap_or_else(|| context.limits.page_max.to_string())),
        ];
        let any = |values: &[String]| values.join(",");
        pairs.extend((!self.types.is_empty()).then(|| ("type".to_owned(), any(&self.types))));
        pairs.extend((!self.profiles.is_empty()).then(|| ("_profile".to_owned(), any(&self.profiles))));
        let options = context.search_options(crate::config::Handling::Strict);
        let mut query = search::parse(&context.conformance.registry(), Some("DocumentReference"), &pairs, &options)?;
        if self.on_demand {
            query.targets.clear();
        }
        Ok(query)
    }
}
