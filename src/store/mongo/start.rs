//! What a database must be for this store, and what is made in a new one.

use super::client::{Connection, Failed};
use super::place::collection;
use super::write::EPOCHS;
use super::{Options, SCHEMA};
use crate::clock::Micros;
use crate::config::Keys;
use crate::store::keys::Masters;
use crate::store::rows::Table;
use crate::store::rows::layout::SYSTEM;
use crate::store::seal::{DataKey, Place, Purpose, Sealer};
use crate::store::{Rid, StoreError, StoreResult};
use mongodb::bson::{Document, doc};
use std::sync::Arc;

/// The collection with the one document that says of what form the others are.
const FORMAT: &str = "format";
/// The wire version of MongoDB 8.0: the first that writes to several collections in one command.
const WIRE_VERSION: i32 = 25;
/// The error of a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

const CHECK: Place = Place { purpose: Purpose::Check, tenant: SYSTEM, rid: Rid(0), version: 0 };
const CHECK_TEXT: &[u8] = b"pharos";

/// Makes sure that the database can be used, makes what is missing, and gives the sealer that opens what it holds.
pub(super) fn open(connection: &Arc<Connection>, options: &Options) -> StoreResult<(Sealer, DataKey)> {
    let asked = Arc::clone(connection);
    let found = connection.wait(async move {
        let hello = asked.db().run_command(doc! { "hello": 1 }).await?;
        let format = asked.db().collection::<Document>(FORMAT).find_one(doc! { "_id": "store" }).await?;
        Ok((hello, format))
    });
    let (hello, format) = found?;
    let can_do_transactions = hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|is| is == "isdbgrid");
    if !can_do_transactions || hello.get_i32("maxWireVersion").unwrap_or_default() < WIRE_VERSION {
        return Err(StoreError::Closed(
            "the store needs MongoDB 8.0 or newer, as a replica set or a sharded cluster: a single server has no transactions"
                .into(),
        ));
    }
    if let Some(format) = format {
        return checked(&format, options);
    }
    let (sealer, _) = key(options, true)?;
    let document = made(&sealer)?;
    let making = Arc::clone(connection);
    let format = connection.wait(async move {
        for name in [Table::Records, Table::History, Table::Index].map(collection).into_iter().chain([EPOCHS]) {
            make_collection(&making, name).await?;
        }
        let formats = making.db().collection::<Document>(FORMAT);
        match formats.insert_one(document).await.map_err(Failed::from) {
            Err(failed) if failed.meaning != super::client::Meaning::Again => return Err(failed),
            // Another process was first; or this one was.
            _ => {}
        }
        Ok(formats.find_one(doc! { "_id": "store" }).await?)
    })?;
    checked(&format.unwrap_or_default(), options)
}

async fn make_collection(connection: &Connection, name: &str) -> Result<(), Failed> {
    match connection.db().create_collection(name).await {
        Err(error) if !is_there(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_there(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS)
}

/// The key in the key file, which seals for all tenants: none has one of its own here.
fn key(options: &Options, create: bool) -> StoreResult<(Sealer, DataKey)> {
    let masters = Masters::of(&Keys::default(), &options.key_file, create)?;
    let secret = masters.secret().ok_or_else(|| StoreError::Closed("there is no master key".into()))?;
    Ok((Sealer::new(secret)?, DataKey::new(secret)?))
}

fn header(schema: i64) -> Vec<u8> {
    format!("pharos store schema {schema} in MongoDB\n").into_bytes()
}

/// The document of a new store.
fn made(sealer: &Sealer) -> StoreResult<Document> {
    let mut value = header(SCHEMA);
    let plain = value.len();
    sealer.seal(CHECK, Micros(0), CHECK_TEXT, &mut value)?;
    value.drain(..plain);
    Ok(doc! { "_id": "store", "schema": SCHEMA, "check": super::transaction::binary(value) })
}

/// Refuses another schema, and a key file that is not this store's.
fn checked(format: &Document, options: &Options) -> StoreResult<(Sealer, DataKey)> {
    let schema = format.get_i64("schema").unwrap_or_default();
    if schema != SCHEMA {
        return Err(StoreError::Closed(format!(
            "the database was written by another version of Pharos (schema {schema}; this one reads schema {SCHEMA}): use that \
             version"
        )));
    }
    let (sealer, data_key) = key(options, false)?;
    let check = format.get_binary_generic("check").map(Vec::as_slice).unwrap_or_default();
    match sealer.open(CHECK, &header(schema), check) {
        Ok(text) if *text == *CHECK_TEXT => Ok((sealer, data_key)),
        _ => Err(StoreError::Closed(
            "the key file is not the one the database was made with: restore the right one".into(),
        )),
    }
}
