//! Legal holds: while there is one on a patient, nothing of the patient's record is erased; on any other resource, nothing of that.
//!
//! A hold is a record of its own, so that it needs no new version of what it is on, and says who set it and why.

use crate::audit::record::{Event, Record as Entry};
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::auth::keeper::{Expect, Keep, Keeper};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::error::{Category, Error, Result};
use crate::fhir::definitions;
use crate::fhir::reference::is_id;
use crate::store::{Commit, CommitError, Store};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1000;

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it is on: `Patient/1`. It need not exist.
    pub on: Box<str>,
    /// Why: a case number, an order of a court.
    pub reason: String,
    /// Who set it.
    pub by: Agent,
    /// When, in microseconds since 1970.
    pub since: i64,
}

impl Record for Hold {
    const KIND: &'static str = "hold";
}

/// Whether there is a hold on this.
///
/// # Errors
/// When the store fails.
pub fn get(keeper: &dyn Keeper, tenant: TenantId, on: &str) -> Result<Option<Hold>> {
    Ok(records::get::<Hold>(keeper, tenant, on)?.map(|(hold, _)| hold))
}

/// Holds in the order of what they are on, after one, at most `count`.
///
/// # Errors
/// When the store fails.
pub fn list(keeper: &dyn Keeper, tenant: TenantId, after: Option<&str>, count: usize) -> Result<Vec<Hold>> {
    let kept = keeper.list(tenant, Hold::KIND, "", after, count)?;
    Ok(kept.iter().map(|kept| records::read(&kept.bytes)).collect::<std::result::Result<_, _>>()?)
}

/// The condition of a commit that there is no hold on this.
#[must_use]
pub fn absent(on: &str) -> Keep {
    records::remove::<Hold>(on, Expect::Absent)
}

/// The holds of a tenant, to be changed.
pub struct Holds<'h> {
    /// Where they are kept.
    pub store: &'h Store,
    /// All of the tenant.
    pub grant: Grant,
    /// Whether the ledger is kept.
    pub is_recorded: bool,
}

impl Holds<'_> {
    /// Sets a hold, or gives one another reason. What a commit erases that was decided on before is refused then.
    ///
    /// # Errors
    /// 400 for what is no reference of the form `[type]/[id]`, and for a reason that is empty or too long.
    pub async fn set(&self, hold: &Hold) -> Result<()> {
        let is_resource =
            hold.on.split_once('/').is_some_and(|(name, id)| definitions::r4().is_resource_type(name) && is_id(id));
        if !is_resource {
            return Err(Error::invalid("A hold is on a patient or another resource: [type]/[id].").at("on"));
        }
        if hold.reason.trim().is_empty() || hold.reason.len() > LONGEST_REASON {
            return Err(Error::invalid("A hold has a reason, of at most 1000 bytes.").at("reason"));
        }
        let keep = records::put(&hold.on, hold, Expect::Any, None)?;
        self.change(keep, (&hold.by, &hold.on, Micros(hold.since)), format!("set: {}", hold.reason)).await
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// 404 where there is none.
    pub async fn lift(&self, on: &str, by: &Agent, now: Micros) -> Result<()> {
        let held = records::get::<Hold>(&*self.store.keeper(), self.grant.tenant(), on)?;
        let Some((_, version)) = held else {
            return Err(Error::new(Category::NotFound, "not-found", "There is no hold on this."));
        };
        self.change(records::remove::<Hold>(on, Expect::Version(version)), (by, on, now), "lifted".into()).await
    }

    /// The change and its entry in the ledger.
    async fn change(&self, keep: Keep, (by, on, now): (&Agent, &str, Micros), note: String) -> Result<()> {
        let mut entry = Entry::of(Event::Administration(Cow::Borrowed("hold")), Cow::Borrowed(by));
        entry.content.target = Some(Cow::Borrowed(on));
        entry.content.patients = on.strip_prefix("Patient/").map(Into::into).into_iter().collect();
        entry.content.note = Some(note.into());
        let entry = Some(entry.entry(now)?).filter(|_| self.is_recorded);
        let commit = Commit { keeps: vec![keep], entry, ..Commit::of(self.grant.tenant()) };
        self.store.commit(&self.grant, commit).await.map(drop).map_err(|error| match error {
            CommitError::Store(error) => error.into(),
            _ => Error::new(Category::Conflict, "conflict", "The hold was changed at the same time. Try again."),
        })
    }
}
