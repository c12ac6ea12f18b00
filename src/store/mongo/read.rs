//! The rows of one transaction, and what of them is known already.

use super::client::{Connection, Failed, Meaning};
use super::transaction::{Got, Large, Range, Transaction};
use crate::store::StoreResult;
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Rows, Table};
use futures_util::future::BoxFuture;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a transaction is begun anew whose first command fails.
const BEGINNINGS: u32 = 4;
/// What a known row costs beside its bytes, about.
const ROW_COST: usize = 64;

/// Rows by table and key; `None` for one that is not there.
pub(super) type Known = FxHashMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// A snapshot, of the moment of its first command.
pub(super) struct Reading {
    connection: Arc<Connection>,
    transaction: Arc<tokio::sync::Mutex<Option<Transaction>>>,
    state: Mutex<State>,
    /// As many bytes of rows are remembered, about; more are read again.
    most_known: usize,
}

#[derive(Default)]
struct State {
    known: Known,
    bytes: usize,
    failure: Option<Failed>,
}

impl Reading {
    pub(super) fn new(connection: Arc<Connection>, most_known: usize) -> Self {
        Self { connection, transaction: Arc::default(), state: Mutex::default(), most_known }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure: what was read after it is not to be relied on.
    pub(super) fn failure(&self) -> Option<Failed> {
        self.state().failure.clone()
    }

    /// What is known of rows that are about to be written.
    pub(super) fn known(&self) -> Known {
        std::mem::take(&mut self.state().known)
    }

    /// What is known otherwise.
    pub(super) fn remember(&self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        let mut state = self.state();
        if state.bytes > self.most_known {
            *state = State { failure: state.failure.take(), ..State::default() };
        }
        state.bytes += ROW_COST + key.len() + value.as_ref().map_or(0, Vec::len);
        state.known.insert((table, key), value);
    }

    /// Whether it is known what a row holds, or that it is not there.
    pub(super) fn knows(&self, table: Table, key: &[u8]) -> bool {
        self.state().known.contains_key(&(table, key.to_vec()))
    }

    /// Does work in the transaction, which begins anew where its first command fails.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Transaction) -> BoxFuture<'t, Result<T, Failed>> + Send + Sync + 'static,
    ) -> Result<T, Failed> {
        let (work, mut tried) = (Arc::new(work), 0);
        loop {
            let (work, shared) = (Arc::clone(&work), Arc::clone(&self.transaction));
            let connection = Arc::clone(&self.connection);
            let outcome = self.connection.wait(async move {
                let mut place = shared.lock().await;
                let mut transaction = match place.take() {
                    Some(open) => open,
                    None => Transaction::new(&connection).await?,
                };
                let is_first = !transaction.has_begun();
                let outcome = work(&mut transaction).await;
                if outcome.is_ok() || !is_first {
                    *place = Some(transaction);
                } else {
                    transaction.abort().await;
                }
                Ok((outcome, is_first))
            });
            let (outcome, is_first) = outcome.unwrap_or_else(|failed: Failed| (Err(failed), false));
            tried += 1;
            match outcome {
                Err(failed) if is_first && failed.meaning == Meaning::Again && tried < BEGINNINGS => {
                    std::thread::sleep(Duration::from_millis(u64::from(tried)));
                }
                Err(failed) => {
                    self.state().failure.get_or_insert_with(|| failed.clone());
                    return Err(failed);
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    /// How long the value of a row is, where that is known.
    pub(super) fn length(&self, table: Table, key: &[u8]) -> Option<usize> {
        self.state().known.get(&(table, key.to_vec())).map(|value| value.as_ref().map_or(0, Vec::len))
    }

    /// Reads rows that are not known yet, in one command.
    pub(super) fn fetch(&self, table: Table, keys: impl IntoIterator<Item = Vec<u8>>) -> StoreResult<()> {
        self.look_up(table, keys, Large::Whole)
    }

    /// The same for rows that may be asked for: large ones are read when they are.
    pub(super) fn expect(&self, table: Table, keys: impl IntoIterator<Item = Vec<u8>>) -> StoreResult<()> {
        self.look_up(table, keys, Large::LeftOut)
    }

    fn look_up(&self, table: Table, keys: impl IntoIterator<Item = Vec<u8>>, large: Large) -> StoreResult<()> {
        let mut wanted: Vec<Vec<u8>> = {
            let state = self.state();
            let is_new = |key: &Vec<u8>| !state.known.contains_key(&(table, key.clone()));
            keys.into_iter().filter(is_new).collect()
        };
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = Arc::new(wanted);
        let asked = Arc::clone(&keys);
        let Got { rows, left_out } = self.run(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move { transaction.get(table, &asked, large).await })
        })?;
        let found = rows.iter().map(|(_, (key, _))| &**key).chain(left_out.iter().map(|(_, key)| &**key));
        let found: FxHashSet<&[u8]> = found.collect();
        for key in keys.iter().filter(|key| !found.contains(&***key)) {
            self.remember(table, key.clone(), None);
        }
        for (table, (key, value)) in rows {
            self.remember(table, key, Some(value));
        }
        Ok(())
    }

    /// Reads the rows of ids that are not known yet, and those to which they lead, in one command.
    pub(super) fn follow(&self, ids: impl IntoIterator<Item = Vec<u8>>, large: Large) -> StoreResult<()> {
        let mut wanted: Vec<Vec<u8>> = {
            let state = self.state();
            ids.into_iter().filter(|key| !state.known.contains_key(&(Table::Index, key.clone()))).collect()
        };
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let ids = Arc::new(wanted);
        let asked = Arc::clone(&ids);
        let Got { rows, left_out } = self.run(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move { transaction.follow(&asked, large).await })
        })?;
        let left_out: FxHashSet<_> = left_out.into_iter().collect();
        for id in ids.iter() {
            self.remember(Table::Index, id.clone(), None);
        }
        for (table, (key, value)) in rows {
            if table == Table::Index {
                // Of those to which an id leads, the ones that did not come are not there.
                let led = super::place::led_to(&key, &value).into_iter().flatten();
                for led in led.map(|led| (Table::Records, led)).filter(|led| !left_out.contains(led)) {
                    self.remember(led.0, led.1, None);
                }
            }
            self.remember(table, key, Some(value));
        }
        Ok(())
    }

