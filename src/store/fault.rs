//! A backend that fails on purpose: to see how what stands above the store takes it. Test support.
//!
//! A seed decides which calls fail and how, so that a run can be repeated. (How the embedded store itself takes a failing
//! disk is tested below it, at the file layer: `tests/durability/faults.c`.)

use super::keys::Keyring;
use super::ledger::{Blocks, Entry, Head, Ledger};
use super::schema::Schemas;
use super::{
    Backend, Commit, CommitError, Committed, LogEntry, OldRows, Outline, Position, Postings, Rid, Runs, StoreError,
    StoreResult,
};
use super::{Version, View};
use crate::auth::keeper::{Keep, Keeper, KeeperError, Kept};
use crate::clock::Micros;
use crate::key::blind::Blind;
use crate::key::{KeyList, KeyRange};
use crate::tenant::TenantId;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How often what happens, in calls of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Odds {
    /// A commit is refused before it begins: [`StoreError::Busy`], [`StoreError::ReadOnly`] or [`StoreError::Closed`].
    pub refused: u64,
    /// A commit happens, and the answer is [`StoreError::OutcomeUnknown`] all the same.
    pub unknown: u64,
    /// A commit is answered only after other tasks had a turn.
    pub late: u64,
    /// A read fails with [`StoreError::Io`] or [`StoreError::Damaged`].
    pub read_fails: u64,
}

/// A backend behind which another one does the work, where it is let.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    dice: Arc<Dice>,
    /// While it is set, the ledger takes no entry.
    pub is_deaf: Arc<AtomicBool>,
    /// While it is set, the store says that it does not answer, as a database does that may be back soon.
    pub is_silent: Arc<AtomicBool>,
    /// Once it is set, the store says that it has failed for good.
    pub has_failed: Arc<AtomicBool>,
    gate: Option<Arc<Gate>>,
}

/// Where those wait who read records of one kind that are no resources, as long as it is shut.
pub struct Gate {
    /// The kind.
    pub kind: &'static str,
    /// Whether it is shut.
    pub is_shut: AtomicBool,
    /// How many wait.
    pub waiting: AtomicUsize,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub const fn before(kind: &'static str) -> Self {
        Self { kind, is_shut: AtomicBool::new(false), waiting: AtomicUsize::new(0) }
    }

    /// Blocks the thread.
    fn pass(&self, kind: &str) {
        if kind != self.kind || !self.is_shut.load(Ordering::SeqCst) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.is_shut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Dice {
    odds: Odds,
    state: AtomicU64,
}

impl Dice {
    /// SplitMix64; calls from several threads take turns.
    fn roll(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn hits(&self, odds: u64) -> bool {
        self.roll() % 1000 < odds
    }

    fn read(&self) -> StoreResult<()> {
        if !self.hits(self.odds.read_fails) {
            return Ok(());
        }
        let why = "a fault made on purpose".to_owned();
        Err(if self.roll().is_multiple_of(2) { StoreError::Io(why) } else { StoreError::Damaged(why) })
    }

    /// Lets a write begin, or refuses it.
    fn write(&self) -> StoreResult<()> {
        if !self.hits(self.odds.refused) {
            return Ok(());
        }
        let why = "a fault made on purpose".to_owned();
        Err(match self.roll() % 3 {
            0 => StoreError::Busy,
            1 => StoreError::ReadOnly(why),
            _ => StoreError::Closed(why),
        })
    }

    /// The answer to a write that was let begin.
    fn answer<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        written: BoxFuture<'static, Result<T, E>>,
    ) -> BoxFuture<'static, Result<T, E>> {
        let (is_unknown, is_late) = (self.hits(self.odds.unknown), self.hits(self.odds.late));
        Box::pin(async move {
            let outcome = written.await;
            if is_late {
                tokio::task::yield_now().await;
            }
            if is_unknown {
                return Err(StoreError::OutcomeUnknown("a fault made on purpose".into()).into());
            }
            outcome
        })
    }
}

impl Faulty {
    /// The faults that the seed decides on, over `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, seed: u64, odds: Odds) -> Self {
        let dice = Arc::new(Dice { odds, state: AtomicU64::new(seed) });
        let (is_deaf, is_silent, has_failed) = (Arc::default(), Arc::default(), Arc::default());
        Self { inner, dice, is_deaf, is_silent, has_failed, gate: None }
    }

    /// The same as if it were across a network, where reading waits at this gate.
    #[must_use]
    pub fn behind(self, gate: Arc<Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }
}

impl Backend for Faulty {
    fn view(&self, tenant: TenantId) -> StoreResult<Box<dyn View>> {
        self.dice.read()?;
        Ok(Box::new(FaultyView { inner: self.inner.view(tenant)?, dice: Arc::clone(&self.dice) }))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Committed, CommitError>> {
        match self.dice.write() {
            Ok(()) => self.dice.answer(self.inner.commit(commit)),
            Err(error) => Box::pin(async { Err(error.into()) }),
        }
    }

    fn compact(&self) -> StoreResult<()> {
        self.inner.compact()
    }

    fn seal_file(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.inner.seal_file(tenant, name, plain)
    }

    fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.dice.read()?;
        self.inner.open_file(tenant, name, sealed)
    }

    fn keyring(&self) -> Option<&Keyring> {
        self.inner.keyring()
    }

