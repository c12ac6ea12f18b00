//! The schema of a database that several processes share: see [`crate::store::schema`].
//!
//! It stands in the document `store` of the collection `format`, and every process' mark ([`fence`]) tells which schemas its program can write. Who
//! brings the next one into force looks at the marks of all that were heard of lately, writes the document, and then changes all marks: so from
//! that moment on nobody writes in the older form, as a process whose mark has changed reads the document before it writes anything.
//! One that can't write what is in force stops. Programs from before marks told of schemas can't read theirs any more, and so write nothing.

use super::Shared;
use super::client::{Connection, Failed};
use super::fence::{self, Others};
use super::start::{FORMAT, is_bound, knows_key_of, sealed_check};
use crate::store::rows::rewriting::old_forms;
use crate::store::schema::{Advance, Program, Rewriting, Schemas, Stand, TELLS_STAND};
use crate::store::seal::Sealer;
use crate::store::{OldRows, StoreError, StoreResult};
use crate::tenant::TenantId;
use mongodb::bson::{Document, doc};
use std::sync::{Arc, Mutex, PoisonError};

/// What schema 4 was called here, before both stores counted alike.
const CALLED_BEFORE: i64 = 2;
const CALLED_NOW: u32 = 4;

/// How a store stands, by its document.
pub(super) fn stand_of(format: &Document) -> StoreResult<Stand> {
    let damaged = || StoreError::Damaged(format!("the document in the collection `{FORMAT}`"));
    let schema = match format.get_i64("schema").map_err(|_| damaged())? {
        CALLED_BEFORE => CALLED_NOW,
        schema => u32::try_from(schema).map_err(|_| damaged())?,
    };
    if schema < TELLS_STAND {
        return Ok(Stand::of(schema));
    }
    let Ok(rewriting) = format.get_document("rewriting") else { return Ok(Stand::of(schema)) };
    let from = rewriting.get_i64("from").ok().and_then(|from| u32::try_from(from).ok()).ok_or_else(damaged)?;
    let pass = rewriting.get_str("pass").map_err(|_| damaged())?.to_owned();
    Ok(Stand { schema, rewriting: Some(Rewriting { from, pass }) })
}

/// What a document says of it.
pub(super) fn fields(stand: &Stand) -> Document {
    let mut fields = doc! { "schema": i64::from(stand.schema) };
    if let Some(Rewriting { from, pass }) = &stand.rewriting {
        fields.insert("rewriting", doc! { "from": i64::from(*from), "pass": pass });
    }
    fields
}

/// Refuses a schema with which a program can't write.
pub(super) fn check(program: &Program, stand: &Stand) -> StoreResult<()> {
    let (schema, Program { beside, writes, .. }) = (stand.schema, program);
    if program.range().contains(&schema) {
        return Ok(());
    }
    Err(StoreError::Closed(format!(
        "the database is of schema {schema}, and this version of Pharos writes schema {beside} to {writes}: use the version that \
         it was written by, or a later one that can write beside it"
    )))
}

/// The document as it is now.
pub(super) fn read(connection: &Arc<Connection>) -> Result<Option<Document>, Failed> {
    let asked = Arc::clone(connection);
    connection
        .wait(async move { Ok(asked.db().collection::<Document>(FORMAT).find_one(doc! { "_id": "store" }).await?) })
}

/// Takes over what the document says; stops this process where it can't write that, and where nobody with the keys has written it.
pub(super) fn renew(shared: &Shared) -> StoreResult<Stand> {
    shared.schema.renew(|| {
        let document = read(&shared.connection)?;
        let checked = checked(shared, document);
        if let Err(error) = &checked
            && !matches!(error, StoreError::Unreachable(_))
        {
            tracing::error!(%error, "which schema is in force is not what this process can go on with; it stops writing");
            shared.queue.close(error);
        }
        checked
    })
}

/// What a document says, if this process can go on with it.
fn checked(shared: &Shared, document: Option<Document>) -> StoreResult<Stand> {
    let document = document.ok_or_else(|| StoreError::Closed("the store is gone".into()))?;
    let stand = stand_of(&document)?;
    check(shared.schema.program, &stand)?;
    check_later(shared, &document, &stand)?;
    Ok(stand)
}

/// Refuses a document that nobody with the keys has written, and one of an earlier time than what is known. A program of before does not bind what
/// it writes to how the store stands: that is done for it.
fn check_later(shared: &Shared, document: &Document, stand: &Stand) -> StoreResult<()> {
    let is_bound = is_bound(document, stand, &shared.sealer).map_err(|error| {
        let is_known = knows_key_of(document, &shared.sealer);
        if is_known { error } else { StoreError::Unreachable("a key of the store can't be unwrapped now".into()) }
    })?;
    if !shared.schema.stand().may_become(stand) {
        let text = format!("somebody has put an earlier document back into the collection `{FORMAT}`");
        return Err(StoreError::Closed(text));
    }
    if is_bound { Ok(()) } else { bind(&shared.connection, &shared.sealer, (document, stand)) }
}

/// Binds a document to how the store stands that a program of before has written.
pub(super) fn bind(
    connection: &Arc<Connection>,
    sealer: &Sealer,
    (format, stand): (&Document, &Stand),
) -> StoreResult<()> {
    tracing::warn!(
        schema = stand.schema,
        oldest = stand.oldest(),
        "how the store stands was not sealed, as in stores that an earlier program made; it is now"
    );
    let filter = doc! { "_id": "store", "check": format.get("check") };
    let change = change(sealer, stand)?;
    let writing = Arc::clone(connection);
    Ok(connection.wait(async move {
        // Where it is another one by now, somebody else was first.
        writing.db().collection::<Document>(FORMAT).update_one(filter, change).await?;
        Ok(())
    })?)
}

