//! Where patients' consents meet a request: a grant is narrowed by them at each snapshot that is taken under it.
//!
//! <https://hl7.org/fhir/R4/consent.html>. The set itself is made by [`crate::consent`], and the search engine and
//! [`super::reach`] know it as a part of the grant, like scopes.

use super::Context;
use crate::auth::grant::{Consented, Grant};
use crate::config;
use crate::consent::decide::Defaults;
use crate::consent::{Kind, Policy};
use crate::error::Result;
use crate::key::prefix_of;
use crate::key::token::matching_code;
use crate::store::{Records, View};
use std::sync::{Arc, OnceLock};

/// The settings in the words of a Consent.
#[must_use]
pub const fn defaults(settings: &config::Consent) -> Defaults {
    const fn kind(rule: config::Rule) -> Kind {
        match rule {
            config::Rule::Permit => Kind::Permit,
            config::Rule::Deny => Kind::Deny,
        }
    }
    Defaults { base: kind(settings.base), without: kind(settings.without) }
}

/// A snapshot under the request's grant, as far as patients consent to it at that moment.
///
/// # Errors
/// When the store fails.
pub fn open(context: &Context) -> Result<Records> {
    if context.grant.recipient().is_none() {
        return Ok(context.store.open(&context.grant)?);
    }
    let (consents, tenant) = (context.conformances.consents(), context.grant.tenant());
    let before = consents.quiet(tenant);
    let records = context.store.open(&context.grant)?;
    let at = before.filter(|_| consents.quiet(tenant) == before);
    let to = narrowed(context, at, || has_any(records.view()))?;
    Ok(records.consented(to))
}

/// The request's grant, as far as patients consent to it now: for what is decided without a snapshot.
///
/// # Errors
/// When the store fails.
pub fn grant(context: &Context) -> Result<Grant> {
    let at = context.conformances.consents().quiet(context.grant.tenant());
    let look = || has_any(context.store.open(&context.grant)?.view());
    Ok(context.grant.clone().consented(narrowed(context, at, look)?))
}

fn narrowed(context: &Context, at: Option<u64>, look: impl FnOnce() -> Result<bool>) -> Result<Option<Consented>> {
    let (Some(recipient), tenant) = (context.grant.recipient(), context.grant.tenant()) else { return Ok(None) };
    let (consents, defaults) = (context.conformances.consents(), context.consent_defaults);
    if defaults.without == Kind::Permit && !consents.any(tenant, at, look)? {
        return Ok(None);
    }
    let policy = Policy {
        tenant,
        consents: Arc::clone(consents),
        at,
        defaults,
        recipient: Arc::clone(recipient),
        now: context.clock.now(),
        base: Arc::clone(&context.base),
        identity: OnceLock::new(),
        asker: OnceLock::new(),
    };
    Ok(Some(policy.consented()))
}

/// Whether there is a Consent that is active.
fn has_any(view: &dyn View) -> Result<bool> {
    let active = matching_code(None, "active").under(&prefix_of("status"));
    Ok(view.scan("Consent", &active).next().transpose()?.is_some())
}
