//! What was decided lately: which resources of a type a patient's Consents permit somebody.
//!
//! It holds for whoever asks in the same words, until a Consent of the tenant changes ([`super::known`]), or a period in the patient's
//! Consents begins or ends. What rests on something else that is stored, a care team or a group, is not kept.

use super::judge::{Action, Identity};
use super::read::Consent;
use crate::auth::recipient::Recipient;
use crate::clock::Micros;
use crate::error::Result;
use crate::fhir::tree::Object;
use crate::key::{Expr, KeyList, Stored};
use crate::tenant::TenantId;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Askers, and decisions for all of them together, that are kept.
const ASKERS: usize = 10_000;
const DECISIONS: usize = 100_000;

/// Who asks, after so many changes of Consents.
type Asker = (TenantId, u64, Arc<Recipient>, Identity);

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question<'q> {
    /// The number of who asks: [`Decisions::asker`].
    pub asker: u64,
    /// What is to be done.
    pub action: Action,
    /// Whose Consents.
    pub patient: &'q str,
    /// The resources of which type.
    pub of_type: &'q str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    asker: u64,
    action: Action,
    patient: Box<str>,
    of_type: Box<str>,
}

impl Equivalent<Name> for Question<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        let Name { asker, action, patient, of_type } = name;
        (self.asker, self.action, self.patient, self.of_type) == (*asker, *action, patient, of_type)
    }
}

/// What was decided, and from when until when it holds.
type Decision = (i64, i64, Arc<Expr>);

/// The decisions of all tenants.
pub struct Decisions {
    askers: Cache<Asker, u64>,
    next: AtomicU64,
    known: Cache<Name, Decision>,
}

impl Default for Decisions {
    fn default() -> Self {
        Self { askers: Cache::new(ASKERS), next: AtomicU64::new(0), known: Cache::new(DECISIONS) }
    }
}

impl Decisions {
    /// A number that stands for who asks, as long as no Consent of the tenant changes.
    #[must_use]
    pub fn asker(&self, tenant: TenantId, at: u64, recipient: &Arc<Recipient>, who: &Identity) -> u64 {
        let asker = (tenant, at, Arc::clone(recipient), who.clone());
        if let Some(known) = self.askers.get(&asker) {
            return known;
        }
        // Of two that come at once each gets a number, which is as good.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.askers.insert(asker, number);
        number
    }

    /// What was decided of a question, where it holds now.
    #[must_use]
    pub fn get(&self, question: &Question<'_>, now: Micros) -> Option<Arc<Expr>> {
        let (from, until, expr) = self.known.get(question)?;
        (from..until).contains(&now.0).then_some(expr)
    }

    /// Keeps what was decided now by these Consents.
    pub fn keep(&self, question: &Question<'_>, consents: &[Consent], now: Micros, expr: &Arc<Expr>) {
        let moments = || consents.iter().flat_map(|consent| consent.root.moments());
        let from = moments().filter(|moment| *moment <= now.0).max().unwrap_or(i64::MIN);
        let until = moments().filter(|moment| *moment > now.0).min().unwrap_or(i64::MAX);
        let Question { asker, action, patient, of_type } = *question;
        let name = Name { asker, action, patient: patient.into(), of_type: of_type.into() };
        self.known.insert(name, (from, until, Arc::clone(expr)));
    }
}

/// What is stored, and whether it was looked at.
pub struct Noting<'s> {
    stored: &'s dyn Stored,
    is_used: Cell<bool>,
}

impl<'s> Noting<'s> {
    /// Nothing was looked at yet.
    #[must_use]
    pub const fn new(stored: &'s dyn Stored) -> Self {
        Self { stored, is_used: Cell::new(false) }
    }

    /// Whether anything was.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.is_used.get()
    }
}

impl Stored for Noting<'_> {
    fn each(&self, type_name: &str, key: &[u8], found: &mut dyn FnMut(&str, &Object<'_>)) -> Result<()> {
        self.is_used.set(true);
        self.stored.each(type_name, key, found)
    }

    fn keys(&self, type_name: &str, id: &str) -> Result<Option<KeyList>> {
        self.is_used.set(true);
        self.stored.keys(type_name, id)
    }
}
