//! The check of a stopped store: does everything open, and does all that is kept twice agree?

use super::erase::Marks;
use super::folder::{self, Mark, MarkFile};
use super::ledger::Walk;
use super::open::{Unverified, open_unverified, set_copies_aside};
use super::record::{Head, Header, open_keys, open_record, unpack_history};
use super::tables::{Tables, failed};
use super::{Options, block, erase, io_error, kept, layout, log, record};
use crate::clock::Micros;
use crate::store::index::Index;
use crate::store::ledger::Form;
use crate::store::schema::Stand;
use crate::store::seal::Sealer;
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use fjall::Keyspace;
use rustc_hash::FxHashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Problems that are told one by one; of more only the number is.
const MOST_TOLD: usize = 100;

/// What a check found.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// The schema in force, and what is under way to it.
    pub stand: Stand,
    /// Tenants with data.
    pub tenants: u64,
    /// Resources, deleted ones included.
    pub resources: u64,
    /// Versions, current and old.
    pub versions: u64,
    /// Postings.
    pub postings: u64,
    /// Entries of the change log.
    pub log_entries: u64,
    /// Records that are no resources.
    pub kept: u64,
    /// AuditEvents of the ledger.
    pub ledger: u64,
    /// What is wrong, a sentence each, without patient data; the first hundred.
    pub problems: Vec<String>,
    /// How many more problems there are.
    pub more_problems: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn problem(&mut self, text: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(text);
        } else {
            self.more_problems += 1;
        }
    }
}

/// Checks a store that no process has open: every body and key list opens; every id leads to its record and every record
/// back; histories have no gaps; postings are those of the key lists; the log has every version; records that are no resources
/// open, and expire when the index says; the ledger's chain is whole; the markers show no hole.
///
/// Nothing is changed, except what opening fjall itself does after an unclean stop (the journals are copied before).
///
/// # Errors
/// When the store can't be opened at all.
pub fn check(options: &Options) -> StoreResult<Report> {
    let lock = folder::lock(&options.folder)?;
    let Unverified { opened, found } = open_unverified(options, lock)?;
    let stand = opened.schema.stand().clone();
    let mut report = Report { stand: stand.clone(), ..Report::default() };
    for hole in found.holes {
        report.problem(hole);
    }
    let mut expiring = 0;
    let sealer = opened.ring.sealer();
    for tenant in tenants(&opened.tables)? {
        report.tenants += u64::from(tenant != TenantId::INSTALLATION);
        let mut check = Check {
            tables: &opened.tables,
            sealer: &sealer,
            is_destroyed: opened.ring.is_destroyed(tenant),
            form: &*options.form,
            marks: Marks { sealer: &sealer, are_sealed: stand.has_sealed_marks() },
            index: Arc::default(),
            tenant,
            report: &mut report,
            sums: Sums::default(),
        };
        check.run()?;
        expiring += if check.is_destroyed { 0 } else { check.kept()? };
    }
    let indexed = count(&opened.tables.records, layout::all_expiry())?;
    if indexed != expiring {
        report.problem(format!("the index of expiry has {indexed} entries for {expiring} records"));
    }
    Ok(report)
}

fn count(keyspace: &Keyspace, prefix: Vec<u8>) -> StoreResult<u64> {
    let mut count = 0;
    for entry in entries(keyspace, prefix) {
        entry?;
        count += 1;
    }
    Ok(count)
}

/// The tenants that have data, ascending.
pub(super) fn tenants(tables: &Tables) -> StoreResult<Vec<TenantId>> {
    tenants_in(&tables.all())
}

/// The tenants that have something which their own keys open, ascending.
pub(super) fn tenants_with_sealed(tables: &Tables) -> StoreResult<Vec<TenantId>> {
    let mut tenants = tenants_in(&[&tables.records])?;
    tenants.retain(|tenant| {
        let has = |prefix| tables.records.prefix(prefix).next().is_some();
        has(layout::all_current(*tenant)) || has(layout::all_kept(*tenant))
    });
    Ok(tenants)
}

