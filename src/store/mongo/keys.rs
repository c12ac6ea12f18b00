//! Wrapped keys in the collection `keys`: a document for each owner, and one that counts the changes of them all.
//!
//! A change is a transaction that moves the count on from what it was decided on, so that all changes, whichever process makes them,
//! happen one after the other. Then the processes are told: see [`super::fence`].

use super::client::{Connection, Failed, Meaning};
use super::committer::finish;
use super::fence::{self, Fence};
use super::transaction::Transaction;
use crate::store::keys::{KeyTable, Loaded, OwnersKeys};
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use mongodb::bson::{Document, doc};
use std::sync::Arc;

/// The collection.
pub(super) const KEYS: &str = "keys";
/// The document with the count.
const COUNT: &str = "count";

pub(super) struct KeyDocuments {
    connection: Arc<Connection>,
    /// This process's own mark: who has changed the keys knows them.
    fence: String,
}

impl KeyDocuments {
    pub(super) fn new(connection: &Arc<Connection>, fence: &Fence) -> Self {
        Self { connection: Arc::clone(connection), fence: fence.id.clone() }
    }
}

fn id_of(owner: u32) -> String {
    if owner == STORE.0 { "store".into() } else { format!("tenant {owner}") }
}

fn damaged(id: &str) -> Failed {
    Failed::other(format!("the wrapped keys in the document `{id}` of the collection `{KEYS}` are damaged: restore it"))
}

fn read(document: &Document) -> Result<OwnersKeys, Failed> {
    let id = document.get_str("_id").unwrap_or_default();
    let keys = document.get_str("v").ok().and_then(|text| serde_json::from_str::<OwnersKeys>(text).ok());
    keys.filter(|keys| id_of(keys.owner) == id).ok_or_else(|| damaged(id))
}

async fn load(connection: &Connection) -> Result<Loaded, Failed> {
    let mut transaction = Transaction::new(connection).await?;
    transaction.begin().await?;
    let all = connection.db().collection::<Document>(KEYS);
    let mut cursor = all.find(doc! {}).session(&mut transaction.session).await?;
    let mut loaded = Loaded::default();
    while cursor.advance(&mut transaction.session).await? {
        let document = cursor.deserialize_current()?;
        match document.get_str("_id") {
            Ok(COUNT) => {
                let count = document.get_i64("n").ok().and_then(|count| u64::try_from(count).ok());
                loaded.revision = count.ok_or_else(|| damaged(COUNT))?;
            }
            _ => loaded.owners.push(read(&document)?),
        }
    }
    transaction.abort().await;
    loaded.owners.sort_by_key(|keys| keys.owner);
    Ok(loaded)
}

/// Writes in a transaction; `None` where the count is another one.
async fn write(connection: &Connection, count: i64, id: String, text: String) -> Result<Option<Transaction>, Failed> {
    let mut transaction = Transaction::new(connection).await?;
    transaction.begin().await?;
    let all = connection.db().collection::<Document>(KEYS);
    let moved = if count == 0 {
        all.insert_one(doc! { "_id": COUNT, "n": 1_i64 }).session(&mut transaction.session).await?;
        1
    } else {
        let moving = all.update_one(doc! { "_id": COUNT, "n": count }, doc! { "$inc": { "n": 1_i64 } });
        moving.session(&mut transaction.session).await?.matched_count
    };
    if moved == 0 {
        transaction.abort().await;
        return Ok(None);
    }
    let replacing = all.replace_one(doc! { "_id": &id }, doc! { "_id": &id, "v": text }).upsert(true);
    replacing.session(&mut transaction.session).await?;
    Ok(Some(transaction))
}

impl KeyTable for KeyDocuments {
    fn load(&self) -> StoreResult<Loaded> {
        let connection = Arc::clone(&self.connection);
        Ok(self.connection.wait(async move { load(&connection).await })?)
    }

    /// The database keeps what was there before for a while in its log of operations, and longer in backups.
    fn replace(&self, revision: u64, keys: &OwnersKeys) -> StoreResult<bool> {
        let text = serde_json::to_string(keys).map_err(|error| StoreError::Io(error.to_string()))?;
        let count = i64::try_from(revision).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let (connection, id) = (Arc::clone(&self.connection), id_of(keys.owner));
        let written = self.connection.wait(async move { write(&connection, count, id, text).await });
        let done = match written {
            Ok(Some(transaction)) => finish(&self.connection, transaction),
            Ok(None) => return Ok(false),
            Err(failed) => Err(failed),
        };
        match done {
            Ok(()) => {
                fence::lift(&self.connection, Some(&self.fence))?;
                Ok(true)
            }
            Err(failed) if failed.meaning == Meaning::Again => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }
}
