//! Markers: each group writes its number into every keyspace, so that a hole can be told after an unclean stop.
//!
//! fjall drops what it can't decode in a journal, without a word, and goes on with the next journal; and keyspaces reach
//! their own files separately. So a lost batch can leave a hole in one keyspace and not in another. After an unclean stop
//! every keyspace must show every number from the last checkpoint to the mark, or the store refuses to serve.
//!
//! A marker's key is a slot, the number modulo [`super::Options::most_groups_in_journals`], and its value the number: a slot
//! is used again only when every keyspace is known to be on disk past its old number, so that markers cost no removals.

use super::folder::Mark;
use super::layout;
use super::tables::{Tables, failed};
use crate::store::{StoreError, StoreResult};
use fjall::Keyspace;
use rustc_hash::FxHashSet;

/// What the markers tell.
pub(super) struct Found {
    /// The last group that any keyspace shows; at least the mark.
    pub last: u64,
    /// One sentence for each keyspace that lacks groups.
    pub holes: Vec<String>,
}

/// Compares the markers of all keyspaces with the mark. What follows the mark was never answered, but it must be whole too.
pub(super) fn verify(tables: &Tables, mark: Mark) -> StoreResult<Found> {
    if mark.is_clean && mark.checkpoint == mark.synced {
        return Ok(Found { last: mark.synced, holes: Vec::new() });
    }
    let shown: Vec<(&Keyspace, FxHashSet<u64>)> =
        tables.all().into_iter().map(|keyspace| Ok((keyspace, shown(keyspace)?))).collect::<StoreResult<_>>()?;
    let newest = shown.iter().flat_map(|(_, numbers)| numbers).max().copied().unwrap_or_default();
    let last = newest.max(mark.synced);
    let mut holes = Vec::new();
    for (keyspace, numbers) in shown {
        let missing: Vec<u64> = (mark.checkpoint + 1..=last).filter(|number| !numbers.contains(number)).collect();
        if let (Some(first), Some(end)) = (missing.first(), missing.last()) {
            let (name, count) = (keyspace.name(), missing.len());
            holes.push(format!("keyspace {name} lacks {count} groups of commits, from {first} to {end}"));
        }
    }
    Ok(Found { last, holes })
}

fn shown(keyspace: &Keyspace) -> StoreResult<FxHashSet<u64>> {
    let number = |marker: fjall::Guard| {
        let value = marker.value().map_err(|error| failed(&error))?;
        let number = value.as_ref().try_into().map_err(|_| StoreError::Damaged("a marker".into()))?;
        Ok(u64::from_be_bytes(number))
    };
    keyspace.prefix(layout::marks()).map(number).collect()
}

/// Empties the journals of a store that was stopped in an orderly way: all that they hold is in the keyspaces' own files, and
/// fjall would read all of it again. The files stay: from their presence fjall knows that the store is not new.
pub(super) fn empty_journals(database: &std::path::Path) -> std::io::Result<()> {
    for path in journals(database)? {
        std::fs::File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

fn journals(database: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "jnl") {
            journals.push(path);
        }
    }
    Ok(journals)
}

/// Copies the journals before fjall opens them, because opening cuts off what it can't read. A copy that exists already is
/// kept: it is of an earlier, less altered state. Long runs of zeros, of which a fresh journal consists, become holes.
pub(super) fn copy_journals(database: &std::path::Path, copies: &std::path::Path) -> std::io::Result<()> {
    if copies.exists() {
        return Ok(());
    }
    let unfinished = copies.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    for path in journals(database)? {
        if let Some(name) = path.file_name() {
            copy_sparsely(&path, &unfinished.join(name))?;
        }
    }
    super::sync_folder(&unfinished)?;
    std::fs::rename(&unfinished, copies)
}

fn copy_sparsely(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom, Write};
    let (mut from, mut to) = (std::fs::File::open(from)?, std::fs::File::create(to)?);
    let mut part = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = from.read(&mut part)?;
        let Some(bytes) = part.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if bytes.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(bytes)?;
        }
        length += read as u64;
    }
    to.set_len(length)?;
    to.sync_all()
}
