//! A backend in memory, for tests of the search engine.

use crate::auth::keeper::{Keep, Keeper, KeeperError, Kept};
use crate::clock::Micros;
use crate::fhir::parse::parse;
use crate::key::blind::{Blind, hidden_by_default};
use crate::key::last_updated::{ALL, last_updated_key};
use crate::key::{Extractor, KeyList, KeyRange};
use crate::store::body::{Body, Splice};
use crate::store::keys::Keyring;
use crate::store::ledger::{Blocks, Entry, Head, Ledger};
use crate::store::*;
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

type Key = (Box<str>, Arc<[u8]>);

/// The numbers of a run: few, so that small tests have many runs.
const RUN: usize = 3;

/// Resources and their postings. Numbers count from 1 in the order of the puts.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    resources: Vec<(Box<str>, Box<str>, KeyList)>,
    ids: BTreeMap<(Box<str>, Box<str>), Rid>,
    postings: BTreeMap<Key, BTreeSet<Rid>>,
    blind: Option<Arc<Blind>>,
    is_far: bool,
}

pub static EXTRACTOR: LazyLock<Extractor> =
    LazyLock::new(|| Extractor::new(Some("http://localhost/fhir")).with_content(true));

fn place(rid: Rid) -> usize {
    usize::try_from(rid.0 - 1).unwrap()
}

impl Memory {
    /// The same with what is hidden by default hidden.
    pub fn blinded(&self) -> Self {
        let blind = Arc::new(Blind::new(hidden_by_default(), &[7; 32]));
        let mut postings: BTreeMap<Key, BTreeSet<Rid>> = BTreeMap::new();
        for (number, (type_name, _, keys)) in (1..).zip(&self.resources) {
            for key in &blind.postings(type_name, keys) {
                postings.entry((type_name.clone(), Arc::from(key))).or_default().insert(Rid(number));
            }
        }
        Self { postings, blind: Some(blind), ..self.clone() }
    }

    /// The same for a search that takes it to be far away.
    pub fn far(&self) -> Self {
        Self { is_far: true, ..self.clone() }
    }

    /// Puts a resource, given as JSON; its time is its number in seconds.
    pub fn put(&mut self, json: &str) {
        let tree = parse(json.as_bytes(), 64).unwrap();
        let object = tree.as_object().unwrap();
        let (type_name, id) = (Box::from(object.resource_type().unwrap()), Box::from(object.id().unwrap()));
        let keys = EXTRACTOR.keys(object);
        let next = Rid(self.resources.len() as u64 + 1);
        let rid = *self.ids.entry((type_name, id)).or_insert(next);
        let (type_name, id) = (object.resource_type().unwrap().into(), object.id().unwrap().into());
        let mut added = vec![last_updated_key(Micros(rid.0.cast_signed() * 1_000_000))];
        added.push(ALL.into());
        let keys = keys.with(added);
        if rid < next {
            let (old_type, _, old) = &self.resources[place(rid)];
            for key in &self.blind.as_ref().map_or_else(|| old.clone(), |blind| blind.postings(old_type, old)) {
                self.postings.get_mut(&(old_type.clone(), Arc::from(key))).unwrap().remove(&rid);
            }
            self.resources[place(rid)].2 = keys.clone();
        } else {
            self.resources.push((type_name, id, keys.clone()));
        }
        let type_name = self.resources[place(rid)].0.clone();
        for key in &self.blind.as_ref().map_or_else(|| keys.clone(), |blind| blind.postings(&type_name, &keys)) {
            self.postings.entry((type_name.clone(), Arc::from(key))).or_default().insert(rid);
        }
    }

    /// A snapshot behind the door.
    pub fn records(&self) -> Records {
        let store = Store::new(Arc::new(self.clone()));
        store.open(&crate::auth::grant::Grant::unrestricted(TenantId::DEFAULT)).unwrap()
    }

    pub fn name_of(&self, rid: Rid) -> &str {
        &self.resources[place(rid)].1
    }

    fn range(&self, type_name: &str, range: &KeyRange) -> impl DoubleEndedIterator<Item = Posting> {
        let (from, to) = ((type_name.into(), Arc::from(&*range.from)), (type_name.into(), Arc::from(&*range.to)));
        let found = (from < to).then(|| self.postings.range((Bound::Included(from), Bound::Excluded(to))));
        let held = found.into_iter().flatten().filter(|((_, key), _)| range.holds(key));
        held.flat_map(|((_, key), rids)| rids.iter().map(|rid| Posting { key: key.clone(), rid: *rid }))
    }
}

