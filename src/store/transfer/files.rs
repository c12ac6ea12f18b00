//! The files of a backup: what is moved, in pieces that are packed and sealed one by one.
//!
//! A piece is its length (4 bytes, big-endian), and sealed under the owner's newest data key the length of what is packed and the packed
//! bytes (zstd). It is bound to the backup, the file and its place in it. What is packed is a list of items: a letter, and behind it
//!
//! | letter | item |
//! |---|---|
//! | 1, 2 | a row of the records, of the history: key and value |
//! | 3, 4 | all rows of the table with this prefix follow, and there are no others |
//! | 5 | the numbers of the resources that there are, as distances |

use super::Source;
use super::changes::Sink;
use crate::store::keys::hex;
use crate::store::rows::{Table, erase, varint};
use crate::store::schema::Stand;
use crate::store::seal::STORE;
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

const ROW: u8 = 1;
const ALL_OF: u8 = 3;
const LIVING: u8 = 5;
/// Bytes of a piece before it is packed, about.
const PIECE: usize = 1 << 20;
/// No piece is longer.
const LONGEST: usize = 1 << 30;
/// zstd's level: most of the bytes are sealed, and can't be packed.
const LEVEL: i32 = 1;

/// Opens what was sealed for an owner under a name.
pub(super) type Open<'o> = &'o dyn Fn(TenantId, &str, &[u8]) -> StoreResult<Vec<u8>>;

/// A file as the manifest tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Whose key it is sealed under: a tenant's number, or `u32::MAX` for the key of the ledgers.
    pub owner: u32,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// The rows in it.
    pub rows: u64,
}

pub(super) fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

/// To what a piece is bound.
fn bound(backup: &str, file: &str, piece: u32) -> String {
    format!("backup {backup} {file} {piece}")
}

/// A file in the making. It is not kept open: there may be thousands.
struct Writer {
    path: PathBuf,
    name: String,
    owner: TenantId,
    plain: Vec<u8>,
    pieces: u32,
    hash: Context,
    bytes: u64,
    rows: u64,
}

impl Writer {
    fn new(folder: &Path, name: String, owner: TenantId) -> StoreResult<Self> {
        let path = folder.join(&name);
        File::create(&path).map_err(|error| io(&path, &error))?;
        let hash = Context::new(&SHA256);
        Ok(Self { path, name, owner, plain: Vec::new(), pieces: 0, hash, bytes: 0, rows: 0 })
    }

    fn item(&mut self, letter: u8, parts: &[&[u8]]) {
        self.plain.push(letter);
        for part in parts {
            varint::push_bytes(part, &mut self.plain);
        }
    }

    /// Writes what is gathered.
    fn write_piece(&mut self, source: &dyn Source, backup: &str) -> StoreResult<()> {
        let plain = std::mem::take(&mut self.plain);
        if plain.is_empty() {
            return Ok(());
        }
        let too_long = |_| StoreError::Io("a piece of a backup is too long".into());
        let mut packed = u32::try_from(plain.len()).map_err(too_long)?.to_be_bytes().to_vec();
        packed.extend(zstd::bulk::compress(&plain, LEVEL).map_err(|error| io(&self.path, &error))?);
        let sealed = source.seal(self.owner, &bound(backup, &self.name, self.pieces), &packed)?;
        let length = u32::try_from(sealed.len()).map_err(too_long)?.to_be_bytes();
        let piece = [&length[..], &sealed].concat();
        self.hash.update(&piece);
        self.bytes += piece.len() as u64;
        self.pieces += 1;
        let written = File::options().append(true).open(&self.path).and_then(|mut file| file.write_all(&piece));
        written.map_err(|error| io(&self.path, &error))
    }

    fn finish(mut self, source: &dyn Source, backup: &str) -> StoreResult<FileFacts> {
        self.write_piece(source, backup)?;
        let Self { path, name, owner, hash, bytes, rows, .. } = self;
        File::open(&path).and_then(|file| file.sync_all()).map_err(|error| io(&path, &error))?;
        Ok(FileFacts { name, owner: owner.0, bytes, sha256: hex(hash.finish().as_ref()), rows })
    }
}

/// Takes what is moved into files: one for each tenant, and one for all ledgers, which are under another key.
pub(super) struct Files<'f> {
    folder: &'f Path,
    source: &'f dyn Source,
    backup: &'f str,
    /// What the names of the files begin with.
    number: u32,
    /// Tenants whose keys were destroyed: nothing of them can be sealed.
    destroyed: BTreeSet<u32>,
    /// Whether no mark of erased versions may be plain.
    has_sealed_marks: bool,
    writers: BTreeMap<u32, Writer>,
    /// The tenant that is given: what is gathered of any other is written.
    tenant: Option<u32>,
}

impl<'f> Files<'f> {
    /// `oldest`: of a store that has the oldest rows that may come.
    pub(super) fn new(
        folder: &'f Path,
        source: &'f dyn Source,
        (number, backup): (u32, &'f str),
        (destroyed, oldest): (BTreeSet<u32>, Stand),
    ) -> Self {
        let (writers, has_sealed_marks) = (BTreeMap::new(), oldest.has_sealed_marks());
        Self { folder, source, backup, number, destroyed, has_sealed_marks, writers, tenant: None }
    }

    fn item(&mut self, owner: TenantId, letter: u8, parts: &[&[u8]]) -> StoreResult<()> {
        if self.destroyed.contains(&owner.0) {
            return Ok(());
        }
        if owner != STORE && self.tenant != Some(owner.0) {
            let before = self.tenant.replace(owner.0).and_then(|tenant| self.writers.get_mut(&tenant));
            before.map_or(Ok(()), |writer| writer.write_piece(self.source, self.backup))?;
        }
        let writer = match self.writers.entry(owner.0) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let whose = if owner == STORE { "ledgers".to_owned() } else { format!("tenant-{}", owner.0) };
                place.insert(Writer::new(self.folder, format!("{:06}-{whose}", self.number), owner)?)
            }
        };
        writer.item(letter, parts);
        writer.rows += u64::from(letter < ALL_OF);
        if writer.plain.len() >= PIECE { writer.write_piece(self.source, self.backup) } else { Ok(()) }
    }

    /// Ends the files, which are on disk then.
    pub(super) fn finish(self) -> StoreResult<Vec<FileFacts>> {
        let Self { source, backup, writers, .. } = self;
        writers.into_values().map(|writer| writer.finish(source, backup)).collect()
    }
}

