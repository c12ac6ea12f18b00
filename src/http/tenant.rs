//! Which tenant a path names: `/t/{tenant}/fhir` and `/t/{tenant}/auth`, or without `/t/{tenant}` the default tenant.
//!
//! The name is looked at as it was sent: what is escaped or in capitals is no name.

use super::Shared;
use crate::auth::tenants::Registered;
use crate::error::{Category, Error, Result};
use crate::tenant::{Name, State, TenantId};
use actix_web::HttpMessage;
use std::sync::Arc;

/// What a path names, and the rest of it: `/t/acme/auth/token` has `acme` and `/auth/token`.
pub fn split(path: &str) -> (Option<&str>, &str) {
    match path.strip_prefix("/t/") {
        None => (None, path),
        Some(named) => {
            let (name, rest) = named.split_at(named.find('/').unwrap_or(named.len()));
            (Some(name), rest)
        }
    }
}

impl Shared {
    /// The tenant that a path names, as far as it is served, and the rest of the path.
    ///
    /// # Errors
    /// 404 for one that is not there, 403 while it is suspended, 410 where it was deleted.
    pub(super) fn tenant_at<'p>(&self, path: &'p str) -> Result<(Arc<Registered>, &'p str)> {
        let (name, rest) = split(path);
        let unknown = || Error::new(Category::NotFound, "not-found", "There is no such tenant.");
        let name = name.map_or_else(|| Some(Name::default_tenant()), Name::parse).ok_or_else(unknown)?;
        let registered = self.app.tenants().named(name.as_str())?;
        registered.check_served()?;
        Ok((registered, rest))
    }

    /// Sees to it that no worker waits for a store across a network to tell which tenants there are: after a change they are read in another
    /// thread.
    pub(super) async fn look_up_tenants(&self) {
        if self.app.store().is_local() || self.app.tenants().are_at_hand() {
            return;
        }
        let app = Arc::clone(&self.app);
        let looking = tokio::task::spawn_blocking(move || app.tenants().look_up());
        if looking.await.is_err() {
            tracing::error!("reading the tenants panicked");
        }
    }

    /// In whose ledger a request stands that is not served, by its path, and the name of the tenant where that is not its own.
    pub(super) fn whose(&self, path: &str) -> (TenantId, Option<String>) {
        let Some(name) = split(path).0.and_then(Name::parse) else { return (TenantId::DEFAULT, None) };
        match self.app.tenants().named(name.as_str()) {
            Ok(registered) if registered.tenant.state != State::Deleted => (registered.id(), None),
            _ => (TenantId::DEFAULT, Some(name.as_str().to_owned())),
        }
    }
}

/// Notes whose request this is: for [`of`].
pub fn note(request: &impl HttpMessage, tenant: TenantId) {
    request.extensions_mut().insert(tenant);
}

/// The tenant of a request under `/auth`, which `guard` has found.
///
/// # Errors
/// Where it has not.
pub fn of(request: &impl HttpMessage) -> Result<TenantId> {
    let found = request.extensions().get::<TenantId>().copied();
    found.ok_or_else(|| Error::internal("a request of no tenant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_after_the_name() {
        for (path, name, rest) in [
            ("/fhir/Patient/1", None, "/fhir/Patient/1"),
            ("/t/acme/fhir", Some("acme"), "/fhir"),
            ("/t/acme/auth/token", Some("acme"), "/auth/token"),
            ("/t/acme", Some("acme"), ""),
            ("/t//fhir", Some(""), "/fhir"),
            ("/t/../fhir", Some(".."), "/fhir"),
            ("/t/%2e%2e/fhir", Some("%2e%2e"), "/fhir"),
            ("/t/t/t/fhir", Some("t"), "/t/fhir"),
            ("/t", None, "/t"),
            ("//t/acme/fhir", None, "//t/acme/fhir"),
        ] {
            assert_eq!(split(path), (name, rest), "{path}");
        }
    }
}