/// What makes a document tell how a store stands.
fn change(sealer: &Sealer, stand: &Stand) -> StoreResult<Document> {
    let mut set = fields(stand);
    set.insert("check", sealed_check(sealer, stand)?);
    let mut change = doc! { "$set": set };
    if stand.rewriting.is_none() {
        change.insert("$unset", doc! { "rewriting": "" });
    }
    Ok(change)
}

/// Writes how the store stands, if it still stands as it was known, and tells the others.
fn replace(shared: &Shared, old: &Stand, new: &Stand) -> StoreResult<bool> {
    let known = i64::from(old.schema);
    let known = if old.schema == CALLED_NOW { vec![known, CALLED_BEFORE] } else { vec![known] };
    let mut filter = doc! { "_id": "store", "schema": { "$in": known } };
    if old.schema >= TELLS_STAND {
        filter.insert("rewriting.pass", old.rewriting.as_ref().map(|rewriting| rewriting.pass.clone()));
    }
    let change = change(&shared.sealer, new)?;
    let writing = Arc::clone(&shared.connection);
    let written = shared.connection.wait(async move {
        Ok(writing.db().collection::<Document>(FORMAT).update_one(filter, change).await?.matched_count)
    })?;
    Ok(written > 0)
}

/// Says how a store stands that was filled.
pub(super) fn set_filled(connection: &Arc<Connection>, sealer: &Sealer, stand: &Stand) -> StoreResult<()> {
    let change = change(sealer, stand)?;
    let writing = Arc::clone(connection);
    Ok(connection.wait(async move {
        writing.db().collection::<Document>(FORMAT).update_one(doc! { "_id": "store" }, change).await?;
        Ok(())
    })?)
}

impl Schemas for Shared {
    fn stand(&self) -> StoreResult<Stand> {
        renew(self)
    }

    fn advance(&self) -> StoreResult<Advance> {
        let now = renew(self)?;
        let Some(next) = self.schema.next(&now)? else { return Ok(Advance::Current) };
        let others = Others { but: &self.fence.id, heard_within: self.options.heard_within };
        let unable = fence::unable(&self.connection, &others, next.schema)?;
        if unable > 0 {
            return Ok(Advance::Waiting(unable));
        }
        let is_moved = replace(self, &now, &next)?;
        tell(self)?;
        Ok(if is_moved { Advance::Moved } else { Advance::Current })
    }

    /// A pass begins when nobody writes in the older form any more. The end of the process that made the schema be in force may have kept that
    /// from the others: so who has a part in a pass tells them, once for all tenants.
    fn old_forms(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows> {
        let pass = self.schema.stand().rewriting.as_ref().map(|rewriting| rewriting.pass.clone());
        if let Some(pass) = pass {
            self.told.once(&pass, || tell(self))?;
        }
        let rows = super::read::Reading::new(Arc::clone(&self.connection), super::KEPT_BYTES);
        old_forms(&rows, &self.sealer, &self.schema, tenant, (after, most))
    }

    fn finish(&self, pass: &str) -> StoreResult<()> {
        let now = renew(self)?;
        if now.rewriting.as_ref().is_some_and(|rewriting| rewriting.pass == pass) {
            replace(self, &now, &Stand::of(now.schema))?;
            renew(self)?;
        }
        Ok(())
    }
}

/// The pass of which this process has told the others last.
#[derive(Default)]
pub(super) struct Told(Mutex<String>);

impl Told {
    /// Tells them of a pass where it was not done yet. Who comes meanwhile waits for it.
    fn once(&self, pass: &str, tell: impl FnOnce() -> StoreResult<()>) -> StoreResult<()> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != pass {
            tell()?;
            pass.clone_into(&mut last);
        }
        Ok(())
    }
}

/// From when this has ended, no process writes before it has read which schema is in force.
fn tell(shared: &Shared) -> StoreResult<()> {
    fence::lift(&shared.connection, None)?;
    fence::exclude_mute(&shared.connection)?;
    fence::renew(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::PHAROS;

    #[test]
    fn a_document_tells_how_the_store_stands() {
        let rewriting = Some(Rewriting { from: 4, pass: "00c0ffee".into() });
        for stand in [Stand::of(4), Stand::of(5), Stand { schema: 6, rewriting }] {
            assert_eq!(stand_of(&fields(&stand)).unwrap(), stand);
        }
        assert_eq!(stand_of(&doc! { "schema": 2_i64 }).unwrap(), Stand::of(4), "as it was called before");
        for damaged in [doc! {}, doc! { "schema": -1_i64 }, doc! { "schema": 5_i64, "rewriting": { "from": 4_i64 } }] {
            assert!(stand_of(&damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn the_others_are_told_once_of_a_pass() {
        let (told, count) = (Told::default(), std::cell::Cell::new(0));
        let tell = || {
            count.set(count.get() + 1);
            if count.get() == 1 { Err(StoreError::Closed("not now".into())) } else { Ok(()) }
        };
        assert!(told.once("00c0ffee", tell).is_err());
        for (pass, expected) in [("00c0ffee", 2), ("00c0ffee", 2), ("00decade", 3)] {
            told.once(pass, tell).unwrap();
            assert_eq!(count.get(), expected, "{pass}");
        }
    }

    #[test]
    fn a_schema_that_can_not_be_written_is_refused() {
        for (schema, is_good) in [(3, false), (4, true), (5, true), (6, false)] {
            assert_eq!(check(&PHAROS, &Stand::of(schema)).is_ok(), is_good, "{schema}");
        }
    }
}
