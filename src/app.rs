//! The wired parts: what every request is served with.

mod index;
mod keys;
mod schema;
mod tenants;

use crate::audit::checkpoint::Signer;
use crate::audit::{Ledger, Trail};
use crate::auth::access::Restrictions;
use crate::auth::agent::Agent;
use crate::auth::bearer::Bearer;
use crate::auth::grant::Grant;
use crate::auth::rate::{Rates, customer};
use crate::auth::records::User;
use crate::auth::scope::{ResourceScope, Scopes};
use crate::auth::server::Server;
use crate::auth::tenants::Tenants;
use crate::bulk::export::Export;
use crate::bulk::{Exports, has_files};
use crate::clock::{Clock, Micros};
use crate::config::{Config, TrustedIssuer};
use crate::error::{Category, Error, Result};
use crate::fhir::definitions::r4;
use crate::interaction::Context;
use crate::interaction::call::Call;
use crate::interaction::conformance::{Conformances, KeyMaking};
use crate::interaction::consenting;
use crate::interaction::contexts::Contexts;
use crate::interaction::cursor::Cursors;
use crate::interaction::deferred::Deferred;
use crate::interaction::job::drop_purged;
use crate::interaction::quota::{Measure, Quotas};
use crate::jobs::index::Reform;
use crate::jobs::migration::Migrate;
use crate::jobs::reseal::{Reseal, Resealed};
use crate::jobs::{Commits, IsFor, Jobs, Schedule, State as JobState, Work};
use crate::operation::import::work::Import;
use crate::operation::reindex::work::Reindex;
use crate::retention::archive;
use crate::retention::compaction::{self, Compaction};
use crate::retention::enforce::{self, Enforce};
use crate::retention::hold::Holds;
use crate::retention::purge::Purge;
use crate::retention::rules::Rules;
use crate::retention::tenant::EraseTenant;
use crate::search::{Compiler, Limits, Options};
use crate::store::{Commit, Rid, Store};
use crate::tenant::{State, TenantId};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The server without its network side.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The authorization server.
    pub auth: Arc<Server>,
    /// The audit ledger.
    pub ledger: Arc<Ledger>,
    /// Long work.
    pub jobs: Arc<Jobs>,
    /// Where exports are kept.
    pub exports: Arc<Exports>,
    store: Store,
    clock: Arc<dyn Clock>,
    limits: Arc<crate::config::Limits>,
    conformances: Arc<Conformances>,
    contexts: Arc<Contexts>,
    clients: Rates,
    of_tenants: Rates,
    registrations: Rates,
    stopping: AtomicBool,
}

/// Keys for what stands outside of the store.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Seals page links.
    pub cursors: [u8; 32],
    /// The seed of the key that signs checkpoints of the ledger.
    pub checkpoints: [u8; 32],
    /// Names in all processes on the store alike who is counted.
    pub rates: [u8; 32],
}

/// Clients that somebody may register in [`REGISTRATIONS_WINDOW`] without an administrator's token.
const REGISTRATIONS: u32 = 10;
const REGISTRATIONS_WINDOW: Duration = Duration::from_mins(10);

