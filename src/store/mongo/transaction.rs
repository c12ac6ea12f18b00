//! One transaction: all that it reads is of one moment, and all that it writes happens at once or not at all.

use super::client::{Connection, Failed};
use super::parts::{self, Found, Gathering, PARTS};
use super::place::{collection, id_of, key_of, led_to};
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Table};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, ReadConcern, WriteConcern};
use mongodb::{ClientSession, Database, SessionCursor};

/// Keys that are asked for in one command.
const KEYS_AT_ONCE: usize = 10_000;

/// A transaction in the making. It begins with its first command.
pub(super) struct Transaction {
    pub db: Database,
    pub session: ClientSession,
    has_begun: bool,
}

/// Rows of a range: as many as `most` says of those from `from` on and before `to`.
#[derive(Clone)]
pub(super) struct Range {
    pub table: Table,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub most: Most,
    pub is_back: bool,
}

/// What becomes of rows that are no whole document: see [`parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Large {
    /// They are read whole, which takes another command, and one more for each 16 MB.
    Whole,
    /// They are only named: for many rows of which some may be asked for.
    LeftOut,
}

/// Rows that were read.
#[derive(Default)]
pub(super) struct Got {
    pub rows: Vec<(Table, Row)>,
    /// The large ones that were left out.
    pub left_out: Vec<(Table, Vec<u8>)>,
}

/// What is between two keys, the first one with it.
fn between(from: &[u8], to: &[u8]) -> Document {
    doc! { "_id": { "$gte": id_of(from), "$lt": id_of(to) } }
}

impl Range {
    const fn direction(&self) -> i32 {
        if self.is_back { -1 } else { 1 }
    }
}

impl Transaction {
    pub(super) async fn new(connection: &Connection) -> Result<Self, Failed> {
        let session = connection.client().start_session().await?;
        Ok(Self { db: connection.db().clone(), session, has_begun: false })
    }

    /// Whether anything was read or written.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// To be called before each command.
    pub(super) async fn begin(&mut self) -> Result<(), Failed> {
        if !self.has_begun {
            let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
            let starting = self.session.start_transaction().read_concern(ReadConcern::snapshot());
            starting.write_concern(durable).await?;
            self.has_begun = true;
        }
        Ok(())
    }

