//! What the stored SearchParameters, profiles and CapabilityStatements of a tenant mean for the server: read from the store when
//! a tenant is first asked for, and anew after each commit that touches one of them.

use super::Context;
use super::capabilities::statement::Mode;
use crate::auth::grant::Grant;
use crate::auth::tenants::Tenants;
use crate::clock::Micros;
use crate::config::Config;
use crate::consent::Consents;
use crate::consent::known::Change as ConsentChange;
use crate::error::{Category, Error, Result};
use crate::fhir::definitions::SearchParameter;
use crate::fhir::parse::parse;
use crate::fhir::tree::Object;
use crate::key::last_updated::ALL;
use crate::key::parameters::{Further, types_of};
use crate::key::token::matching_code;
use crate::key::{Extractor, KeyList, Parameters, define, prefix_of};
use crate::search::{Budget, Registry};
use crate::store::{Change, Commit, CommitError, Committed, Guard, Records, Rid, Store, StoreError, View};
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// The types whose resources mean something for the server.
const TYPES: [&str; 3] = ["SearchParameter", "StructureDefinition", "CapabilityStatement"];

/// What the conformance resources of one tenant mean. It never changes: a change makes a new one.
pub struct Conformance {
    parameters: Arc<Parameters>,
    extractor: Arc<Extractor>,
    statements: Mutex<HashMap<Mode, Packed>>,
}

impl Conformance {
    fn new(parameters: Arc<Parameters>, extractor: Arc<Extractor>) -> Self {
        Self { parameters, extractor, statements: Mutex::default() }
    }

    /// The search parameters.
    #[must_use]
    pub const fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }

    /// The search parameters, for one search.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.parameters))
    }

    /// The search keys of a resource.
    #[must_use]
    pub fn keys(&self, resource: &Object<'_>) -> KeyList {
        self.extractor.keys(resource)
    }

    /// Whether `_content` is answered.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.extractor.has_content()
    }

    /// What `/metadata` answers in a mode; made by `make` when it is first asked for.
    ///
    /// # Errors
    /// Those of `make`; when the compression fails.
    pub fn statement(&self, mode: Mode, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = statements.get(&mode).cloned() {
            drop(statements);
            return zstd::bulk::decompress(&made.zstd, made.length).map_err(Error::internal);
        }
        let statement = make()?;
        let zstd = zstd::bulk::compress(&statement, STATEMENT_LEVEL).map_err(Error::internal)?;
        statements.insert(mode, Packed { zstd: zstd.into(), length: statement.len() });
        Ok(statement)
    }
}

/// A statement as it is held: there is one for each tenant, most of a megabyte long, and compressed a small part of that.
#[derive(Clone)]
struct Packed {
    zstd: Arc<[u8]>,
    length: usize,
}

/// How hard statements are compressed: zstd's own default.
const STATEMENT_LEVEL: i32 = 3;

/// The settings that decide on search keys.
#[derive(Debug, Clone)]
pub struct KeyMaking {
    has_content: bool,
    further_steps: u32,
}

impl KeyMaking {
    /// Takes them from all settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let further_steps = u32::try_from(config.limits.fhirpath_steps).unwrap_or(u32::MAX);
        Self { has_content: config.search_content, further_steps }
    }

    /// What makes the keys of a tenant that has this FHIR base, and these parameters.
    #[must_use]
    pub fn extractor(&self, base: &str, parameters: Arc<Parameters>) -> Extractor {
        let extractor = Extractor::with(Some(base), parameters).with_content(self.has_content);
        extractor.with_further_steps(self.further_steps)
    }
}

/// The conformance of every tenant.
pub struct Conformances {
    store: Store,
    making: KeyMaking,
    tenants: Arc<Tenants>,
    current: RwLock<FxHashMap<TenantId, Arc<Conformance>>>,
    /// Those that were replaced and may still be in use by requests under way.
    older: Mutex<Vec<(TenantId, Weak<Conformance>)>>,
    consents: Arc<Consents>,
}

impl Conformances {
    /// Reads from this store.
    #[must_use]
    pub fn new(store: Store, making: KeyMaking, tenants: Arc<Tenants>) -> Self {
        Self { store, making, tenants, current: RwLock::default(), older: Mutex::default(), consents: Arc::default() }
    }