impl App {
    /// Puts the parts together. The secrets are the store's own, made of its first key.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(config: Config, store: Store, secrets: &Secrets, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(|error| Error::internal(error.to_string()))?;
        let cursors = Arc::new(Cursors::new(&secrets.cursors, config.limits.cursor_lifetime_s)?);
        let limits = Arc::new(config.limits.clone());
        let unread =
            |entry: &&TrustedIssuer| entry.scopes.as_deref().is_some_and(|most| Scopes::parse_all(most).is_none());
        if let Some(entry) = config.auth.trusted_issuers.iter().find(unread) {
            return Err(Error::internal(format!("auth.trusted_issuers: the scopes of {} can't be read", entry.issuer)));
        }
        let auth = Server::new(store.keeper(), Arc::clone(&clock), config.auth.clone(), &config.public_url());
        let auth = Arc::new(auth);
        let (making, tenants) = (KeyMaking::new(&config), Arc::clone(&auth.tenants));
        let conformances = Arc::new(Conformances::new(store.clone(), making, tenants));
        let signer = Signer::new(&secrets.checkpoints).map_err(Error::internal)?;
        let ledger = Ledger::new(&config.audit, config.insecure_open, store.clone(), Arc::clone(&clock), signer);
        let exports = Arc::new(Exports::new(&config.bulk, config.exports_path(), Arc::clone(&clock)));
        let measured = store.clone();
        let measure: Measure = Box::new(move |tenant| stored_bytes(&measured, tenant));
        let quotas = Arc::new(Quotas::new(Arc::clone(&auth.tenants), limits.tenant_storage_bytes, measure));
        let ledger = Arc::new(ledger);
        let contexts = Arc::new(Contexts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            limits: Arc::clone(&limits),
            tenants: Arc::clone(&auth.tenants),
            cursors,
            conformances: Arc::clone(&conformances),
            check_references: config.check_references,
            consent_defaults: consenting::defaults(&config.consent),
            auth: (!config.insecure_open).then(|| Arc::clone(&auth)),
            ledger: Arc::clone(&ledger),
            exports: Arc::clone(&exports),
            quotas,
            jobs: OnceLock::new(),
        });
        let jobs = Arc::new(jobs(&config, &store, &clock, &conformances, (ledger.is_kept(), &contexts))?);
        contexts.jobs.get_or_init(|| Arc::downgrade(&jobs));
        Ok(Self {
            ledger,
            jobs,
            contexts,
            exports,
            clients: Rates::per_second(limits.client_requests_per_s).among(&secrets.rates, 0),
            of_tenants: Rates::per_second(limits.tenant_requests_per_s).among(&secrets.rates, 1),
            registrations: Rates::new(REGISTRATIONS_WINDOW / REGISTRATIONS, REGISTRATIONS_WINDOW)
                .among(&secrets.rates, 2),
            config,
            auth,
            store,
            clock,
            limits,
            conformances,
            stopping: AtomicBool::new(false),
        })
    }

    /// What a request with this token, from this address, may reach: one decision for each request. The request is counted: as its
    /// client's, or where no client is known, its address's. The trail hears who it is.
    ///
    /// # Errors
    /// 401 where the call needs a token and there is none, or a bad one. Only an open server (`insecure_open`) asks for none. 429 where
    /// the client or the tenant sends more than its limit.
    pub async fn authorize(
        &self,
        tenant: TenantId,
        call: &Call,
        token: Option<&str>,
        from: IpAddr,
        trail: &Trail,
    ) -> Result<Grant> {
        if self.config.insecure_open {
            self.count_address(from)?;
            self.count_tenant(tenant)?;
            return Ok(Grant::unrestricted(tenant));
        }
        // What anybody may ask takes nothing from the tenant's clients.
        if matches!(call, Call::Capabilities) {
            self.count_address(from)?;
            return Ok(Grant::unrestricted(tenant));
        }
        let bearer = match token {
            Some(token) => self.bearer(tenant, token).await,
            None => Err(unauthenticated("This server answers authorized requests only.")),
        };
        let bearer = match bearer {
            Ok(bearer) => bearer,
            Err(error) => return Err(self.count_address(from).err().unwrap_or(error)),
        };
        trail.set_agent(Arc::clone(&bearer.agent));
        let counted = self.clients.count((tenant, &bearer.claims.iss, &bearer.claims.client_id));
        counted.map_err(|wait_s| too_many("The client sends", "limits.client_requests_per_s", wait_s))?;
        self.count_tenant(tenant)?;
        Ok(bearer.grant.clone())
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// 429 over `limits.client_requests_per_s`.
    pub fn count_address(&self, from: IpAddr) -> Result<()> {
        let counted = self.clients.count(customer(from));
        counted.map_err(|wait_s| too_many("This address sends", "limits.client_requests_per_s", wait_s))
    }

    fn count_tenant(&self, tenant: TenantId) -> Result<()> {
        let own = self.auth.tenants.of(tenant).tenant.limits.requests_per_s;
        let counted = self.of_tenants.count_at_most(tenant, own.unwrap_or(self.limits.tenant_requests_per_s));
        counted.map_err(|wait_s| too_many("The clients of this tenant send", "limits.tenant_requests_per_s", wait_s))
    }

    /// Tells the other processes on this store what was counted here, and adds what they have counted, so that the limits hold for all together.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn share_counts(&self) -> Result<()> {
        let all = [&self.clients, &self.of_tenants, &self.registrations];
        let counted = all.iter().flat_map(|rates| rates.taken()).collect();
        let others = self.store.exchange(counted).await.map_err(Error::internal)?;
        for rates in all {
            rates.add(&others);
        }
        Ok(())
    }

    /// Counts a client that somebody registers without an administrator's token.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn count_registration(&self, from: IpAddr) -> Result<(), u32> {
        self.registrations.count(customer(from))
    }

    /// Whether a request with this token may manage users, roles and clients. Nobody may without, on an open server neither.
    /// `agent` hears who it is, where that is known.
    ///
    /// # Errors
    /// 401 without a good token; 403 for one that is not for the administration, or not of an administrator.
    pub async fn authorize_admin(
        &self,
        tenant: TenantId,
        token: Option<&str>,
        agent: &mut Arc<Agent>,
    ) -> Result<Arc<Bearer>> {
        let token = token.ok_or_else(|| unauthenticated("This needs an administrator's access token."))?;
        let bearer = self.bearer(tenant, token).await?;
        *agent = Arc::clone(&bearer.agent);
        if bearer.is_admin() {
            return Ok(bearer);
        }
        let text = "This needs an access token with the scope admin, of a user who is an administrator.";
        Err(Error::new(Category::Forbidden, "forbidden", text))
    }

    /// Whether the search restriction of a scope means something.
    ///
    /// # Errors
    /// 422 where it does not: such a scope would give nothing.
    pub fn check_restriction(&self, tenant: TenantId, scope: &ResourceScope) -> Result<()> {
        let registry = self.conformances.of(tenant)?.registry();
        let restrictions = Compiler { registry: &registry, options: &self.restriction_options(tenant) };
        let means = |name: &str| restrictions.compile(name, &scope.restriction).is_some();
        let types = r4().resource_types();
        let is_good = scope.restriction.is_empty()
            || scope.type_name.as_deref().map_or_else(|| types.iter().any(|name| means(name)), means);
        if is_good {
            return Ok(());
        }
        let text = format!("The restriction of {scope} is no search criteria of its type.");
        Err(Error::new(Category::Unprocessable, "business-rule", text).at("scopes"))
    }

    /// Which patients a user who is signed in at a browser may read and search by their roles, and who that is for the ledger.
    ///
    /// # Errors
    /// When the store fails.
    pub fn patients_of(&self, tenant: TenantId, user: &User, is_emergency: bool) -> Result<(Grant, Arc<Agent>)> {
        let grant = self.reach_of(tenant, user, "user/Patient.rs", is_emergency)?;
        let emergency = is_emergency.then(|| "asked for while signing in".into());
        Ok((grant, Arc::new(Agent { emergency, ..Agent::user(user) })))
    }

    /// Which entries of the ledger a user who is signed in at a browser may read and search by their roles, and who that is.
    ///
    /// # Errors
    /// When the store fails.
    pub fn ledger_of(&self, tenant: TenantId, user: &User) -> Result<(Grant, Arc<Agent>)> {
        Ok((self.reach_of(tenant, user, "user/AuditEvent.rs", false)?, Arc::new(Agent::user(user))))
    }

    fn reach_of(&self, tenant: TenantId, user: &User, scopes: &str, is_emergency: bool) -> Result<Grant> {
        let registry = self.conformances.of(tenant)?.registry();
        let restrictions = Compiler { registry: &registry, options: &self.restriction_options(tenant) };
        self.auth.reach(tenant, user, &Scopes::parse(scopes), is_emergency, &restrictions)
    }

    /// Waits only where a token is seen for the first time, of a trusted issuer whose keys are not at hand.
    async fn bearer(&self, tenant: TenantId, token: &str) -> Result<Arc<Bearer>> {
        if let Some(known) = self.auth.known_bearer(tenant, token)? {
            return Ok(known);
        }
        let proven = self.auth.prove(tenant, token).await?;
        let registry = self.conformances.of(tenant)?.registry();
        let restrictions = Compiler { registry: &registry, options: &self.restriction_options(tenant) };
        self.auth.bearer(tenant, token, proven, &restrictions)
    }

    /// How the search restrictions of scopes are read.
    fn restriction_options(&self, tenant: TenantId) -> Options {
        Options {
            limits: Limits { chain_depth: self.config.limits.chain_depth, ..Limits::default() },
            now: self.clock.now(),
            base: Some((*self.auth.tenants.of(tenant).base).into()),
            ..Options::default()
        }
    }

    /// What an interaction under this grant works with, which leaves this trail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn context(&self, grant: Grant, trail: Arc<Trail>) -> Result<Context> {
        self.contexts.of(grant, trail)
    }

    /// Which tenants there are.
    #[must_use]
    pub fn tenants(&self) -> &Tenants {
        &self.auth.tenants
    }

    /// The door to data.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Destroys the keys of a deleted tenant, and removes what is left of it.
    async fn destroy(&self, tenant: TenantId) -> Result<()> {
        Ok(self.store.destroy(&Grant::unrestricted(tenant)).await?)
    }

    /// The legal holds of a tenant, to be changed.
    #[must_use]
    pub fn holds(&self, tenant: TenantId) -> Holds<'_> {
        let (store, grant) = (&self.store, Grant::unrestricted(tenant));
        Holds { store, grant, is_recorded: self.ledger.is_kept() }
    }

    /// Removes what is left of exports that are over; of a deleted tenant, all.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub async fn sweep_exports(&self, tenant: TenantId) -> Result<usize> {
        if self.tenants().of(tenant).tenant.state == State::Deleted {
            return self.exports.remove_all(tenant).await.map(|()| 0);
        }
        let grant = Grant::unrestricted(tenant);
        let dropped = drop_purged(&self.exports, &self.jobs, &self.store, &grant).await?;
        Ok(dropped + self.exports.sweep(&self.store, tenant, self.clock.now()).await?)
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// A new id.
    #[must_use]
    pub fn new_id(&self) -> String {
        self.clock.new_id()
    }

    /// Whether requests are welcome: the store takes writes and nobody asked the server to stop.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<()> {
        if self.is_stopping() {
            return Err(Error::unavailable("The server is stopping.", "stopping"));
        }
        Ok(self.store.health()?)
    }

    /// Whether the process can go on: it need not be started anew for the store to take writes.
    ///
    /// # Errors
    /// What has ended the writing for good.
    pub fn live(&self) -> Result<()> {
        let failed = |error| Error::unavailable("The store has failed. The server has to be started anew.", error);
        self.store.failure().map(failed).map_or(Ok(()), Err)
    }

    /// Whether the server was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// From now on the server is not ready. Requests and jobs go on.
    pub fn tell_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on the server is not ready, and no job has another turn. Waits for the end of the one that is at work.
    pub fn stop(&self) {
        self.tell_stopping();
        self.jobs.stop();
    }
}

