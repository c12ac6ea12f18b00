//! The keys of the rows, byte by byte. The tenant (4 bytes, big-endian) leads every key, then one letter
//! for the table; numbers are big-endian, so that bytes sort as numbers do.
//!
//! | set | table | key after the tenant | value |
//! |---|---|---|---|
//! | records | untold | `g` | when something was last changed of which the log does not tell; on MongoDB |
//! | records | rekeyed | `r` | when key lists were last replaced without a new version |
//! | records | line | tenant `u32::MAX`, `n` | which line of changes the store is on: [`line`] |
//! | records | head | `h` | [`super::record::Head`] |
//! | records | current | `c` rid | a record |
//! | records | keys | `k` rid | version, sealed key list |
//! | records | erased | `e` rid | the oldest version that is kept, where older ones were erased: [`super::erase`] |
//! | records | kept | `s` kind 0 id | a record that is no resource: [`super::kept`] |
//! | records | expiry | tenant `u32::MAX`, `x` time, then the key of a kept record | nothing |
//! | records | transfer | tenant `u32::MAX`, `t` | how far a copy into this store has come: [`crate::store::transfer`] |
//! | history | history | `v` rid version | a record and its sealed key list |
//! | history | ledger | `a` first | a block: [`crate::store::ledger`] |
//! | history | ledger's head | `b` | how far the chain has come |
//! | history | staged | tenant `u32::MAX`, `w` number | an entry that is not folded yet: [`super::ledger`] |
//! | history | folded | tenant `u32::MAX`, `y` | a number |
//! | history | log | `l` type 0 time index | packed entries; the type is empty for the log of the whole tenant |
//! | index | ids | `i` type 0 id | rid |
//! | index | postings | `p` generation type 0 key' 0 0 base | the rids of a [`super::block`] |
//! | each | marks | tenant `u32::MAX`, `m` slot | the number of a group of commits |
//!
//! Three keyspaces and not seven: each one costs a marker in every group, and what is in one file set should be alike. Bodies
//! and key lists are read by number; history is written once and seldom read; `index` holds what is small and scanned.
//!
//! A search key may be a prefix of another and may hold any byte, so that it can't simply be followed by a number: in a
//! posting each zero byte of it is written `00 FF`, and `00 00` ends it. So postings sort by key, then by number.

use super::postings::Scope;
use crate::clock::Micros;
use crate::key::KeyRange;
use crate::key::last_updated::sortable_micros;
use crate::store::Rid;
use crate::tenant::TenantId;

const HEAD: u8 = b'h';
pub(super) const CURRENT: u8 = b'c';
pub(super) const KEYS: u8 = b'k';
const HISTORY: u8 = b'v';
const LOG: u8 = b'l';
const IDS: u8 = b'i';
const POSTINGS: u8 = b'p';
const MARKS: u8 = b'm';
pub(super) const ERASED: u8 = b'e';
const KEPT: u8 = b's';
const EXPIRY: u8 = b'x';
const LEDGER: u8 = b'a';
const LEDGER_HEAD: u8 = b'b';
const STAGED: u8 = b'w';
const FOLDED: u8 = b'y';
/// The tables with sealed values whose keys begin with the number of a resource.
pub(in crate::store) const SEALED_BY_NUMBER: [u8; 4] = [CURRENT, KEYS, HISTORY, ERASED];
const UNTOLD: u8 = b'g';
const REKEYED: u8 = b'r';
const TRANSFER: u8 = b't';
const LINE: u8 = b'n';
/// The tables of tenants whose values are a few numbers.
pub(in crate::store) const ALWAYS_SMALL: [u8; 7] = [HEAD, UNTOLD, REKEYED, ERASED, LEDGER_HEAD, IDS, POSTINGS];
/// No tenant has this number: what belongs to the store itself.
pub(in crate::store) const SYSTEM: TenantId = TenantId(u32::MAX);

fn table(tenant: TenantId, letter: u8, capacity: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + capacity);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key.push(letter);
    key
}

pub(in crate::store) fn head(tenant: TenantId) -> Vec<u8> {
    table(tenant, HEAD, 0)
}

/// Where it stands when resources were last erased or given other keys.
pub(in crate::store) fn untold(tenant: TenantId) -> Vec<u8> {
    table(tenant, UNTOLD, 0)
}

/// Where it stands when the key lists of resources were last replaced.
pub(in crate::store) fn rekeyed(tenant: TenantId) -> Vec<u8> {
    table(tenant, REKEYED, 0)
}

