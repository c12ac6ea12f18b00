//! Tenants: organisations that share one installation and nothing else.

/// The number of a tenant: the first part of every key in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The tenant served under `/fhir`.
    pub const DEFAULT: Self = Self(0);
}