    /// The rows of these keys that there are.
    pub(super) async fn get(&mut self, table: Table, keys: &[Vec<u8>], large: Large) -> Result<Got, Failed> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_AT_ONCE) {
            self.begin().await?;
            let ids: Vec<String> = keys.iter().map(|key| id_of(key)).collect();
            let filter = if let [id] = &ids[..] {
                doc! { "_id": id }
            } else {
                doc! { "_id": { "$in": ids } }
            };
            let found = self.db.collection::<RawDocumentBuf>(collection(table));
            let cursor = found.find(filter).batch_size(u32::MAX >> 1).session(&mut self.session).await?;
            self.gather(cursor, |document| {
                rows.push(row(table, document)?);
                Ok(true)
            })
            .await?;
        }
        self.complete(rows, large).await
    }

    /// A part of a range.
    pub(super) async fn range(&mut self, range: &Range) -> Result<Stretch, Failed> {
        if range.from >= range.to || range.most.rows == 0 {
            return Ok(Stretch::default());
        }
        self.find((range.table, between(&range.from, &range.to)), range.direction(), range.most).await
    }

    /// The first rows of several ranges, of which there is one at least.
    pub(super) async fn ranges(
        &mut self,
        table: Table,
        ranges: &[(Vec<u8>, Vec<u8>)],
        most: Most,
    ) -> Result<Stretch, Failed> {
        let any: Vec<Document> = ranges.iter().map(|(from, to)| between(from, to)).collect();
        self.find((table, doc! { "$or": any }), 1, most).await
    }

    async fn find(
        &mut self,
        (table, filter): (Table, Document),
        direction: i32,
        most: Most,
    ) -> Result<Stretch, Failed> {
        self.begin().await?;
        let found = self.db.collection::<RawDocumentBuf>(collection(table));
        let mut finding = found.find(filter).sort(doc! { "_id": direction });
        if let Ok(most) = u32::try_from(most.rows)
            && most < u32::MAX >> 1
        {
            finding = finding.limit(i64::from(most)).batch_size(most + 1);
        }
        let cursor = finding.session(&mut self.session).await?;
        let (mut rows, mut bytes, mut is_cut) = (Vec::new(), 0_usize, false);
        self.gather(cursor, |document| {
            let row = row(table, document)?;
            bytes = bytes.saturating_add(row.size());
            rows.push(row);
            is_cut = bytes >= most.bytes;
            Ok(!is_cut)
        })
        .await?;
        let has_more = is_cut || rows.len() == most.rows;
        let got = self.complete(rows, Large::Whole).await?;
        Ok(Stretch { rows: got.rows.into_iter().map(|(_, row)| row).collect(), has_more })
    }

    /// The rows of these ids, and the records, key lists and marks of erased versions to which they lead.
    pub(super) async fn follow(&mut self, ids: &[Vec<u8>], large: Large) -> Result<Got, Failed> {
        let mut rows = Vec::with_capacity(3 * ids.len());
        for ids in ids.chunks(KEYS_AT_ONCE) {
            self.begin().await?;
            let names: Vec<String> = ids.iter().map(|key| id_of(key)).collect();
            let with = doc! { "from": collection(Table::Records), "localField": "c", "foreignField": "_id", "as": "r" };
            let steps = [doc! { "$match": { "_id": { "$in": names } } }, doc! { "$lookup": with }];
            let index = self.db.collection::<RawDocumentBuf>(collection(Table::Index));
            let aggregating = index.aggregate(steps).batch_size(u32::MAX >> 1).session(&mut self.session);
            let cursor = aggregating.await?.with_type::<RawDocumentBuf>();
            self.gather(cursor, |document| {
                rows.push(row(Table::Index, document)?);
                for led in document.get_array("r").map_err(|_| damaged())? {
                    let led = led?;
                    rows.push(row(Table::Records, led.as_document().ok_or_else(damaged)?)?);
                }
                Ok(true)
            })
            .await?;
        }
        self.complete(rows, large).await
    }

    /// Takes documents until it is enough.
    async fn gather(
        &mut self,
        mut cursor: SessionCursor<RawDocumentBuf>,
        mut take: impl FnMut(&RawDocument) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        while cursor.advance(&mut self.session).await? && take(cursor.current())? {}
        Ok(())
    }

    /// Reads the parts of rows that are missing, in the order of the rows.
    async fn complete(&mut self, rows: Vec<Found>, large: Large) -> Result<Got, Failed> {
        let (rows, left_out) = match large {
            Large::Whole => (rows, Vec::new()),
            Large::LeftOut => rows.into_iter().partition(|row| row.further == 0),
        };
        let mut gathering = Gathering::new(rows);
        if let Some(filter) = gathering.missing() {
            let parts = self.db.collection::<RawDocumentBuf>(PARTS);
            let finding = parts.find(filter).sort(doc! { "_id": 1 }).batch_size(u32::MAX >> 1);
            let cursor = finding.session(&mut self.session).await?;
            self.gather(cursor, |part| gathering.take(part).map(|()| true)).await?;
        }
        let left_out = left_out.into_iter().map(|row| (row.table, row.key)).collect();
        Ok(Got { rows: gathering.finish()?, left_out })
    }

    /// Makes all that was written happen.
    pub(super) async fn commit(&mut self) -> Result<(), Failed> {
        Ok(self.session.commit_transaction().await?)
    }

    /// Gives up what was read and written.
    pub(super) async fn abort(&mut self) {
        if std::mem::take(&mut self.has_begun) {
            // The server gives it up by itself where this does not arrive.
            drop(self.session.abort_transaction().await);
        }
    }
}

pub(super) fn damaged() -> Failed {
    Failed::other("a document is not of the form of this store")
}

/// The row of a document.
fn row(table: Table, document: &RawDocument) -> Result<Found, Failed> {
    let id = document.get_str("_id").map_err(|_| damaged())?;
    let value = document.get_binary("v").map_err(|_| damaged())?;
    let further = parts::further_of(document)?;
    Ok(Found { table, key: key_of(id)?, value: value.bytes.to_vec(), further })
}

/// The document of a row, by the first part of its value and the number of others.
pub(super) fn document(key: &[u8], first: Vec<u8>, further: usize) -> Result<Document, Failed> {
    let mut document = doc! { "_id": id_of(key) };
    if let Some(rows) = led_to(key, &first) {
        document.insert("c", rows.iter().map(|key| id_of(key)).collect::<Vec<_>>());
    }
    parts::mark(&mut document, further)?;
    document.insert("v", binary(first));
    Ok(document)
}

pub(super) const fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}