fn tenants_in(keyspaces: &[&Keyspace]) -> StoreResult<Vec<TenantId>> {
    let mut tenants = Vec::new();
    for keyspace in keyspaces {
        let mut next = 0_u32;
        while let Some(entry) = keyspace.range(next.to_be_bytes().to_vec()..).next() {
            let key = entry.key().map_err(|error| failed(&error))?;
            let tenant = TenantId(key.first_chunk::<4>().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes)));
            if tenant == layout::SYSTEM {
                break;
            }
            tenants.push(tenant);
            next = tenant.0 + 1;
        }
    }
    tenants.sort_unstable();
    tenants.dedup();
    Ok(tenants)
}

/// Sums that do not depend on the order: equal sums, equal sets (but for a chance of 2^-64).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    fn add(&mut self, item: impl Hash) {
        let mut hasher = DefaultHasher::new();
        item.hash(&mut hasher);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

/// What the tables of one tenant should hold, as its records tell.
#[derive(Default)]
struct Sums {
    ids: u64,
    erased: u64,
    old_versions: u64,
    postings: Sum,
    log: FxHashMap<Box<str>, Sum>,
    newest: Option<(Micros, Rid)>,
}

struct Check<'c> {
    tables: &'c Tables,
    sealer: &'c Sealer,
    /// Whether its keys were destroyed: only its ledger is left then, and is not searched.
    is_destroyed: bool,
    form: &'c dyn Form,
    marks: Marks<'c>,
    index: Arc<Index>,
    tenant: TenantId,
    report: &'c mut Report,
    sums: Sums,
}

/// Every entry of a table.
pub(super) fn entries(
    keyspace: &Keyspace,
    prefix: Vec<u8>,
) -> impl Iterator<Item = StoreResult<(fjall::UserKey, fjall::UserValue)>> {
    keyspace.prefix(prefix).map(|entry| entry.into_inner().map_err(|error| failed(&error)))
}

