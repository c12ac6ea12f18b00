//! Which tenants there are. The records stand in a place of the installation's own, and all of them are held in memory: there are
//! `limits.tenants` at most, and every request asks.
//!
//! A tenant that was deleted stays here as a name and a number that nobody gets again.

use super::keeper::{Expect, KeeperError, SharedKeeper};
use super::records::{self, Record};
use super::witness::{Deed, Witness, keep};
use crate::clock::Micros;
use crate::config::{self, IndexMode, RetentionRule};
use crate::error::{Category, Error, Result};
use crate::fhir::definitions::r4;
use crate::tenant::{Limits, Name, State, Tenant, TenantId};
use jsonschema::Validator;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Records read at a time.
const PAGE: usize = 500;

/// For how long those that were read last serve where they can't be read anew.
const REST: Duration = Duration::from_secs(1);

/// So often a new tenant is tried that others get in the way of.
const ROUNDS: usize = 32;

impl Record for Tenant {
    const KIND: &'static str = "tenant";
}

/// The last number that was given out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Last {
    number: u32,
}

impl Record for Last {
    const KIND: &'static str = "tenant-number";
}

const LAST: &str = "last";

/// What can be said of a tenant. `name` is for a new one.
static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(|| {
    let names = |longest: u32| {
        json!({
            "type": ["array", "null"], "maxItems": 50, "uniqueItems": true,
            "items": { "type": "string", "minLength": 1, "maxLength": longest },
        })
    };
    let rule = json!({
        "type": "object",
        "properties": {
            "types": { "type": "array", "maxItems": 200, "items": { "type": "string", "maxLength": 64 } },
            "what": { "enum": ["old-versions", "deleted", "current"] },
            "keep_days": { "type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000 },
            "then": { "enum": ["purge", "keep"] },
        },
        "required": ["what", "then"],
        "additionalProperties": false,
    });
    let limit = |least: u64, most: u64| json!({ "type": ["integer", "null"], "minimum": least, "maximum": most });
    jsonschema::validator_for(&json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": Name::LONGEST },
            "display_name": { "type": "string", "maxLength": 200, "pattern": "^[^\\u0000-\\u001f\\u007f]*$" },
            "region": { "type": ["string", "null"], "pattern": "^[a-z0-9][a-z0-9-]{0,39}$" },
            "limits": {
                "type": "object",
                "properties": {
                    "requests_per_s": limit(1, 1_000_000),
                    "storage_bytes": limit(1, 1 << 60),
                    "jobs": limit(1, 10_000),
                },
                "additionalProperties": false,
            },
            "identity_providers": names(100),
            "trusted_issuers": names(2000),
            "retention": { "type": "array", "maxItems": 50, "items": rule },
            "index": { "enum": ["plain", "blind", null] },
        },
        "additionalProperties": false,
    }))
    .ok()
});

/// What a body says of a tenant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    name: Option<Name>,
    display_name: String,
    region: Option<String>,
    limits: Limits,
    identity_providers: Option<Vec<String>>,
    trusted_issuers: Option<Vec<String>>,
    retention: Vec<RetentionRule>,
    index: Option<IndexMode>,
}

/// A tenant with its addresses.
#[derive(Debug)]
pub struct Registered {
    /// What is kept of it.
    pub tenant: Tenant,
    /// What its addresses begin with, without a slash at the end: `https://fhir.example.org/t/acme`.
    pub root: Box<str>,
    /// Its FHIR base, without a slash at the end.
    pub base: Arc<str>,
}

