//! The proof of permission, without which the store opens for nobody.

use crate::tenant::TenantId;

/// What a request may reach in one tenant. Only this module makes one.
#[derive(Debug, Clone)]
pub struct Grant {
    tenant: TenantId,
    _only_here: (),
}

impl Grant {
    /// Everything in one tenant: for an open server (`--insecure-open`) and for the operator's own command line.
    #[must_use]
    pub const fn unrestricted(tenant: TenantId) -> Self {
        Self { tenant, _only_here: () }
    }

    /// The tenant that this grant is for.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
}