const fn letter(table: Table) -> u8 {
    match table {
        Table::Records => 0,
        Table::History | Table::Index => 1,
    }
}

impl Sink for Files<'_> {
    fn row(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> StoreResult<()> {
        let owner = super::owner_of(&key);
        if self.has_sealed_marks
            && !self.destroyed.contains(&owner.0)
            && let Some(Rid(rid)) = erase::of_plain_mark(table, &key, &value)
        {
            return Err(StoreError::Damaged(format!(
                "the mark of erased versions of resource {rid} of tenant {} has no seal, and all have one",
                owner.0
            )));
        }
        self.item(owner, ROW + letter(table), &[&key, &value])
    }

    fn all_of(&mut self, table: Table, prefix: &[u8]) -> StoreResult<()> {
        self.item(super::owner_of(prefix), ALL_OF + letter(table), &[prefix])
    }

    fn living(&mut self, tenant: TenantId, rids: Vec<Rid>) -> StoreResult<()> {
        let (mut packed, mut last) = (Vec::with_capacity(2 * rids.len()), 0);
        for rid in rids {
            varint::push(rid.0 - last, &mut packed);
            last = rid.0;
        }
        self.item(tenant, LIVING, &[&tenant.0.to_be_bytes(), &packed])
    }
}

/// Makes sure that a file is as the manifest tells: neither cut off nor altered nor another one.
pub(super) fn check(folder: &Path, facts: &FileFacts) -> StoreResult<()> {
    let path = folder.join(&facts.name);
    let wrong = |what: &str| StoreError::Damaged(format!("{} {what}", path.display()));
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(wrong("is missing")),
        opened => opened.map_err(|error| io(&path, &error))?,
    };
    let (mut hash, mut bytes, mut buffer) = (Context::new(&SHA256), 0, vec![0; PIECE]);
    loop {
        let count = file.read(&mut buffer).map_err(|error| io(&path, &error))?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        bytes += count as u64;
    }
    if bytes != facts.bytes {
        return Err(wrong(&format!("has {bytes} bytes, and had {} when it was written", facts.bytes)));
    }
    if hex(hash.finish().as_ref()) == facts.sha256 { Ok(()) } else { Err(wrong("is not as it was written")) }
}

/// Gives what is in a file.
pub(super) fn read(
    folder: &Path,
    backup: &str,
    facts: &FileFacts,
    open: Open<'_>,
    sink: &mut dyn Sink,
) -> StoreResult<()> {
    let path = folder.join(&facts.name);
    let mut file = BufReader::new(File::open(&path).map_err(|error| io(&path, &error))?);
    let damaged = || StoreError::Damaged(format!("{} can't be read", path.display()));
    let mut left = facts.bytes;
    for piece in 0.. {
        let mut length = [0; 4];
        if left == 0 {
            return Ok(());
        }
        file.read_exact(&mut length).map_err(|error| io(&path, &error))?;
        let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= LONGEST);
        let mut sealed = vec![0; length.ok_or_else(damaged)?];
        file.read_exact(&mut sealed).map_err(|error| io(&path, &error))?;
        left = left.saturating_sub(4 + sealed.len() as u64);
        let opened = open(TenantId(facts.owner), &bound(backup, &facts.name, piece), &sealed);
        let packed =
            opened.map_err(|error| StoreError::Damaged(format!("{} does not open: {error}", path.display())))?;
        let (length, packed) = packed.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        let plain = zstd::bulk::decompress(packed, length).map_err(|_| damaged())?;
        items(&plain, sink, &damaged)?;
    }
    Ok(())
}

/// Gives the items of a piece.
fn items(mut plain: &[u8], sink: &mut dyn Sink, damaged: &dyn Fn() -> StoreError) -> StoreResult<()> {
    let table = |letter: u8| if letter % 2 == 1 { Table::Records } else { Table::History };
    while let Some((letter, rest)) = plain.split_first() {
        plain = rest;
        let mut part = || varint::take_bytes(&mut plain).ok_or_else(damaged);
        match letter {
            1 | 2 => {
                let (key, value) = (part()?.to_vec(), part()?.to_vec());
                sink.row(table(*letter), key, value)?;
            }
            3 | 4 => sink.all_of(table(*letter), part()?)?,
            &LIVING => {
                let (tenant, mut packed) = (part()?.try_into().map_err(|_| damaged())?, part()?);
                let (mut rids, mut last) = (Vec::new(), 0_u64);
                while !packed.is_empty() {
                    last = varint::take(&mut packed).and_then(|next| last.checked_add(next)).ok_or_else(damaged)?;
                    rids.push(Rid(last));
                }
                sink.living(TenantId(u32::from_be_bytes(tenant)), rids)?;
            }
            _ => return Err(damaged()),
        }
    }
    Ok(())
}
