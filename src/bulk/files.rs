//! The files of an export or import: NDJSON in chunks, each compressed and sealed under the tenant's key, so that a part of a file can be read
//! without the rest.
//!
//! A chunk is two lengths of four bytes (sealed, plain) and the sealed bytes, which are bound to the job, the file's name,
//! the chunk's place in it and its length: no chunk can stand for another. Beside each file stands a list of the patients whose data it holds
//! (`.who`), for the ledger. What was written after the length that the job's record knows is of a part that was not committed: it is
//! written again.

use super::shelf::{Append, Length, Shelf, Source};
use crate::auth::grant::Grant;
use crate::error::{Error, Result};
use crate::store::Store;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;

/// Plain bytes of a chunk, about.
const CHUNK: usize = 1 << 20;
/// The two lengths before the sealed bytes.
const HEAD: usize = 8;
/// The quickest level of zstd's ordinary range.
const LEVEL: i32 = 1;

/// What a file is told as in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `output`
    Output,
    /// `deleted`
    Deleted,
    /// `error`
    Error,
    /// What is to be imported: in no manifest.
    Input,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the job's folder, and at the end of its URL.
    pub name: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// The type of the resources in it.
    pub type_name: Box<str>,
    /// How many resources it holds.
    pub count: u64,
    /// Its length.
    pub bytes: u64,
    /// The name of the file in which its last block goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues_in: Option<Box<str>>,
    /// The length on disk.
    sealed: u64,
    /// The length of the list of patients.
    who: u64,
}

impl File {
    /// The n-th file of a job, which is still empty.
    #[must_use]
    pub fn new(nth: usize, kind: Kind, type_name: &str) -> Self {
        let what = match kind {
            Kind::Output => type_name,
            Kind::Deleted => "deleted",
            Kind::Error => "errors",
            Kind::Input => "input",
        };
        let name = format!("{nth}.{what}.ndjson").into();
        Self { name, kind, type_name: type_name.into(), count: 0, bytes: 0, continues_in: None, sealed: 0, who: 0 }
    }
}

/// Where the files of a job are.
#[derive(Clone)]
pub struct Place {
    /// What seals them.
    pub store: Store,
    /// The tenant's grant.
    pub grant: Grant,
    /// The job.
    pub job: Box<str>,
    /// What they are on.
    pub shelf: Arc<dyn Shelf>,
    /// The job's folder there.
    pub folder: Box<str>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Place {
    /// What a chunk is bound to.
    fn bound(&self, name: &str, at: u64, plain_len: usize) -> String {
        format!("{}/{name}/{at}/{plain_len}", self.job)
    }

    fn seal(&self, name: &str, at: u64, plain: &[u8]) -> Result<Vec<u8>> {
        let packed = zstd::bulk::compress(plain, LEVEL).map_err(Error::internal)?;
        let sealed = self.store.seal_file(&self.grant, &self.bound(name, at, plain.len()), &packed)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(Error::internal);
        Ok([&length(&sealed)?.to_be_bytes()[..], &length(plain)?.to_be_bytes(), &sealed].concat())
    }

    fn open(&self, name: &str, at: u64, sealed: &[u8], plain_len: usize) -> Result<Vec<u8>> {
        let packed = self.store.open_file(&self.grant, &self.bound(name, at, plain_len), sealed)?;
        let plain = zstd::bulk::decompress(&packed, plain_len).map_err(Error::internal)?;
        if plain.len() == plain_len { Ok(plain) } else { Err(damaged()) }
    }

    /// Refuses to write where less space is left than this, in bytes: the store may live on the same disk, and has to go on.
    ///
    /// # Errors
    /// [`Category::Unavailable`](crate::error::Category::Unavailable).
    pub fn check_room(&self, floor: u64) -> Result<()> {
        match self.shelf.room(&self.folder).map_err(|error| unwritten(self, &error))? {
            free if free.is_none_or(|free| free >= floor) => Ok(()),
            _ => Err(unwritten(self, &io::Error::other("less space is left than bulk.free_floor_mib"))),
        }
    }

    /// The ids of the patients whose data a file holds, each once.
    ///
    /// # Errors
    /// When the list can't be read.
    pub fn patients(&self, file: &File) -> Result<Vec<Box<str>>> {
        let name = who(&file.name);
        let mut chunks = Chunks::new(self, &name, file.who, 0..u64::MAX)?;
        chunks.is_by_disk = true;
        let mut found: BTreeSet<Box<str>> = BTreeSet::new();
        for chunk in chunks {
            let chunk = chunk?;
            found.extend(String::from_utf8_lossy(&chunk).lines().map(Box::from));
        }
        Ok(found.into_iter().collect())
    }

    /// Removes a file that is not needed any more.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(&self, file: &File) -> Result<()> {
        self.shelf.remove(&self.folder, &file.name).map_err(|error| unwritten(self, &error))
    }

    /// Some of a file's bytes, chunk by chunk.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn read(&self, file: &File, range: Range<u64>) -> Result<Chunks> {
        Chunks::new(self, &file.name, file.sealed, range)
    }
}

fn who(name: &str) -> String {
    format!("{name}.who")
}

fn damaged() -> Error {
    Error::internal("a file of an export is damaged")
}

/// A file that something is appended to.
pub struct Writing<'w> {
    place: &'w Place,
    file: File,
    handle: Box<dyn Append>,
    chunk: Vec<u8>,
    patients: FxHashSet<Box<str>>,
}

