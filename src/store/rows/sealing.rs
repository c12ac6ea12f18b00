//! Rows with sealed values: which of them are under older keys, and what they are under the newest.
//!
//! A row is named by one byte for its table, and its key. Current rows come before those of history: an update moves a row from here
//! to there as it is sealed, and what is moved so is found when history's turn comes.

use super::erase::{mark_place, split_mark};
use super::record::{Header, body_place, keys_place, split_keys, unpack_history};
use super::stretch::{Most, Stretch};
use super::{Row, Rows, Table, kept, layout};
use crate::key::range::after_prefix;
use crate::store::schema::Span;
use crate::store::seal::{Place, Sealer};
use crate::store::{OldRows, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::ops::Range;

const RECORDS: u8 = 1;
const HISTORY: u8 = 2;
/// Rows that are looked at together, where few or none are old.
const LOOK: usize = 5_000;

/// A sealed value in a row.
struct Sealed {
    place: Place,
    /// What it is bound to beside its place.
    header: Vec<u8>,
    /// Where in the row it stands.
    at: Range<usize>,
}

fn damaged() -> StoreError {
    StoreError::Damaged("a row with a sealed value".into())
}

/// The table and the key of a row.
pub(in crate::store) fn parts(name: &[u8]) -> StoreResult<(Table, &[u8])> {
    match name.split_first() {
        Some((&RECORDS, key)) => Ok((Table::Records, key)),
        Some((&HISTORY, key)) => Ok((Table::History, key)),
        _ => Err(damaged()),
    }
}

/// The resource that a row of the tables `current`, `keys`, `erased` and `history` is about.
pub(super) fn resource_of(key: &[u8]) -> Option<Rid> {
    let is_of_resource = key.get(4).is_some_and(|letter| layout::SEALED_BY_NUMBER.contains(letter));
    let number = key.get(5..13).and_then(<[u8]>::first_chunk::<8>).filter(|_| is_of_resource)?;
    Some(Rid(u64::from_be_bytes(*number)))
}

/// The rows of a tenant after one of them.
pub(in crate::store) fn old_rows(
    rows: &dyn Rows,
    sealer: &Sealer,
    tenant: TenantId,
    after: &[u8],
    most: usize,
) -> StoreResult<OldRows> {
    let span = |table, prefix| Span { table, prefix };
    let spans = [
        span(Table::Records, layout::all_current(tenant)),
        span(Table::Records, layout::all_erased(tenant)),
        span(Table::Records, layout::all_keys(tenant)),
        span(Table::Records, layout::all_kept(tenant)),
        span(Table::History, layout::all_history(tenant)),
    ];
    walk(rows, &spans, (after, most), |_, (key, value)| {
        // What can't be read stays as it is, and the check names it.
        let values = values(tenant, key, value).unwrap_or_default();
        let is_old = |sealed: &Sealed| value.get(sealed.at.clone()).is_some_and(|bytes| sealer.is_old(tenant, bytes));
        values.iter().any(is_old)
    })
}

/// Looks through spans of rows that ascend, tables first, after a row on: at most so many that are old, or looked at.
pub(super) fn walk(
    rows: &dyn Rows,
    spans: &[Span],
    (after, most): (&[u8], usize),
    is_old: impl Fn(Table, &Row) -> bool,
) -> StoreResult<OldRows> {
    let mut found = OldRows::default();
    let mut looked = 0;
    for Span { table, prefix } in spans {
        let letter = if *table == Table::Records { RECORDS } else { HISTORY };
        let first = [&[letter], &prefix[..]].concat();
        let start =
            if after < &first[..] { prefix.clone() } else { [after.get(1..).unwrap_or_default(), &[0]].concat() };
        let end = after_prefix(prefix);
        if start >= end || (after.first() == Some(&HISTORY) && letter == RECORDS) {
            continue;
        }
        let Stretch { rows: read, has_more } = rows.stretch(*table, &start, &end, Most::rows(LOOK))?;
        let last = read.len();
        for (n, row) in (1..).zip(read) {
            let name: Box<[u8]> = [&[letter], &row.0[..]].concat().into();
            looked += 1;
            found.resources += u64::from(letter == RECORDS && row.0.get(4) == Some(&layout::CURRENT));
            if is_old(*table, &row) {
                found.rows.push(name.clone());
            }
            if looked == LOOK || found.rows.len() == most || (has_more && n == last) {
                found.next = Some(name);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// A row as it is under the newest key; `None` where it is already.
pub(super) fn resealed(sealer: &Sealer, tenant: TenantId, key: &[u8], value: &[u8]) -> StoreResult<Option<Vec<u8>>> {
    let mut new = value.to_vec();
    let mut is_changed = false;
    for Sealed { place, header, at } in values(tenant, key, value)? {
        let sealed = value.get(at.clone()).ok_or_else(damaged)?;
        if sealer.is_old(tenant, sealed) {
            let resealed = sealer.reseal(place, &header, sealed)?;
            new.get_mut(at).filter(|room| room.len() == resealed.len()).ok_or_else(damaged)?.copy_from_slice(&resealed);
            is_changed = true;
        }
    }
    Ok(is_changed.then_some(new))
}

/// The sealed values of a row.
fn values(tenant: TenantId, key: &[u8], value: &[u8]) -> StoreResult<Vec<Sealed>> {
    let Some(rid) = resource_of(key) else {
        if layout::kept_place(key).is_none() {
            return Ok(Vec::new());
        }
        let (header, text) = kept::Header::unpack(value)?;
        let at = value.len() - text.len()..value.len();
        let bound = [key, value.get(..at.start).unwrap_or_default()].concat();
        return Ok(vec![Sealed { place: kept::place(tenant, header.version), header: bound, at }]);
    };
    let body = |record: &[u8], start: usize| {
        let (header, text) = Header::unpack(record)?;
        let (bound, end) = (record.len() - text.len(), start + record.len());
        let place = body_place(tenant, rid, header.version);
        Ok::<_, StoreError>(Sealed {
            place,
            header: record.get(..bound).unwrap_or_default().to_vec(),
            at: start + bound..end,
        })
    };
    let keys = |list: &[u8], start: usize| {
        let (version, _, text) = split_keys(list)?;
        let (bound, end) = (list.len() - text.len(), start + list.len());
        let place = keys_place(tenant, rid, version);
        Ok::<_, StoreError>(Sealed {
            place,
            header: list.get(..bound).unwrap_or_default().to_vec(),
            at: start + bound..end,
        })
    };
    match key.get(4) {
        Some(&layout::CURRENT) => Ok(vec![body(value, 0)?]),
        Some(&layout::KEYS) => Ok(vec![keys(value, 0)?]),
        Some(&layout::ERASED) => {
            let (oldest, text) = split_mark(value)?;
            let bound = value.len() - text.len();
            let header = value.get(..bound).unwrap_or_default().to_vec();
            let mark = Sealed { place: mark_place(tenant, rid, oldest), header, at: bound..value.len() };
            Ok(if text.is_empty() { Vec::new() } else { vec![mark] })
        }
        _ => {
            let (record, list) = unpack_history(value)?;
            let start = value.len() - list.len() - record.len();
            let mut both = vec![body(record, start)?];
            if !list.is_empty() {
                both.push(keys(list, start + record.len())?);
            }
            Ok(both)
        }
    }
}

/// Some rows of a tenant, ledger apart, about so many at most; none where there are none.
pub(super) fn rows_of(rows: &dyn Rows, tenant: TenantId, most: usize) -> StoreResult<Vec<(Table, Vec<u8>)>> {
    let mut found = Vec::new();
    let prefix = tenant.0.to_be_bytes();
    let end = after_prefix(&prefix);
    for table in [Table::Records, Table::History, Table::Index] {
        let mut from = prefix.to_vec();
        loop {
            let read = rows.stretch(table, &from, &end, Most::rows(most))?;
            let next = read.next();
            for (key, value) in read.rows.into_iter().filter(|(key, _)| !layout::is_of_ledger(key)) {
                if layout::kept_place(&key).is_some()
                    && let Ok((kept::Header { expires: Some(time), .. }, _)) = kept::Header::unpack(&value)
                {
                    found.push((table, layout::expiry(time, &key)));
                }
                found.push((table, key));
            }
            let Some(next) = next else { break };
            if !found.is_empty() {
                return Ok(found);
            }
            from = next;
        }
    }
    Ok(found)
}
