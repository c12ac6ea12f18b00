//! Asking the process that has a store open. An embedded store is open to one process alone; that one answers others on a socket in the
//! store's folder, which only the owner of the folder's files may enter. It answers what a [`Source`] is asked: rows of one moment, and to
//! seal; no key goes over it but wrapped.
//!
//! A message is its length (4 bytes, big-endian) and as many bytes: of a question the letter and what it is about, of an answer 0 and
//! what was asked for, or 1 and why not.

use super::Source;
use crate::clock::Micros;
use crate::store::keys::OwnersKeys;
use crate::store::ledger::Entry;
use crate::store::rows::stretch::{Most, Stretch};
use crate::store::rows::{Row, Rows, Table, varint};
use crate::store::schema::BESIDE;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SNAPSHOT: u8 = b'n';
const GET: u8 = b'g';
const RANGE: u8 = b'R';
const RANGE_BACK: u8 = b'B';
const OLDEST: u8 = b'f';
const KEYS: u8 = b'k';
const SEAL: u8 = b's';
const UNSEAL: u8 = b'o';
const RECORD: u8 = b'a';

/// The pause after a visitor could not be let in.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// A range is answered in parts of about so many bytes.
const PART: usize = 8 << 20;
/// Rows of a range that are read at once for it.
const READ_TOGETHER: usize = 32;
/// No message is longer.
const LONGEST: u32 = 1 << 30;

fn path(folder: &Path) -> PathBuf {
    folder.join("socket").join("rows")
}

/// The socket of an open store.
pub(in crate::store) struct Desk {
    listener: UnixListener,
    path: PathBuf,
    is_ending: AtomicBool,
    /// Those who are being answered.
    visitors: Mutex<BTreeMap<u64, UnixStream>>,
}

impl Desk {
    /// Opens it in the store's folder.
    pub(in crate::store) fn open(folder: &Path) -> std::io::Result<Self> {
        let path = path(folder);
        if let Some(around) = path.parent()
            && let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(around)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        // One of a process that was killed.
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        Ok(Self { listener, path, is_ending: AtomicBool::new(false), visitors: Mutex::default() })
    }

    fn visitors(&self) -> MutexGuard<'_, BTreeMap<u64, UnixStream>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers until it ends.
    pub(in crate::store) fn run(&self, source: &dyn Source) {
        std::thread::scope(|scope| {
            for (number, stream) in (0..).zip(self.listener.incoming()) {
                let mut visitors = self.visitors();
                if self.is_ending.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else {
                    // It may be out of file handles for a while.
                    drop(visitors);
                    std::thread::sleep(AFTER_FAILURE);
                    continue;
                };
                let Ok(other) = stream.try_clone() else { continue };
                visitors.insert(number, other);
                drop(visitors);
                scope.spawn(move || {
                    if let Err(error) = answer_all(&stream, source) {
                        tracing::warn!(%error, "a process that reads the store was not answered to the end");
                    }
                    self.visitors().remove(&number);
                });
            }
        });
    }

    /// Ends it, and what is under way.
    pub(in crate::store) fn end(&self) {
        // Once only: by now the path may be another one's.
        if self.is_ending.swap(true, Ordering::SeqCst) {
            return;
        }
        // Who waits for the next visitor is told that none comes, be the folder there still or not.
        if let Ok(listener) = self.listener.try_clone() {
            drop(UnixStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both));
        }
        for visitor in self.visitors().values() {
            // It may have gone already.
            drop(visitor.shutdown(Shutdown::Both));
        }
        drop(std::fs::remove_file(&self.path));
    }
}

/// Answers one visitor until it goes.
fn answer_all(mut stream: &UnixStream, source: &dyn Source) -> std::io::Result<()> {
    let mut snapshot: Option<Box<dyn Rows + '_>> = None;
    while let Some(question) = read_message(&mut stream)? {
        let answered = match question.split_first() {
            Some((&SNAPSHOT, _)) => source.settle().and_then(|()| source.snapshot()).map(|new| {
                snapshot = Some(new);
                Vec::new()
            }),
            Some((letter, about)) => answer(source, snapshot.as_deref(), *letter, about),
            None => Err(strange()),
        };
        let message = match answered {
            Ok(bytes) => [&[0], &bytes[..]].concat(),
            Err(error) => [&[1], error.to_string().as_bytes()].concat(),
        };
        write_message(&mut stream, &message)?;
    }
    Ok(())
}

fn strange() -> StoreError {
    StoreError::Closed("the process that has the store open is of another version".into())
}