/// The work that this server does, and when it does it by itself.
fn jobs(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    conformances: &Arc<Conformances>,
    (is_recorded, contexts): (bool, &Arc<Contexts>),
) -> Result<Jobs> {
    let settings = &config.retention;
    let rules = Rules::new(settings.rules.clone())
        .map_err(|name| Error::internal(format!("retention.rules: R4 has no resource type {name}")))?;
    let mut schedules = Vec::new();
    if settings.interval_s > 0 {
        let parameters = serde_json::json!(enforce::Parameters::default());
        let (has_rules, known) = (!rules.is_empty(), Arc::clone(&contexts.tenants));
        let is_for: IsFor = Arc::new(move |tenant| has_rules || !known.of(tenant).tenant.retention.is_empty());
        schedules.push(Schedule { kind: enforce::KIND, every_s: settings.interval_s, parameters, is_for });
    }
    let (tenants, exports) = (&contexts.tenants, &contexts.exports);
    let archive_folder = settings.archive_folder.clone();
    let reseal = reseal(archive_folder.clone(), exports);
    let enforce = Enforce { rules: Arc::new(rules), archive_folder, tenants: Arc::clone(tenants) };
    let erase = EraseTenant { tenants: Arc::clone(tenants) };
    let export = Export { exports: Arc::clone(exports) };
    let import = Import { exports: Arc::clone(exports), contexts: Arc::clone(contexts) };
    let works: Vec<Box<dyn Work>> = vec![
        Box::new(enforce),
        Box::new(Purge),
        Box::new(Compaction),
        Box::new(erase),
        Box::new(export),
        Box::new(import),
        Box::new(Deferred::new(Arc::clone(exports), Arc::clone(contexts))),
        Box::new(reseal),
        Box::new(Migrate),
        Box::new(Reform { wanted: index::wanted(&config.index, tenants), then: compaction::KIND }),
        Box::new(Reindex { conformances: Arc::clone(conformances) }),
    ];
    let conformances = Arc::clone(conformances);
    let commits: Commits = Box::new(move |grant, commit| {
        let conformances = Arc::clone(&conformances);
        let commit = Commit { entry: commit.entry.filter(|_| is_recorded), ..commit };
        Box::pin(async move { Conformances::commit(&conformances, &grant, commit).await })
    });
    let jobs = Jobs::new(store.clone(), Arc::clone(clock), &config.limits, works, commits);
    Ok(jobs.with_schedules(schedules).with_tenants(Arc::clone(tenants)))
}

