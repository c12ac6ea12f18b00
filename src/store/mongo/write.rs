//! What is written in a transaction, in as few commands as it goes.

use super::client::Failed;
use super::place::{collection, id_of, is_head};
use super::read::Known;
use super::transaction::{Transaction, binary, document};
use crate::store::rows::{Table, Writes};
use crate::tenant::TenantId;
use mongodb::bson::{Bson, Document, doc};
use rustc_hash::FxHashMap;

/// Bytes of one command, about: a document of the server's limit of 16 MiB has room beside it in a message of its limit of 48 MB.
const COMMAND_BYTES: usize = 8 << 20;
/// Writes of one command.
const COMMAND_WRITES: usize = 50_000;
/// What a write costs beside key and value, about.
const WRITE_COST: usize = 128;
/// A document that is larger is not accepted by the server.
const DOCUMENT_BYTES: usize = (16 << 20) - 4096;
/// The collection that tells processes when records that are no resources have changed.
pub(super) const EPOCHS: &str = "epochs";
/// The answer to a write of an `_id` that is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// Writes in the form of the command `bulkWrite`.
#[derive(Default)]
pub(super) struct Orders {
    commands: Vec<Vec<Document>>,
    bytes: usize,
}

/// The places of the collections in [`namespaces`].
const fn namespace(table: Table) -> i32 {
    match table {
        Table::Records => 0,
        Table::History => 1,
        Table::Index => 2,
    }
}

fn namespaces(database: &str) -> Vec<Document> {
    let names = [Table::Records, Table::History, Table::Index].map(collection);
    names.into_iter().chain([EPOCHS]).map(|name| doc! { "ns": format!("{database}.{name}") }).collect()
}

impl Orders {
    /// What leads from what is known to what is to be there.
    ///
    /// Of rows that were not read, those of the records may be there or not; others are new. A head that is not as it was known,
    /// because another process has changed it, is a duplicate: its filter finds nothing, and it can't be inserted.
    pub(super) fn new(writes: Writes, known: &Known) -> Result<Self, Failed> {
        let mut last = FxHashMap::default();
        for (table, key, value) in writes.all {
            last.insert((table, key), value);
        }
        let mut rows: Vec<_> = last.into_iter().collect();
        rows.sort_unstable();
        let mut orders = Self::default();
        for ((table, key), value) in rows {
            let place = (table, key);
            let before = known.get(&place);
            let (table, key) = place;
            let (ns, id) = (namespace(table), id_of(&key));
            let size = key.len() + value.as_ref().map_or(0, Vec::len) + WRITE_COST;
            if size > DOCUMENT_BYTES {
                return Err(Failed::other("a resource or record is too large for a document"));
            }
            let order = match (before, value) {
                (Some(before), value) if *before == value => continue,
                (_, None) => doc! { "delete": ns, "filter": { "_id": id }, "multi": false },
                (Some(Some(before)), Some(value)) if is_head(table, &key) => {
                    let filter = doc! { "_id": id, "v": binary(before.clone()) };
                    doc! { "update": ns, "filter": filter, "updateMods": { "$set": { "v": binary(value) } }, "upsert": true, "multi": false }
                }
                (Some(Some(_)), Some(value)) => {
                    doc! { "update": ns, "filter": { "_id": id }, "updateMods": document(&key, value), "multi": false }
                }
                (None, Some(value)) if table == Table::Records => {
                    doc! { "update": ns, "filter": { "_id": id }, "updateMods": document(&key, value), "upsert": true, "multi": false }
                }
                (_, Some(value)) => doc! { "insert": ns, "document": document(&key, value) },
            };
            orders.push(order, size);
        }
        Ok(orders)
    }

    /// Adds that this process has changed records of a tenant that others may have read.
    pub(super) fn renew(&mut self, tenant: TenantId, process: &str) {
        let filter = doc! { "_id": format!("{}-{process}", tenant.0) };
        let count = doc! { "$inc": { "n": 1_i64 }, "$currentDate": { "at": true } };
        let order = doc! { "update": 3, "filter": filter, "updateMods": count, "upsert": true, "multi": false };
        self.push(order, 2 * WRITE_COST);
    }

    fn push(&mut self, order: Document, size: usize) {
        let is_full = self.bytes + size > COMMAND_BYTES
            || self.commands.last().is_none_or(|command| command.len() >= COMMAND_WRITES);
        if is_full {
            self.commands.push(Vec::new());
            self.bytes = 0;
        }
        self.bytes += size;
        if let Some(command) = self.commands.last_mut() {
            command.push(order);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Writes, without an end to the transaction.
    pub(super) async fn send(self, transaction: &mut Transaction) -> Result<(), Failed> {
        let names = namespaces(transaction.db.name());
        for orders in self.commands {
            transaction.begin().await?;
            let command =
                doc! { "bulkWrite": 1, "ops": orders, "nsInfo": names.clone(), "ordered": false, "errorsOnly": true };
            let admin = transaction.session.client().database("admin");
            let answer = admin.run_command(command).session(&mut transaction.session).await?;
            check(&answer)?;
        }
        Ok(())
    }
}

fn number(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "counts and codes")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// What became of the single writes.
fn check(answer: &Document) -> Result<(), Failed> {
    if number(answer, "nErrors") == Some(0) {
        return Ok(());
    }
    let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let mut codes = batch.into_iter().flatten().filter_map(|write| number(write.as_document()?, "code"));
    match codes.find(|code| *code != 0) {
        Some(code) if code == i64::from(DUPLICATE_KEY) => Err(Failed::again("another process has written the same")),
        code => Err(Failed::other(format!("a write failed with error {}", code.unwrap_or_default()))),
    }
}
