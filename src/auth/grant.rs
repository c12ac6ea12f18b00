//! The proof of permission, without which the store opens for nobody.

use super::access::{Access, Allowed};
use super::recipient::Recipient;
use super::scope::Letters;
use crate::key::ByPatient;
use crate::tenant::TenantId;
use std::sync::Arc;

/// What a request may reach in one tenant. Only this module makes one; who calls it is held to a list by `tests/tidy.rs`.
#[derive(Debug, Clone)]
pub struct Grant {
    tenant: TenantId,
    reach: Reach,
    is_admin: bool,
}

#[derive(Debug, Clone)]
enum Reach {
    Everything,
    Limited(Arc<Access>, Option<Arc<Recipient>>, Option<Consented>),
}

/// What the patients consent to, for each kind of action: <http://terminology.hl7.org/CodeSystem/consentaction>.
#[derive(Debug, Clone)]
pub struct Consented {
    /// To read and to find: access, use, disclose.
    pub access: ByPatient,
    /// To create: collect.
    pub collect: ByPatient,
    /// To change and to delete: correct.
    pub correct: ByPatient,
}

impl Consented {
    /// What is consented to for a letter. What must not be seen can't be changed either: the answer to a change would show it.
    pub(super) fn to(&self, letter: Letters) -> Vec<&ByPatient> {
        match letter {
            Letters::CREATE => vec![&self.collect],
            Letters::UPDATE | Letters::DELETE => vec![&self.access, &self.correct],
            _ => vec![&self.access],
        }
    }
}

impl Grant {
    /// Everything in one tenant: for an open server (`--insecure-open`), for the operator's own command line, and for what the
    /// server reads for itself.
    #[must_use]
    pub const fn unrestricted(tenant: TenantId) -> Self {
        Self { tenant, reach: Reach::Everything, is_admin: true }
    }

    /// What these rights give in one tenant. Patients' consents count where there is a recipient.
    #[must_use]
    pub(crate) const fn limited(tenant: TenantId, access: Arc<Access>, recipient: Option<Arc<Recipient>>) -> Self {
        Self { tenant, reach: Reach::Limited(access, recipient, None), is_admin: false }
    }

    /// The same, of somebody who administers the tenant, or not.
    #[must_use]
    pub(crate) fn administering(self, is_admin: bool) -> Self {
        Self { is_admin, ..self }
    }

    /// The tenant that this grant is for.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// For whom patients' consents have to be asked.
    #[must_use]
    pub const fn recipient(&self) -> Option<&Arc<Recipient>> {
        match &self.reach {
            Reach::Limited(_, Some(recipient), _) => Some(recipient),
            _ => None,
        }
    }

    /// The same, as far as patients consent to it; in the place of what they consented to before.
    #[must_use]
    pub fn consented(mut self, to: Option<Consented>) -> Self {
        if let Reach::Limited(_, Some(_), consented) = &mut self.reach {
            *consented = to;
        }
        self
    }

    /// What is allowed of a type for any of the letters.
    #[must_use]
    pub fn allowed(&self, type_name: &str, letters: Letters) -> Allowed {
        match &self.reach {
            Reach::Everything => Allowed::Everything,
            Reach::Limited(access, _, None) => access.allowed(type_name, letters),
            Reach::Limited(access, recipient, Some(_))
                if OF_PRIVACY.contains(&type_name) && keeps_privacy(access, recipient.as_deref()) =>
            {
                access.allowed(type_name, letters)
            }
            Reach::Limited(access, _, Some(consented)) => access.consented(type_name, letters, consented),
        }
    }

    /// The same by scopes and roles alone, whatever patients consent to.
    #[must_use]
    pub fn allowed_by_scopes(&self, type_name: &str, letters: Letters) -> Allowed {
        match &self.reach {
            Reach::Everything => Allowed::Everything,
            Reach::Limited(access, ..) => access.allowed(type_name, letters),
        }
    }

    /// Whether all that is known of the consents of patients is open to it, as far as scopes and roles reach.
    #[must_use]
    pub fn sees_all_consents(&self) -> bool {
        match &self.reach {
            Reach::Everything | Reach::Limited(_, _, None) => true,
            Reach::Limited(access, recipient, Some(_)) => keeps_privacy(access, recipient.as_deref()),
        }
    }

    /// Whether scopes and roles reach all of every type, with every letter.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Limited(access, ..) => access.is_whole(),
        }
    }

    /// Whether it reaches all of every type, with every letter, whatever patients consent to.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Limited(access, _, consented) => consented.is_none() && access.is_whole(),
        }
    }

    /// Whether it is of somebody who administers the tenant, by a token for that; on an open server everybody does.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// Whether nothing has to be looked at.
    #[must_use]
    pub const fn is_unrestricted(&self) -> bool {
        matches!(self.reach, Reach::Everything)
    }
}

/// What tells of the rules, and of how they were kept.
const OF_PRIVACY: [&str; 2] = ["AuditEvent", "Consent"];

/// Whether it is for somebody who manages patients' privacy: whoever may write Consents, and a person who may read the ledger. A rule
/// that hid itself from them could not be revoked, nobody could tell the patient what it says, or who did not keep it.
fn keeps_privacy(access: &Access, recipient: Option<&Recipient>) -> bool {
    let may = |type_name, letters| access.allowed(type_name, letters) != Allowed::Nothing;
    may("Consent", Letters::CREATE | Letters::UPDATE | Letters::DELETE)
        || (recipient.is_some_and(|recipient| recipient.is_person)
            && may("AuditEvent", Letters::READ | Letters::SEARCH))
}