impl Registered {
    fn new(public_url: &str, tenant: Tenant) -> Self {
        let root = if tenant.id() == TenantId::DEFAULT {
            public_url.to_owned()
        } else {
            format!("{public_url}/t/{}", tenant.name)
        };
        Self { base: format!("{root}/fhir").into(), root: root.into(), tenant }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> TenantId {
        self.tenant.id()
    }

    /// Whether it may be asked anything.
    ///
    /// # Errors
    /// 403 while it is suspended, 410 where it was deleted.
    pub fn check_served(&self) -> Result<()> {
        match self.tenant.state {
            State::Active => Ok(()),
            State::Suspended => {
                let text = "This tenant is suspended: it answers nobody until who runs this server resumes it.";
                Err(Error::new(Category::Forbidden, "suppressed", text))
            }
            State::Deleted => Err(deleted()),
        }
    }

    /// Whether there is still something of it to work on.
    ///
    /// # Errors
    /// 410 where it was deleted.
    pub fn check_not_deleted(&self) -> Result<()> {
        if self.tenant.state == State::Deleted { Err(deleted()) } else { Ok(()) }
    }
}

/// All of them, as they were at one epoch of the keeper.
struct Known {
    epoch: u64,
    numbers: FxHashMap<Box<str>, TenantId>,
    all: FxHashMap<TenantId, Arc<Registered>>,
}

/// The registry of tenants.
pub struct Tenants {
    keeper: SharedKeeper,
    public_url: Arc<str>,
    providers: Vec<String>,
    issuers: Vec<String>,
    known: RwLock<Option<Arc<Known>>>,
    /// When they could not be read. Whoever reads them has this lock: the others wait for what is read, and read nothing themselves.
    failed: Mutex<Option<Instant>>,
}

impl Tenants {
    /// Those that this keeper has. `public_url` has no slash at the end.
    #[must_use]
    pub fn new(keeper: SharedKeeper, config: &config::Auth, public_url: Arc<str>) -> Self {
        let providers = config.providers.iter().map(|provider| provider.name.clone()).collect();
        let issuers = config.trusted_issuers.iter().map(|entry| entry.issuer.clone()).collect();
        Self { keeper, public_url, providers, issuers, known: RwLock::default(), failed: Mutex::default() }
    }

    /// The tenant that is called so, whatever its state.
    ///
    /// # Errors
    /// 404 where there is none; when the store fails.
    pub fn named(&self, name: &str) -> Result<Arc<Registered>> {
        let known = self.known()?;
        let found = known.numbers.get(name).and_then(|id| known.all.get(id));
        found.cloned().ok_or_else(|| Error::new(Category::NotFound, "not-found", "There is no such tenant."))
    }

    /// A tenant by its number, whatever its state. One that is not there has addresses that lead nowhere.
    #[must_use]
    pub fn of(&self, id: TenantId) -> Arc<Registered> {
        let known = self.known().inspect_err(|error| tracing::error!(?error, "the tenants can't be read"));
        let found = known.ok().and_then(|known| known.all.get(&id).cloned());
        found.unwrap_or_else(|| Arc::new(nameless(&self.public_url, id)))
    }

    /// All of them, the deleted ones too, by their numbers. The first is the default tenant.
    ///
    /// # Errors
    /// When the store fails.
    pub fn all(&self) -> Result<Vec<Arc<Registered>>> {
        let mut all: Vec<_> = self.known()?.all.values().cloned().collect();
        all.sort_unstable_by_key(|registered| registered.id());
        Ok(all)
    }

    /// The version of what is kept of a tenant, for a change of it; 0 where nothing is kept of the default tenant.
    ///
    /// # Errors
    /// 404 where there is none; when the store fails.
    pub fn current(&self, name: &str) -> Result<(Tenant, u64)> {
        let registered = self.named(name)?;
        let kept = records::get::<Tenant>(&*self.keeper, TenantId::INSTALLATION, name)?;
        Ok(kept.unwrap_or_else(|| (registered.tenant.clone(), 0)))
    }

