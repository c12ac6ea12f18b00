//! Whether an answer is right: every match meets the criteria, what is known to meet them is found, the order and the
//! includes are those asked for. Reasons name types and parameters, never values.

use super::criterion::{Condition, Criterion, Test};
use super::linked::Linked;
use super::print::fingerprint;
use super::query::{PAGE, Query, Shape};
use super::value::{Span, folded, reference, texts};
use super::world::{self, Sample, Tree, World};
use crate::bundles::DEPTH;
use crate::check;
use crate::client::Client;
use hyper::Method;
use pharos::fhir::definitions::ParamType;
use pharos::fhir::parse::parse;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A query whose answer was found right.
pub struct Prepared {
    pub path: String,
    pub shape: String,
    /// What the answer must show each time: see [`fingerprint`].
    pub print: u64,
    pub entries: usize,
}

/// More matches are not paged through to compare them with the samples.
const MOST_COMPARED: u64 = 4000;
/// Matches of a page when all are wanted.
const LARGE_PAGE: &str = "1000";
/// More included resources than these may be cut off.
const MOST_INCLUDED: usize = 900;

/// The judge.
pub struct Judge<'w> {
    pub world: &'w World,
    pub linked: Linked<'w>,
}

impl Judge<'_> {
    /// Asks once, and looks at everything in the answer.
    pub async fn examine(&mut self, client: &mut Client, query: &Query) -> Result<Prepared, String> {
        let mut path = query.path();
        for _ in 0..query.depth {
            let bundle = world::get(client, &path).await.map_err(|error| error.to_string())?;
            let Some(next) = world::next(&bundle, &query.target) else { break };
            path = next;
        }
        let answer = client.send(Method::GET, &path, None).await.map_err(|error| error.to_string())?;
        check::status(&answer, &[200])?;
        let bundle = parse(&answer.body, DEPTH).map_err(|error| format!("body: {error}"))?.into_owned();
        let (matches, included) = (world::matches(&bundle), world::in_mode(&bundle, "include"));
        match query.shape {
            Shape::Count if world::total(&bundle).is_none() || !matches.is_empty() => {
                return Err("an answer without a total, or with matches".to_owned());
            }
            Shape::Total if world::total(&bundle).is_none() => return Err("an answer without a total".to_owned()),
            Shape::Record => self.record(&query.target, &bundle)?,
            _ => self.page(client, query, (&matches, &included)).await?,
        }
        let entries = matches.len() + included.len();
        Ok(Prepared { path, shape: query.shape_text(), print: fingerprint(&answer.body), entries })
    }

    async fn page(
        &mut self,
        client: &mut Client,
        query: &Query,
        (matches, included): (&[Sample], &[Sample]),
    ) -> Result<(), String> {
        if matches.len() > PAGE as usize {
            return Err("more matches than a page has".to_owned());
        }
        self.all_match(client, query, matches).await?;
        in_order(query, matches)?;
        if let Some((source, parameter)) = &query.revinclude {
            let addresses: Vec<String> = matches.iter().map(|one| one.address.clone()).collect();
            let refers = |one: &Sample| {
                parameter
                    .elements(&one.resource)
                    .into_iter()
                    .filter_map(reference)
                    .any(|to| addresses.iter().any(|at| at == to))
            };
            if !included.iter().all(refers) {
                return Err("an included resource refers to no match".to_owned());
            }
            if let ([one], true) = (addresses.as_slice(), included.len() < MOST_INCLUDED) {
                let path = format!("{source}?{}={one}&_summary=count", parameter.code);
                let total = world::count(client, &path).await.map_err(|error| error.to_string())?;
                if total != included.len() as u64 {
                    return Err("what refers to the match is not all included".to_owned());
                }
            }
        } else {
            self.includes(client, query, (matches, included)).await?;
        }
        match &query.known {
            Some(known) => self.finds(client, query, known).await,
            None => Ok(()),
        }
    }

    /// Every match is of the type, is there once, and meets the criteria.
    async fn all_match(&mut self, client: &mut Client, query: &Query, matches: &[Sample]) -> Result<(), String> {
        let mut seen = HashSet::new();
        for one in matches {
            if one.address.split('/').next() != Some(&query.target) || !seen.insert(&one.address) {
                return Err("a match of another type, or the same one twice".to_owned());
            }
            for condition in &query.conditions {
                if self.linked.holds(client, condition, one).await? == Some(false) {
                    return Err("a match that does not meet the criteria".to_owned());
                }
            }
        }
        Ok(())
    }

    /// What is referred to and is there is included; nothing else is.
    async fn includes(
        &mut self,
        client: &mut Client,
        query: &Query,
        (matches, included): (&[Sample], &[Sample]),
    ) -> Result<(), String> {
        let mut wanted: HashSet<&str> = HashSet::new();
        if let Some(parameter) = &query.include {
            wanted.extend(matches.iter().flat_map(|one| parameter.elements(&one.resource)).filter_map(reference));
        }
        let there: HashMap<&str, usize> = included.iter().map(|one| (one.address.as_str(), 1)).collect();
        if there.len() != included.len() || there.keys().any(|address| !wanted.contains(address)) {
            return Err("an included resource that nothing refers to, or the same one twice".to_owned());
        }
        for address in wanted.iter().filter(|address| !there.contains_key(*address)) {
            let is_match = matches.iter().any(|one| one.address == **address);
            if !is_match && self.linked.at(client, address).await?.is_some() {
                return Err("what a match refers to is not included".to_owned());
            }
        }
        Ok(())
    }

    /// The resource that the query's values come from is among the matches.
    async fn finds(&self, client: &mut Client, query: &Query, known: &str) -> Result<(), String> {
        let path = query.with(&[("_id".to_owned(), known.to_owned())]);
        let bundle = world::get(client, &path).await.map_err(|error| error.to_string())?;
        let found: Vec<String> = world::matches(&bundle).into_iter().map(|one| one.address).collect();
        if found == [format!("{}/{known}", query.target)] {
            Ok(())
        } else {
            Err("a resource that matches is missing".to_owned())
        }
    }

    /// Reads all pages, where they are not too many, and compares them with the total and the samples. Whether it did.
    pub async fn compare(&mut self, client: &mut Client, query: &Query) -> Result<bool, String> {
        if query.conditions.is_empty() || query.shape == Shape::Record {
            return Ok(false);
        }
        let failed = |error: crate::client::Failure| error.to_string();
        let count = query.with(&[("_summary".into(), "count".into())]);
        let total = world::count(client, &count).await.map_err(failed)?;
        if total > MOST_COMPARED {
            return Ok(false);
        }
        let mut found = HashSet::new();
        let mut path = Some(query.with(&[("_count".into(), LARGE_PAGE.into())]));
        while let Some(at) = path {
            let bundle = world::get(client, &at).await.map_err(failed)?;
            for one in world::matches(&bundle) {
                if query.conditions.iter().any(|condition| condition.holds_in(&one.resource) == Some(false)) {
                    return Err("a match on a later page that does not meet the criteria".to_owned());
                }
                if !found.insert(one.address) {
                    return Err("the same match on two pages".to_owned());
                }
            }
            path = world::next(&bundle, &query.target);
        }
        if found.len() as u64 != total {
            return Err("another total than there are matches".to_owned());
        }
        let samples = self.world.kept(&query.target).map(|kept| kept.samples.as_slice()).unwrap_or_default();
        let meets = |one: &&Rc<Sample>| {
            query.conditions.iter().all(|condition| condition.holds_in(&one.resource) == Some(true))
        };
        if samples.iter().filter(meets).any(|one| !found.contains(&one.address)) {
            return Err("a resource that matches is missing".to_owned());
        }
        Ok(true)
    }

    /// A record holds the patient, nothing of another one, and of the samples what is of this one (on its first page, if it
    /// has several, only the first two are checked).
    fn record(&self, target: &str, bundle: &Tree) -> Result<(), String> {
        let patient = target.trim_end_matches("/$everything");
        let is_whole = world::next(bundle, target).is_none();
        let entries: Vec<Sample> =
            world::matches(bundle).into_iter().chain(world::in_mode(bundle, "include")).collect();
        let found: HashSet<&str> = entries.iter().map(|one| one.address.as_str()).collect();
        if !found.contains(patient) {
            return Err("a record without its patient".to_owned());
        }
        if entries.iter().any(|one| self.is_of(patient, one) == Some(false)) {
            return Err("a resource of another patient".to_owned());
        }
        let samples = self.world.types.iter().flat_map(|kept| &kept.samples);
        let mut of_patient = samples.filter(|one| self.is_of(patient, one) == Some(true));
        if is_whole && of_patient.any(|one| !found.contains(one.address.as_str())) {
            return Err("a resource of the patient is missing".to_owned());
        }
        Ok(())
    }

    /// By its parameter `patient`.
    fn is_of(&self, patient: &str, one: &Sample) -> Option<bool> {
        let kept = self.world.kept(one.address.split('/').next()?)?;
        let parameter = kept.parameters.iter().find(|one| one.code == "patient")?;
        if parameter.elements(&one.resource).is_empty() {
            return None;
        }
        let test = Test::Refers(patient.to_owned());
        Condition::Own(Criterion { parameter: Rc::clone(parameter), test }).holds_in(&one.resource)
    }
}

/// Each match stands where its first key says. Ties, and keys whose order the specification leaves open, are not judged.
fn in_order(query: &Query, matches: &[Sample]) -> Result<(), String> {
    let Some((parameter, descends)) = query.sort.first() else { return Ok(()) };
    let key = |one: &Sample| {
        let elements = parameter.elements(&one.resource);
        let keys = elements.into_iter().flat_map(|element| match parameter.param_type {
            ParamType::Date => Span::of(element).map(|span| Key::Time(span.low)).into_iter().collect(),
            ParamType::String => texts(element).into_iter().map(|text| Key::Text(folded(text))).collect(),
            _ => Vec::new(),
        });
        if *descends { keys.max() } else { keys.min() }
    };
    let keys: Vec<Key> = matches.iter().filter_map(key).collect();
    let is_sorted = if *descends { keys.is_sorted_by(|a, b| a >= b) } else { keys.is_sorted() };
    if is_sorted { Ok(()) } else { Err("matches in another order".to_owned()) }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Time(i64),
    Text(String),
}