fn answer(source: &dyn Source, rows: Option<&dyn Rows>, letter: u8, mut about: &[u8]) -> StoreResult<Vec<u8>> {
    let about = &mut about;
    let mut out = Vec::new();
    match letter {
        GET => {
            let (table, key) = (take_table(about)?, take(about)?);
            if let Some(value) = rows.ok_or_else(strange)?.get(table, key)? {
                varint::push_bytes(&value, &mut out);
            }
        }
        RANGE | RANGE_BACK => {
            let (table, from, to) = (take_table(about)?, take(about)?.to_vec(), take(about)?.to_vec());
            let most = usize::try_from(varint::take(about).ok_or_else(strange)?).unwrap_or(usize::MAX);
            out = Part { is_back: letter == RANGE_BACK, table, from, to }.rows(rows.ok_or_else(strange)?, most)?;
        }
        OLDEST => out.extend_from_slice(&source.oldest_rows()?.to_be_bytes()),
        KEYS => out = serde_json::to_vec(&source.wrapped_keys()?).map_err(|error| StoreError::Io(error.to_string()))?,
        SEAL | UNSEAL => {
            let (tenant, name, bytes) = (take_tenant(about)?, take(about)?, take(about)?);
            let name = std::str::from_utf8(name).map_err(|_| strange())?;
            let seal =
                if letter == SEAL { source.seal(tenant, name, bytes) } else { source.unseal(tenant, name, bytes) };
            out = seal?;
        }
        RECORD => {
            let tenant = take_tenant(about)?;
            let (time, bytes) = about.split_first_chunk::<8>().ok_or_else(strange)?;
            source.record(tenant, Entry { time: Micros(i64::from_be_bytes(*time)), bytes: bytes.into() })?;
        }
        _ => return Err(strange()),
    }
    Ok(out)
}

/// A range of which a part is answered.
struct Part {
    is_back: bool,
    table: Table,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Part {
    /// Rows up to about [`PART`] bytes; before them stands 1 where there are more of those asked for.
    fn rows(mut self, rows: &dyn Rows, most: usize) -> StoreResult<Vec<u8>> {
        let (mut out, mut left) = (vec![0], most);
        while left > 0 {
            let count = left.min(READ_TOGETHER);
            let found = if self.is_back {
                let rows = rows.range_back(self.table, &self.from, &self.to, count)?;
                Stretch { has_more: rows.len() == count, rows }
            } else {
                rows.stretch(self.table, &self.from, &self.to, Most { rows: count, bytes: PART })?
            };
            for (key, value) in &found.rows {
                varint::push_bytes(key, &mut out);
                varint::push_bytes(value, &mut out);
            }
            left -= found.rows.len();
            match found.rows.last() {
                Some((key, _)) if found.has_more => self.go_on(key),
                _ => break,
            }
            if left > 0 && out.len() >= PART {
                out.splice(..1, [1]);
                break;
            }
        }
        Ok(out)
    }

    /// What comes behind a row.
    fn go_on(&mut self, last: &[u8]) {
        if self.is_back {
            self.to = last.to_vec();
        } else {
            self.from = [last, &[0]].concat();
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8]) -> StoreResult<&'b [u8]> {
    varint::take_bytes(bytes).ok_or_else(strange)
}

fn take_tenant(bytes: &mut &[u8]) -> StoreResult<TenantId> {
    let number = varint::take(bytes).and_then(|number| u32::try_from(number).ok());
    number.map(TenantId).ok_or_else(strange)
}

const ALL_TABLES: [Table; 3] = [Table::Records, Table::History, Table::Index];

fn take_table(bytes: &mut &[u8]) -> StoreResult<Table> {
    let place = varint::take(bytes).and_then(|place| usize::try_from(place).ok());
    place.and_then(|place| ALL_TABLES.get(place)).copied().ok_or_else(strange)
}

fn push_table(table: Table, out: &mut Vec<u8>) {
    let place = ALL_TABLES.iter().position(|other| *other == table).unwrap_or_default();
    varint::push(place as u64, out);
}

fn read_message(stream: &mut &UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(std::io::Error::other("a message is too long"));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn write_message(stream: &mut &UnixStream, message: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| std::io::Error::other("a message is too long"))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(message)
}

/// A store that another process has open.
pub(super) struct Remote(Mutex<UnixStream>);

impl Remote {
    /// Connects to the process that has the store open; `None` where none answers.
    pub(super) fn connect(folder: &Path) -> Option<Self> {
        UnixStream::connect(path(folder)).ok().map(|stream| Self(Mutex::new(stream)))
    }