    /// Makes a tenant. `most` is how many there may be beside the default tenant and those that were deleted.
    ///
    /// # Errors
    /// 400 for what can't be said of one; 409 where the name is or was another's; 403 where there are as many as may be.
    pub async fn create(&self, given: &Value, most: usize, now: Micros, witness: Option<&Witness>) -> Result<Tenant> {
        let said = self.read(given)?;
        let Some(name) = said.name.clone() else {
            return Err(Error::invalid("A tenant needs a name.").at("/name"));
        };
        for _ in 0..ROUNDS {
            let all = self.all()?;
            if all.iter().any(|other| other.tenant.name == name) {
                let text = "There is, or was, a tenant of this name; no name is given out twice.";
                return Err(Error::new(Category::Conflict, "duplicate", text).at("/name"));
            }
            let counts =
                |other: &&Arc<Registered>| other.id() != TenantId::DEFAULT && other.check_not_deleted().is_ok();
            if all.iter().filter(counts).count() >= most {
                let text = "There are as many tenants as limits.tenants allows.";
                return Err(Error::new(Category::Forbidden, "too-costly", text));
            }
            let last = records::get::<Last>(&*self.keeper, TenantId::INSTALLATION, LAST)?;
            let (number, expect) = last.map_or((1, Expect::Absent), |(Last { number }, version)| {
                (number.saturating_add(1), Expect::Version(version))
            });
            let tenant = said.applied_to(Tenant::new(TenantId(number), name.clone(), now.0));
            let changes = vec![
                records::put(LAST, &Last { number }, expect, None)?,
                records::put(name.as_str(), &tenant, Expect::Absent, None)?,
            ];
            let told = (witness, &Deed::Tenant(&tenant, "created"));
            match keep(&*self.keeper, TenantId::INSTALLATION, changes, told).await {
                Ok(()) => return Ok(tenant),
                Err(KeeperError::Stale(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable("Too many tenants are made at once.", "new tenants get in each other's way"))
    }

    /// Says all anew that can be said of a tenant; what `given` leaves out is as if it had never been said.
    ///
    /// # Errors
    /// 400 for what can't be said; 404; 410 where it was deleted; 412 for another version than this one.
    pub async fn configure(
        &self,
        name: &str,
        version: Option<u64>,
        given: &Value,
        witness: Option<&Witness>,
    ) -> Result<Tenant> {
        let said = self.read(given)?;
        if said.name.as_ref().is_some_and(|own| own.as_str() != name) {
            return Err(Error::invalid("A tenant keeps its name.").at("/name"));
        }
        self.change(name, version, |tenant| Ok(said.applied_to(tenant)), (witness, "configured")).await
    }

    /// Suspends a tenant, or resumes it.
    ///
    /// # Errors
    /// 404; 409 for the default tenant; 410 where it was deleted; 412 for another version than this one.
    pub async fn set_state(
        &self,
        name: &str,
        version: Option<u64>,
        state: State,
        witness: Option<&Witness>,
    ) -> Result<Tenant> {
        let what = match state {
            State::Active => "resumed",
            State::Suspended => "suspended",
            State::Deleted => "deleted",
        };
        let change = |tenant: Tenant| {
            if tenant.id() == TenantId::DEFAULT {
                let text = "The default tenant is where the server is administered: it is always served.";
                return Err(Error::new(Category::Conflict, "business-rule", text));
            }
            Ok(Tenant { state, ..tenant })
        };
        self.change(name, version, change, (witness, what)).await
    }

    async fn change(
        &self,
        name: &str,
        version: Option<u64>,
        change: impl FnOnce(Tenant) -> Result<Tenant>,
        (witness, what): (Option<&Witness>, &'static str),
    ) -> Result<Tenant> {
        let (tenant, current) = self.current(name)?;
        if version.is_some_and(|version| version != current) {
            return Err(changed());
        }
        if tenant.state == State::Deleted {
            return Err(deleted());
        }
        let tenant = change(tenant)?;
        let expect = if current == 0 { Expect::Absent } else { Expect::Version(current) };
        let kept = records::put(name, &tenant, expect, None)?;
        let told = (witness, &Deed::Tenant(&tenant, what));
        match keep(&*self.keeper, TenantId::INSTALLATION, vec![kept], told).await {
            Ok(()) => Ok(tenant),
            Err(KeeperError::Stale(_)) => Err(changed()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is said of a tenant. An error names the member, never its value.
    fn read(&self, given: &Value) -> Result<Said> {
        let schema = SCHEMA.as_ref().ok_or_else(|| Error::internal("the schema of tenants is none"))?;
        if let Err(error) = schema.validate(given) {
            let text = format!("The tenant does not fit its schema: {}.", error.kind().keyword());
            return Err(Error::invalid(text).at(error.instance_path().to_string()));
        }
        let said: Said =
            serde_json::from_value(given.clone()).map_err(|_| Error::invalid("A member can't be read."))?;
        for (member, named, there) in [
            ("/identity_providers", &said.identity_providers, &self.providers),
            ("/trusted_issuers", &said.trusted_issuers, &self.issuers),
        ] {
            if named.iter().flatten().any(|name| !there.contains(name)) {
                let text = "It names what the settings of the server do not have.";
                return Err(Error::invalid(text).at(member));
            }
        }
        check_retention(&said.retention)?;
        Ok(said)
    }

    /// Whether nothing has to be read to answer what is asked next.
    pub(crate) fn are_at_hand(&self) -> bool {
        self.current_known().is_ok()
    }

    /// Reads them, where they changed. Where that fails, whoever asks for one hears of it.
    pub(crate) fn look_up(&self) {
        drop(self.known());
    }

    /// All tenants as they are now. Where they can't be read anew, those that were read last, for [`REST`].
    fn known(&self) -> Result<Arc<Known>> {
        if let Ok(known) = self.current_known() {
            return Ok(known);
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, known) = match self.current_known() {
            Ok(known) => return Ok(known),
            Err(outdated) => outdated,
        };
        if let Some(known) = known.as_ref().filter(|_| failed.is_some_and(|failed| failed.elapsed() < REST)) {
            return Ok(Arc::clone(known));
        }
        let loaded = self.load(epoch).map(Arc::new);
        *failed = loaded.is_err().then(Instant::now);
        match loaded {
            Ok(loaded) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&loaded));
                Ok(loaded)
            }
            Err(error) => known.ok_or_else(|| error.into()),
        }
    }

    /// What was read last, where that is how it is now; else the epoch of now and what was read.
    fn current_known(&self) -> Result<Arc<Known>, (u64, Option<Arc<Known>>)> {
        // Read before the records: a change that comes between is seen next time.
        let epoch = self.keeper.epoch(TenantId::INSTALLATION);
        match self.known.read().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(known) if known.epoch == epoch => Ok(known),
            known => Err((epoch, known)),
        }
    }

    fn load(&self, epoch: u64) -> Result<Known, KeeperError> {
        let default = Tenant::new(TenantId::DEFAULT, Name::default_tenant(), 0);
        let (mut all, mut after): (_, Option<Box<str>>) = (vec![default], None);
        loop {
            let page = self.keeper.list(TenantId::INSTALLATION, Tenant::KIND, "", after.as_deref(), PAGE)?;
            for kept in &page {
                all.push(records::read(&kept.bytes)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id.clone()),
                _ => break,
            }
        }
        let numbers = all.iter().map(|tenant| (tenant.name.as_str().into(), tenant.id())).collect();
        let all = all.into_iter().map(|tenant| (tenant.id(), Arc::new(Registered::new(&self.public_url, tenant))));
        Ok(Known { epoch, numbers, all: all.collect() })
    }
}

impl Said {
    fn applied_to(&self, tenant: Tenant) -> Tenant {
        Tenant {
            display_name: self.display_name.clone(),
            region: self.region.clone(),
            limits: self.limits,
            identity_providers: self.identity_providers.clone(),
            trusted_issuers: self.trusted_issuers.clone(),
            retention: self.retention.clone(),
            index: self.index,
            ..tenant
        }
    }
}

/// The FHIR base of a tenant where only the records are at hand.
#[must_use]
pub fn base_of(public_url: &str, id: TenantId, tenants: &[Tenant]) -> Arc<str> {
    let tenant = tenants.iter().find(|tenant| tenant.id() == id).cloned();
    tenant.map_or_else(|| nameless(public_url, id), |tenant| Registered::new(public_url, tenant)).base
}

/// A tenant of which nothing is known but the number. What is said of it leads nowhere, since no name is a number; unless it is the
/// default tenant.
fn nameless(public_url: &str, id: TenantId) -> Registered {
    let mut found = Registered::new(public_url, Tenant::new(id, Name::default_tenant(), 0));
    if id != TenantId::DEFAULT {
        found.root = format!("{public_url}/t/{}", id.0).into();
        found.base = format!("{}/fhir", found.root).into();
    }
    found
}

/// What is told of a tenant.
#[must_use]
pub fn shown(registered: &Registered) -> Map<String, Value> {
    let mut members = described(&registered.tenant);
    members.insert("base".to_owned(), json!(&*registered.base));
    members
}

/// The same but for its address.
#[must_use]
pub fn described(tenant: &Tenant) -> Map<String, Value> {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    add("name", json!(tenant.name));
    add("number", json!(tenant.number));
    add("display_name", json!(tenant.display_name));
    add("region", json!(tenant.region));
    add("state", json!(tenant.state));
    add("limits", json!(tenant.limits));
    add("identity_providers", json!(tenant.identity_providers));
    add("trusted_issuers", json!(tenant.trusted_issuers));
    add("retention", json!(tenant.retention));
    add("index", json!(tenant.index));
    add("created", if tenant.created == 0 { Value::Null } else { json!(Micros(tenant.created).to_instant()) });
    members
}

/// Rules that a tenant can have. What is archived goes into a folder of the settings, so that only they have rules for it.
fn check_retention(rules: &[RetentionRule]) -> Result<()> {
    let refused = |text: String| Err(Error::invalid(text).at("/retention"));
    let as_settings = config::Retention { rules: rules.to_vec(), ..config::Retention::default() };
    if let Some((_, reason)) = as_settings.fault() {
        return refused(format!("Of the rules, {reason}."));
    }
    let is_type = |name: &String| r4().is_resource_type(name);
    if rules.iter().flat_map(|rule| &rule.types).all(is_type) {
        return Ok(());
    }
    refused("A rule names what is no resource type.".to_owned())
}

fn deleted() -> Error {
    Error::new(Category::Gone, "deleted", "This tenant was deleted.")
}

fn changed() -> Error {
    Error::new(Category::PreconditionFailed, "conflict", "The tenant was changed meanwhile: read it anew.")
}

#[cfg(test)]
#[path = "tenants_tests.rs"]
mod tests;
