//! The store on MongoDB as one that is moved from, and as one that is being filled.

use super::client::{Connection, Meaning};
use super::committer::write_to;
use super::ledger::Staging;
use super::read::Reading;
use super::start::{self, Purpose};
use super::write::Orders;
use super::{Mongo, Options, schema};
use crate::store::keys::{Keyring, OwnersKeys, Unwrapped};
use crate::store::ledger::{Entry, Ledger};
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Rows, Table, Writes};
use crate::store::schema::{Program, Stand};
use crate::store::transfer::{Filling, Source, Target, wait};
use crate::store::{Backend, StoreResult};
use crate::tenant::TenantId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of rows that a snapshot keeps, about.
const KNOWN_BYTES: usize = 16 << 20;
/// How often a write is tried again that the database did not take at once.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

impl Source for Mongo {
    fn settle(&self) -> StoreResult<()> {
        wait(Staging::settled(Arc::clone(&self.shared.staging)))
    }

    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>> {
        Ok(Box::new(Reading::new(Arc::clone(&self.shared.connection), KNOWN_BYTES)))
    }

    /// The database ends a transaction that lasts for more than a minute.
    fn walk(&self) -> StoreResult<Option<Box<dyn Rows + '_>>> {
        Ok(Some(Box::new(Newest::new(&self.shared.connection))))
    }

    fn oldest_rows(&self) -> StoreResult<u32> {
        Ok(schema::renew(&self.shared)?.oldest())
    }

    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        self.shared.ring.renew()?;
        Ok(self.shared.ring.wrapped())
    }

    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.seal_file(tenant, name, plain)
    }

    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.open_file(tenant, name, sealed)
    }

    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        wait(Ledger::record(self, tenant, entry)).map(drop)
    }

    fn unwrapped(&self) -> Vec<Unwrapped> {
        self.shared.ring.take_unwrapped()
    }
}

/// The rows as they are whenever they are read.
struct Newest {
    connection: Arc<Connection>,
    /// What was read at once, to be asked for.
    expected: Mutex<Option<Reading>>,
}

impl Newest {
    fn new(connection: &Arc<Connection>) -> Self {
        Self { connection: Arc::clone(connection), expected: Mutex::default() }
    }

    fn reading(&self) -> Reading {
        Reading::new(Arc::clone(&self.connection), 0)
    }

    fn expected(&self) -> MutexGuard<'_, Option<Reading>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows for Newest {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        match &*self.expected() {
            Some(expected) if expected.knows(table, key) => expected.get(table, key),
            _ => self.reading().get(table, key),
        }
    }

    fn ahead(&self, table: Table, keys: &[Vec<u8>]) -> StoreResult<()> {
        let expected = Reading::new(Arc::clone(&self.connection), KNOWN_BYTES);
        expected.expect(table, keys.iter().cloned())?;
        *self.expected() = Some(expected);
        Ok(())
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        self.reading().stretch(table, from, to, most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        self.reading().range_back(table, from, to, most)
    }
}

/// A store that is being filled. Nothing is folded or erased in it meanwhile.
pub(in crate::store) struct Filled {
    rows: Newest,
    ring: Keyring,
    program: &'static Program,
}

impl Filled {
    /// Makes a store with these data keys; or opens one that is not whole yet, whose keys they become too.
    pub(in crate::store) fn open(options: &Options, keys: &[OwnersKeys]) -> StoreResult<Self> {
        let connection = Arc::new(Connection::new(options)?);
        let (ring, ..) = start::open(&connection, options, "filling", Purpose::Fill(keys))?;
        let this = Self { rows: Newest::new(&connection), ring, program: options.program };
        if Filling::read(&this.rows)?.is_none() {
            Filling::Begun.write(&this)?;
        }
        Ok(this)
    }
}

impl Target for Filled {
    fn rows(&self) -> &dyn Rows {
        &self.rows
    }

    fn write(&self, writes: Writes) -> StoreResult<()> {
        let mut tries = 0;
        loop {
            let reading = Reading::new(Arc::clone(&self.rows.connection), usize::MAX);
            for table in [Table::Records, Table::History, Table::Index] {
                let of_table = writes.all.iter().filter(|(other, ..)| *other == table);
                reading.fetch(table, of_table.map(|(_, key, _)| key.clone()))?;
            }
            let orders = Orders::new(Writes { all: writes.all.clone() }, &reading.known(), false, self.program.writes)?;
            if orders.is_empty() {
                return Ok(());
            }
            match write_to(&self.rows.connection, reading, orders) {
                Ok(()) => return Ok(()),
                // What is written is the same however often it is written.
                Err(failed) if tries < TRIES && !matches!(failed.meaning, Meaning::Other) => {
                    tries += 1;
                    std::thread::sleep(PAUSE * tries);
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    fn ring(&self) -> &Keyring {
        &self.ring
    }

    fn expect_rows_of(&self, oldest: u32) -> StoreResult<()> {
        schema::set_filled(&self.rows.connection, &self.ring.sealer(), &Stand::filled(self.program, oldest)?)
    }

    fn finish(self: Box<Self>) -> StoreResult<()> {
        Ok(())
    }
}
