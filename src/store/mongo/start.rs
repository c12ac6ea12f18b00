//! What a database must be for this store, and what is made in a new one.

use super::client::{Connection, Failed, Meaning};
use super::fence::Fence;
use super::keys::{KEYS, KeyDocuments};
use super::limits::LIMITS;
use super::parts::PARTS;
use super::place::collection;
use super::read::Reading;
use super::turns::TURNS;
use super::write::EPOCHS;
use super::{Options, schema};
use crate::clock::Micros;
use crate::store::keys::{KeyTable, Keyring, Masters, OwnersKeys};
use crate::store::rows::Table;
use crate::store::rows::layout::SYSTEM;
use crate::store::schema::{Schema, Stand};
use crate::store::seal::{self, Place, STORE, Sealer};
use crate::store::transfer::{Filling, not_whole, put_keys};
use crate::store::{Rid, StoreError, StoreResult};
use mongodb::bson::{Binary, Document, doc};
use std::sync::Arc;

/// The collection with the one document that says of what form the others are.
pub(super) const FORMAT: &str = "format";
/// The wire version of MongoDB 8.0: the first that writes to several collections in one command.
const WIRE_VERSION: i32 = 25;
/// The error of a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

const CHECK: Place = Place { purpose: seal::Purpose::Check, tenant: SYSTEM, rid: Rid(0), version: 0 };
const CHECK_TEXT: &[u8] = b"pharos";

/// What a database is opened for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'p> {
    /// To serve it, and to make a store where there is none.
    Serve,
    /// To read what is there.
    Read,
    /// To fill it: it gets these keys, and must not hold a whole store.
    Fill(&'p [OwnersKeys]),
}

/// Makes sure that the database can be used, makes what is missing, and unwraps the keys under which it is sealed.
pub(super) fn open(
    connection: &Arc<Connection>,
    options: &Options,
    process: &str,
    purpose: Purpose<'_>,
) -> StoreResult<(Keyring, Fence, Schema)> {
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
    let is_new = format.is_none();
    match &format {
        Some(format) => {
            schema::check(options.program, &schema::stand_of(format)?)?;
            // What older programs did not make.
            make_collections(connection, &[PARTS, TURNS, LIMITS])?;
        }
        None if matches!(purpose, Purpose::Read) => {
            return Err(StoreError::Closed("there is no store in the database".into()));
        }
        None => {
            let rows = [Table::Records, Table::History, Table::Index].map(collection);
            make_collections(connection, &[&rows[..], &[PARTS, EPOCHS, KEYS, TURNS, LIMITS]].concat())?;
        }
    }
    let fence = Fence::set_up(connection, process, options.program)?;
    let table = KeyDocuments::new(connection, &fence);
    let creates = is_new && (!matches!(purpose, Purpose::Fill(_)) || options.keys.previous.is_some());
    let masters = Masters::of(&options.keys, &options.key_file, creates)?;
    let is_whole = is_new || Filling::read(&Reading::new(Arc::clone(connection), 0))?.is_none();
    match purpose {
        Purpose::Fill(_) if is_whole && !is_new => {
            return Err(StoreError::Closed("there is a store in the database already".into()));
        }
        Purpose::Fill(keys) => put_keys(&table, keys)?,
        Purpose::Serve | Purpose::Read if !is_whole => return Err(not_whole("the database")),
        Purpose::Serve | Purpose::Read => {}
    }
    if matches!(purpose, Purpose::Fill(_)) && !table.load()?.owners.iter().any(|keys| keys.owner == STORE.0) {
        return Err(StoreError::Closed(
            "the data keys are missing: name a copy of the folder with the wrapped keys".into(),
        ));
    }
    let ring = Keyring::open(masters, Box::new(table))?;
    let format = match format {
        // As it is now that the mark of this process is there: who changes it afterwards changes the mark.
        Some(_) if ring.knows(STORE) => schema::read(connection)?.unwrap_or_default(),
        Some(_) => return Err(missing_keys("the store")),
        None => {
            ring.ensure(STORE)?;
            insert(connection, made(&ring.sealer(), options.program.writes)?)?
        }
    };
    let stand = schema::stand_of(&format)?;
    schema::check(options.program, &stand)?;
    if !is_bound(&format, &stand, &ring.sealer())? && !matches!(purpose, Purpose::Fill(_)) {
        schema::bind(connection, &ring.sealer(), (&format, &stand))?;
    }
    Ok((ring, fence, Schema::new(options.program, stand)))
}

/// The error of keys that ought to be there.
pub(super) fn missing_keys(whose: &str) -> StoreError {
    StoreError::Closed(format!(
        "the wrapped keys of {whose} are missing in the collection `{KEYS}`: restore them from a copy"
    ))
}

