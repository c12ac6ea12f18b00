//! From the token of a request to its grant: the decision of who may do what.
//!
//! The effective right is what the token's scopes give, and what the roles of its user give, in its launch context; a client that acts for
//! itself has no roles. A token is looked at whole when it is first seen. After that it is remembered, and looked at again whenever
//! a record changed that it rests on: the signing key, the client, the authorization, the user, the roles. What a token of a trusted issuer rests
//! on is what it says of the person, and the roles as they are here.

use super::access::{Access, Restrictions, RoleRights};
use super::agent::Agent;
use super::compartment::Patients;
use super::grant::Grant;
use super::keeper::KeeperError;
use super::recipient::{self, Recipient};
use super::records::{AccessClaims, Authorization, Client, Role, User};
use super::scope::{ADMIN, Scopes};
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
    /// Who it is, for the audit ledger.
    pub agent: Arc<Agent>,
    origin: Origin,
    /// How long it is remembered, in seconds since 1970.
    until: i64,
    basis: Basis,
    epoch: AtomicU64,
}

/// A token that was found good.
#[derive(Debug)]
pub struct Proven {
    /// What it says.
    pub(super) claims: AccessClaims,
    /// When it has to be proved anew, in seconds since 1970.
    pub(super) until: i64,
    pub(super) origin: Origin,
    /// What for, as the token itself says, by codes of v3-ActReason.
    pub(super) purposes: Vec<String>,
}

/// Who made a token.
#[derive(Debug)]
pub(super) enum Origin {
    /// This server.
    Here,
    /// A trusted issuer, for a person who has no account here, or for a client that acts for itself.
    Trusted(Option<User>),
}

/// The records that a token rests on.
#[derive(Debug, PartialEq)]
struct Basis {
    /// None for a client of a trusted issuer.
    client: Option<Client>,
    /// None for a client that acts for itself.
    person: Option<Person>,
}

#[derive(Debug, PartialEq)]
struct Person {
    /// None for a person without an account here.
    authorization: Option<Authorization>,
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
    /// Who shows this access token, where it is remembered and what it rests on did not change.
    ///
    /// # Errors
    /// 401 for a token that is not good any longer: the log hears why.
    pub fn known_bearer(&self, tenant: TenantId, token: &str) -> Result<Option<Arc<Bearer>>> {
        let key = hash(token);
        let Some(known) = self.bearers.0.get(&key).filter(|known| known.grant.tenant() == tenant) else {
            return Ok(None);
        };
        if known.until <= self.now_s() {
            self.bearers.0.remove(&key);
            return Ok(None);
        }
        // Read before the records: a change that comes between is seen next time.
        let epoch = self.keeper.epoch(tenant);
        if known.epoch.load(Ordering::Acquire) == epoch {
            return Ok(Some(known));
        }
        let rests = self.has_key_of(tenant, token, &known.origin)
            && self.basis(tenant, &known.claims, &known.origin)? == known.basis;
        if !rests {
            return Ok(None);
        }
        known.epoch.store(epoch, Ordering::Release);
        Ok(Some(known))
    }

    /// Looks at a token whole: that of a trusted issuer may have to wait for the issuer's keys.
    ///
    /// # Errors
    /// 401 for a token that is not good; 503 for one that can't be looked at now.
    pub async fn prove(&self, tenant: TenantId, token: &str) -> Result<Proven> {
        if let Some(issuer) = self.trusted_issuer(tenant, token) {
            return self.prove_trusted(tenant, issuer, token).await;
        }
        let claims = self
            .verify_access(tenant, token)
            .map_err(|error| invalid_token(error.log.as_deref().unwrap_or(&error.description)))?;
        Ok(Proven { until: claims.exp, claims, origin: Origin::Here, purposes: Vec::new() })
    }

