//! The three keyspaces in fjall and what its errors mean.

use crate::store::rows::key_lists::Changes;
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Rows, Table};
use crate::store::{Rid, StoreError, StoreResult};
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy, PinningPolicy,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use quick_cache::sync::Cache;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const MIB: u64 = 1024 * 1024;

/// The open database.
pub(super) struct Tables {
    pub db: Database,
    /// Heads, current records, their key lists.
    pub records: Keyspace,
    /// Old versions and the change log.
    pub history: Keyspace,
    /// Ids and postings.
    pub index: Keyspace,
    /// Numbers of resources by the key of their id. An id has the same number until the resource is erased; a snapshot older than
    /// the resource finds no record under the number.
    numbers: Cache<Box<[u8]>, Rid>,
    /// Grows with each group that makes ids free, before they leave the cache.
    freed: AtomicU64,
    /// When key lists changed.
    pub changes: Changes,
}

/// Ids whose numbers are kept at hand, about 100 bytes each.
const NUMBERS: usize = 100_000;

impl Tables {
    /// Opens or makes the database. `cache_mib` bounds the block cache.
    pub(super) fn open(path: &Path, cache_mib: u64) -> StoreResult<Self> {
        let db = Database::builder(path)
            .cache_size(cache_mib * MIB)
            .max_journaling_size(256 * MIB)
            .open()
            .map_err(|error| failed(&error))?;
        // A pinned index is in memory in one piece: 13 MB for a million resources, and a look goes through one index, not two.
        let keyspace = |name: &str, block_kib: u32, memtable_mib: u64, is_pinned: bool| {
            let options = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_mib * MIB)
                    .data_block_size_policy(BlockSizePolicy::all(block_kib * 1024))
                    // Those of the others, in one piece, would be as large as hundreds of blocks, and push those out of the cache.
                    .index_block_partitioning_policy(PartitioningPolicy::all(!is_pinned))
                    .index_block_pinning_policy(PinningPolicy::all(is_pinned))
                    .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                    .filter_policy(FilterPolicy::new([FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(
                        10.0,
                    ))]))
            };
            db.keyspace(name, options).map_err(|error| failed(&error))
        };
        Ok(Self {
            records: keyspace("records", 4, 32, true)?,
            history: keyspace("history", 16, 16, false)?,
            index: keyspace("index", 4, 32, false)?,
            db,
            numbers: Cache::new(NUMBERS),
            freed: AtomicU64::new(0),
            changes: Changes::default(),
        })
    }

    /// What a view has to remember, from before its snapshot is taken, to use the cache of numbers.
    pub(super) fn freed(&self) -> u64 {
        self.freed.load(Ordering::SeqCst)
    }

    /// The number of an id, if the cache has it. Not for a view from before ids were made free: its numbers may be others.
    pub(super) fn number(&self, id_key: &[u8], freed: u64) -> Option<Rid> {
        self.numbers.get(id_key).filter(|_| self.freed() == freed)
    }

    /// Puts the number of an id into the cache, unless ids were made free since the view was opened.
    pub(super) fn remember(&self, id_key: Vec<u8>, rid: Rid, freed: u64) {
        let key: Box<[u8]> = id_key.into();
        self.numbers.insert(key.clone(), rid);
        // Looked at afterwards: who frees the id removes it from the cache after it has counted.
        if self.freed() != freed {
            self.numbers.remove(&key);
        }
    }

    /// Forgets ids that are free now.
    pub(super) fn forget(&self, ids: &[Vec<u8>]) {
        if ids.is_empty() {
            return;
        }
        self.freed.fetch_add(1, Ordering::SeqCst);
        for id in ids {
            self.numbers.remove(&id[..]);
        }
    }

    /// The keyspace of a set of rows.
    pub(super) const fn of(&self, table: Table) -> &Keyspace {
        match table {
            Table::Records => &self.records,
            Table::History => &self.history,
            Table::Index => &self.index,
        }
    }

    /// The rows of this moment.
    pub(super) fn snapshot(&self) -> Snapshotted<'_> {
        Snapshotted { tables: self, snapshot: self.db.snapshot() }
    }

    /// Every keyspace.
    pub(super) const fn all(&self) -> [&Keyspace; 3] {
        [&self.records, &self.history, &self.index]
    }
}

/// The newest rows.
impl Rows for Tables {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.of(table).get(key).map_err(|error| failed(&error))?.map(|value| value.to_vec()))
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        let rows = (from < to).then(|| self.of(table).range(from..to));
        Stretch::of(rows.into_iter().flatten().map(row), most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        if from < to { self.of(table).range(from..to).rev().take(most).map(row).collect() } else { Ok(Vec::new()) }
    }
}

/// The rows of one moment.
pub(super) struct Snapshotted<'t> {
    tables: &'t Tables,
    snapshot: Snapshot,
}

impl Rows for Snapshotted<'_> {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        get_of(&self.snapshot, self.tables, table, key)
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        stretch_of(&self.snapshot, self.tables, table, (from, to), most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        range_back_of(&self.snapshot, self.tables, table, (from, to), most)
    }
}

/// [`Rows::get`] in a snapshot.
pub(super) fn get_of(of: &Snapshot, tables: &Tables, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
    Ok(of.get(tables.of(table), key).map_err(|error| failed(&error))?.map(|value| value.to_vec()))
}

/// [`Rows::stretch`] in a snapshot.
pub(super) fn stretch_of(
    of: &Snapshot,
    tables: &Tables,
    table: Table,
    (from, to): (&[u8], &[u8]),
    most: Most,
) -> StoreResult<Stretch> {
    let rows = (from < to).then(|| of.range(tables.of(table), from..to));
    Stretch::of(rows.into_iter().flatten().map(row), most)
}

/// [`Rows::range_back`] in a snapshot.
pub(super) fn range_back_of(
    of: &Snapshot,
    tables: &Tables,
    table: Table,
    (from, to): (&[u8], &[u8]),
    most: usize,
) -> StoreResult<Vec<Row>> {
    if from < to { of.range(tables.of(table), from..to).rev().take(most).map(row).collect() } else { Ok(Vec::new()) }
}

/// A row as fjall gives it.
pub(super) fn row(row: fjall::Guard) -> StoreResult<Row> {
    let (key, value) = row.into_inner().map_err(|error| failed(&error))?;
    Ok((key.to_vec(), value.to_vec()))
}

/// What a failure of fjall means for the store. Its messages name files and numbers, never keys or values.
pub(super) fn failed(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            StoreError::Io(error.to_string())
        }
        fjall::Error::Locked => StoreError::Closed("another process has it open".into()),
        fjall::Error::Poisoned => StoreError::Closed("an earlier write to the disk failed".into()),
        other => StoreError::Damaged(other.to_string()),
    }
}
