//! The list of clients.

use super::error::OAuthError;
use super::keeper::{Expect, Keep, KeeperError};
use super::records::{self, Authorization, Client, ClientProof, Record};
use super::registration::{Registered, Registrant, is_id, new_proof};
use super::server::Server;
use super::user::{changed, is_version};
use super::witness::Deed;
use crate::error::{Category, Error, Result};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Records that are read at a time.
const PAGE: usize = 500;

/// Says that anybody registered a client, and no administrator has looked at it since. Its id is the client's.
#[derive(Debug, Serialize, Deserialize)]
struct Unvouched {}

impl Record for Unvouched {
    const KIND: &'static str = "unvouched";
}

impl Server {
    /// Clients in the order of their ids, those after `after`, at most `count`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn clients(&self, tenant: TenantId, after: Option<&str>, count: usize) -> Result<Vec<Client>> {
        let kept = self.keeper.list(tenant, Client::KIND, "", after, count)?;
        Ok(kept.iter().map(|kept| records::read(&kept.bytes)).collect::<Result<_, KeeperError>>()?)
    }

    /// A client, switched off or not, and its version.
    ///
    /// # Errors
    /// When the store fails.
    pub fn client_by_id(&self, tenant: TenantId, id: &str) -> Result<Option<(Client, u64)>, KeeperError> {
        if is_id(id) { records::get(&*self.keeper, tenant, id) } else { Ok(None) }
    }

    /// Adds or replaces a client as an administrator, who expects this version if one is given: 0 for none. Whether it is new.
    ///
    /// # Errors
    /// 412 for another version, 400 for metadata that is refused.
    pub async fn replace_client(
        &self,
        tenant: TenantId,
        id: &str,
        version: Option<u64>,
        given: &Value,
    ) -> Result<(Registered, bool)> {
        let old = self.client_by_id(tenant, id)?;
        let current = old.as_ref().map_or(0, |(_, version)| *version);
        is_version(version, current)?;
        let registered = self.client_like(id, given, old.map(|(client, _)| client), Registrant::Admin);
        let registered = registered.map_err(refused)?;
        let expect = if current == 0 { Expect::Absent } else { Expect::Version(current) };
        self.keep_client(tenant, &registered.client, expect, Registrant::Admin).await.map_err(stale)?;
        Ok((registered, current == 0))
    }

    /// Removes a client, which has this version if one is given, with all that was granted to it.
    ///
    /// # Errors
    /// 404 for an unknown one, 412 for another version.
    pub async fn remove_client(&self, tenant: TenantId, id: &str, version: Option<u64>) -> Result<()> {
        let (_, current) = self.client_to_change(tenant, id, version)?;
        let gone = vec![
            records::remove::<Client>(id, Expect::Version(current)),
            records::remove::<Unvouched>(id, Expect::Any),
        ];
        self.keep(tenant, gone, Deed::Asked).await.map_err(stale)?;
        // After the client, so that none is granted in between: a client of the same name later must not inherit them.
        let mut after: Option<Box<str>> = None;
        loop {
            let page = self.keeper.list(tenant, Authorization::KIND, "", after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.clone());
            let mut gone: Vec<Keep> = Vec::new();
            for kept in &page {
                if records::read::<Authorization>(&kept.bytes)?.client_id == id {
                    gone.push(records::remove::<Authorization>(&kept.id, Expect::Any));
                }
            }
            if !gone.is_empty() {
                self.keeper.keep(tenant, gone).await?;
            }
        }
    }

    /// Switches a client, which has this version if one is given, off or on again.
    ///
    /// # Errors
    /// 404 for an unknown one, 412 for another version.
    pub async fn disable_client(&self, tenant: TenantId, id: &str, version: Option<u64>, disabled: bool) -> Result<()> {
        let (client, current) = self.client_to_change(tenant, id, version)?;
        let client = Client { disabled, ..client };
        let change = records::put(id, &client, Expect::Version(current), None)?;
        self.keep(tenant, vec![change], Deed::Client(&client)).await.map_err(stale)
    }

    /// Gives a client that has a secret, and this version if one is given, another one.
    ///
    /// # Errors
    /// 404 for an unknown one, 412 for another version, 409 for a client that has no secret.
    pub async fn rotate_secret(&self, tenant: TenantId, id: &str, version: Option<u64>) -> Result<String> {
        let (client, current) = self.client_to_change(tenant, id, version)?;
        if !matches!(client.proof, ClientProof::Secret { .. }) {
            return Err(Error::new(Category::Conflict, "conflict", "The client has no secret."));
        }
        let (proof, secret) = new_proof().map_err(refused)?;
        let client = Client { proof, ..client };
        let change = records::put(id, &client, Expect::Version(current), None)?;
        self.keep(tenant, vec![change], Deed::Client(&client)).await.map_err(stale)?;
        Ok(secret)
    }

    /// Whether one more client may register that nobody vouches for.
    ///
    /// # Errors
    /// `access_denied` where there are `auth.open_clients` already.
    pub(super) fn leave_room(&self, tenant: TenantId) -> Result<(), OAuthError> {
        let most = self.config.open_clients;
        if self.keeper.list(tenant, Unvouched::KIND, "", None, most)?.len() < most {
            return Ok(());
        }
        let text =
            "As many clients as auth.open_clients allows have registered. An administrator has to look at them first.";
        Err(OAuthError::new("access_denied", text))
    }

    /// Keeps a client, and whether an administrator vouches for it.
    pub(super) async fn keep_client(
        &self,
        tenant: TenantId,
        client: &Client,
        expect: Expect,
        by: Registrant,
    ) -> Result<(), KeeperError> {
        let id = &client.client_id;
        let mark = match by {
            Registrant::Anyone => records::put(id, &Unvouched {}, Expect::Any, None)?,
            Registrant::Admin => records::remove::<Unvouched>(id, Expect::Any),
        };
        self.keep(tenant, vec![records::put(id, client, expect, None)?, mark], Deed::Client(client)).await
    }

    fn client_to_change(&self, tenant: TenantId, id: &str, version: Option<u64>) -> Result<(Client, u64)> {
        let none = || Error::new(Category::NotFound, "not-found", "There is no such client.");
        let (client, current) = self.client_by_id(tenant, id)?.ok_or_else(none)?;
        is_version(version, current)?;
        Ok((client, current))
    }
}

/// Metadata that is refused, as an administrator hears it.
fn refused(error: OAuthError) -> Error {
    if error.code == "server_error" {
        return Error::internal(error.log.unwrap_or_default());
    }
    Error::invalid(format!("{}: {}", error.code, error.description))
}

/// What changed between reading and keeping.
fn stale(error: KeeperError) -> Error {
    match error {
        KeeperError::Stale(_) => changed(),
        KeeperError::Failed(_) => error.into(),
    }
}
