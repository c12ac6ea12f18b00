//! The limit of a create: the same bytes and as many keys through fjall alone, 64 creates for each fsync. And the size of
//! a folder.

use crate::client::Failure;
use crate::tally::per_second;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::time::{Duration, Instant};

/// Search keys of one resource.
const KEYS: u8 = 20;

/// The length of a search key with its place in the index, in bytes.
const KEY_BYTES: usize = 40;

/// Creates a second, written to a database of its own in `folder`.
pub fn creates_per_second(folder: &Path, body: &[u8], group: usize, time: Duration) -> Result<f64, Failure> {
    let database = Database::builder(folder).open()?;
    let bodies = database.keyspace("bodies", KeyspaceCreateOptions::default)?;
    let postings = database.keyspace("postings", KeyspaceCreateOptions::default)?;
    let begin = Instant::now();
    let mut number: u64 = 0;
    while begin.elapsed() < time {
        let mut batch = database.batch();
        for _ in 0..group {
            number += 1;
            batch.insert(&bodies, number.to_be_bytes(), body);
            for key in 0..KEYS {
                let mut posting = [key; KEY_BYTES];
                if let Some(end) = posting.last_chunk_mut::<8>() {
                    *end = number.to_be_bytes();
                }
                batch.insert(&postings, posting, []);
            }
        }
        batch.commit()?;
        database.persist(PersistMode::SyncAll)?;
    }
    Ok(per_second(usize::try_from(number)?, begin.elapsed()))
}

/// The bytes that the files of a folder take on the disk.
pub fn size(folder: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}
