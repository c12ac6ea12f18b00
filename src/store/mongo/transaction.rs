//! One transaction: all that it reads is of one moment, and all that it writes happens at once or not at all.

use super::client::{Connection, Failed};
use super::place::{collection, id_of, key_of, led_to};
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

/// Rows of a range: at most `most` of those from `from` on and before `to`.
#[derive(Clone)]
pub(super) struct Range {
    pub table: Table,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub most: usize,
    pub is_back: bool,
}

impl Range {
    fn filter(&self) -> Document {
        doc! { "_id": { "$gte": id_of(&self.from), "$lt": id_of(&self.to) } }
    }

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
    pub(super) async fn get(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Row>, Failed> {
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
                rows.push(row(document)?);
                Ok(())
            })
            .await?;
        }
        Ok(rows)
    }

    /// A part of a range.
    pub(super) async fn range(&mut self, range: &Range) -> Result<Vec<Row>, Failed> {
        if range.from >= range.to || range.most == 0 {
            return Ok(Vec::new());
        }
        self.begin().await?;
        let found = self.db.collection::<RawDocumentBuf>(collection(range.table));
        let mut finding = found.find(range.filter()).sort(doc! { "_id": range.direction() });
        if let Ok(most) = u32::try_from(range.most)
            && most < u32::MAX >> 1
        {
            finding = finding.limit(i64::from(most)).batch_size(most + 1);
        }
        let cursor = finding.session(&mut self.session).await?;
        let mut rows = Vec::new();
        self.gather(cursor, |document| {
            rows.push(row(document)?);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The rows of these ids, and the records, key lists and marks of erased versions to which they lead.
    pub(super) async fn follow(&mut self, ids: &[Vec<u8>]) -> Result<Vec<(Table, Row)>, Failed> {
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
                rows.push((Table::Index, row(document)?));
                for led in document.get_array("r").map_err(|_| damaged())? {
                    let led = led?;
                    rows.push((Table::Records, row(led.as_document().ok_or_else(damaged)?)?));
                }
                Ok(())
            })
            .await?;
        }
        Ok(rows)
    }

    async fn gather(
        &mut self,
        mut cursor: SessionCursor<RawDocumentBuf>,
        mut take: impl FnMut(&RawDocument) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        while cursor.advance(&mut self.session).await? {
            take(cursor.current())?;
        }
        Ok(())
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

fn damaged() -> Failed {
    Failed::other("a document is not of the form of this store")
}

/// The row of a document.
pub(super) fn row(document: &RawDocument) -> Result<Row, Failed> {
    let id = document.get_str("_id").map_err(|_| damaged())?;
    let value = document.get_binary("v").map_err(|_| damaged())?;
    Ok((key_of(id)?, value.bytes.to_vec()))
}

/// The document of a row.
pub(super) fn document(key: &[u8], value: Vec<u8>) -> Document {
    let mut document = doc! { "_id": id_of(key) };
    if let Some(rows) = led_to(key, &value) {
        document.insert("c", rows.iter().map(|key| id_of(key)).collect::<Vec<_>>());
    }
    document.insert("v", binary(value));
    document
}

pub(super) const fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}
