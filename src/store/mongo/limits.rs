//! Limits hold for all processes together: each tells the others what it has counted.
//!
//! Every process has a document that only it writes, with the last few of its reports, each with a number. Who looks takes the reports with
//! numbers that it has not seen. So a process may look later than the others tell, and one that can't tell for a while loses little.

use super::Shared;
use super::client::Failed;
use crate::auth::rate::Used;
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The collection with the reports.
pub(super) const LIMITS: &str = "limits";
/// Reports that a process leaves for the others.
const REPORTS: usize = 4;
/// Reports of processes that have said nothing for so long are forgotten.
const FORGET_AFTER_MS: i64 = 60 * 60 * 1000;

/// What a process has told, and what it has seen of others.
#[derive(Default)]
pub(super) struct Counts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: VecDeque<(i64, Vec<Used>)>,
    number: i64,
    /// The last numbers by process; `None` before the first look, at which there is nothing to compare with.
    seen: Option<FxHashMap<String, i64>>,
}

/// Tells the others what was used, and reads what they have told.
pub(super) async fn exchange(shared: Arc<Shared>, used: Vec<Used>) -> Result<Vec<Used>, Failed> {
    let limits: Collection<Document> = shared.connection.db().collection(LIMITS);
    let (reports, is_first) = (shared.counts.tell(used), shared.counts.lock().seen.is_none());
    if is_first {
        let before = DateTime::from_millis(DateTime::now().timestamp_millis() - FORGET_AFTER_MS);
        limits.delete_many(doc! { "at": { "$lt": before } }).await?;
    }
    if let Some(reports) = reports {
        let own = doc! { "_id": &shared.process, "at": DateTime::now(), "reports": reports };
        limits.replace_one(doc! { "_id": &shared.process }, own).upsert(true).await?;
    }
    let mut cursor = limits.find(doc! { "_id": { "$ne": &shared.process } }).await?;
    let mut found = Vec::new();
    while cursor.advance().await? {
        found.push(cursor.deserialize_current()?);
    }
    Ok(shared.counts.hear(&found))
}

impl Counts {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report; all that are to be left for the others, where there is something new.
    fn tell(&self, used: Vec<Used>) -> Option<Vec<Document>> {
        if used.is_empty() {
            return None;
        }
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        state.told.push_back((number, used));
        if state.told.len() > REPORTS {
            state.told.pop_front();
        }
        Some(state.told.iter().map(|(number, used)| report(*number, used)).collect())
    }

    /// What is new in the documents of the others.
    fn hear(&self, documents: &[Document]) -> Vec<Used> {
        let (mut new, mut last) = (Vec::new(), FxHashMap::default());
        let mut state = self.lock();
        for document in documents {
            let Ok(process) = document.get_str("_id") else { continue };
            let reports = document.get_array("reports").into_iter().flatten().filter_map(Bson::as_document);
            let reports: Vec<(i64, &Document)> =
                reports.filter_map(|report| Some((report.get_i64("n").ok()?, report))).collect();
            let newest = reports.iter().map(|(number, _)| *number).max().unwrap_or_default();
            // Of a process that was not there before, all but the newest may be old.
            let seen = state.seen.as_ref().map_or(newest, |seen| seen.get(process).copied().unwrap_or(newest - 1));
            for (number, report) in reports {
                if number > seen {
                    new.extend(report.get_array("used").into_iter().flatten().filter_map(used_of));
                }
                last.insert(process.to_owned(), number);
            }
        }
        state.seen = Some(last);
        new
    }
}

fn report(number: i64, used: &[Used]) -> Document {
    let row = |used: &Used| -> Bson {
        let nanos = i64::try_from(used.nanos).unwrap_or(i64::MAX);
        vec![Bson::Int32(used.limit.into()), Bson::Int64(used.name.cast_signed()), Bson::Int64(nanos)].into()
    };
    doc! { "n": number, "used": used.iter().map(row).collect::<Vec<_>>() }
}

fn used_of(row: &Bson) -> Option<Used> {
    let [limit, name, nanos] = row.as_array()?.as_slice() else { return None };
    Some(Used {
        limit: u8::try_from(limit.as_i32()?).ok()?,
        name: name.as_i64()?.cast_unsigned(),
        nanos: u64::try_from(nanos.as_i64()?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_report_is_heard_once_and_a_late_look_misses_none() {
        let (here, there) = (Counts::default(), Counts::default());
        let used = |name| Used { limit: 1, name, nanos: 5 };
        let left = |reports: Vec<Document>| [doc! { "_id": "here", "reports": reports }];
        let old = left(here.tell(vec![used(1)]).unwrap());
        assert_eq!(there.hear(&old), [], "from before this process began");
        assert!(here.tell(Vec::new()).is_none());
        here.tell(vec![used(u64::MAX)]).unwrap();
        let two = left(here.tell(vec![used(3), used(4)]).unwrap());
        assert_eq!(there.hear(&two), [used(u64::MAX), used(3), used(4)]);
        assert_eq!(there.hear(&two), []);
        let others = doc! { "_id": "new", "reports": [report(1, &[used(9)])] };
        let [mine] = two;
        assert_eq!(there.hear(&[mine, others]), [used(9)], "one that has come since");
        let many: Vec<_> = (0..9).filter_map(|n| here.tell(vec![used(n)])).collect();
        assert_eq!(many.last().unwrap().len(), REPORTS);
    }
}
