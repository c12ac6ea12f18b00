//! Patients as the pages show them: found and read under a grant, like by any client.

use super::{Failure, Visit};
use crate::audit::record::Content;
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::config::Handling;
use crate::error::Category;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::interaction::call::{Call, Verb};
use crate::interaction::condition::Conditions;
use crate::interaction::{self, Request};
use std::sync::Arc;

/// The patients of a list.
pub const MOST: usize = 25;

/// The most identifiers that are shown of one.
const MOST_IDENTIFIERS: usize = 3;

/// A patient, told apart from others.
pub struct Patient {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) born: String,
    pub(super) gender: String,
    pub(super) identifiers: String,
}

/// What to look for: as typed.
#[derive(Default)]
pub struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) born: &'a str,
    pub(super) identifier: &'a str,
}

impl Wanted<'_> {
    pub(super) fn is_empty(&self) -> bool {
        [self.name, self.born, self.identifier].iter().all(|text| text.trim().is_empty())
    }

    fn query(&self) -> Vec<(String, String)> {
        let words = self.name.split_whitespace().map(|word| ("name", word));
        let others = [("birthdate", self.born.trim()), ("identifier", self.identifier.trim())];
        let criteria = words.chain(others.into_iter().filter(|(_, text)| !text.is_empty()));
        let mut query = criteria.map(|(name, text)| (name.to_owned(), escaped(text))).collect::<Vec<_>>();
        query.push(("_count".to_owned(), MOST.to_string()));
        query
    }
}

/// A text as a value of a search parameter: what is typed is never a list or a system.
fn escaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | ',' | '|' | '$') {
            value.push('\\');
        }
        value.push(c);
    }
    value
}

/// The patients who match, and whether there are more.
///
/// # Errors
/// 400 for what can't be looked for, such as a day that is none.
pub(super) async fn find(
    visit: &Visit,
    who: (Grant, Arc<Agent>),
    wanted: &Wanted<'_>,
) -> Result<(Vec<Patient>, bool), Failure> {
    let call = Call::Search { type_name: Some("Patient".to_owned()) };
    let Some(body) = perform(visit, who, call, wanted.query()).await? else { return Ok((Vec::new(), false)) };
    let bundle = parse(&body, usize::MAX).map_err(|error| Failure::internal(&error.to_string()))?;
    let entries = bundle.get("entry").map_or(&[][..], Value::items);
    let found = entries.iter().filter_map(|entry| Patient::of(entry.get("resource")?)).collect();
    let links = bundle.get("link").map_or(&[][..], Value::items);
    let has_more = links.iter().any(|link| link.get("relation").and_then(Value::as_str) == Some("next"));
    Ok((found, has_more))
}

/// A patient by id; `None` where there is none that this grant reaches.
pub(super) async fn one(visit: &Visit, who: (Grant, Arc<Agent>), id: &str) -> Result<Option<Patient>, Failure> {
    if !crate::fhir::reference::is_id(id) {
        return Ok(None);
    }
    let call = Call::Read { type_name: "Patient".to_owned(), id: id.to_owned() };
    let Some(body) = perform(visit, who, call, Vec::new()).await? else { return Ok(None) };
    let resource = parse(&body, usize::MAX).map_err(|error| Failure::internal(&error.to_string()))?;
    Ok(Patient::of(&resource))
}

/// Performs an interaction on the blocking pool, as a search may take its time; `None` where there is nothing, or nothing for
/// this grant.
async fn perform(
    visit: &Visit,
    who: (Grant, Arc<Agent>),
    call: Call,
    query: Vec<(String, String)>,
) -> Result<Option<Vec<u8>>, Failure> {
    let app = Arc::clone(&visit.shared.app);
    let handle = tokio::runtime::Handle::current();
    let trail = Arc::new(app.ledger.trail(call.event(), Some(visit.from())));
    let ((grant, agent), tenant) = (who, visit.tenant);
    trail.set_agent(agent);
    let work = move || {
        let context = app.context(grant, Arc::clone(&trail))?;
        let (asked, pairs) = (call.clone(), query.clone());
        let request = Request {
            verb: Verb::Get,
            call,
            query,
            conditions: Conditions::default(),
            prefer: None,
            respond_async: false,
            handling: Handling::Strict,
            body: None,
            provenance: None,
        };
        handle.block_on(async {
            let result = interaction::perform(&context, request).await;
            let about = |content: &mut Content<'static>| interaction::tell(&asked, &pairs, content);
            app.ledger.close(tenant, &trail, result, about).await
        })
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|_| Failure::internal("looking for patients panicked"))? {
        Ok(answer) => Ok(answer.body),
        Err(error) if [Category::NotFound, Category::Gone, Category::Forbidden].contains(&error.category) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Patient {
    fn of(resource: &Value<'_>) -> Option<Self> {
        let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let identifiers = resource.get("identifier").map_or(&[][..], Value::items);
        let values = identifiers.iter().filter_map(|identifier| identifier.get("value").and_then(Value::as_str));
        Some(Self {
            id: resource.get("id").and_then(Value::as_str)?.to_owned(),
            name: name_of(resource).unwrap_or_else(|| "A patient without a name".to_owned()),
            born: text("birthDate"),
            gender: text("gender"),
            identifiers: values.take(MOST_IDENTIFIERS).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The usual or official name, or the first that there is.
fn name_of(resource: &Value<'_>) -> Option<String> {
    let names = resource.get("name")?.items();
    let used = |wanted: &str| names.iter().find(|name| name.get("use").and_then(Value::as_str) == Some(wanted));
    let name = used("usual").or_else(|| used("official")).or_else(|| names.first())?;
    if let Some(text) = name.get("text").and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let given = name.get("given").map_or(&[][..], Value::items).iter().filter_map(Value::as_str);
    let whole = given.chain(name.get("family").and_then(Value::as_str)).collect::<Vec<_>>().join(" ");
    (!whole.is_empty()).then_some(whole)
}