    /// Who shows a token that was found good, and what they may reach. `restrictions` reads the search restrictions of scopes.
    ///
    /// # Errors
    /// 401 where what the token rests on is not there any longer: the log hears why.
    pub fn bearer(
        &self,
        tenant: TenantId,
        token: &str,
        proven: Proven,
        restrictions: &dyn Restrictions,
    ) -> Result<Arc<Bearer>> {
        let Proven { claims, until, origin, purposes } = proven;
        let epoch = self.keeper.epoch(tenant);
        if !self.has_key_of(tenant, token, &origin) {
            return Err(invalid_token("the key that signed the token was removed"));
        }
        let basis = self.basis(tenant, &claims, &origin)?;
        let access = Arc::new(basis.access(&claims, restrictions));
        let is_admin = basis.is_admin(&claims);
        let agent = Arc::new(basis.agent(&claims, &origin, &purposes));
        let grant = Grant::limited(tenant, access, basis.recipient(purposes).map(Arc::new)).administering(is_admin);
        let bearer = Arc::new(Bearer { grant, claims, agent, origin, until, basis, epoch: AtomicU64::new(epoch) });
        self.bearers.0.insert(hash(token), Arc::clone(&bearer));
        Ok(bearer)
    }

    /// What a user who is signed in at a browser may reach by their roles, within some scopes, for the server's own pages.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reach(
        &self,
        tenant: TenantId,
        user: &User,
        scopes: &Scopes,
        is_emergency: bool,
        restrictions: &dyn Restrictions,
    ) -> Result<Grant> {
        let roles = self.roles_of(tenant, user).map_err(failed)?;
        let rights = role_rights(&roles, user, is_emergency, restrictions);
        let access = Access::new(scopes, None, Some(&rights), restrictions);
        let recipient = recipient::of_person(user, &roles, Vec::new());
        let is_bound = !(is_emergency && roles.iter().any(|role| role.break_glass));
        Ok(Grant::limited(tenant, Arc::new(access), is_bound.then(|| Arc::new(recipient))))
    }

    /// Whether the key that signed a token is there, as far as it is one of this server's.
    fn has_key_of(&self, tenant: TenantId, token: &str, origin: &Origin) -> bool {
        matches!(origin, Origin::Trusted(_)) || self.knows_key(tenant, token)
    }

    /// The records that a token rests on, as they are now.
    fn basis(&self, tenant: TenantId, claims: &AccessClaims, origin: &Origin) -> Result<Basis> {
        if let Origin::Trusted(user) = origin {
            let person = user.as_ref().map(|user| {
                let roles = self.roles_of(tenant, user).map_err(failed)?;
                Ok::<_, Error>(Person { authorization: None, user: user.clone(), roles })
            });
            return Ok(Basis { client: None, person: person.transpose()? });
        }
        let live = self.live(tenant, claims).map_err(failed)?;
        let live = live.ok_or_else(|| {
            invalid_token("the token was revoked, or its client, user or authorization is not there or switched off")
        })?;
        let client = Some(live.client);
        let Some((user, authorization)) = live.user else { return Ok(Basis { client, person: None }) };
        let roles = self.roles_of(tenant, &user).map_err(failed)?;
        Ok(Basis { client, person: Some(Person { authorization: Some(settled(authorization)), user, roles }) })
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

/// Without what changes with each refresh and decides nothing.
fn settled(authorization: Authorization) -> Authorization {
    Authorization { refresh: 0, ..authorization }
}

impl Bearer {
    /// Why emergency access was asked for, where it was: it is recorded with each access.
    #[must_use]
    pub fn break_glass(&self) -> Option<&str> {
        self.basis.person.as_ref()?.authorization.as_ref()?.break_glass.as_deref()
    }

    /// Whether it is a token of this server for the administration, of a user who is an administrator now.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.grant.is_admin()
    }

    /// The client; none for one of a trusted issuer.
    #[must_use]
    pub const fn client(&self) -> Option<&Client> {
        self.basis.client.as_ref()
    }
}

impl Basis {
    fn is_admin(&self, claims: &AccessClaims) -> bool {
        let is_admin =
            |person: &Person| person.authorization.is_some() && person.roles.iter().any(|role| role.is_admin);
        claims.scope.has(ADMIN) && self.person.as_ref().is_some_and(is_admin)
    }

    fn agent(&self, claims: &AccessClaims, origin: &Origin, purposes: &[String]) -> Agent {
        let person = self.person.as_ref();
        let emergency = person.and_then(|person| person.authorization.as_ref()?.break_glass.as_deref());
        Agent {
            client: Some(claims.client_id.as_str().into()),
            issuer: matches!(origin, Origin::Trusted(_)).then(|| claims.iss.as_str().into()),
            authorization: claims.sid.as_deref().map(Into::into),
            token: Some(claims.jti.as_str().into()),
            purpose: purposes.iter().map(|code| code.as_str().into()).collect(),
            emergency: emergency.map(Into::into),
            ..person.map_or_else(Agent::default, |person| Agent::user(&person.user))
        }
    }

