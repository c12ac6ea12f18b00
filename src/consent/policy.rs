//! What each patient's Consents permit one recipient: the set that a grant is narrowed by.

use super::decide::{Defaults, all_if, permitted};
use super::judge::{Action, Asked, Identity, Reading};
use super::kept::{Noting, Question};
use super::known::Consents;
use crate::auth::grant::Consented;
use crate::auth::recipient::Recipient;
use crate::clock::Micros;
use crate::error::Result;
use crate::key::{ByPatient, Expr, Rules, Stored};
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Patients and types of which one request remembers what is permitted.
const REMEMBERED: usize = 10_000;

/// For one recipient and one snapshot.
pub struct Policy {
    /// Whose data.
    pub tenant: TenantId,
    /// What was read before.
    pub consents: Arc<Consents>,
    /// How many changes the snapshot holds, where that can be told: see [`Consents::quiet`].
    pub at: Option<u64>,
    /// For patients who did not decide.
    pub defaults: Defaults,
    /// Who asks.
    pub recipient: Arc<Recipient>,
    /// When.
    pub now: Micros,
    /// The address of this server, without a slash at the end.
    pub base: Arc<str>,
    /// What is stored of who asks; looked up when it is first needed.
    pub identity: OnceLock<Identity>,
    /// The number under which decisions for them are kept.
    pub asker: OnceLock<u64>,
}

impl Policy {
    /// The sets that it makes, for each kind of action.
    #[must_use]
    pub fn consented(self) -> Consented {
        let policy = Arc::new(self);
        let to = |action| {
            let rules = For { policy: Arc::clone(&policy), action, known: Mutex::default() };
            ByPatient::new(Arc::new(rules))
        };
        Consented { access: to(Action::Access), collect: to(Action::Collect), correct: to(Action::Correct) }
    }

    fn identity(&self, stored: &dyn Stored) -> Result<&Identity> {
        if let Some(known) = self.identity.get() {
            return Ok(known);
        }
        let found = Identity::of(&self.recipient, stored)?;
        Ok(self.identity.get_or_init(|| found))
    }

    /// The number under which decisions for who asks are kept; none where they can't be.
    fn asker(&self, stored: &dyn Stored) -> Result<Option<u64>> {
        let Some(at) = self.at else { return Ok(None) };
        if let Some(known) = self.asker.get() {
            return Ok(Some(*known));
        }
        let found = self.consents.decisions.asker(self.tenant, at, &self.recipient, self.identity(stored)?);
        Ok(Some(*self.asker.get_or_init(|| found)))
    }
}

/// What of a type is permitted, by patient.
type Permitted = FxHashMap<Box<str>, Arc<Expr>>;

/// The same for one kind of action.
struct For {
    policy: Arc<Policy>,
    action: Action,
    /// What can't be kept for others, by type.
    known: Mutex<FxHashMap<Box<str>, Permitted>>,
}

impl Rules for For {
    fn of(&self, patient: &str, type_name: &str, stored: &dyn Stored) -> Result<Arc<Expr>> {
        let policy = &self.policy;
        // Nobody's consent is needed to see what is one's own.
        if policy.recipient.patient() == Some(patient) {
            return Ok(Arc::new(Expr::All));
        }
        let question =
            policy.asker(stored)?.map(|asker| Question { asker, action: self.action, patient, of_type: type_name });
        let decisions = &policy.consents.decisions;
        if let Some(expr) = question.and_then(|question| decisions.get(&question, policy.now)) {
            return Ok(expr);
        }
        if let Some(expr) = self.known(type_name, patient) {
            return Ok(expr);
        }
        let consents = policy.consents.of(policy.tenant, patient, policy.at, stored)?;
        if consents.is_empty() {
            let expr = Arc::new(all_if(policy.defaults.without));
            if let Some(question) = question {
                decisions.keep(&question, &consents, policy.now, &expr);
            }
            return Ok(expr);
        }
        let noting = Noting::new(stored);
        let reading = Reading { stored: &noting, base: &policy.base };
        let who = policy.identity(stored)?;
        let asked = Asked { who, purposes: &policy.recipient.purposes, action: self.action, now: policy.now };
        let expr = Arc::new(permitted(&consents, type_name, &asked, policy.defaults, &reading)?);
        match question.filter(|_| !noting.is_used()) {
            Some(question) => decisions.keep(&question, &consents, policy.now, &expr),
            None => self.remember(type_name, patient, &expr),
        }
        Ok(expr)
    }
}

impl For {
    fn known(&self, type_name: &str, patient: &str) -> Option<Arc<Expr>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(type_name)?.get(patient).cloned()
    }

    fn remember(&self, type_name: &str, patient: &str, expr: &Arc<Expr>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let patients = known.entry(type_name.into()).or_default();
        if patients.len() >= REMEMBERED {
            patients.clear();
        }
        patients.insert(patient.into(), Arc::clone(expr));
    }
}
