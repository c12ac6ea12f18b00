//! Tenants: organisations that share one installation and nothing else.

mod name;

pub use name::Name;

use crate::config::{IndexMode, RetentionRule};
use serde::{Deserialize, Serialize};

/// The number of a tenant: the first part of every key in the store. No number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The tenant served under `/fhir`.
    pub const DEFAULT: Self = Self(0);

    /// Where that is kept which belongs to no tenant but to the installation: which tenants there are. No request leads here.
    pub const INSTALLATION: Self = Self(u32::MAX - 1);
}

/// Whether a tenant is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Active,
    /// Nobody is answered and no job runs, until it is resumed. Nothing is lost.
    Suspended,
    /// Its data are erased, or are about to be. It never comes back, and neither its name nor its number is given out again.
    Deleted,
}

/// The limits of a tenant, where they are others than those of the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// In the place of `limits.tenant_requests_per_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u32>,
    /// In the place of `limits.tenant_storage_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// In the place of `limits.jobs_per_tenant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
}

/// A tenant as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its number.
    pub number: u32,
    /// What it is called in addresses.
    pub name: Name,
    /// What people call it.
    #[serde(default)]
    pub display_name: String,
    /// Where its data shall be: a tag that means something to who runs the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether it is served.
    pub state: State,
    /// Its limits.
    #[serde(default)]
    pub limits: Limits,
    /// Which of `auth.providers` its users may sign in by. Where it is not set: all in the default tenant, none in any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_providers: Option<Vec<String>>,
    /// Which of `auth.trusted_issuers` are trusted here. Where it is not set: as for `identity_providers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_issuers: Option<Vec<String>>,
    /// Its own rules of retention, before those of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retention: Vec<RetentionRule>,
    /// Whether its index hides identifying search keys. Where it is not set, what the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexMode>,
    /// When it was made, in microseconds since 1970.
    pub created: i64,
}

impl Tenant {
    /// A tenant of which nothing is said but number and name.
    #[must_use]
    pub fn new(id: TenantId, name: Name, created: i64) -> Self {
        Self {
            number: id.0,
            display_name: String::new(),
            name,
            region: None,
            state: State::Active,
            limits: Limits::default(),
            identity_providers: None,
            trusted_issuers: None,
            retention: Vec::new(),
            index: None,
            created,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> TenantId {
        TenantId(self.number)
    }

    /// Whether it takes one of what the settings have for all tenants. `own` is its choice.
    #[must_use]
    pub fn takes(&self, own: Option<&Vec<String>>, one: &str) -> bool {
        own.map_or(self.id() == TenantId::DEFAULT, |own| own.iter().any(|name| name == one))
    }
}