    fn ask(&self, letter: u8, about: &[u8]) -> StoreResult<Vec<u8>> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |error: std::io::Error| {
            StoreError::Unreachable(format!("the process that has the store open does not answer any more: {error}"))
        };
        write_message(&mut &*stream, &[&[letter], about].concat()).map_err(gone)?;
        let answer = read_message(&mut &*stream).map_err(gone)?;
        let answer = answer.ok_or_else(|| gone(std::io::ErrorKind::UnexpectedEof.into()))?;
        match answer.split_first() {
            Some((0, bytes)) => Ok(bytes.to_vec()),
            Some((_, text)) => Err(StoreError::Closed(String::from_utf8_lossy(text).into_owned())),
            None => Err(strange()),
        }
    }

    fn sealing(&self, letter: u8, tenant: TenantId, name: &str, bytes: &[u8]) -> StoreResult<Vec<u8>> {
        let mut about = Vec::with_capacity(bytes.len() + name.len() + 16);
        varint::push(u64::from(tenant.0), &mut about);
        varint::push_bytes(name.as_bytes(), &mut about);
        varint::push_bytes(bytes, &mut about);
        self.ask(letter, &about)
    }
}

impl Source for Remote {
    /// The other process does it before each snapshot.
    fn settle(&self) -> StoreResult<()> {
        Ok(())
    }

    fn snapshot(&self) -> StoreResult<Box<dyn Rows + '_>> {
        self.ask(SNAPSHOT, &[])?;
        Ok(Box::new(RemoteRows(self)))
    }

    /// A process of an earlier release does not know the question: its rows may be as old as any that this program reads.
    fn oldest_rows(&self) -> StoreResult<u32> {
        match self.ask(OLDEST, &[]) {
            Err(StoreError::Closed(text)) if text == strange().to_string() => Ok(BESIDE),
            answer => answer?.try_into().map(u32::from_be_bytes).map_err(|_| strange()),
        }
    }

    fn wrapped_keys(&self) -> StoreResult<Vec<OwnersKeys>> {
        serde_json::from_slice(&self.ask(KEYS, &[])?).map_err(|_| strange())
    }

    fn seal(&self, tenant: TenantId, name: &str, plain: &[u8]) -> StoreResult<Vec<u8>> {
        self.sealing(SEAL, tenant, name, plain)
    }

    fn unseal(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.sealing(UNSEAL, tenant, name, sealed)
    }

    fn record(&self, tenant: TenantId, entry: Entry) -> StoreResult<()> {
        let mut about = Vec::new();
        varint::push(u64::from(tenant.0), &mut about);
        about.extend_from_slice(&entry.time.0.to_be_bytes());
        about.extend_from_slice(&entry.bytes);
        self.ask(RECORD, &about).map(drop)
    }
}

/// The rows of the last snapshot that was asked for.
struct RemoteRows<'r>(&'r Remote);

impl RemoteRows<'_> {
    fn rows(&self, mut part: Part, Most { rows: most, bytes }: Most) -> StoreResult<Stretch> {
        let (mut rows, mut taken): (Vec<Row>, usize) = (Vec::new(), 0);
        loop {
            let mut about = Vec::with_capacity(part.from.len() + part.to.len() + 16);
            push_table(part.table, &mut about);
            varint::push_bytes(&part.from, &mut about);
            varint::push_bytes(&part.to, &mut about);
            varint::push((most - rows.len()) as u64, &mut about);
            let answer = self.0.ask(if part.is_back { RANGE_BACK } else { RANGE }, &about)?;
            let (has_more, mut rest) = answer.split_first().ok_or_else(strange)?;
            taken = taken.saturating_add(rest.len());
            while !rest.is_empty() && rows.len() < most {
                rows.push((take(&mut rest)?.to_vec(), take(&mut rest)?.to_vec()));
            }
            match rows.last() {
                Some((key, _)) if *has_more == 1 && rows.len() < most && taken < bytes => part.go_on(key),
                _ => return Ok(Stretch { has_more: *has_more == 1 || rows.len() == most, rows }),
            }
        }
    }
}

impl Rows for RemoteRows<'_> {
    fn get(&self, table: Table, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        let mut about = Vec::with_capacity(key.len() + 8);
        push_table(table, &mut about);
        varint::push_bytes(key, &mut about);
        let answer = self.0.ask(GET, &about)?;
        if answer.is_empty() { Ok(None) } else { take(&mut &answer[..]).map(|value| Some(value.to_vec())) }
    }

    fn stretch(&self, table: Table, from: &[u8], to: &[u8], most: Most) -> StoreResult<Stretch> {
        self.rows(Part { is_back: false, table, from: from.to_vec(), to: to.to_vec() }, most)
    }

    fn range_back(&self, table: Table, from: &[u8], to: &[u8], most: usize) -> StoreResult<Vec<Row>> {
        let part = Part { is_back: true, table, from: from.to_vec(), to: to.to_vec() };
        Ok(self.rows(part, Most { rows: most, bytes: usize::MAX })?.rows)
    }
}