    /// Reads a part of a range.
    pub(super) fn read(&self, range: Range) -> StoreResult<Stretch> {
        let range = Arc::new(range);
        let read = self.run(move |transaction| {
            let range = Arc::clone(&range);
            Box::pin(async move { transaction.range(&range).await })
        });
        Ok(read?)
    }

    /// Reads the first rows of several ranges, which ascend and have nothing in common, in one command.
    pub(super) fn read_all(&self, table: Table, ranges: Vec<(Vec<u8>, Vec<u8>)>, most: Most) -> StoreResult<Stretch> {
        let ranges = Arc::new(ranges);
        let read = self.run(move |transaction| {
            let ranges = Arc::clone(&ranges);
            Box::pin(async move { transaction.ranges(table, &ranges, most).await })
        });
        Ok(read?)
    }

    /// The transaction, for who writes in it; none is left.
    pub(super) fn into_transaction(self) -> Result<Option<Transaction>, Failed> {
        let shared = Arc::clone(&self.transaction);
        self.connection.wait(async move { Ok(shared.lock().await.take()) })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.transaction);
        self.connection.spawn(async move {
            if let Some(mut transaction) = shared.lock().await.take() {
                transaction.abort().await;
            }
        });
    }
}

impl Rows for Reading {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        let place = (table, key.to_vec());
        loop {
            if let Some(known) = self.state().known.get(&place) {
                return Ok(known.clone());
            }
            // Another thread may make the snapshot forget it at once.
            self.fetch(table, [key.to_vec()])?;
        }
    }

    fn ahead(&self, table: Table, keys: &[Vec<u8>]) -> StoreResult<()> {
        self.expect(table, keys.iter().cloned())
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        let read = self.read(Range { table, from: from.into(), to: to.into(), most, is_back: false })?;
        for (key, value) in &read.rows {
            self.remember(table, key.clone(), Some(value.clone()));
        }
        Ok(read)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        let most = Most { rows: most, bytes: usize::MAX };
        Ok(self.read(Range { table, from: from.into(), to: to.into(), most, is_back: true })?.rows)
    }
}