    /// What is known of the Consents of patients.
    #[must_use]
    pub const fn consents(&self) -> &Arc<Consents> {
        &self.consents
    }

    /// The conformance of a tenant.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(&self, tenant: TenantId) -> Result<Arc<Conformance>> {
        if let Some(known) = self.current.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return Ok(Arc::clone(known));
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = current.get(&tenant) {
            return Ok(Arc::clone(known));
        }
        let loaded = Arc::new(self.load(tenant)?);
        current.insert(tenant, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn load(&self, tenant: TenantId) -> Result<Conformance> {
        let records = self.store.open(&Grant::unrestricted(tenant))?;
        let mut stored = Vec::new();
        for rid in records.view().rids("SearchParameter", ALL, Rid(0)) {
            let Some(version) = records.view().current(rid?)? else { continue };
            stored.push((version.id.to_string(), super::body_of(&version)?));
        }
        let parameters = Parameters::of_stored(stored.iter().map(|(id, json)| (&**id, &**json)));
        let parameters = Arc::new(parameters);
        let base = &self.tenants.of(tenant).base;
        let extractor = Arc::new(self.making.extractor(base, Arc::clone(&parameters)));
        Ok(Conformance::new(parameters, extractor))
    }

    /// Reads anew what changed. Where that fails it is tried again at the next request.
    fn renew(&self, tenant: TenantId, touched: Touched) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = current.remove(&tenant) else { return };
        let renewed = if touched == Touched::Parameters {
            self.load(tenant).inspect(|renewed| renewed.parameters.take_over(&old.parameters))
        } else {
            let (parameters, extractor) = (Arc::clone(&old.parameters), Arc::clone(&old.extractor));
            Ok(Conformance::new(parameters, extractor))
        };
        match renewed {
            Ok(renewed) => drop(current.insert(tenant, Arc::new(renewed))),
            Err(error) => tracing::error!(?error, "the stored SearchParameters could not be read"),
        }
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        older.push((tenant, Arc::downgrade(&old)));
    }

    /// Whether no request under way makes keys with older parameters of the tenant.
    #[must_use]
    pub fn is_settled(&self, tenant: TenantId) -> bool {
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        older.retain(|(_, used)| used.strong_count() > 0);
        !older.iter().any(|(of, _)| *of == tenant)
    }

    /// Commits, and takes notice of what the commit changes here, even where nobody waits for its end any more.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(this: &Arc<Self>, grant: &Grant, commit: Commit) -> Result<Committed, CommitError> {
        let touched = touched(&commit);
        let has_consent = types_of_changes(&commit).any(|name| name == "Consent");
        if touched.is_none() && !has_consent {
            return this.store.commit(grant, commit).await;
        }
        let (this, grant) = (Arc::clone(this), grant.clone());
        let task = tokio::spawn(async move {
            let change = has_consent.then(|| this.consents.change(grant.tenant()));
            let result = this.store.commit(&grant, commit).await;
            if !matches!(result, Err(CommitError::Store(StoreError::OutcomeUnknown(_)))) {
                change.into_iter().for_each(ConsentChange::end);
            }
            if let Some(touched) = touched {
                this.renew(grant.tenant(), touched);
            }
            result
        });
        task.await.unwrap_or_else(|error| Err(StoreError::OutcomeUnknown(error.to_string()).into()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touched {
    Parameters,
    StatementOnly,
}

/// The types of what a commit changes or erases.
fn types_of_changes(commit: &Commit) -> impl Iterator<Item = &str> {
    let erased = commit.erasures.iter().map(|erasure| &*erasure.type_name);
    commit.changes.iter().map(|change| &*change.type_name).chain(erased)
}

fn touched(commit: &Commit) -> Option<Touched> {
    let mut types = types_of_changes(commit).filter(|name| TYPES.contains(name)).peekable();
    types.peek()?;
    Some(if types.any(|name| name == "SearchParameter") { Touched::Parameters } else { Touched::StatementOnly })
}

/// The resources of a type, ascending from one on, each with whether its keys were made without some of these parameters. Every one is a
/// step of the budget.
pub fn looked_at<'v>(
    view: &'v dyn View,
    type_name: &str,
    further: &[Further],
    from: Rid,
    budget: &'v Budget,
) -> impl Iterator<Item = Result<(Rid, bool)>> + use<'v> {
    let having = |further: &Further| view.rids(type_name, further.marker(), from).peekable();
    let mut having: Vec<_> = further.iter().map(having).collect();
    view.rids(type_name, ALL, from).map(move |rid| {
        let rid = rid?;
        budget.step()?;
        let mut is_lacking = false;
        for having in &mut having {
            while having.next_if(|other| other.as_ref().is_ok_and(|other| *other < rid)).is_some() {}
            match having.peek() {
                Some(Err(error)) => return Err(error.clone().into()),
                other => is_lacking |= !matches!(other, Some(Ok(other)) if *other == rid),
            }
        }
        Ok((rid, is_lacking))
    })
}

/// Those of [`looked_at`] that lack keys.
pub fn lacking<'v>(
    view: &'v dyn View,
    type_name: &str,
    further: &[Further],
    from: Rid,
    budget: &'v Budget,
) -> impl Iterator<Item = Result<Rid>> + use<'v> {
    let lacking = |looked: Result<(Rid, bool)>| looked.map(|(rid, is_lacking)| is_lacking.then_some(rid)).transpose();
    looked_at(view, type_name, further, from, budget).filter_map(lacking)
}