/// The number in a key of the tables `current` and `keys`.
pub(super) fn rid_in(key: &[u8]) -> Rid {
    Rid(key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

impl Check<'_> {
    fn run(&mut self) -> StoreResult<()> {
        if self.is_destroyed {
            if self.tables.records.prefix(self.tenant.0.to_be_bytes()).next().is_some() {
                self.problem("its keys were destroyed, and not all of it was removed: delete it again");
            }
            return self.ledger();
        }
        let head = self.tables.records.get(layout::head(self.tenant)).map_err(|error| failed(&error))?;
        let head = head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?;
        self.index = Index::load(self.tables, self.sealer, self.tenant)?;
        for entry in entries(&self.tables.records, layout::all_current(self.tenant)) {
            let (key, record) = entry?;
            self.report.resources += 1;
            let rid = rid_in(&key);
            if let Err(error) = self.resource(rid, &record) {
                self.problem(&format!("resource {}: {error}", rid.0));
            }
        }
        self.ids()?;
        self.history()?;
        self.ledger()?;
        self.postings(head.generation)?;
        self.log()?;
        if let Some((time, rid)) = self.sums.newest
            && (head.time < time || head.next_rid <= rid)
        {
            self.problem("its head is older than its records");
        }
        Ok(())
    }

    fn problem(&mut self, text: &str) {
        self.report.problem(format!("tenant {}: {text}", self.tenant.0));
    }

    fn get(keyspace: &Keyspace, key: impl AsRef<[u8]>) -> StoreResult<Option<fjall::Slice>> {
        keyspace.get(key).map_err(|error| failed(&error))
    }

    fn resource(&mut self, rid: Rid, record: &[u8]) -> StoreResult<()> {
        let (header, _) = Header::unpack(record)?;
        self.version(rid, record)?;
        let newest = self.sums.newest.get_or_insert((header.time, rid));
        *newest = (newest.0.max(header.time), newest.1.max(rid));
        self.sums.ids += 1;
        let mark = Self::get(&self.tables.records, layout::erased(self.tenant, rid))?;
        self.sums.erased += u64::from(mark.is_some());
        let oldest = erase::oldest(mark.as_deref())?;
        if let Err(error) = self.marks.oldest(self.tenant, rid, mark.as_deref()) {
            self.problem(&format!("the mark of erased versions of resource {}: {error}", rid.0));
        }
        if oldest > header.version {
            self.problem(&format!("the mark of erased versions of resource {} is beyond its versions", rid.0));
        }
        self.sums.old_versions += header.version.saturating_sub(oldest);
        let id = Self::get(&self.tables.index, layout::id(self.tenant, header.type_name, header.id))?;
        if id.map(|bytes| record::rid_of(&bytes)).transpose()? != Some(rid) {
            self.problem(&format!("the id of resource {} leads elsewhere", rid.0));
        }
        for version in oldest..header.version {
            match Self::get(&self.tables.history, layout::history(self.tenant, rid, version))? {
                Some(old) => {
                    let (record, keys) = unpack_history(&old)?;
                    self.version(rid, record)?;
                    let old_header = Header::unpack(record)?.0;
                    if old_header.body.is_some() && open_keys(self.sealer, self.tenant, rid, keys)?.version != version {
                        self.problem(&format!("version {version} of resource {} has another's keys", rid.0));
                    }
                }
                None => self.problem(&format!("resource {} lacks version {version}", rid.0)),
            }
        }
        let keys = Self::get(&self.tables.records, layout::keys(self.tenant, rid))?;
        let keys = record::keys_of(self.sealer, self.tenant, rid, &header, keys.as_deref().unwrap_or_default())?;
        for key in &*self.index.made(header.type_name, &keys) {
            self.sums.postings.add((header.type_name, key, rid.0));
        }
        Ok(())
    }

    /// Opens one version and notes that the log must have it.
    fn version(&mut self, rid: Rid, record: &[u8]) -> StoreResult<()> {
        self.report.versions += 1;
        let version = open_record(self.sealer, self.tenant, rid, record)?;
        if let Some(body) = &version.body {
            body.unpack(version.version, version.time)?;
        }
        for scope in ["", &version.type_name] {
            self.sums.log.entry(scope.into()).or_default().add((version.time.0, rid.0, version.version));
        }
        Ok(())
    }

    fn ids(&mut self) -> StoreResult<()> {
        let count = count(&self.tables.index, layout::all_ids(self.tenant))?;
        if count != self.sums.ids {
            self.problem(&format!("{count} ids lead to {} records", self.sums.ids));
        }
        Ok(())
    }

    fn history(&mut self) -> StoreResult<()> {
        let marks = count(&self.tables.records, layout::all_erased(self.tenant))?;
        if marks != self.sums.erased {
            self.problem(&format!("{marks} marks of erased versions are kept for {} resources", self.sums.erased));
        }
        let count = count(&self.tables.history, layout::all_history(self.tenant))?;
        if count != self.sums.old_versions {
            self.problem(&format!("{count} old versions are kept, {} should be", self.sums.old_versions));
        }
        Ok(())
    }

    fn ledger(&mut self) -> StoreResult<()> {
        let Self { tables, sealer, form, tenant, .. } = *self;
        let (sums, report) = (&mut self.sums, &mut *self.report);
        let found = Walk { tables, sealer, form, tenant }.check(
            |key, rid| sums.postings.add((form.type_name(), key, rid.0)),
            |what| report.problem(format!("tenant {}: {what}", tenant.0)),
        )?;
        self.report.ledger += found;
        Ok(())
    }

    /// Opens the records that are no resources, and answers how many of them expire.
    fn kept(&mut self) -> StoreResult<u64> {
        let mut expiring = 0;
        for entry in entries(&self.tables.records, layout::all_kept(self.tenant)) {
            let (key, value) = entry?;
            self.report.kept += 1;
            let kind = layout::kept_place(&key).map_or("?", |(kind, _)| kind);
            if let Err(error) = kept::open(self.sealer, self.tenant, &key, &value) {
                self.problem(&format!("a record of kind {kind}: {error}"));
            }
            let Some(time) = kept::Header::unpack(&value).ok().and_then(|(header, _)| header.expires) else { continue };
            expiring += 1;
            if Self::get(&self.tables.records, layout::expiry(time, &key))?.is_none() {
                self.problem(&format!("a record of kind {kind} is missing in the index of expiry"));
            }
        }
        Ok(expiring)
    }

    fn postings(&mut self, generation: u16) -> StoreResult<()> {
        let mut found = Sum::default();
        let mut last: Option<(Vec<u8>, Rid)> = None;
        for entry in entries(&self.tables.index, layout::all_postings(self.tenant, generation)) {
            let (key, value) = entry?;
            let damaged = || StoreError::Damaged("the key of a block of postings".into());
            let (type_name, search_key, first) = layout::posting_parts(&key).ok_or_else(damaged)?;
            let rids = block::unpack(first, &value)?;
            let prefix = key.get(..key.len() - 8).unwrap_or_default();
            if last.as_ref().is_some_and(|(before, last)| before == prefix && *last >= first) || !rids.is_sorted() {
                self.problem("two blocks of postings overlap");
            }
            for rid in &rids {
                found.add((type_name, &*search_key, rid.0));
            }
            last = rids.last().map(|rid| (prefix.to_vec(), *rid));
        }
        self.report.postings += found.count;
        let expected = self.sums.postings;
        // While they change their form, some are there for either.
        if found != expected && self.index.is_settled() {
            let (found, expected) = (found.count, expected.count);
            self.problem(&format!("the {found} postings are not the {expected} that the key lists call for"));
        }
        Ok(())
    }

    fn log(&mut self) -> StoreResult<()> {
        let mut found: FxHashMap<Box<str>, Sum> = FxHashMap::default();
        for entry in entries(&self.tables.history, layout::all_log(self.tenant)) {
            let (key, value) = entry?;
            let scope = layout::log_scope_of(&key).ok_or_else(|| StoreError::Damaged("a key of the log".into()))?;
            let sum = found.entry(scope.into()).or_default();
            for entry in log::unpack(&key, &value)? {
                sum.add((entry.time.0, entry.rid.0, entry.version));
            }
        }
        self.report.log_entries += found.get("").map_or(0, |sum| sum.count);
        if found != self.sums.log {
            self.problem("the change log does not have every version once");
        }
        Ok(())
    }
}

/// Makes the postings of all tenants anew, beside the old ones, and switches over; restores ids and heads from the records;
/// and accepts what is there as whole (copies of journals are kept in `journals-before-rebuild`). `extractors` tells what makes the search keys of a tenant; without it the key
/// lists are taken as they are.
///
/// # Errors
/// When the store can't be opened, or writing fails. It can be run again.
pub fn rebuild(options: &Options, extractors: Option<super::rebuild::Extractors<'_>>) -> StoreResult<()> {
    let lock = folder::lock(&options.folder)?;
    if MarkFile::open(&options.folder).is_err() {
        MarkFile::create(&options.folder)?;
        MarkFile::open(&options.folder)?.set(Mark { is_clean: false, ..Mark::FIRST })?;
    }
    let Unverified { mut opened, found } = open_unverified(options, lock)?;
    let sealer = opened.ring.sealer();
    for tenant in tenants(&opened.tables)?.into_iter().filter(|tenant| !opened.ring.is_destroyed(*tenant)) {
        let walk = Walk { tables: &opened.tables, sealer: &sealer, form: &*options.form, tenant };
        super::rebuild::tenant(walk, extractors)?;
    }
    super::checkpoint::flush(&opened.tables, || None)?;
    opened.mark.set(Mark { is_clean: true, synced: found.last, checkpoint: found.last })?;
    let synced = opened.mark.handle()?.sync_all();
    synced.map_err(|error| io_error(&options.folder, &error))?;
    set_copies_aside(options)
}
