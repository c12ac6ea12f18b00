//! From the token of a request to its grant: the decision of who may do what.
//!
//! The effective right is what the token's scopes give, and what the roles of its user give, in its launch context; a client that acts for
//! itself has no roles. A token is looked at whole when it is first seen. After that it is remembered, and looked at again whenever
//! a record changed that it rests on: the signing key, the client, the authorization, the user, the roles.

use super::access::{Access, Restrictions, RoleRights};
use super::compartment::Patients;
use super::grant::Grant;
use super::keeper::KeeperError;
use super::records::{AccessClaims, Authorization, Client, Role, User};
use super::scope::ADMIN;
use super::server::Server;
use crate::error::{Category, Error, Result};
use crate::key::Expr;
use crate::tenant::TenantId;
use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens that are remembered.
const REMEMBERED: usize = 10_000;

/// Teams and persons that are no longer, or not yet, in charge.
const NOT_IN_CHARGE: &str = "status:not=inactive&status:not=proposed&status:not=entered-in-error";

/// Who asks, and what they may reach.
#[derive(Debug)]
pub struct Bearer {
    /// What they may reach.
    pub grant: Grant,
    /// What the token says.
    pub claims: AccessClaims,
    basis: Basis,
    epoch: AtomicU64,
}

/// The records that a token rests on.
#[derive(Debug, PartialEq)]
struct Basis {
    client: Client,
    /// None for a client that acts for itself.
    person: Option<Person>,
}

#[derive(Debug, PartialEq)]
struct Person {
    authorization: Authorization,
    user: User,
    roles: Vec<Role>,
}

/// The tokens in memory, by their hash.
pub(super) struct Bearers(Cache<[u8; 32], Arc<Bearer>>);

impl Default for Bearers {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Server {
    /// Who shows this access token, and what they may reach in a tenant. `restrictions` reads the search restrictions of scopes.
    ///
    /// # Errors
    /// 401 for a token that is not good, or not any longer: the log hears why.
    pub fn bearer(&self, tenant: TenantId, token: &str, restrictions: &dyn Restrictions) -> Result<Arc<Bearer>> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        // Read before the records: a change that comes between is seen next time.
        let epoch = self.keeper.epoch(tenant);
        if let Some(known) = self.bearers.0.get(&key).filter(|known| known.grant.tenant() == tenant) {
            if known.claims.exp <= self.now_s() {
                self.bearers.0.remove(&key);
                return Err(invalid_token("the token has expired"));
            }
            if known.epoch.load(Ordering::Acquire) == epoch {
                return Ok(known);
            }
            if self.knows_key(tenant, token) && self.basis(tenant, &known.claims)? == known.basis {
                known.epoch.store(epoch, Ordering::Release);
                return Ok(known);
            }
        }
        let claims = self
            .verify_access(tenant, token)
            .map_err(|error| invalid_token(error.log.as_deref().unwrap_or(&error.description)))?;
        let basis = self.basis(tenant, &claims)?;
        let access = Arc::new(basis.access(&claims, restrictions));
        let grant = Grant::limited(tenant, access);
        let bearer = Arc::new(Bearer { grant, claims, basis, epoch: AtomicU64::new(epoch) });
        self.bearers.0.insert(key, Arc::clone(&bearer));
        Ok(bearer)
    }

    /// The records that a token rests on, as they are now.
    fn basis(&self, tenant: TenantId, claims: &AccessClaims) -> Result<Basis> {
        let live = self.live(tenant, claims).map_err(failed)?;
        let live = live.ok_or_else(|| {
            invalid_token("the token was revoked, or its client, user or authorization is not there or switched off")
        })?;
        let Some((user, authorization)) = live.user else { return Ok(Basis { client: live.client, person: None }) };
        let roles = self.roles_of(tenant, &user).map_err(failed)?;
        Ok(Basis { client: live.client, person: Some(Person { authorization: settled(authorization), user, roles }) })
    }
}

/// Without what changes with each refresh and decides nothing.
fn settled(authorization: Authorization) -> Authorization {
    Authorization { refresh: 0, ..authorization }
}

impl Bearer {
    /// Why emergency access was asked for, where it was: it is recorded with each access.
    #[must_use]
    pub fn break_glass(&self) -> Option<&str> {
        self.basis.person.as_ref()?.authorization.break_glass.as_deref()
    }

    /// Whether it is a token for the administration, of a user who is an administrator now.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        let is_admin = |person: &Person| person.roles.iter().any(|role| role.is_admin);
        self.claims.scope.has(ADMIN) && self.basis.person.as_ref().is_some_and(is_admin)
    }

    /// The client's web origins.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.basis.client
    }
}

impl Basis {
    fn access(&self, claims: &AccessClaims, restrictions: &dyn Restrictions) -> Access {
        let Some(person) = &self.person else {
            return Access::new(&claims.scope, claims.patient.as_deref(), None, restrictions);
        };
        let is_emergency = person.authorization.break_glass.is_some();
        let rights = person.roles.iter().map(|role| RoleRights {
            scopes: role.scopes.clone(),
            patients: if role.own_patients && !(is_emergency && role.break_glass) {
                own_patients(person.user.fhir_user.as_deref(), restrictions)
            } else {
                Patients::All
            },
        });
        let rights: Vec<_> = rights.collect();
        Access::new(&claims.scope, claims.patient.as_deref(), Some(&rights), restrictions)
    }
}

/// Whose patients somebody's own are: a patient's are the patient; those of a related person are the patients that it is related to;
/// those of a practitioner are the patients whose general practitioner or care team names the practitioner, or one of the
/// practitioner's roles. Everybody else has none.
fn own_patients(fhir_user: Option<&str>, restrictions: &dyn Restrictions) -> Patients {
    let set = |exprs: Vec<Option<Expr>>| Patients::Set(Box::new(Expr::or(exprs.into_iter().flatten())));
    match fhir_user.and_then(|reference| reference.split_once('/')) {
        Some(("Patient", id)) => Patients::One(id.into()),
        Some(("RelatedPerson", id)) => {
            set(vec![by("RelatedPerson", &format!("_id={id}&active:not=false"), restrictions)])
        }
        Some(("Practitioner", id)) => {
            let through = |code: &str| {
                [
                    format!("{code}=Practitioner/{id}"),
                    format!(
                        "{code}:PractitionerRole.practitioner=Practitioner/{id}&{code}:PractitionerRole.active:not=false"
                    ),
                ]
            };
            let general = through("general-practitioner").map(|query| restrictions.compile("Patient", &query));
            let teams = through("participant");
            let teams = teams.map(|query| by("CareTeam", &format!("{query}&{NOT_IN_CHARGE}"), restrictions));
            set(general.into_iter().chain(teams).collect())
        }
        _ => set(Vec::new()),
    }
}

/// The patients that resources of a type name, which meet some criteria.
fn by(source: &str, query: &str, restrictions: &dyn Restrictions) -> Option<Expr> {
    let expr = Box::new(restrictions.compile(source, query)?);
    Some(Expr::ReferredBy { source: source.into(), code: "patient".into(), expr })
}

/// 401 with `error="invalid_token"`.
fn invalid_token(log: &str) -> Error {
    Error::new(Category::Unauthenticated, "security", "The access token is not good, or not any longer.").with_log(log)
}

fn failed(error: KeeperError) -> Error {
    Error::internal(error)
}
