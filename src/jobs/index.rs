//! The work that gives the index of a tenant another form, while both searches and writes go on: see [`crate::store::index`].

use super::{Job, Part, Turn, Work};
use crate::auth::keeper::Expect;
use crate::auth::records;
use crate::error::{Error, Result};
use crate::key::blind::{Hidden, LEDGER};
use crate::store::Rid;
use crate::store::index::{Change, Form, IndexRecord, Stage};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "index";

/// Resources of one part.
const TOGETHER: usize = 500;
/// What every process has heard of by then, where there are several; longer than a view holds what it knows for current.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What a tenant's index shall hide; `None` for nothing.
pub type Wanted = Box<dyn Fn(TenantId) -> Option<Hidden> + Send + Sync>;

/// How far it is: how many resources have got postings of the new form, and how many have lost those of the old one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// With the new ones.
    pub filled: u64,
    /// Without the old ones.
    pub swept: u64,
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// In which stage that was.
    stage: Option<Stage>,
    /// At which resource.
    from: u64,
    /// Whether all were passed.
    is_end: bool,
}

/// Gives each tenant the form that it shall have.
pub struct Reform {
    /// Which that is.
    pub wanted: Wanted,
    /// The kind of the job that makes what was removed leave the files.
    pub then: &'static str,
}

impl std::fmt::Debug for Reform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reform")
    }
}

/// The form of a tenant's index as it is kept, and the version of that.
///
/// # Errors
/// When the store fails.
pub fn form_of(store: &crate::store::Store, tenant: TenantId) -> Result<(IndexRecord, u64)> {
    Ok(records::get(&*store.keeper(), tenant, IndexRecord::ID)?.unwrap_or_default())
}

impl IndexRecord {
    /// Whether it is, or becomes, what hides this.
    #[must_use]
    pub fn hides(&self, wanted: Option<&Hidden>) -> bool {
        let form = self.change.as_ref().map_or(&self.now, |change| &change.to);
        match (form, wanted) {
            (Some(form), Some(wanted)) => form.hides(wanted),
            (form, wanted) => form.is_none() && wanted.is_none(),
        }
    }

    /// The form that the ledger's postings get where this is to be hidden, if it is another one than they have.
    ///
    /// # Errors
    /// When there is no randomness for a key.
    pub fn new_of_ledger(&self, wanted: Option<&Hidden>) -> Result<Option<Form>> {
        let Some(wanted) = wanted else { return Ok(None) };
        Ok(Form::of_ledger(self.ledger.as_ref(), wanted)?)
    }

    /// The form that hides this.
    ///
    /// # Errors
    /// When there is no randomness for a key.
    pub fn reformed(&self, wanted: Option<Hidden>) -> Result<Option<Form>> {
        let Some(hidden) = wanted else { return Ok(None) };
        Ok(Some(match &self.now {
            Some(now) => now.with(hidden),
            None => Form::new(hidden)?,
        }))
    }
}

impl Work for Reform {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let (record, version) = form_of(turn.store, turn.tenant())?;
        let kept = |record: &IndexRecord, mut part: Part| {
            let expect = if version == 0 { Expect::Absent } else { Expect::Version(version) };
            part.commit.keeps.push(records::put(IndexRecord::ID, record, expect, None)?);
            Ok(part)
        };
        let Some(change) = &record.change else {
            let wanted = (self.wanted)(turn.tenant());
            if let Some(form) = record.new_of_ledger(wanted.as_ref())? {
                return kept(&IndexRecord { ledger: Some(form), is_mixed: true, ..record }, turn.part());
            }
            if record.is_mixed && is_plain_of_ledger_left(turn)? {
                let mut part = turn.part();
                part.commit.hides_ledger = true;
                return Ok(part);
            }
            if record.is_mixed {
                return kept(&IndexRecord { is_mixed: false, ..record }, turn.part());
            }
            if record.hides(wanted.as_ref()) {
                return Ok(Part { is_last: true, ..turn.part() });
            }
            let change = Change { to: record.reformed(wanted)?, stage: Stage::Filling };
            return kept(&IndexRecord { change: Some(change), ..record }, turn.part());
        };
        let position: Position = serde_json::from_value(turn.job.position.clone()).unwrap_or_default();
        let position = if position.stage == Some(change.stage) { position } else { Position::default() };
        let in_stage = |stage| IndexRecord { change: Some(Change { stage, ..change.clone() }), ..record.clone() };
        match change.stage {
            stage @ (Stage::Filling | Stage::Sweeping) if !position.is_end => pass(turn, stage, position.from),
            Stage::Filling => {
                wait(turn);
                kept(&in_stage(Stage::Settling), turn.part())
            }
            Stage::Settling => {
                wait(turn);
                kept(&in_stage(Stage::Sweeping), turn.part())
            }
            Stage::Sweeping => {
                let mut part = kept(&IndexRecord { now: change.to.clone(), change: None, ..record }, turn.part())?;
                part.commit.keeps.push(Job::only_one(self.then, turn.now)?);
                Ok(part)
            }
        }
    }
}