/// Where it stands in a store that is being filled how far that has come; not there in a whole store.
pub(in crate::store) fn transfer() -> Vec<u8> {
    table(SYSTEM, TRANSFER, 0)
}

/// Where it stands which line of changes a store is on; not there in one that was neither restored nor copied.
pub(in crate::store) fn line() -> Vec<u8> {
    table(SYSTEM, LINE, 0)
}

/// The tenant that a key begins with.
pub(in crate::store) fn tenant_of(key: &[u8]) -> TenantId {
    key.first_chunk::<4>().map_or(SYSTEM, |bytes| TenantId(u32::from_be_bytes(*bytes)))
}

fn numbered(tenant: TenantId, letter: u8, rid: Rid) -> [u8; 13] {
    let mut key = [0; 13];
    let parts = tenant.0.to_be_bytes().into_iter().chain([letter]).chain(rid.0.to_be_bytes());
    for (place, byte) in key.iter_mut().zip(parts) {
        *place = byte;
    }
    key
}

pub(in crate::store) fn current(tenant: TenantId, rid: Rid) -> [u8; 13] {
    numbered(tenant, CURRENT, rid)
}

pub(in crate::store) fn keys(tenant: TenantId, rid: Rid) -> [u8; 13] {
    numbered(tenant, KEYS, rid)
}

/// Whether a key of the records' table is that of a key list.
pub(in crate::store) fn is_keys(key: &[u8]) -> bool {
    key.get(4) == Some(&KEYS)
}

/// Where it stands which versions of a resource were erased.
pub(in crate::store) fn erased(tenant: TenantId, rid: Rid) -> [u8; 13] {
    numbered(tenant, ERASED, rid)
}

pub(in crate::store) fn history(tenant: TenantId, rid: Rid, version: u64) -> Vec<u8> {
    let mut key = numbered(tenant, HISTORY, rid).to_vec();
    key.extend_from_slice(&version.to_be_bytes());
    key
}

pub(in crate::store) fn id(tenant: TenantId, type_name: &str, id: &str) -> Vec<u8> {
    let mut key = table(tenant, IDS, type_name.len() + 1 + id.len());
    key.extend_from_slice(type_name.as_bytes());
    key.push(0);
    key.extend_from_slice(id.as_bytes());
    key
}

/// What all log entries of a scope (a type, or `""` for the tenant) start with.
pub(in crate::store) fn log_scope(tenant: TenantId, scope: &str) -> Vec<u8> {
    let mut key = table(tenant, LOG, scope.len() + 1 + 12);
    key.extend_from_slice(scope.as_bytes());
    key.push(0);
    key
}