impl<'w> Writing<'w> {
    /// Goes on behind what is known of the file.
    ///
    /// # Errors
    /// [`Category::Unavailable`](crate::error::Category::Unavailable) where the disk does not take it.
    pub fn open(place: &'w Place, file: File) -> Result<Self> {
        let behind = Length { sealed: file.sealed, plain: file.bytes };
        let handle = place.shelf.append(&place.folder, &file.name, behind).map_err(|error| unwritten(place, &error))?;
        Ok(Self { place, file, handle, chunk: Vec::with_capacity(CHUNK + CHUNK / 8), patients: FxHashSet::default() })
    }

    /// The length that the file has with what was added.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.file.bytes + self.chunk.len() as u64
    }

    /// How many resources it holds with those that were added.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.file.count
    }

    /// Adds a resource, and whose data it is.
    ///
    /// # Errors
    /// As [`Writing::open`].
    pub fn add(&mut self, line: &[u8], patients: &[Box<str>]) -> Result<()> {
        self.chunk.extend_from_slice(line);
        self.chunk.push(b'\n');
        self.file.count += 1;
        for patient in patients {
            if !self.patients.contains(patient) {
                self.patients.insert(patient.clone());
            }
        }
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Adds bytes as they are.
    ///
    /// # Errors
    /// As [`Writing::open`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(CHUNK).try_for_each(|some| {
            self.chunk.extend_from_slice(some);
            if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
        })
    }

    fn flush(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let sealed = self.place.seal(&self.file.name, self.file.bytes, &self.chunk)?;
        self.handle.add(&sealed, self.chunk.len() as u64).map_err(|error| unwritten(self.place, &error))?;
        self.file.sealed += sealed.len() as u64;
        self.file.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    /// Writes all of it to the disk.
    ///
    /// # Errors
    /// As [`Writing::open`].
    pub fn finish(mut self) -> Result<File> {
        self.flush()?;
        if !self.patients.is_empty() {
            let name = who(&self.file.name);
            let mut names: Vec<_> = self.patients.iter().map(|patient| &**patient).collect();
            names.sort_unstable();
            let sealed = self.place.seal(&name, self.file.who, names.join("\n").as_bytes())?;
            let append = || {
                let behind = Length { sealed: self.file.who, plain: 0 };
                let mut list = self.place.shelf.append(&self.place.folder, &name, behind)?;
                list.add(&sealed, 0)?;
                list.sync()
            };
            append().map_err(|error| unwritten(self.place, &error))?;
            self.file.who += sealed.len() as u64;
        }
        self.handle.sync().map_err(|error| unwritten(self.place, &error))?;
        Ok(self.file)
    }
}

fn unwritten(place: &Place, error: &io::Error) -> Error {
    let text = "The files of the job can't be written at the moment: it goes on when there is room for them.";
    Error::unavailable(text, format!("{}/{}: {error}", place.shelf.name(), place.folder))
}

fn unread(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotConnected | ErrorKind::PermissionDenied => {
            Error::unavailable("The files of the job can't be read at the moment.", error)
        }
        _ => Error::internal(format!("a file of an export: {error}")),
    }
}

/// Reads a part of a file, chunk by chunk.
pub struct Chunks {
    place: Place,
    name: Box<str>,
    handle: Option<Box<dyn Source>>,
    /// How much of the file is left on disk.
    left: u64,
    /// Where the next chunk begins: in the file.
    at: u64,
    /// Where it begins on disk.
    at_on_disk: u64,
    wanted: Range<u64>,
    /// Whether chunks are bound to where they begin on disk.
    is_by_disk: bool,
}

impl Chunks {
    fn new(place: &Place, name: &str, sealed: u64, wanted: Range<u64>) -> Result<Self> {
        let (begin, handle) = match place.shelf.read(&place.folder, name, sealed, wanted.start) {
            Ok((begin, handle)) => (begin, Some(handle)),
            Err(error) if error.kind() == ErrorKind::NotFound && sealed == 0 => (Length::default(), None),
            Err(error) => return Err(unread(&error)),
        };
        let (place, name) = (place.clone(), name.into());
        let left = sealed.saturating_sub(begin.sealed);
        Ok(Self { place, name, handle, left, at: begin.plain, at_on_disk: begin.sealed, wanted, is_by_disk: false })
    }

    /// The next chunk, or nothing of one that is not wanted.
    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(handle) = self.handle.as_mut() else { return Ok(None) };
        let failed = |error: io::Error| unread(&error);
        let mut head = [0; HEAD];
        handle.read_exact(&mut head).map_err(failed)?;
        let [a, b, c, d, plain @ ..] = head;
        let (sealed_len, plain_len) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(plain));
        let on_disk = HEAD as u64 + u64::from(sealed_len);
        let (at, bound) = (self.at, if self.is_by_disk { self.at_on_disk } else { self.at });
        self.left = self.left.checked_sub(on_disk).ok_or_else(damaged)?;
        self.at += u64::from(plain_len);
        self.at_on_disk += on_disk;
        let (from, to) = (self.wanted.start.max(at), self.wanted.end.min(self.at));
        if from >= to {
            handle.skip(u64::from(sealed_len)).map_err(failed)?;
            return Ok(None);
        }
        let mut sealed = vec![0; sealed_len as usize];
        handle.read_exact(&mut sealed).map_err(failed)?;
        let mut plain = self.place.open(&self.name, bound, &sealed, plain_len as usize)?;
        let cut = |at_in_file: u64| usize::try_from(at_in_file - at).unwrap_or(usize::MAX);
        plain.truncate(cut(to));
        plain.drain(..cut(from).min(plain.len()));
        Ok(Some(plain))
    }
}

impl Iterator for Chunks {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 && self.at < self.wanted.end {
            match self.next_chunk() {
                Ok(Some(plain)) => return Some(Ok(plain)),
                Ok(None) => {}
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
