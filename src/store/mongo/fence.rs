//! What keeps a process from sealing under a key that another process has replaced or destroyed.
//!
//! Every process has a document with a mark, which it has read *before* the keys. Who changes the keys changes the marks of all. A
//! commit is written only if its process's mark still is what it was, in the same transaction; else the process reads the keys
//! anew, and commits after that. So from the moment in which all marks are changed nothing is written under older keys, however long a
//! process was held up; and one that has nothing to write learns of the new keys when it next looks at the marks.

use super::Shared;
use super::client::{Connection, Failed};
use super::write::EPOCHS;
use crate::store::StoreResult;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// What the document of a process begins with.
const PREFIX: &str = "fence-";

/// The mark of this process.
pub(super) struct Fence {
    pub id: String,
    mark: AtomicI64,
}

impl Fence {
    /// Reads the mark, or makes one. The keys are to be read after it.
    pub(super) fn set_up(connection: &Arc<Connection>, process: &str) -> Result<Self, Failed> {
        let id = format!("{PREFIX}{process}");
        let mark = AtomicI64::new(read(connection, &id)?);
        Ok(Self { id, mark })
    }

    /// What the mark was before the keys were read that this process seals under.
    pub(super) fn mark(&self) -> i64 {
        self.mark.load(Ordering::SeqCst)
    }

    /// Whether a document is of a process's mark.
    pub(super) fn is_one(id: &str) -> bool {
        id.starts_with(PREFIX)
    }
}

fn read(connection: &Arc<Connection>, id: &str) -> Result<i64, Failed> {
    let (asked, id) = (Arc::clone(connection), id.to_owned());
    connection.wait(async move {
        let made = doc! { "$setOnInsert": { "n": 0_i64, "fence": true }, "$currentDate": { "at": true } };
        let marks = asked.db().collection::<Document>(EPOCHS);
        let reading = marks.find_one_and_update(doc! { "_id": id }, made).upsert(true);
        let document = reading.return_document(ReturnDocument::After).await?;
        let mark = document.and_then(|document| document.get_i64("n").ok());
        mark.ok_or_else(|| Failed::other("the mark of a process is not of the form of this store"))
    })
}

/// Changes the marks of all processes, but for one that has the newest keys: so that all others read them anew.
pub(super) fn lift(connection: &Arc<Connection>, but: Option<&str>) -> StoreResult<()> {
    let mut filter = doc! { "fence": true };
    if let Some(id) = but {
        filter.insert("_id", doc! { "$ne": id });
    }
    let asked = Arc::clone(connection);
    Ok(connection.wait(async move {
        let marks = asked.db().collection::<Document>(EPOCHS);
        marks.update_many(filter, doc! { "$inc": { "n": 1_i64 } }).await?;
        Ok(())
    })?)
}

/// Reads the keys anew if the mark is another one.
pub(super) fn renew(shared: &Shared) -> StoreResult<()> {
    let mark = read(&shared.connection, &shared.fence.id)?;
    if mark != shared.fence.mark() {
        shared.ring.renew()?;
        shared.fence.mark.store(mark, Ordering::SeqCst);
        tracing::debug!("the keys were read anew");
    }
    Ok(())
}