impl View for Memory {
    fn is_far(&self) -> bool {
        self.is_far
    }
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>> {
        Ok(self.ids.get(&(type_name.into(), id.into())).copied())
    }
    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>> {
        Ok(self.resources.get(place(rid)).map(|(_, id, _)| id.clone()))
    }
    fn current(&self, rid: Rid) -> StoreResult<Option<Version>> {
        let Some((type_name, id, _)) = self.resources.get(place(rid)) else { return Ok(None) };
        let body = Body { splice: Splice::WholeMeta(0), packed: Box::default(), plain_len: 0 };
        let (type_name, id) = (type_name.clone(), id.clone());
        Ok(Some(Version {
            rid,
            type_name,
            id,
            version: 1,
            time: Micros(0),
            method: Method::Update,
            patients: Box::default(),
            body: Some(body),
        }))
    }
    fn version(&self, rid: Rid, _version: u64) -> StoreResult<Option<Version>> {
        self.current(rid)
    }
    fn oldest(&self, _rid: Rid) -> StoreResult<u64> {
        Ok(1)
    }
    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_> {
        let outline = |rid: Rid| {
            let (type_name, id, _) = self.resources.get(place(rid))?;
            let (type_name, id, time) = (type_name.clone(), id.clone(), Micros(0));
            let patients = Box::default();
            Some(Ok(Outline { rid, type_name, id, version: 1, oldest: 1, time, is_deleted: false, patients }))
        };
        Box::new((from.0.max(1)..).map_while(move |number| outline(Rid(number))))
    }
    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>> {
        Ok(self.resources.get(place(rid)).map(|(_, _, keys)| keys.clone()))
    }
    fn version_keys(&self, rid: Rid, _version: u64) -> StoreResult<Option<KeyList>> {
        self.keys(rid)
    }
    fn types(&self) -> StoreResult<BTreeSet<Box<str>>> {
        Ok(self.resources.iter().map(|(type_name, ..)| type_name.clone()).collect())
    }
    fn scan(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        Box::new(self.range(type_name, range).map(Ok).collect::<Vec<_>>().into_iter())
    }
    fn runs(&self, type_name: &str, key: &[u8], from: Rid) -> Runs<'_> {
        let rids = self.postings.get(&(type_name.into(), Arc::from(key))).into_iter().flatten();
        let found: Vec<_> = rids.copied().filter(|rid| *rid >= from).collect();
        Box::new(found.chunks(RUN).map(|run| Ok(run.to_vec())).collect::<Vec<_>>().into_iter())
    }
    fn scan_back(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        Box::new(self.range(type_name, range).rev().map(Ok).collect::<Vec<_>>().into_iter())
    }
    fn log_back(
        &self,
        _type_name: Option<&str>,
        _before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_> {
        Box::new(std::iter::empty())
    }
    fn position(&self) -> Position {
        Micros(0)
    }
    fn blind(&self, _type_name: &str) -> StoreResult<Option<Arc<Blind>>> {
        Ok(self.blind.clone())
    }
}

impl Keeper for Memory {
    fn get(&self, _tenant: TenantId, _kind: &'static str, _id: &str) -> Result<Option<Kept>, KeeperError> {
        Ok(None)
    }
    fn list(
        &self,
        _tenant: TenantId,
        _kind: &'static str,
        _prefix: &str,
        _after: Option<&str>,
        _count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        Ok(Vec::new())
    }
    fn keep_told(
        &self,
        _tenant: TenantId,
        _changes: Vec<Keep>,
        _told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>> {
        Box::pin(async { Err(StoreError::ReadOnly("a backend for tests of reading".into()).into()) })
    }
    fn epoch(&self, _tenant: TenantId) -> u64 {
        0
    }
}

impl Ledger for Memory {
    fn record(&self, _tenant: TenantId, _entry: Entry) -> BoxFuture<'static, StoreResult<u64>> {
        Box::pin(async { Err(StoreError::ReadOnly("a backend for tests of reading".into())) })
    }
    fn synced(&self, _number: u64) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(async { Ok(()) })
    }
    fn settled(&self) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(async { Ok(()) })
    }
    fn head(&self, _tenant: TenantId) -> StoreResult<Head> {
        Ok(Head::FIRST)
    }
    fn blocks(&self, _tenant: TenantId, _from: u64, _is_open: bool) -> StoreResult<Blocks<'_>> {
        Ok(Box::new(std::iter::empty()))
    }
}

impl Backend for Memory {
    fn view(&self, _tenant: TenantId) -> StoreResult<Box<dyn View>> {
        Ok(Box::new(self.clone()))
    }
    fn commit(&self, _commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        Box::pin(async { Err(StoreError::ReadOnly("a backend for tests of reading".into()).into()) })
    }

    fn compact(&self) -> StoreResult<()> {
        Ok(())
    }
    fn seal_file(&self, _tenant: TenantId, _name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        Ok(plain.to_vec())
    }
    fn open_file(&self, _tenant: TenantId, _name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        Ok(sealed.to_vec())
    }
    fn keyring(&self) -> Option<&Keyring> {
        None
    }
    fn old_rows(&self, _tenant: TenantId, _after: &[u8], _most: usize) -> StoreResult<OldRows> {
        Ok(OldRows::default())
    }
    fn destroy(&self, _tenant: TenantId) -> BoxFuture<'static, StoreResult<()>> {
        Box::pin(async { Err(StoreError::ReadOnly("a backend for tests of reading".into())) })
    }
    fn is_local(&self) -> bool {
        true
    }
    fn health(&self) -> StoreResult<()> {
        Ok(())
    }
    fn failure(&self) -> Option<StoreError> {
        None
    }
    fn close(&self) -> StoreResult<()> {
        Ok(())
    }
}