/// Whether the ledger has postings that its form hides, and that are plain.
fn has_plain_of_ledger(turn: &Turn<'_>) -> Result<bool> {
    let records = turn.store.open(&turn.grant)?;
    let view = records.view();
    let Some(blind) = view.blind(LEDGER)? else { return Ok(false) };
    for range in blind.plain_of_ledger() {
        if view.scan(LEDGER, &range).next().transpose()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same; where there are none, once more when what was being folded in the form of before is there, too, however long that takes. What other
/// processes were folding then the store takes in the new form only.
fn is_plain_of_ledger_left(turn: &Turn<'_>) -> Result<bool> {
    if has_plain_of_ledger(turn)? {
        return Ok(true);
    }
    settle(turn)?;
    wait(turn);
    has_plain_of_ledger(turn)
}

/// Waits until no fold goes on that began before. A step is no task, and may be on a thread of them.
fn settle(turn: &Turn<'_>) -> Result<()> {
    let settled = || {
        tokio::runtime::Builder::new_current_thread()
            .build()?
            .block_on(turn.store.settled())
            .map_err(std::io::Error::other)
    };
    let outcome = std::thread::scope(|scope| scope.spawn(settled).join());
    outcome.map_err(|_| Error::internal("the ledger did not settle"))?.map_err(Error::internal)
}

/// Lets other processes hear of the stage before.
fn wait(turn: &Turn<'_>) {
    if !turn.store.is_local() {
        std::thread::sleep(SETTLED_AFTER);
    }
}

/// The next resources.
fn pass(turn: &Turn<'_>, stage: Stage, from: u64) -> Result<Part> {
    let records = turn.store.open(&turn.grant)?;
    let outlines = records.view().resources(Rid(from)).take(TOGETHER).collect::<Result<Vec<_>, _>>()?;
    let last = outlines.last().map_or(from, |last| last.rid.0);
    let position = Position { stage: Some(stage), from: last.saturating_add(1), is_end: outlines.len() < TOGETHER };
    let live = outlines.into_iter().filter(|outline| !outline.is_deleted);
    let mut part = turn.part();
    part.commit.reposts = live.map(|outline| (outline.type_name, outline.id)).collect();
    let done = part.commit.reposts.len() as u64;
    let mut report: Report = serde_json::from_value(turn.job.report.clone()).unwrap_or_default();
    *(if stage == Stage::Filling { &mut report.filled } else { &mut report.swept }) += done;
    Ok(Part {
        position: serde_json::to_value(position).map_err(Error::internal)?,
        report: serde_json::to_value(report).map_err(Error::internal)?,
        done,
        ..part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::blind::hidden_by_default;
    use serde_json::json;

    /// A form as it was kept before there were rules.
    fn kept(hidden: &Hidden) -> IndexRecord {
        serde_json::from_value(json!({ "now": { "hidden": hidden, "key": "AAAA" } })).unwrap()
    }

    #[test]
    fn an_index_is_made_anew_only_where_the_rules_or_the_list_of_resources_are_others() {
        let persons: Hidden = hidden_by_default().into_iter().filter(|(type_name, _)| **type_name != *LEDGER).collect();
        let uris: Hidden = [("CarePlan".into(), ["instantiates-uri".into()].into())].into();
        assert!(kept(&persons).hides(Some(&hidden_by_default())), "the ledger has a form of its own");
        assert!(!kept(&persons).hides(Some(&uris)) && !kept(&persons).hides(None));
        assert!(IndexRecord::default().hides(None) && !IndexRecord::default().hides(Some(&persons)));
        assert!(!kept(&uris).hides(Some(&uris)), "these were listed when no URI was hidden");
        let now = kept(&uris).reformed(Some(uris.clone())).unwrap();
        assert!(IndexRecord { now, ..IndexRecord::default() }.hides(Some(&uris)));
    }
}
