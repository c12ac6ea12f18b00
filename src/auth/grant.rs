//! The proof of permission, without which the store opens for nobody.

use super::access::{Access, Allowed};
use super::scope::Letters;
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
    Limited(Arc<Access>),
}

impl Grant {
    /// Everything in one tenant: for an open server (`--insecure-open`), for the operator's own command line, and for what the
    /// server reads for itself.
    #[must_use]
    pub const fn unrestricted(tenant: TenantId) -> Self {
        Self { tenant, reach: Reach::Everything, is_admin: true }
    }

    /// What these rights give in one tenant.
    #[must_use]
    pub(crate) const fn limited(tenant: TenantId, access: Arc<Access>) -> Self {
        Self { tenant, reach: Reach::Limited(access), is_admin: false }
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

    /// What is allowed of a type for any of the letters.
    #[must_use]
    pub fn allowed(&self, type_name: &str, letters: Letters) -> Allowed {
        match &self.reach {
            Reach::Everything => Allowed::Everything,
            Reach::Limited(access) => access.allowed(type_name, letters),
        }
    }

    /// Whether it reaches all of every type, with every letter.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Limited(access) => access.is_whole(),
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
