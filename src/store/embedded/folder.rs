//! The files beside the database: the lock, the format, and the mark.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing; locked while a process has the store open |
//! | `format` | the schema in force, what is under way to it, and a sealed value that only the right key opens |
//! | `keys/` | the wrapped data keys: [`crate::store::keys`] |
//! | `mark` | the last synced group, the last checkpoint, and whether the store was stopped in order |
//! | `db/` | the database |

use super::io_error;
use crate::clock::Micros;
use crate::store::schema::{Program, Stand, TELLS_STAND};
use crate::store::seal::{Place, Purpose, Sealer};
use crate::store::{Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use aws_lc_rs::digest::{SHA256, digest};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the first line says before the number.
const FIRST_LINE: &str = "pharos store schema ";

const CHECK: Place = Place { purpose: Purpose::Check, tenant: TenantId(u32::MAX), rid: Rid(0), version: 0 };
const CHECK_TEXT: &[u8] = b"pharos";

/// The lock of a store's folder, held until it is dropped.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that was forked meanwhile, and has not yet become another program, holds it too.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the store's lock could not be given back");
        }
    }
}

/// Locks the folder for this process.
pub(super) fn lock(folder: &Path) -> StoreResult<Lock> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| io_error(&path, &error))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            StoreError::Closed(format!("another process has {} open; stop it first", folder.display()))
        }
        TryLockError::Error(error) => io_error(&path, &error),
    })?;
    Ok(Lock(file))
}

/// Where the wrapped keys are.
pub(super) fn keys(folder: &Path) -> PathBuf {
    folder.join("keys")
}

/// Where the database itself is.
pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join("db")
}

/// Whether a store was made here. An unfinished one is refused: it may be one that lost its `format` file.
pub(super) fn exists(folder: &Path) -> StoreResult<bool> {
    if folder.join("format").exists() {
        return Ok(true);
    }
    if database(folder).exists() {
        return Err(StoreError::Closed(format!(
            "{} holds a database without its format file: restore the file from a copy, or remove the folder if the store \
             was never used",
            folder.display()
        )));
    }
    Ok(false)
}

/// The lines of the format file.
fn lines(stand: &Stand) -> String {
    let first = format!("{FIRST_LINE}{}\n", stand.schema);
    stand.line().map_or_else(|| first.clone(), |line| format!("{first}{line}\n"))
}

/// Writes the format file: the last step of making a store, and of bringing a schema into force.
pub(super) fn write_format(folder: &Path, sealer: &Sealer, stand: &Stand) -> StoreResult<()> {
    let mut bytes = lines(stand).into_bytes();
    sealer.seal(CHECK, Micros(0), CHECK_TEXT, &mut bytes)?;
    let (path, new) = (folder.join("format"), folder.join("format.new"));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        super::sync_folder(folder)
    });
    written.map_err(|error| io_error(&path, &error))
}

/// The format file.
pub(super) struct Format {
    /// Which schema the store has.
    pub stand: Stand,
    lines: Vec<u8>,
    check: Vec<u8>,
}

impl Format {
    /// Reads it; refuses a schema that a program can't read.
    pub(super) fn read(folder: &Path, program: &Program) -> StoreResult<Self> {
        let path = folder.join("format");
        let bytes = std::fs::read(&path).map_err(|error| io_error(&path, &error))?;
        let unreadable = || StoreError::Closed(format!("{} is not the format file of a store", path.display()));
        let (first, rest) = line_of(&bytes).ok_or_else(unreadable)?;
        let schema = first.strip_prefix(FIRST_LINE).and_then(|text| text.parse::<u32>().ok()).ok_or_else(unreadable)?;
        let Program { opens, writes, .. } = program;
        if !(*opens..=*writes).contains(&schema) {
            let (age, advice) = if schema > *writes {
                ("a newer version", "use that version")
            } else {
                ("an earlier version, before the first release", "load its data anew from where it came")
            };
            return Err(StoreError::Closed(format!(
                "{} was written by {age} of Pharos (schema {schema}; this one reads schema {opens} to {writes}): \
                 {advice}",
                folder.display(),
            )));
        }
        let (stand, check) = if schema < TELLS_STAND {
            (Stand::of(schema), rest)
        } else {
            let (second, rest) = line_of(rest).ok_or_else(unreadable)?;
            (Stand::of_line(schema, second).ok_or_else(unreadable)?, rest)
        };
        let lines = bytes.get(..bytes.len() - check.len()).unwrap_or_default().to_vec();
        Ok(Self { stand, lines, check: check.to_vec() })
    }

    /// Whether these keys are those of the store.
    pub(super) fn opens_with(&self, sealer: &Sealer) -> bool {
        sealer.open(CHECK, &self.lines, &self.check).is_ok_and(|text| *text == *CHECK_TEXT)
    }
}

/// The first line, and what follows it.
fn line_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (line, rest) = bytes.split_at_checked(bytes.iter().position(|byte| *byte == b'\n')?)?;
    Some((std::str::from_utf8(line).ok()?, rest.get(1..)?))
}

/// What is said where the keys are not those of the store.
pub(super) fn other_key(folder: &Path) -> StoreError {
    let folder = folder.display();
    StoreError::Closed(format!(
        "the key file is not the one {folder} was made with, or somebody has edited the file `format` in it: restore the right one"
    ))
}