/// The work that seals anew: archives too, and not what is kept for a while only.
fn reseal(archive_folder: Option<PathBuf>, exports: &Arc<Exports>) -> Reseal {
    let exports = Arc::clone(exports);
    Reseal {
        files: Box::new(move |turn, after| match &archive_folder {
            Some(folder) => archive::reseal(turn.store, &turn.grant, folder, after),
            None => Ok(Resealed::default()),
        }),
        has_files: Box::new(move |job, now| {
            has_files(job) && job.state != JobState::Failed && exports.is_kept(job, now)
        }),
    }
}

/// The bytes of all versions of a tenant's resources.
fn stored_bytes(store: &Store, tenant: TenantId) -> Result<u64> {
    let records = store.open(&Grant::unrestricted(tenant))?;
    let mut bytes = 0;
    for outline in records.view().resources(Rid(0)) {
        let outline = outline?;
        for number in outline.oldest..=outline.version {
            let body = records.view().version(outline.rid, number)?.and_then(|version| version.body);
            bytes += body.map_or(0, |body| body.packed.len() as u64);
        }
    }
    Ok(bytes)
}

fn too_many(who: &str, limit: &str, wait_s: u32) -> Error {
    let text = format!("{who} more requests than {limit} allows.");
    let mut error = Error::new(Category::TooManyRequests, "throttled", text);
    error.retry_after_s = Some(wait_s);
    error
}

fn unauthenticated(text: &'static str) -> Error {
    Error::new(Category::Unauthenticated, "login", text)
}