pub(in crate::store) fn log(tenant: TenantId, scope: &str, time: Micros, index: u32) -> Vec<u8> {
    let mut key = log_scope(tenant, scope);
    key.extend_from_slice(&sortable_micros(time));
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Time and first index of a log entry's key.
pub(in crate::store) fn log_place(key: &[u8]) -> Option<(Micros, u32)> {
    let (rest, index) = key.split_last_chunk::<4>()?;
    let (_, time) = rest.split_last_chunk::<8>()?;
    Some((micros(*time), u32::from_be_bytes(*index)))
}

/// The reverse of [`sortable_micros`].
const fn micros(sortable: [u8; 8]) -> Micros {
    Micros((u64::from_be_bytes(sortable) ^ (1 << 63)).cast_signed())
}

/// What all postings of a type start with.
pub(in crate::store) fn postings_of(tenant: TenantId, generation: u16, type_name: &str, room: usize) -> Vec<u8> {
    let mut key = table(tenant, POSTINGS, 3 + type_name.len() + room);
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(type_name.as_bytes());
    key.push(0);
    key
}

/// What all blocks of a search key start with: the key, escaped and ended.
pub(in crate::store) fn blocks(tenant: TenantId, generation: u16, type_name: &str, search_key: &[u8]) -> Vec<u8> {
    let mut key = postings_of(tenant, generation, type_name, search_key.len() + 14);
    escape(search_key, &mut key);
    key.extend_from_slice(&[0, 0]);
    key
}

/// The key of a block: that of the search key, and the base.
pub(in crate::store) fn block(scope: Scope<'_>, search_key: &[u8]) -> Vec<u8> {
    let mut key = blocks(scope.tenant, scope.generation, scope.type_name, search_key);
    key.extend_from_slice(&scope.base.0.to_be_bytes());
    key
}

/// The base in a block's key.
pub(in crate::store) fn base_of(block_key: &[u8]) -> Rid {
    Rid(block_key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// The first block key of a range of search keys, and the first one after it.
pub(in crate::store) fn postings_range(
    tenant: TenantId,
    generation: u16,
    type_name: &str,
    range: &KeyRange,
) -> (Vec<u8>, Vec<u8>) {
    let bound = |edge: &[u8]| {
        let mut key = postings_of(tenant, generation, type_name, edge.len() + 4);
        escape(edge, &mut key);
        key
    };
    (bound(&range.from), bound(&range.to))
}

/// The search key (unescaped) and the base of a block's key, of which the first `prefix` bytes are known.
pub(in crate::store) fn posting_place(block_key: &[u8], prefix: usize) -> Option<(Vec<u8>, Rid)> {
    let (rest, rid) = block_key.split_last_chunk::<8>()?;
    let escaped = rest.get(prefix..)?.strip_suffix(&[0, 0])?;
    Some((unescape(escaped)?, Rid(u64::from_be_bytes(*rid))))
}

/// The type of a block's key, and what all block keys of the type start with.
pub(in crate::store) fn type_of_posting(block_key: &[u8]) -> Option<(&str, &[u8])> {
    let end = 7 + memchr::memchr(0, block_key.get(7..)?)?;
    Some((std::str::from_utf8(block_key.get(7..end)?).ok()?, block_key.get(..=end)?))
}

/// Type, search key and base of a block's key.
pub(in crate::store) fn posting_parts(block_key: &[u8]) -> Option<(&str, Vec<u8>, Rid)> {
    let (type_name, prefix) = type_of_posting(block_key)?;
    let (search_key, first) = posting_place(block_key, prefix.len())?;
    Some((type_name, search_key, first))
}

/// The scope of a log entry's key.
pub(in crate::store) fn log_scope_of(key: &[u8]) -> Option<&str> {
    let named = key.get(5..)?;
    std::str::from_utf8(named.get(..memchr::memchr(0, named)?)?).ok()
}

/// What all current records of a tenant start with.
pub(in crate::store) fn all_current(tenant: TenantId) -> Vec<u8> {
    table(tenant, CURRENT, 0)
}

/// What all key lists of a tenant start with.
pub(in crate::store) fn all_keys(tenant: TenantId) -> Vec<u8> {
    table(tenant, KEYS, 0)
}

/// What all marks of erased versions of a tenant start with.
pub(in crate::store) fn all_erased(tenant: TenantId) -> Vec<u8> {
    table(tenant, ERASED, 0)
}

/// What all old versions of a tenant start with.
pub(in crate::store) fn all_history(tenant: TenantId) -> Vec<u8> {
    table(tenant, HISTORY, 0)
}

/// What the whole log of a tenant starts with.
pub(in crate::store) fn all_log(tenant: TenantId) -> Vec<u8> {
    table(tenant, LOG, 0)
}

/// What all ids of a tenant start with.
pub(in crate::store) fn all_ids(tenant: TenantId) -> Vec<u8> {
    table(tenant, IDS, 0)
}

/// What all postings of a generation start with.
pub(in crate::store) fn all_postings(tenant: TenantId, generation: u16) -> Vec<u8> {
    let mut key = table(tenant, POSTINGS, 2);
    key.extend_from_slice(&generation.to_be_bytes());
    key
}

/// What all kept records of a tenant start with.
pub(in crate::store) fn all_kept(tenant: TenantId) -> Vec<u8> {
    table(tenant, KEPT, 0)
}

/// What the kept records of a kind start with whose ids start with `prefix`.
pub(in crate::store) fn kept(tenant: TenantId, kind: &str, prefix: &str) -> Vec<u8> {
    let mut key = table(tenant, KEPT, kind.len() + 1 + prefix.len());
    key.extend_from_slice(kind.as_bytes());
    key.push(0);
    key.extend_from_slice(prefix.as_bytes());
    key
}

/// Kind and id in the key of a kept record.
pub(in crate::store) fn kept_place(key: &[u8]) -> Option<(&str, &str)> {
    let named = key.get(5..).filter(|_| key.get(4) == Some(&KEPT))?;
    let named = std::str::from_utf8(named).ok()?;
    named.split_once('\0')
}

/// What all entries of the index of expiry start with, one for all tenants: what expires first stands first.
pub(in crate::store) fn all_expiry() -> Vec<u8> {
    table(SYSTEM, EXPIRY, 0)
}

/// Where the kept records stand that expire from a time on.
pub(in crate::store) fn expiry_from(time: Micros) -> Vec<u8> {
    [&all_expiry()[..], &sortable_micros(time)].concat()
}

/// The entry of a kept record in the index of expiry.
pub(in crate::store) fn expiry(time: Micros, kept_key: &[u8]) -> Vec<u8> {
    [&expiry_from(time)[..], kept_key].concat()
}

/// When which kept record expires.
pub(in crate::store) fn expiry_place(key: &[u8]) -> Option<(Micros, &[u8])> {
    let (time, kept_key) = key.get(5..)?.split_first_chunk::<8>()?;
    Some((micros(*time), kept_key))
}

/// What all blocks of a tenant's ledger start with.
pub(in crate::store) fn all_ledger(tenant: TenantId) -> Vec<u8> {
    table(tenant, LEDGER, 8)
}

/// The block whose first entry has this number.
pub(in crate::store) fn ledger(tenant: TenantId, first: u64) -> Vec<u8> {
    [&all_ledger(tenant)[..], &first.to_be_bytes()].concat()
}

/// Whether a row belongs to a tenant's ledger.
pub(in crate::store) fn is_of_ledger(key: &[u8]) -> bool {
    key.get(4).is_some_and(|letter| [LEDGER, LEDGER_HEAD].contains(letter))
}

pub(in crate::store) fn ledger_head(tenant: TenantId) -> Vec<u8> {
    table(tenant, LEDGER_HEAD, 0)
}

/// What all rows of staged entries start with.
pub(in crate::store) fn all_staged() -> Vec<u8> {
    table(SYSTEM, STAGED, 8)
}

pub(in crate::store) fn staged(row: u64) -> Vec<u8> {
    [&all_staged()[..], &row.to_be_bytes()].concat()
}

pub(in crate::store) fn folded() -> Vec<u8> {
    table(SYSTEM, FOLDED, 0)
}

pub(in crate::store) fn mark(slot: u32) -> Vec<u8> {
    let mut key = table(SYSTEM, MARKS, 4);
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

pub(in crate::store) fn marks() -> Vec<u8> {
    table(SYSTEM, MARKS, 0)
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        let (before, after) = rest.split_at(at + 1);
        out.extend_from_slice(before);
        out.push(0xFF);
        rest = after;
    }
    out.extend_from_slice(rest);
}

fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        let (before, after) = rest.split_at(at + 1);
        out.extend_from_slice(before);
        rest = after.strip_prefix(&[0xFF])?;
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_at(key: &[u8], base: u64) -> Vec<u8> {
        block(Scope { tenant: TenantId(0), generation: 1, type_name: "T", base: Rid(base) }, key)
    }

    proptest! {
        #[test]
        fn blocks_sort_by_key_then_number(
            a in proptest::collection::vec(0_u8..3, 0..6), b in proptest::collection::vec(0_u8..3, 0..6),
            m in any::<u64>(), n in any::<u64>(),
        ) {
            prop_assert_eq!(block_at(&a, m).cmp(&block_at(&b, n)), (&a, m).cmp(&(&b, n)));
            let prefix = postings_of(TenantId(0), 1, "T", 0).len();
            prop_assert_eq!(posting_place(&block_at(&a, m), prefix), Some((a, Rid(m))));
        }

        #[test]
        fn a_range_holds_the_blocks_of_its_keys(
            from in proptest::collection::vec(0_u8..3, 0..5), to in proptest::collection::vec(0_u8..3, 0..5),
            key in proptest::collection::vec(0_u8..3, 0..6), rid in any::<u64>(),
        ) {
            let range = KeyRange { from: from.into(), to: to.into(), tail: None };
            let (first, after) = postings_range(TenantId(0), 1, "T", &range);
            let block = block_at(&key, rid);
            prop_assert_eq!(first <= block && block < after, range.holds(&key));
        }
    }

    #[test]
    fn log_keys_tell_their_place() {
        let key = log(TenantId(3), "Patient", Micros(-7), 42);
        assert_eq!(log_place(&key), Some((Micros(-7), 42)));
        assert!(log(TenantId(3), "Patient", Micros(-7), 43) > key);
    }
}
