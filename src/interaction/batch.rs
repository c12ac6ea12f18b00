//! batch: <https://hl7.org/fhir/R4/http.html#transaction>, and what batch and transaction share: reading the entries of a
//! Bundle and writing those of its answer.

use super::call::{Call, Verb, segments};
use super::condition::{Conditions, EntityTags};
use super::{Answer, Context, Request, Status, asked, criteria, perform, transaction};
use crate::audit::Event;
use crate::clock::Micros;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry as Written, EntryResponse};
use crate::fhir::outcome;
use crate::fhir::tree::{Object, Value};
use crate::validate;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

/// How many entries of one batch are under way at a time; those that write share their fsyncs.
const CONCURRENCY: usize = 16;

/// One entry of a batch or transaction, taken apart.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its place in the Bundle.
    pub index: usize,
    /// `entry.fullUrl`.
    pub full_url: Option<String>,
    /// What it asks for.
    pub request: Request<'a>,
}

/// Handles a Bundle posted to the base.
///
/// # Errors
/// 400 where it is no batch or transaction; 413 for too many entries; for a transaction whatever one entry refuses.
pub async fn bundle(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let bundle = request.resource()?;
    if bundle.resource_type() != Some("Bundle") {
        let text = "Only a Bundle can be posted to the base.";
        return Err(Error::new(Category::Invalid, "invalid", text).at("resourceType"));
    }
    let kind = bundle.str("type").unwrap_or_default().to_owned();
    match kind.as_str() {
        "transaction" => {
            context.trail.refine(Event::Interaction("transaction".into()));
            let entries = collect(read_entries(context, &request, bundle)?)?;
            transaction::transaction(context, &request, entries).await
        }
        "batch" if request.provenance.is_some() => {
            Err(Error::invalid("X-Provenance goes with a transaction or a single change, not with a batch."))
        }
        "batch" => batch(context, read_entries(context, &request, bundle)?).await,
        _ => {
            let text = "Only a Bundle of type batch or transaction can be posted to the base.";
            Err(Error::new(Category::Invalid, "value", text).at("Bundle.type"))
        }
    }
}

/// Every entry for itself: one that fails does not touch the others.
async fn batch(context: &Context, entries: Vec<Result<Entry<'_>>>) -> Result<Answer> {
    let mut answers: Vec<BoxFuture<'_, _>> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        answers.push(Box::pin(one(context, index, entry)));
    }
    let mut results: Vec<_> = stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(Answer::ok(respond(BundleType::BatchResponse, results.into_iter().map(|(_, result)| result))))
}

async fn one(context: &Context, index: usize, entry: Result<Entry<'_>>) -> (usize, Result<Answer>) {
    let result = match entry {
        Ok(entry) if matches!(entry.request.call, Call::Bundle) => {
            Err(at_entry(Error::invalid("A Bundle can't be nested in a batch."), index))
        }
        Ok(entry) if entry.request.call.stands_alone() => {
            Err(at_entry(Error::invalid("This needs a request of its own: it can't be in a batch."), index))
        }
        Ok(entry) => {
            let head = entry.request.verb == Verb::Head;
            note(context, &entry.request);
            let named = format!("{} {}", entry.request.verb.name(), asked(&entry.request.call, &entry.request.query));
            let result = match context.wanted.check() {
                Ok(()) => perform(context, entry.request).await,
                Err(error) => Err(error),
            };
            let result = result.map(|answer| without_body_if(head, answer));
            if let Err(error) = &result {
                context.trail.add_inner(|| format!("{named}: {}", error.category.status()));
            }
            result
        }
        Err(error) => Err(error),
    };
    (index, result)
}

/// Notes an entry that reads: what the others write, their commits record.
pub(super) fn note(context: &Context, request: &Request<'_>) {
    if request.verb.is_read() && !matches!(request.call, Call::Capabilities) {
        context.trail.add_inner(|| asked(&request.call, &request.query));
    }
}

pub(super) fn without_body_if(head: bool, mut answer: Answer) -> Answer {
    if head {
        answer.body = None;
    }
    answer
}

/// The Bundle that answers, an entry for each result.
pub(super) fn respond(bundle_type: BundleType, results: impl Iterator<Item = Result<Answer>>) -> Vec<u8> {
    let mut writer = BundleWriter::new(bundle_type, None);
    for result in results {
        match result {
            Ok(answer) => {
                let status = match answer.status {
                    Status::Ok => "200 OK",
                    Status::Created => "201 Created",
                    Status::Accepted => "202 Accepted",
                    Status::NoContent => "204 No Content",
                    Status::NotModified => "304 Not Modified",
                };
                let outcome = outcome::outcome(&answer.issues);
                let response = EntryResponse {
                    status,
                    location: answer.location.as_deref(),
                    version: answer.version.map(|(version, _)| version),
                    last_modified: answer.version.map(|(_, time)| time),
                    outcome: Some(&outcome).filter(|_| !answer.issues.is_empty()),
                };
                writer.entry(&Written {
                    resource: answer.body.as_deref(),
                    response: Some(response),
                    ..Written::default()
                });
            }
            Err(error) => {
                if let Some(log) = &error.log {
                    tracing::warn!(category = ?error.category, log, "an entry failed");
                }
                let status = error.category.status().to_string();
                let outcome = outcome::outcome(&error.issues);
                let response = EntryResponse {
                    status: &status,
                    version: error.version,
                    outcome: Some(&outcome),
                    ..EntryResponse::default()
                };
                writer.entry(&Written { response: Some(response), ..Written::default() });
            }
        }
    }
    writer.finish()
}

