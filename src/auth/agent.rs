//! Who acts, as the audit ledger tells it: made once for a token, and said of each of its requests.

use serde::{Deserialize, Serialize};

/// A person, a client, or both. What is not known is absent: nobody who is known at all is an anonymous request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// The id of the account, or the subject at a trusted issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The person's resource: `Practitioner/123`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<Box<str>>,
    /// The names of the roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Box<str>>,
    /// The client, for which the person acts, or which acts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<str>>,
    /// Who made the token, where it was not this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
    /// The authorization that the token comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<str>>,
    /// `jti` of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Box<str>>,
    /// The purpose of use: codes of <http://terminology.hl7.org/CodeSystem/v3-ActReason>.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub purpose: Vec<Box<str>>,
    /// Why emergency access was asked for, where it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Box<str>>,
}

impl Agent {
    /// A client that acts for itself, or asks for a token.
    #[must_use]
    pub fn client(client_id: &str) -> Self {
        Self { client: Some(client_id.into()), ..Self::default() }
    }

    /// An account, without a client.
    #[must_use]
    pub fn user(user: &super::records::User) -> Self {
        Self {
            user: Some(user.id.as_str().into()),
            name: Some(user.name.as_str().into()),
            fhir_user: user.fhir_user.as_deref().map(Into::into),
            roles: user.roles.iter().map(|role| role.as_str().into()).collect(),
            ..Self::default()
        }
    }

    /// The server itself, at what it does by its settings.
    #[must_use]
    pub fn server() -> Self {
        Self { name: Some("the server itself".into()), ..Self::default() }
    }

    /// Somebody at the machine itself: the command line.
    #[must_use]
    pub fn operator() -> Self {
        Self { name: Some("operator at the command line".into()), ..Self::default() }
    }
}