fn make_collections(connection: &Arc<Connection>, names: &[&'static str]) -> StoreResult<()> {
    let (making, names) = (Arc::clone(connection), names.to_vec());
    Ok(connection.wait(async move {
        for name in names {
            make_collection(&making, name).await?;
        }
        Ok(())
    })?)
}

/// Inserts the format, if no other process was first, and gives it as it is.
fn insert(connection: &Arc<Connection>, format: Document) -> StoreResult<Document> {
    let making = Arc::clone(connection);
    let found = connection.wait(async move {
        let formats = making.db().collection::<Document>(FORMAT);
        match formats.insert_one(format).await.map_err(Failed::from) {
            Err(failed) if failed.meaning != Meaning::Again => Err(failed),
            _ => Ok(formats.find_one(doc! { "_id": "store" }).await?),
        }
    })?;
    Ok(found.unwrap_or_default())
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

/// To what the sealed value is bound: the schema as the document has it, and how the store stands ([`Stand::line`]).
fn header(schema: i64, line: Option<&str>) -> Vec<u8> {
    let line = line.map(|line| format!("{line}\n")).unwrap_or_default();
    format!("pharos store schema {schema} in MongoDB\n{line}").into_bytes()
}

/// The document of a new store.
fn made(sealer: &Sealer, schema: u32) -> StoreResult<Document> {
    let (mut document, stand) = (doc! { "_id": "store" }, Stand::of(schema));
    document.extend(schema::fields(&stand));
    document.insert("check", sealed_check(sealer, &stand)?);
    Ok(document)
}

/// The value that tells whether the keys are those of a store, bound to how it stands.
pub(super) fn sealed_check(sealer: &Sealer, stand: &Stand) -> StoreResult<Binary> {
    let mut value = header(stand.schema.into(), stand.line().as_deref());
    let plain = value.len();
    sealer.seal(CHECK, Micros(0), CHECK_TEXT, &mut value)?;
    value.drain(..plain);
    Ok(super::transaction::binary(value))
}

fn sealed_of(format: &Document) -> &[u8] {
    format.get_binary_generic("check").map(Vec::as_slice).unwrap_or_default()
}

/// Whether the key is here under which the value of a document was sealed: one that was made later may not be unwrapped yet.
pub(super) fn knows_key_of(format: &Document, sealer: &Sealer) -> bool {
    sealer.knows(CHECK, sealed_of(format))
}

/// Whether a document is bound to how the store stands, by what it says; programs of before bound it to the schema alone.
///
/// # Errors
/// Where the keys are not this store's, or somebody without them has written the document.
pub(super) fn is_bound(format: &Document, stand: &Stand, sealer: &Sealer) -> StoreResult<bool> {
    let check = sealed_of(format);
    let schema = format.get_i64("schema").unwrap_or_default();
    let opens = |line: Option<&str>| {
        let opened = sealer.open(CHECK, &header(schema, line), check);
        opened.is_ok_and(|text| *text == *CHECK_TEXT)
    };
    match stand.line() {
        line if opens(line.as_deref()) => Ok(true),
        Some(_) if opens(None) => Ok(false),
        _ => Err(StoreError::Closed(format!(
            "either the keys in the collection `{KEYS}` are not those that the database was made with, or somebody has edited the document in \
             the collection `{FORMAT}`: restore the right ones"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::{BESIDE, Rewriting, WRITES};

    #[test]
    fn a_document_is_bound_to_all_that_it_says() {
        let [sealer, other] = [1, 2].map(|byte| Sealer::new(&[byte; 32]).unwrap());
        let rewriting = |from| Some(Rewriting { from, pass: "00c0ffee".into() });
        let stands = [None, rewriting(BESIDE), rewriting(WRITES)].map(|rewriting| Stand { schema: WRITES, rewriting });
        for sealed in &stands {
            for said in &stands {
                let mut document = schema::fields(said);
                document.insert("check", sealed_check(&sealer, sealed).unwrap());
                assert_eq!(is_bound(&document, said, &sealer).is_ok(), sealed == said, "{sealed:?} {said:?}");
                assert!(is_bound(&document, said, &other).is_err());
            }
            let mut document = schema::fields(sealed);
            document.insert("check", sealed_check(&sealer, &Stand::of(BESIDE)).unwrap());
            assert!(is_bound(&document, sealed, &sealer).is_err(), "of another schema");
        }
        let older = doc! { "schema": i64::from(BESIDE), "check": sealed_check(&sealer, &Stand::of(BESIDE)).unwrap() };
        assert!(is_bound(&older, &Stand::of(BESIDE), &sealer).unwrap(), "nothing can be under way to it");
    }
}