    fn access(&self, claims: &AccessClaims, restrictions: &dyn Restrictions) -> Access {
        let Some(person) = &self.person else {
            return Access::new(&claims.scope, claims.patient.as_deref(), None, restrictions);
        };
        let is_emergency = person.authorization.as_ref().is_some_and(|own| own.break_glass.is_some());
        let rights = role_rights(&person.roles, &person.user, is_emergency, restrictions);
        Access::new(&claims.scope, claims.patient.as_deref(), Some(&rights), restrictions)
    }
}

impl Basis {
    /// Who asks, for whom patients' consents count: not in an emergency, for a role that may break the glass.
    fn recipient(&self, purposes: Vec<String>) -> Option<Recipient> {
        let Some(Person { authorization, user, roles }) = &self.person else {
            return Some(recipient::of_client(self.client.as_ref(), purposes));
        };
        let is_emergency = authorization.as_ref().is_some_and(|own| own.break_glass.is_some());
        let is_free = is_emergency && roles.iter().any(|role| role.break_glass);
        (!is_free).then(|| recipient::of_person(user, roles, purposes))
    }
}

/// What roles give a user.
fn role_rights(roles: &[Role], user: &User, is_emergency: bool, restrictions: &dyn Restrictions) -> Vec<RoleRights> {
    let rights = roles.iter().map(|role| RoleRights {
        scopes: role.scopes.clone(),
        patients: if role.own_patients && !(is_emergency && role.break_glass) {
            own_patients(user.fhir_user.as_deref(), restrictions)
        } else {
            Patients::All
        },
    });
    rights.collect()
}

/// Whose patients somebody's own are: a patient's are the patient; those of a related person are the patients that it is related to;
/// those of a practitioner are the patients whose general practitioner or care team names the practitioner, or one of the
/// practitioner's roles. Everybody else has none.
fn own_patients(fhir_user: Option<&str>, restrictions: &dyn Restrictions) -> Patients {
    let set = |exprs: Vec<Option<Expr>>| Patients::Set(Box::new(Expr::or(exprs.into_iter().flatten())));
    match fhir_user.and_then(|reference| reference.split_once('/')) {
        Some(("Patient", id)) => Patients::One(id.into()),
        Some(("RelatedPerson", id)) => {
            let related = restrictions.compile("RelatedPerson", &format!("_id={id}&active:not=false"));
            set(vec![related.map(|related| naming("RelatedPerson", related))])
        }
        Some(("Practitioner", id)) => {
            let role = format!("practitioner=Practitioner/{id}&active:not=false");
            let role = restrictions.compile("PractitionerRole", &role).map(Box::new);
            // A role that is in force, and is this practitioner's: one and the same.
            let through_role = |code: &str| {
                let (code, target) = (code.into(), "PractitionerRole".into());
                role.clone().map(|expr| Expr::Refers { code, target, expr })
            };
            let general = restrictions.compile("Patient", &format!("general-practitioner=Practitioner/{id}"));
            let member = restrictions.compile("CareTeam", &format!("participant=Practitioner/{id}"));
            let members = Expr::or(member.into_iter().chain(through_role("participant")));
            let in_charge = restrictions.compile("CareTeam", NOT_IN_CHARGE);
            let teams = in_charge.map(|in_charge| naming("CareTeam", Expr::and([in_charge, members])));
            set(vec![general, through_role("general-practitioner"), teams])
        }
        _ => set(Vec::new()),
    }
}

/// The patients that resources of a type name, which are in a set.
fn naming(source: &str, expr: Expr) -> Expr {
    Expr::ReferredBy { source: source.into(), code: "patient".into(), expr: Box::new(expr) }
}

/// 401 with `error="invalid_token"`.
pub(super) fn invalid_token(log: &str) -> Error {
    Error::new(Category::Unauthenticated, "security", "The access token is not good, or not any longer.").with_log(log)
}

fn failed(error: KeeperError) -> Error {
    Error::internal(error)
}