    fn old_rows(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows> {
        self.dice.read()?;
        self.inner.old_rows(tenant, after, most)
    }

    fn schemas(&self) -> Option<&dyn Schemas> {
        self.inner.schemas()
    }

    fn destroy(&self, tenant: TenantId) -> BoxFuture<'static, StoreResult<()>> {
        match self.dice.write() {
            Ok(()) => self.dice.answer(self.inner.destroy(tenant)),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn is_local(&self) -> bool {
        self.gate.is_none() && self.inner.is_local()
    }

    fn health(&self) -> StoreResult<()> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(StoreError::Unreachable("a fault made on purpose".into()));
        }
        self.failure().map_or_else(|| self.inner.health(), Err)
    }

    fn failure(&self) -> Option<StoreError> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Some(StoreError::Closed("a fault made on purpose".into()));
        }
        self.inner.failure()
    }

    fn close(&self) -> StoreResult<()> {
        self.inner.close()
    }
}

impl Ledger for Faulty {
    fn record(&self, tenant: TenantId, entry: Entry) -> BoxFuture<'static, StoreResult<u64>> {
        if self.is_deaf.load(Ordering::Relaxed) || self.dice.hits(self.dice.odds.refused) {
            return Box::pin(std::future::ready(Err(StoreError::Closed("a fault made on purpose".into()))));
        }
        self.inner.record(tenant, entry)
    }

    fn synced(&self, number: u64) -> BoxFuture<'static, StoreResult<()>> {
        self.inner.synced(number)
    }

    fn settled(&self) -> BoxFuture<'static, StoreResult<()>> {
        self.inner.settled()
    }

    fn head(&self, tenant: TenantId) -> StoreResult<Head> {
        self.inner.head(tenant)
    }

    fn blocks(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>> {
        self.inner.blocks(tenant, from, is_open)
    }
}

impl Keeper for Faulty {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        self.gate.iter().for_each(|gate| gate.pass(kind));
        self.dice.read()?;
        self.inner.get(tenant, kind, id)
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        self.gate.iter().for_each(|gate| gate.pass(kind));
        self.dice.read()?;
        self.inner.list(tenant, kind, prefix, after, count)
    }

    fn keep_told(
        &self,
        tenant: TenantId,
        changes: Vec<Keep>,
        told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>> {
        if !told.is_empty() && self.is_deaf.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Closed("a fault made on purpose".into()).into()) });
        }
        match self.dice.write() {
            Ok(()) => self.dice.answer(self.inner.keep_told(tenant, changes, told)),
            Err(error) => Box::pin(async { Err(error.into()) }),
        }
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.inner.epoch(tenant)
    }
}

struct FaultyView {
    inner: Box<dyn View>,
    dice: Arc<Dice>,
}

impl View for FaultyView {
    fn find(&self, type_name: &str, id: &str) -> StoreResult<Option<Rid>> {
        self.dice.read()?;
        self.inner.find(type_name, id)
    }

    fn id_of(&self, rid: Rid) -> StoreResult<Option<Box<str>>> {
        self.dice.read()?;
        self.inner.id_of(rid)
    }

    fn current(&self, rid: Rid) -> StoreResult<Option<Version>> {
        self.dice.read()?;
        self.inner.current(rid)
    }

    fn version(&self, rid: Rid, version: u64) -> StoreResult<Option<Version>> {
        self.dice.read()?;
        self.inner.version(rid, version)
    }

    fn oldest(&self, rid: Rid) -> StoreResult<u64> {
        self.dice.read()?;
        self.inner.oldest(rid)
    }

    fn resources(&self, from: Rid) -> Box<dyn Iterator<Item = StoreResult<Outline>> + '_> {
        Box::new(self.inner.resources(from).map(|outline| self.dice.read().and(outline)))
    }

    fn keys(&self, rid: Rid) -> StoreResult<Option<KeyList>> {
        self.dice.read()?;
        self.inner.keys(rid)
    }

    fn version_keys(&self, rid: Rid, version: u64) -> StoreResult<Option<KeyList>> {
        self.dice.read()?;
        self.inner.version_keys(rid, version)
    }

    fn types(&self) -> StoreResult<BTreeSet<Box<str>>> {
        self.dice.read()?;
        self.inner.types()
    }

    fn scan(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        Box::new(self.inner.scan(type_name, range).map(|posting| self.dice.read().and(posting)))
    }

    fn runs(&self, type_name: &str, key: &[u8], from: Rid) -> Runs<'_> {
        Box::new(self.inner.runs(type_name, key, from).map(|run| self.dice.read().and(run)))
    }

    fn scan_back(&self, type_name: &str, range: &KeyRange) -> Postings<'_> {
        Box::new(self.inner.scan_back(type_name, range).map(|posting| self.dice.read().and(posting)))
    }

    fn log_back(
        &self,
        type_name: Option<&str>,
        before: (Micros, u32),
    ) -> Box<dyn Iterator<Item = StoreResult<LogEntry>> + '_> {
        Box::new(self.inner.log_back(type_name, before).map(|entry| self.dice.read().and(entry)))
    }

    fn position(&self) -> Position {
        self.inner.position()
    }

    fn blind(&self, type_name: &str) -> StoreResult<Option<Arc<Blind>>> {
        self.dice.read()?;
        self.inner.blind(type_name)
    }
}
