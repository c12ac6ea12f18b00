//! The forms in which entries are staged: records in the files, and rows of commits.

use crate::clock::Micros;
use crate::store::embedded::layout;
use crate::store::embedded::tables::{Tables, failed, row};
use crate::store::ledger::Entry;
use crate::store::rows::ledger::staged_place;
use crate::store::rows::{Row, varint};
use crate::store::seal::{OVERHEAD, Sealer};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// What stands before what is sealed in a record: the length of all that follows it, the tenant, the number of the first entry, and its time.
const HEADER: usize = 4 + 4 + 8 + 8;

/// An entry in a file.
pub(super) struct Record {
    pub number: u64,
    pub tenant: TenantId,
    pub entry: Entry,
}

/// Entries of one tenant as one record of a file; the first has this number.
pub(super) fn seal<'e>(
    sealer: &Sealer,
    tenant: TenantId,
    number: u64,
    entries: impl Iterator<Item = &'e Entry>,
) -> StoreResult<Vec<u8>> {
    let mut plain = Vec::new();
    let mut first = None;
    for entry in entries {
        first.get_or_insert(entry.time);
        plain.extend_from_slice(&entry.time.0.to_be_bytes());
        varint::push_bytes(&entry.bytes, &mut plain);
    }
    let time = first.unwrap_or(Micros(0));
    let length = u32::try_from(HEADER - 4 + plain.len() + OVERHEAD);
    let length = length.map_err(|_| StoreError::Io("an entry is too long".into()))?;
    let mut record = Vec::with_capacity(HEADER + plain.len() + OVERHEAD);
    for field in [&length.to_be_bytes()[..], &tenant.0.to_be_bytes(), &number.to_be_bytes(), &time.0.to_be_bytes()] {
        record.extend_from_slice(field);
    }
    sealer.seal(staged_place(tenant, number), time, &plain, &mut record)?;
    Ok(record)
}

/// Where entries are missing of those that come after the one that was folded last: in front of which of the found, and how many.
pub(super) fn gaps(folded: u64, found: &[Record]) -> Vec<(usize, u64)> {
    let before = std::iter::once(folded).chain(found.iter().map(|record| record.number));
    let gaps = before.zip(found).enumerate();
    gaps.map(|(place, (before, record))| (place, record.number - before - 1)).filter(|(_, count)| *count > 0).collect()
}

/// What the files hold.
#[derive(Default)]
pub(super) struct Found {
    pub records: Vec<Record>,
    /// How many bytes at their ends can't be read.
    pub unread: usize,
}

/// Brings the records of both files into the first one, so that the other is empty. The end of a file may not be whole, after a power cut
/// or by hands: it goes, since it can't be read. `folded` is the last number that was folded.
pub(super) fn join(files: &[File; 2], sealer: &Sealer, folded: u64) -> std::io::Result<Found> {
    let [mut first, mut second] = files.each_ref();
    let mut found = Found::default();
    let mut bytes = Vec::new();
    first.seek(SeekFrom::Start(0))?;
    first.read_to_end(&mut bytes)?;
    first.set_len(whole(&bytes, sealer, folded, &mut found).len() as u64)?;
    bytes.clear();
    second.seek(SeekFrom::Start(0))?;
    second.read_to_end(&mut bytes)?;
    first.write_all(whole(&bytes, sealer, folded, &mut found))?;
    first.sync_all()?;
    second.set_len(0)?;
    Ok(found)
}

/// Reads the entries of a file, and answers it as far as its last record that opens. Where one does not, the next is where one opens again:
/// no byte in between is trusted, and least of all a length.
fn whole<'b>(bytes: &'b [u8], sealer: &Sealer, folded: u64, found: &mut Found) -> &'b [u8] {
    let (mut at, mut end) = (0, 0);
    while at < bytes.len() {
        let length = bytes.get(at..).and_then(|rest| open(framed(rest, folded)?, sealer, &mut found.records));
        at += length.unwrap_or(1);
        if length.is_some() {
            end = at;
        }
    }
    let (whole, unread) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    if !unread.is_empty() {
        tracing::warn!(bytes = unread.len(), "the end of a file of staged entries can't be read");
        found.unread += unread.len();
    }
    whole
}

/// What may be a record by its header: as long as it says, and with a number that can wait to be folded, or was just folded.
fn framed(bytes: &[u8], folded: u64) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let number = u64::from_be_bytes(*rest.get(4..)?.first_chunk::<8>()?);
    u32::try_from(number.abs_diff(folded)).ok()?;
    bytes.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(4)?)
}

/// Reads the entries of a record, and answers its length.
fn open(record: &[u8], sealer: &Sealer, found: &mut Vec<Record>) -> Option<usize> {
    let (header, sealed) = record.split_at_checked(HEADER)?;
    let (tenant, rest) = header.get(4..)?.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    let (tenant, first) = (TenantId(u32::from_be_bytes(*tenant)), u64::from_be_bytes(*number));
    let plain = sealer.open(staged_place(tenant, first), header, sealed).ok()?;
    let mut rest = &plain[..];
    for number in first.. {
        let Some((time, entry)) = rest.split_first_chunk::<8>() else { break };
        rest = entry;
        let entry = Entry { time: Micros(i64::from_be_bytes(*time)), bytes: varint::take_bytes(&mut rest)?.into() };
        found.push(Record { number, tenant, entry });
    }
    Some(record.len())
}

/// The last number in the files that was folded.
pub(super) fn folded_through(tables: &Tables) -> StoreResult<u64> {
    let stored = tables.history.get(layout::folded()).map_err(|error| failed(&error))?;
    let number = stored.map(|bytes| bytes.as_ref().try_into().map(u64::from_be_bytes)).transpose();
    Ok(number.map_err(|_| StoreError::Damaged("the mark of the ledger".into()))?.unwrap_or_default())
}

/// The rows of entries that commits staged, in order.
pub(super) fn rows(tables: &Tables) -> impl Iterator<Item = StoreResult<Row>> + use<> {
    tables.history.prefix(layout::all_staged()).map(row)
}

/// The number that the next row gets.
pub(in crate::store::embedded) fn next_row(tables: &Tables) -> StoreResult<u64> {
    let last = tables.history.prefix(layout::all_staged()).next_back();
    let key = last.map(|row| row.key().map_err(|error| failed(&error))).transpose()?;
    Ok(key.as_deref().and_then(<[u8]>::last_chunk::<8>).map_or(1, |bytes| u64::from_be_bytes(*bytes) + 1))
}
