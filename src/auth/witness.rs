//! What the audit ledger hears of a change, kept with the change: both are there, or neither.
//!
//! Whoever serves a request knows who asks and from where; what is changed in the end, only what changes it. So a [`Witness`] comes
//! along ([`Server::recording`]), and is shown the [`Deed`] at the very moment when it is kept.

use super::agent::Agent;
use super::error::OAuthError;
use super::keeper::{Entry, Keep, Keeper, KeeperError};
use super::records::{Client, Role, User};
use super::server::Server;
use super::token::{TokenAnswer, Told};
use crate::tenant::{Tenant, TenantId};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is about to be changed.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'d> {
    /// An account is made, or set up otherwise.
    User(&'d User),
    /// A client is registered, or set up otherwise.
    Client(&'d Client),
    /// A role is made, or means something else.
    Role(&'d Role),
    /// A tenant is made or changed; how.
    Tenant(&'d Tenant, &'static str),
    /// Somebody signs in.
    SignIn(&'d User),
    /// Somebody chooses a password.
    Password(&'d User),
    /// Somebody sets up a second factor.
    SecondFactor(&'d User),
    /// A token is given.
    Token(&'d Told, &'d TokenAnswer),
    /// All is taken back that came from a code or token that was used twice, and this is answered.
    Reuse(&'d Told, &'d OAuthError),
    /// A token or an authorization is taken back.
    Revocation(&'d Told),
    /// What an app starts with is made, for this one.
    Launch(&'d Agent),
    /// What was asked, of which there is no more to say.
    Asked,
}

/// Makes the entries of the changes of one request.
pub struct Witness {
    entries: Box<MakesEntries>,
    has_told: AtomicBool,
}

type MakesEntries = dyn Fn(&Deed<'_>) -> Result<Vec<(TenantId, Entry)>, KeeperError> + Send + Sync;

impl Witness {
    /// One who says this of a deed, to the ledgers of these tenants.
    #[must_use]
    pub fn new(
        entries: impl Fn(&Deed<'_>) -> Result<Vec<(TenantId, Entry)>, KeeperError> + Send + Sync + 'static,
    ) -> Self {
        Self { entries: Box::new(entries), has_told: AtomicBool::new(false) }
    }

    /// Whether a change was kept with what there is to say of it.
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.has_told.load(Ordering::Relaxed)
    }

    /// Changes records as [`Keeper::keep`] does, with the entries of this deed.
    ///
    /// # Errors
    /// As there; where an entry can't be made, nothing is changed.
    pub async fn keep(
        &self,
        keeper: &dyn Keeper,
        tenant: TenantId,
        changes: Vec<Keep>,
        deed: &Deed<'_>,
    ) -> Result<(), KeeperError> {
        let told = (self.entries)(deed)?;
        let tells = !told.is_empty();
        keeper.keep_told(tenant, changes, told).await?;
        self.has_told.fetch_or(tells, Ordering::Relaxed);
        Ok(())
    }
}

/// Changes records, with the entries of a witness where there is one.
///
/// # Errors
/// As [`Witness::keep`].
pub async fn keep(
    keeper: &dyn Keeper,
    tenant: TenantId,
    changes: Vec<Keep>,
    (witness, deed): (Option<&Witness>, &Deed<'_>),
) -> Result<(), KeeperError> {
    match witness {
        Some(witness) => witness.keep(keeper, tenant, changes, deed).await,
        None => keeper.keep(tenant, changes).await,
    }
}

/// What comes of a change of accounts and roles.
pub(super) trait Done {
    /// What it is to a witness.
    fn deed(&self) -> Deed<'_>;
}

impl Done for User {
    fn deed(&self) -> Deed<'_> {
        Deed::User(self)
    }
}

impl Done for Role {
    fn deed(&self) -> Deed<'_> {
        Deed::Role(self)
    }
}

impl Done for () {
    fn deed(&self) -> Deed<'_> {
        Deed::Asked
    }
}

impl Server {
    /// Keeps the changes that a request is for.
    ///
    /// # Errors
    /// As [`Keeper::keep`].
    pub(super) async fn keep(&self, tenant: TenantId, changes: Vec<Keep>, deed: Deed<'_>) -> Result<(), KeeperError> {
        keep(&*self.keeper, tenant, changes, (self.witness(), &deed)).await
    }
}
