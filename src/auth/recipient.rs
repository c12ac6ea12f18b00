//! Who would get to see a patient's data, and what for: what a patient's consent is held against.

use super::records::{Client, Role, User};
use serde::{Deserialize, Serialize};

/// Purposes of use of persons whose roles are built in: <http://terminology.hl7.org/CodeSystem/v3-ActReason>.
const OF_ROLES: [(&str, &str); 6] = [
    ("Clinical Director", "TREAT"),
    ("Provider", "TREAT"),
    ("Billing", "HPAYMT"),
    ("Compliance Officer", "HCOMPL"),
    ("Patient", "PATRQT"),
    ("Caregiver", "FAMRQT"),
];

/// Who asks, in the words of Consent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipient {
    /// The resource that they are: of a person what the account says (`Practitioner/1`), of a client that acts for itself what its
    /// registration says.
    pub reference: Option<Box<str>>,
    /// The names of their roles on this server.
    pub roles: Vec<Box<str>>,
    /// What for, by codes of v3-ActReason; none where that is not known. Of several it is not known which counts.
    pub purposes: Vec<Box<str>>,
    /// Whether a person stands behind the request.
    pub is_person: bool,
}

/// A person; `said` are the purposes that the token names.
pub(super) fn of_person(user: &User, roles: &[Role], said: Vec<String>) -> Recipient {
    let by_roles = || roles.iter().flat_map(purposes).collect();
    let purposes = if said.is_empty() { by_roles() } else { said };
    Recipient {
        reference: user.fhir_user.as_deref().map(Into::into),
        roles: roles.iter().map(|role| role.name.as_str().into()).collect(),
        purposes: sorted(purposes),
        is_person: true,
    }
}

/// A client that acts for itself.
pub(super) fn of_client(client: Option<&Client>, said: Vec<String>) -> Recipient {
    let by_registration = || client.map(|client| client.purpose_of_use.clone()).unwrap_or_default();
    let purposes = if said.is_empty() { by_registration() } else { said };
    Recipient {
        reference: client.and_then(|client| client.recipient.as_deref()).map(Into::into),
        roles: Vec::new(),
        purposes: sorted(purposes),
        is_person: false,
    }
}

fn purposes(role: &Role) -> Vec<String> {
    if !role.purpose_of_use.is_empty() {
        return role.purpose_of_use.clone();
    }
    OF_ROLES.iter().filter(|(name, _)| *name == role.name).map(|(_, code)| (*code).to_owned()).collect()
}

fn sorted(mut purposes: Vec<String>) -> Vec<Box<str>> {
    purposes.sort_unstable();
    purposes.dedup();
    purposes.into_iter().map(Into::into).collect()
}

impl Recipient {
    /// The id of the patient, where it is one who asks.
    #[must_use]
    pub fn patient(&self) -> Option<&str> {
        self.reference.as_deref()?.strip_prefix("Patient/").filter(|_| self.is_person)
    }
}
