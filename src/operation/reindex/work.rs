//! The work: passes over all resources until none lacks keys any more.

use super::{KIND, TOTAL, unlimited};
use crate::error::{Category, Error, Result};
use crate::fhir::parse::parse;
use crate::interaction::body_of;
use crate::interaction::conformance::{Conformance, Conformances, looked_at};
use crate::jobs::{Part, Turn, Work};
use crate::key::parameters::Further;
use crate::store::{Commit, NewKeys, Records, Rid};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// After so many passes in which no resource that lacks keys got them, it gives up.
const IDLE_PASSES: u32 = 3;
/// Resources whose keys are replaced in one part.
const TOGETHER: usize = 200;
/// Resources that are looked at in one part.
const LOOKED_AT: usize = 50_000;
/// How long it waits for requests that began before the newest parameter, before it looks again whether they have ended.
const WAIT: Duration = Duration::from_millis(50);

/// Makes search keys.
pub struct Reindex {
    /// With which search parameters.
    pub conformances: Arc<Conformances>,
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Position {
    /// The type, and the number of its first resource; a pass goes through the types in the order of their names.
    type_name: String,
    from: u64,
    /// Whether no request made keys with older parameters when the pass began.
    is_settled: bool,
    /// How many resources of this pass lacked keys, and how many got them.
    found: u64,
    made: u64,
    /// Passes in a row in which none got them.
    idle_passes: u32,
}

/// What comes next of one type.
#[derive(Default)]
struct Found {
    keys: Vec<NewKeys>,
    /// How many resources were looked at.
    looked_at: usize,
    /// How many of those with new keys have the keys of every parameter then.
    whole: u64,
    /// Where to go on; nothing at the end of the type.
    next: Option<Rid>,
}

impl Work for Reindex {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let tenant = turn.tenant();
        let kept = turn.job.position.clone();
        let mut position =
            if kept.is_null() { Position::default() } else { serde_json::from_value(kept).map_err(Error::internal)? };
        if position.type_name.is_empty() {
            // Before the snapshot: what is written after it with older parameters would not be seen.
            position.is_settled = self.conformances.is_settled(tenant);
        }
        let conformance = self.conformances.of(tenant)?;
        let records = turn.store.open(&turn.grant)?;
        let total = turn.job.total.or_else(|| turn.job.parameters.get(TOTAL)?.as_u64());
        let types = conformance.parameters().types_with_further();
        let (mut found, mut looked_at, mut is_last) = (Found::default(), 0, false);
        while found.keys.is_empty() && looked_at < LOOKED_AT {
            let Some(name) = types.iter().find(|name| **name >= &*position.type_name) else {
                is_last = position.end_pass()?;
                break;
            };
            let from = if *name == position.type_name { position.from } else { 0 };
            found = next(&conformance, &records, name, Rid(from))?;
            looked_at += found.looked_at;
            (position.type_name, position.from) = match found.next {
                Some(rid) => ((*name).to_owned(), rid.0),
                // What sorts right after the name.
                None => (format!("{name}\0"), 0),
            };
        }
        let Found { keys, whole, .. } = found;
        position.found += keys.len() as u64;
        position.made += whole;
        let position = serde_json::to_value(&position).map_err(Error::internal)?;
        let commit = Commit { new_keys: keys, ..Commit::of(tenant) };
        Ok(Part { commit, position, done: whole, total, is_last, ..turn.part() })
    }
}

impl Position {
    /// Begins another pass. Answers true where none is needed: no resource lacked keys, and none can have come without them.
    fn end_pass(&mut self) -> Result<bool> {
        let idle_passes = match (self.found, self.made) {
            (0, _) if self.is_settled => return Ok(true),
            (0, _) => {
                std::thread::sleep(WAIT);
                self.idle_passes
            }
            (_, 0) if self.idle_passes < IDLE_PASSES => self.idle_passes + 1,
            (found, 0) => {
                let text = format!(
                    "{found} resources are too large for the expression of a search parameter: the log names it."
                );
                return Err(Error::new(Category::Unprocessable, "incomplete", text));
            }
            _ => 0,
        };
        *self = Self { idle_passes, ..Self::default() };
        Ok(false)
    }
}

/// New keys for the next resources of a type that lack some.
fn next(conformance: &Conformance, records: &Records, type_name: &str, from: Rid) -> Result<Found> {
    let further = conformance.parameters().further(type_name);
    let (budget, mut found) = (unlimited(), Found::default());
    let is_whole = |further: &[Further], new: &NewKeys| {
        further.iter().all(|further| new.keys.starting_with(further.marker()).next().is_some())
    };
    for looked in looked_at(records.view(), type_name, further, from, &budget) {
        let (rid, is_lacking) = looked?;
        found.looked_at += 1;
        if found.looked_at > LOOKED_AT || found.keys.len() >= TOGETHER {
            found.next = Some(rid);
            break;
        }
        let version = if is_lacking { records.view().current(rid)? } else { None };
        let Some(version) = version.filter(|version| version.body.is_some()) else { continue };
        let bytes = body_of(&version)?;
        let tree = parse(&bytes, usize::MAX).map_err(Error::internal)?;
        let keys = tree.as_object().map(|resource| conformance.keys(resource)).unwrap_or_default();
        let new = NewKeys { type_name: version.type_name, id: version.id, version: version.version, keys };
        found.whole += u64::from(is_whole(further, &new));
        found.keys.push(new);
    }
    Ok(found)
}
