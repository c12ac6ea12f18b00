//! What is written in a transaction, in as few commands as it goes.

use super::client::Failed;
use super::fence::Fence;
use super::parts::{self, PARTS};
use super::place::{collection, id_of, is_head};
use super::read::Known;
use super::transaction::{Transaction, binary, document};
use crate::store::ledger::Head;
use crate::store::rows::{Table, Writes, layout};
use crate::store::schema::ROWS_IN_PARTS;
use crate::tenant::TenantId;
use mongodb::bson::{Bson, Document, doc};
use rustc_hash::FxHashMap;

/// Bytes of one command, at most: it is a document itself, of which the server takes 16 MiB and 16 KiB. Two [`parts`] go into it.
const COMMAND_BYTES: usize = 16_400_000;
/// Bytes of a row that stands in one document, about, of which the server takes 16 MiB.
const DOCUMENT_BYTES: usize = (16 << 20) - 4096;
/// Writes of one command; the server takes 100,000.
const COMMAND_WRITES: usize = 50_000;
/// What a write takes beside `_id` and value, at most.
const WRITE_COST: usize = 384;
/// The collection that tells processes when records that are no resources have changed.
pub(super) const EPOCHS: &str = "epochs";
/// The answer to a write of an `_id` that is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// Writes in the form of the command `bulkWrite`.
#[derive(Default)]
pub(super) struct Orders {
    commands: Vec<Vec<Document>>,
    bytes: usize,
    /// How many documents have to be as they were known, and whether that can be told by their number.
    expected: i64,
    is_countable: bool,
    /// Whether it is looked at.
    is_on_hints: bool,
    /// Whether large rows are cut into parts.
    cuts: bool,
}

/// The places of the collections in [`namespaces`].
const fn namespace(table: Table) -> i32 {
    match table {
        Table::Records => 0,
        Table::History => 1,
        Table::Index => 2,
    }
}

const EPOCHS_PLACE: i32 = 3;
const PARTS_PLACE: i32 = 4;

fn namespaces(database: &str) -> Vec<Document> {
    let names = [Table::Records, Table::History, Table::Index].map(collection);
    names.into_iter().chain([EPOCHS, PARTS]).map(|name| doc! { "ns": format!("{database}.{name}") }).collect()
}

/// What is known of a row that is written.
#[derive(Clone, Copy)]
enum Before<'k> {
    Unread,
    Absent,
    There(&'k [u8]),
}

impl Before<'_> {
    /// Whether it is already as it shall be.
    fn is(self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Unread => false,
            Self::Absent => value.is_none(),
            Self::There(bytes) => value == Some(bytes),
        }
    }
}

impl Orders {
    /// What leads from what is known to what is to be there.
    ///
    /// Of rows that were not read, those of the records may be there or not; others are new. A head that is not as it was known,
    /// because another process has changed it, is a duplicate: its filter finds nothing, and it can't be inserted.
    /// `is_on_hints`: rows that are replaced or removed may have changed, too. `schema`: in which form to write.
    pub(super) fn new(writes: Writes, known: &Known, is_on_hints: bool, schema: u32) -> Result<Self, Failed> {
        let mut last = FxHashMap::default();
        for (table, key, value) in writes.all {
            last.insert((table, key), value);
        }
        let mut rows: Vec<_> = last.into_iter().collect();
        rows.sort_unstable();
        let cuts = schema >= ROWS_IN_PARTS;
        let mut orders = Self { is_countable: true, is_on_hints, cuts, ..Self::default() };
        for ((table, key), value) in rows {
            let place = (table, key);
            let before = match known.get(&place) {
                None => Before::Unread,
                Some(None) => Before::Absent,
                Some(Some(bytes)) => Before::There(bytes),
            };
            if !before.is(value.as_deref()) {
                orders.add(place, before, value)?;
            }
        }
        Ok(orders)
    }

    /// Adds a write of a row, of which something may be known.
    fn add(
        &mut self,
        (table, key): (Table, Vec<u8>),
        before: Before<'_>,
        value: Option<Vec<u8>>,
    ) -> Result<(), Failed> {
        if !self.cuts && value.as_ref().is_some_and(|value| value.len() + 2 * key.len() > DOCUMENT_BYTES) {
            return Err(Failed::other(
                "a resource or record is too large for a document, while a process of an older release is at work",
            ));
        }
        let value = self.add_parts((table, &key), before, value);
        let is_head = is_head(table, &key);
        let id = id_of(&key);
        let mut size = 2 * id.len() + value.as_ref().map_or(0, |(first, _)| first.len()) + WRITE_COST;
        let mut filter = doc! { "_id": id };
        if let Before::There(before) = before
            && (is_head || (self.is_on_hints && table == Table::Records))
        {
            size += before.len();
            filter.insert("v", binary(before.to_vec()));
        }
        let is_there = matches!(before, Before::There(_));
        self.expected += i64::from(is_there);
        let is_unread = matches!(before, Before::Unread) && (value.is_none() || table == Table::Records);
        self.is_countable &= !is_unread;
        let ns = namespace(table);
        let order = match value {
            None => doc! { "delete": ns, "filter": filter, "multi": false },
            Some((first, further)) if is_unread || is_there => {
                let document = document(&key, first, further)?;
                let upsert = is_unread || is_head;
                doc! { "update": ns, "filter": filter, "updateMods": document, "upsert": upsert, "multi": false }
            }
            Some((first, further)) => doc! { "insert": ns, "document": document(&key, first, further)? },
        };
        self.push(order, size);
        Ok(())
    }