/// Takes a Bundle apart. What is wrong with one entry is that entry's error; what is wrong with the Bundle is the result's.
///
/// # Errors
/// 413 for too many entries, 400 for a wrong structure of the Bundle itself.
pub(super) fn read_entries<'a>(
    context: &Context,
    outer: &Request<'_>,
    mut bundle: Object<'a>,
) -> Result<Vec<Result<Entry<'a>>>> {
    let most = context.limits.bundle_entries;
    let mut entries = match bundle.remove("entry") {
        Some(Value::Array(entries)) => entries,
        None => Vec::new(),
        Some(_) => {
            return Err(Error::new(Category::Invalid, "structure", "Must be an array.").at("Bundle.entry"));
        }
    };
    if entries.len() > most {
        let text =
            format!("The Bundle has {} entries; at most {most} are taken (limits.bundle_entries).", entries.len());
        return Err(Error::new(Category::TooLarge, "too-long", text).at("Bundle.entry"));
    }
    // The shell is checked without the resources, which are each checked by the interaction that takes them.
    let resources: Vec<_> =
        entries.iter_mut().map(|entry| entry.as_object_mut().and_then(|entry| entry.remove("resource"))).collect();
    if !entries.is_empty() {
        bundle.set("entry", Value::Array(entries));
    }
    let issues = validate::structure(&bundle);
    if !issues.is_empty() {
        return Err(Error::from_issues(Category::Invalid, issues));
    }
    let shells = bundle.remove("entry");
    let shells = shells.as_ref().map_or(&[][..], Value::items);
    let read = |(index, (shell, resource))| read_entry(context, outer, index, shell, resource);
    Ok(shells.iter().zip(resources).enumerate().map(read).collect())
}

fn read_entry<'a>(
    context: &Context,
    outer: &Request<'_>,
    index: usize,
    shell: &Value<'_>,
    resource: Option<Value<'a>>,
) -> Result<Entry<'a>> {
    let wrong = |element: &str, text: &'static str| {
        Error::new(Category::Invalid, "required", text).at(format!("Bundle.entry[{index}].{element}"))
    };
    let request = shell.get("request").and_then(Value::as_object).ok_or_else(|| wrong("request", "Must be there."))?;
    let method = request.str("method").unwrap_or_default();
    let verb = Verb::parse(method).ok_or_else(|| wrong("request.method", "No such method."))?;
    let url = request.str("url").unwrap_or_default();
    let (call, query) = resolve(context, verb, url).map_err(|error| at_entry(error, index))?;
    if resource.is_none() && matches!(verb, Verb::Post | Verb::Put | Verb::Patch) && !is_operation(&call) {
        return Err(wrong("resource", "Must be there for POST, PUT and PATCH."));
    }
    let tags = |name: &'static str| {
        let tags = request.str(name).map(|text| EntityTags::parse(name, text)).transpose();
        tags.map_err(|error| error.at(format!("Bundle.entry[{index}].request.{name}")))
    };
    let conditions = Conditions {
        if_match: tags("ifMatch")?,
        if_none_match: tags("ifNoneMatch")?,
        if_modified_since: request.str("ifModifiedSince").and_then(instant),
        if_none_exist: request.str("ifNoneExist").map(str::to_owned),
    };
    Ok(Entry {
        index,
        full_url: shell.get("fullUrl").and_then(Value::as_str).map(str::to_owned),
        request: Request {
            verb,
            call,
            query,
            conditions,
            prefer: Some(outer.prefer.unwrap_or(super::Return::Minimal)),
            respond_async: false,
            handling: outer.handling,
            body: resource,
            provenance: None,
        },
    })
}

const fn is_operation(call: &Call) -> bool {
    matches!(call, Call::Operation { .. } | Call::Search { .. } | Call::CompartmentSearch { .. })
}

/// The call of an entry's URL, which is relative to the base or starts with it.
fn resolve(context: &Context, verb: Verb, url: &str) -> Result<(Call, Vec<(String, String)>)> {
    let below_base = url.strip_prefix(&*context.base).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let relative = below_base.unwrap_or(url);
    let (path, query) = relative.split_once('?').unwrap_or((relative, ""));
    let path = segments(path)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Ok((Call::parse(verb, &path)?, criteria::pairs(query)))
}

fn instant(text: &str) -> Option<Micros> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Micros(time.as_microsecond()))
}

/// The entries, or the errors of all that have one together.
fn collect(entries: Vec<Result<Entry<'_>>>) -> Result<Vec<Entry<'_>>> {
    let mut good = Vec::with_capacity(entries.len());
    let mut bad: Option<Error> = None;
    for entry in entries {
        match (entry, &mut bad) {
            (Ok(entry), _) => good.push(entry),
            (Err(error), None) => bad = Some(error),
            (Err(error), Some(first)) => first.issues.extend(error.issues),
        }
    }
    bad.map_or(Ok(good), Err)
}

/// The error with its elements named from the Bundle: `Patient.name[0]` becomes `Bundle.entry[3].resource.name[0]`.
pub(super) fn at_entry(mut error: Error, index: usize) -> Error {
    for issue in &mut error.issues {
        issue.expression = Some(expression_in_entry(issue, index));
    }
    error
}

fn expression_in_entry(issue: &Issue, index: usize) -> String {
    match &issue.expression {
        Some(inner) => {
            let rest = inner.find('.').and_then(|dot| inner.get(dot..)).unwrap_or_default();
            format!("Bundle.entry[{index}].resource{rest}")
        }
        None => format!("Bundle.entry[{index}]"),
    }
}
