//! What keeps a process from sealing under a key that another process has replaced or destroyed.
//!
//! Every process has a document with a mark, which it has read *before* the keys. Who changes the keys changes the marks of all. A
//! commit is written only if its process's mark still is what it was, in the same transaction; else the process reads the keys
//! anew, and which schema is in force ([`super::schema`]), and commits after that. So from the moment in which all marks are changed nothing is written under older keys, however long a
//! process was held up; and one that has nothing to write learns of the new keys when it next looks at the marks.

use super::client::{Connection, Failed};
use super::write::EPOCHS;
use super::{Shared, schema};
use crate::store::StoreResult;
use crate::store::schema::Program;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// What the document of a process begins with.
const PREFIX: &str = "fence-";
/// What the mark becomes of a program that does not tell which schemas it can write: it can't read that, and so writes nothing.
const EXCLUDED: &str = "excluded: another schema is in force";
/// How long a process may take to take its mark away when it ends.
const LONGEST_END: Duration = Duration::from_secs(2);

/// The mark of this process.
pub(super) struct Fence {
    pub id: String,
    mark: AtomicI64,
    is_in_use: AtomicBool,
    program: &'static Program,
}

impl Fence {
    /// Reads the mark, or makes one. The keys are to be read after it.
    pub(super) fn set_up(
        connection: &Arc<Connection>,
        process: &str,
        program: &'static Program,
    ) -> Result<Self, Failed> {
        let this = Self {
            id: format!("{PREFIX}{process}"),
            mark: AtomicI64::new(0),
            is_in_use: AtomicBool::new(false),
            program,
        };
        this.mark.store(this.read(connection)?, Ordering::SeqCst);
        Ok(this)
    }

    /// What the document says beside the mark: that the process is there, and what it can write.
    fn sign(&self) -> Document {
        let Program { beside, writes, .. } = self.program;
        doc! { "$currentDate": { "at": true }, "$set": { "oldest": i64::from(*beside), "newest": i64::from(*writes) } }
    }

    /// Reads the mark, or makes one.
    fn read(&self, connection: &Arc<Connection>) -> Result<i64, Failed> {
        let (asked, id, mut made) = (Arc::clone(connection), self.id.clone(), self.sign());
        made.insert("$setOnInsert", doc! { "n": 0_i64, "fence": true });
        connection.wait(async move {
            let marks = asked.db().collection::<Document>(EPOCHS);
            let reading = marks.find_one_and_update(doc! { "_id": id }, made).upsert(true);
            let document = reading.return_document(ReturnDocument::After).await?;
            let mark = document.and_then(|document| document.get_i64("n").ok());
            mark.ok_or_else(|| Failed::other("the mark of a process is not of the form of this store"))
        })
    }

    /// Says that the process is still there. A mark that is not there any more is not made.
    pub(super) fn heartbeat(&self) -> (Document, Document) {
        (doc! { "_id": &self.id }, self.sign())
    }

    /// Takes the mark away, so that nobody waits for a process that has ended in order.
    pub(super) fn end(&self, connection: &Arc<Connection>) {
        let (ending, id) = (Arc::clone(connection), self.id.clone());
        let ended = connection.wait(async move {
            let marks = ending.db().collection::<Document>(EPOCHS);
            let removing = async { marks.delete_one(doc! { "_id": id }).await };
            drop(tokio::time::timeout(LONGEST_END, removing).await);
            Ok(())
        });
        if let Err(failed) = ended {
            tracing::debug!(error = %failed.text, "the mark of this process stays until it is forgotten");
        }
    }

    /// What the mark was before the keys were read that this process seals under.
    pub(super) fn mark(&self) -> i64 {
        self.mark.load(Ordering::SeqCst)
    }

    /// A commit is on its way, which changes the mark's document when it is written, however long that takes.
    pub(super) fn in_use(&self) -> InUse<'_> {
        self.is_in_use.store(true, Ordering::SeqCst);
        InUse(self)
    }

    /// Whether one is: of two that change the document at once only one happens, so who says that the process is there leaves it to the commit.
    pub(super) fn is_in_use(&self) -> bool {
        self.is_in_use.load(Ordering::SeqCst)
    }

    /// Whether a document is of a process's mark.
    pub(super) fn is_one(id: &str) -> bool {
        id.starts_with(PREFIX)
    }
}

/// As long as it is there, a commit is on its way.
pub(super) struct InUse<'f>(&'f Fence);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.is_in_use.store(false, Ordering::SeqCst);
    }
}

/// The marks of other processes than one.
pub(super) struct Others<'o> {
    /// That one.
    pub but: &'o str,
    /// Who was not heard of for longer is taken to have ended; who has not stops when it writes next.
    pub heard_within: Duration,
}

/// How many processes are at work that can't write a schema.
pub(super) fn unable(connection: &Arc<Connection>, others: &Others<'_>, schema: u32) -> Result<usize, Failed> {
    let asked = Arc::clone(connection);
    let (now, marks) = connection.wait(async move {
        let hello = asked.db().run_command(doc! { "hello": 1 }).await?;
        let now = hello.get_datetime("localTime").map_or_else(|_| DateTime::now(), |time| *time);
        let mut cursor = asked.db().collection::<Document>(EPOCHS).find(doc! { "fence": true }).await?;
        let mut marks = Vec::new();
        while cursor.advance().await? {
            marks.push(cursor.deserialize_current()?);
        }
        Ok((now, marks))
    })?;
    let longest = i64::try_from(others.heard_within.as_millis()).unwrap_or(i64::MAX);
    let is_heard = |mark: &&Document| {
        let at = mark.get_datetime("at").map_or(0, |at| at.timestamp_millis());
        now.timestamp_millis().saturating_sub(at) < longest
    };
    let can = |mark: &&Document| {
        let (oldest, newest) = (mark.get_i64("oldest").unwrap_or(i64::MAX), mark.get_i64("newest").unwrap_or(0));
        (oldest..=newest).contains(&i64::from(schema))
    };
    // One that was excluded writes nothing.
    let is_other = |mark: &&Document| mark.get_i64("n").is_ok() && mark.get_str("_id").is_ok_and(|id| id != others.but);
    Ok(marks.iter().filter(is_other).filter(is_heard).filter(|mark| !can(mark)).count())
}

/// Keeps from writing all processes whose programs do not tell which schemas they can write.
pub(super) fn exclude_mute(connection: &Arc<Connection>) -> Result<(), Failed> {
    let asked = Arc::clone(connection);
    connection.wait(async move {
        let marks = asked.db().collection::<Document>(EPOCHS);
        let mute = doc! { "fence": true, "newest": { "$exists": false } };
        marks.update_many(mute, doc! { "$set": { "n": EXCLUDED } }).await?;
        Ok(())
    })
}

/// Changes the marks of all processes, but for one that has the newest keys: so that all others read them anew.
pub(super) fn lift(connection: &Arc<Connection>, but: Option<&str>) -> StoreResult<()> {
    let mut filter = doc! { "fence": true, "n": { "$ne": EXCLUDED } };
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

/// Reads the keys and the schema anew if the mark is another one.
pub(super) fn renew(shared: &Shared) -> StoreResult<()> {
    let mark = shared.fence.read(&shared.connection)?;
    if mark != shared.fence.mark() {
        shared.ring.renew()?;
        schema::renew(shared)?;
        shared.fence.mark.store(mark, Ordering::SeqCst);
        tracing::debug!("the keys were read anew");
    }
    Ok(())
}