    /// Adds the writes of the parts of a row behind the first one, and removes those that it had and has no more. Answers the first part and
    /// how many others there are.
    fn add_parts(
        &mut self,
        (table, key): (Table, &[u8]),
        before: Before<'_>,
        value: Option<Vec<u8>>,
    ) -> Option<(Vec<u8>, usize)> {
        let (first, others) = value.map_or((None, Vec::new()), |value| {
            let (first, others) = if self.cuts { parts::cut(value) } else { (value, Vec::new()) };
            (Some(first), others)
        });
        let (new, ns) = (others.len(), PARTS_PLACE);
        let old = if let Before::There(before) = before { parts::further(before.len()) } else { 0 };
        self.expected += i64::try_from(old).unwrap_or(i64::MAX);
        for (n, part) in (1..).zip(others) {
            let (id, size) = (parts::id(table, key, n), part.len());
            let document = parts::document(&id, part);
            let cost = size + 2 * id.len() + WRITE_COST;
            let filter = doc! { "_id": id };
            self.push(
                doc! { "update": ns, "filter": filter, "updateMods": document, "upsert": true, "multi": false },
                cost,
            );
        }
        for n in new + 1..=old {
            let id = parts::id(table, key, n);
            let cost = id.len() + WRITE_COST;
            self.push(doc! { "delete": ns, "filter": { "_id": id }, "multi": false }, cost);
        }
        // A record of a resource that is written without having been read is new: its number was given out with it.
        let may_have = matches!(before, Before::Unread) && parts::may_have(key);
        if may_have && (first.is_none() || layout::kept_place(key).is_some()) {
            let cost = 4 * key.len() + WRITE_COST;
            self.push(doc! { "delete": ns, "filter": parts::from(table, key, new + 1), "multi": true }, cost);
        }
        first.map(|first| (first, new))
    }

    /// Adds that this process has changed records of a tenant that others may have read.
    pub(super) fn renew(&mut self, tenant: TenantId, process: &str) {
        self.is_countable = false;
        let filter = doc! { "_id": format!("{}-{process}", tenant.0) };
        let count = doc! { "$inc": { "n": 1_i64 }, "$currentDate": { "at": true } };
        let order =
            doc! { "update": EPOCHS_PLACE, "filter": filter, "updateMods": count, "upsert": true, "multi": false };
        self.push(order, WRITE_COST);
    }

    /// Adds that nothing of a tenant is folded that was read before this: who folds replaces the head of the ledger's chain, and of two
    /// transactions that write a document at once only one happens. The other one is made anew, of what is there then.
    pub(super) fn interrupt_folds(&mut self, tenant: TenantId) {
        self.is_countable = false;
        let filter = doc! { "_id": id_of(&layout::ledger_head(tenant)) };
        // Before the first entry there is none, and it says so.
        let touch = doc! { "$inc": { "c": 1_i64 }, "$setOnInsert": { "v": binary(Head::FIRST.pack()) } };
        let ns = namespace(Table::History);
        self.push(
            doc! { "update": ns, "filter": filter, "updateMods": touch, "upsert": true, "multi": false },
            WRITE_COST,
        );
    }

    /// Adds that the mark of this process is what it was before anything was sealed: see [`super::fence`]. One that was changed is a duplicate, as
    /// a head is.
    pub(super) fn stand_behind(&mut self, fence: &Fence, mark: i64) {
        self.expected += 1;
        let filter = doc! { "_id": &fence.id, "n": mark };
        let count = doc! { "$inc": { "c": 1_i64 }, "$currentDate": { "at": true }, "$setOnInsert": { "fence": true } };
        let order =
            doc! { "update": EPOCHS_PLACE, "filter": filter, "updateMods": count, "upsert": true, "multi": false };
        self.push(order, WRITE_COST);
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
        if self.is_on_hints && !self.is_countable {
            return Err(Failed::stale("it can't be told whether what was read before holds"));
        }
        let mut changed = 0_i64;
        for orders in self.commands {
            transaction.begin().await?;
            let command =
                doc! { "bulkWrite": 1, "ops": orders, "nsInfo": names.clone(), "ordered": false, "errorsOnly": true };
            let admin = transaction.session.client().database("admin");
            let answer = admin.run_command(command).session(&mut transaction.session).await?;
            check(&answer)?;
            changed +=
                number(&answer, "nMatched").unwrap_or_default() + number(&answer, "nDeleted").unwrap_or_default();
        }
        if self.is_on_hints && changed != self.expected {
            return Err(Failed::stale("what was read before does not hold any more"));
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