/// Refuses SearchParameters that give a resource type a second one with the same code. The guards keep out those that are
/// stored at the same time.
///
/// # Errors
/// 422 naming the other one.
pub fn refuse_same_codes(records: &Records, changes: &[Change]) -> Result<Vec<Guard>> {
    let mut guards = Vec::new();
    let mut taken: FxHashMap<(&'static str, String), &str> = FxHashMap::default();
    let is_about = |change: &&Change| &*change.type_name == "SearchParameter";
    let changed: Vec<&str> = changes.iter().filter(is_about).map(|change| &*change.id).collect();
    for change in changes.iter().filter(is_about) {
        let Some(content) = &change.content else { continue };
        let Some(defined) = defined(&content.body.unpack(1, Micros(0))?)? else { continue };
        let range = matching_code(None, &defined.code).under(&prefix_of("code"));
        for posting in records.view().scan("SearchParameter", &range) {
            let Some(other) = records.view().current(posting?.rid)? else { continue };
            if changed.contains(&&*other.id) {
                continue;
            }
            let theirs: Vec<_> = self::defined(&super::body_of(&other)?)?
                .filter(|other| other.code == defined.code)
                .iter()
                .flat_map(types_of)
                .collect();
            if let Some(type_name) = types_of(&defined).find(|name| theirs.contains(name)) {
                return Err(same_code(type_name, &defined.code, &other.id));
            }
        }
        for type_name in types_of(&defined) {
            if let Some(other) = taken.insert((type_name, defined.code.to_string()), &change.id) {
                return Err(same_code(type_name, &defined.code, other));
            }
        }
        guards.push(Guard { type_name: "SearchParameter".into(), range });
    }
    Ok(guards)
}

/// The parameter that a stored SearchParameter defines beside the official ones.
fn defined(bytes: &[u8]) -> Result<Option<SearchParameter>> {
    let tree = parse(bytes, usize::MAX).map_err(Error::internal)?;
    Ok(tree.as_object().and_then(|resource| define::definition(resource).ok().flatten()))
}

fn same_code(type_name: &str, code: &str, other: &str) -> Error {
    let text = format!("SearchParameter/{other} defines the code `{code}` for {type_name} already; take another code.");
    Error::new(Category::Unprocessable, "business-rule", text).at("SearchParameter.code")
}

impl Context {
    /// The further parameters that a search asked for and that may lack keys for resources that are older than they.
    ///
    /// # Errors
    /// When the store fails.
    pub fn unfinished(&self, view: &dyn View, registry: &Registry) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (type_name, code) in registry.unfinished() {
            let Some(further) = self.conformance.parameters.further_named(&type_name, &code) else { continue };
            let is_settled = self.conformances.is_settled(self.grant.tenant());
            let budget = self.search_budget();
            let first = lacking(view, &type_name, std::slice::from_ref(further), Rid(0), &budget).next();
            match first {
                None if is_settled => further.set_whole(),
                None => {}
                Some(Err(error)) if error.category != Category::Timeout => return Err(error),
                Some(_) => names.push(format!("{type_name}.{code}")),
            }
        }
        Ok(names)
    }
}