/// What is known to have been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Whether the store was stopped in order.
    pub is_clean: bool,
    /// The last group that was synced, and perhaps answered.
    pub synced: u64,
    /// Every keyspace is on disk, out of the journals, up to this group.
    pub checkpoint: u64,
}

impl Mark {
    /// The mark of a store in which nothing has happened.
    pub(super) const FIRST: Self = Self { is_clean: true, synced: 0, checkpoint: 0 };

    fn pack(self) -> Vec<u8> {
        let mut bytes = b"pharosmk".to_vec();
        bytes.extend_from_slice(&self.synced.to_be_bytes());
        bytes.extend_from_slice(&self.checkpoint.to_be_bytes());
        bytes.push(u8::from(self.is_clean));
        let sum = digest(&SHA256, &bytes);
        bytes.extend(sum.as_ref().iter().take(7));
        bytes
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"pharosmk")?;
        let (synced, rest) = rest.split_first_chunk::<8>()?;
        let (checkpoint, rest) = rest.split_first_chunk::<8>()?;
        let mark = Self {
            is_clean: *rest.first()? == 1,
            synced: u64::from_be_bytes(*synced),
            checkpoint: u64::from_be_bytes(*checkpoint),
        };
        (mark.pack() == bytes).then_some(mark)
    }
}

/// The file that keeps the [`Mark`]: 32 bytes, written in place in one call, so that a killed process leaves either the
/// old or the new ones. It is synced in the background, and always before what it allows is done.
pub(super) struct MarkFile {
    file: File,
    path: PathBuf,
    mark: Mark,
}

impl MarkFile {
    /// Makes the file.
    pub(super) fn create(folder: &Path) -> StoreResult<()> {
        let path = folder.join("mark");
        let made = File::create(&path).and_then(|mut file| {
            file.write_all(&Mark::FIRST.pack())?;
            file.sync_all()
        });
        made.map_err(|error| io_error(&path, &error))
    }

    pub(super) fn open(folder: &Path) -> StoreResult<Self> {
        let path = folder.join("mark");
        let bytes = std::fs::read(&path).map_err(|error| io_error(&path, &error))?;
        let mark = Mark::unpack(&bytes).ok_or_else(|| {
            StoreError::Closed(format!(
                "{} is damaged, so that nobody can tell what was synced: restore the store from a backup, or run \
                 `pharos check --rebuild` to go on with what is there",
                path.display()
            ))
        })?;
        let file = OpenOptions::new().write(true).open(&path).map_err(|error| io_error(&path, &error))?;
        Ok(Self { file, path, mark })
    }

    pub(super) const fn get(&self) -> Mark {
        self.mark
    }

    /// Changes the mark, without a sync.
    pub(super) fn set(&mut self, mark: Mark) -> StoreResult<()> {
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&mark.pack()));
        written.map_err(|error| io_error(&self.path, &error))?;
        self.mark = mark;
        Ok(())
    }

    /// A handle to sync with, so that nobody has to wait for it with the mark locked.
    pub(super) fn handle(&self) -> StoreResult<File> {
        self.file.try_clone().map_err(|error| io_error(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::{OPENS, PHAROS, Rewriting, WRITES};

    #[test]
    fn a_mark_comes_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        MarkFile::create(folder.path()).unwrap();
        let mut file = MarkFile::open(folder.path()).unwrap();
        assert_eq!(file.get(), Mark::FIRST);
        let mark = Mark { is_clean: false, synced: 300, checkpoint: 7 };
        file.set(mark).unwrap();
        assert_eq!(MarkFile::open(folder.path()).unwrap().get(), mark);
        let path = folder.path().join("mark");
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 32);
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(MarkFile::open(folder.path()), Err(StoreError::Closed(_))));
    }

    #[test]
    fn a_second_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(StoreError::Closed(_))));
        let forked = first.0.try_clone().unwrap();
        drop(first);
        assert!(lock(folder.path()).is_ok(), "a copy of the file does not keep it");
        drop(forked);
    }

    #[test]
    fn other_schemas_and_other_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let pass = |from| Some(Rewriting { from, pass: "00c0ffee".into() });
        for stand in [Stand::of(4), Stand::of(WRITES), Stand { schema: WRITES, rewriting: pass(4) }] {
            write_format(folder.path(), &sealer, &stand).unwrap();
            let format = Format::read(folder.path(), &PHAROS).unwrap();
            assert!(format.opens_with(&sealer) && !format.opens_with(&Sealer::new(&[2; 32]).unwrap()));
            assert_eq!(format.stand, stand);
        }
        let bytes = std::fs::read(folder.path().join("format")).unwrap();
        let altered = bytes.windows(1).position(|byte| byte == b"4").unwrap();
        let mut other = bytes.clone();
        other[altered] = b'3';
        std::fs::write(folder.path().join("format"), other).unwrap();
        assert!(!Format::read(folder.path(), &PHAROS).unwrap().opens_with(&sealer), "the lines are sealed, too");
        for (schema, said) in [(WRITES + 1, "newer version"), (OPENS - 1, "earlier version")] {
            let other = [format!("pharos store schema {schema}\n").as_bytes(), &bytes[22..]].concat();
            std::fs::write(folder.path().join("format"), other).unwrap();
            let refused = Format::read(folder.path(), &PHAROS).err().unwrap();
            assert!(refused.to_string().contains(said), "{refused}");
        }
    }
}
