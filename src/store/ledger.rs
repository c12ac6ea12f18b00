//! The ledger, as a store keeps it: entries, which are bytes to it, in blocks that are chained by hash.
//!
//! An entry is recorded ([`Ledger::record`], or with a [`super::Commit`]) and soon after *folded*: put into a block behind the
//! last one of its tenant. From then on it has numbers, and is found by its search keys as a resource is. What an entry says, and
//! as which resource it is served, a [`Form`] knows.
//!
//! Entries stand in the order of their times: one that comes late gets the time of the one before it. So what follows from an entry's
//! number and time alone ([`placed_keys`]) is found by that order, without a posting.
//!
//! A block's bytes are `format first (8) count (4) from (8) through (8) before (32)`, then sealed its entries. The chain's hash over a block is SHA-256 of
//! [`DOMAIN`], the tenant's number and the block's bytes, which hold that of the block before: so the chain can be verified without
//! any key, and whoever alters, cuts out or swaps an entry has to make anew all that follows.

use super::{Rid, StoreError, StoreResult};
pub use crate::auth::keeper::Entry;
use crate::clock::Micros;
use crate::fhir::tree::Object;
use crate::key::last_updated::last_updated_key;
use crate::key::{KeyList, id_key};
use crate::tenant::TenantId;
use aws_lc_rs::digest::{Context, SHA256};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// The bit of a resource number that says: an entry of a ledger.
const ENTRY: u64 = 1 << 63;
const FORMAT: u8 = 2;
/// What the hash over each block begins with.
const DOMAIN: &[u8] = b"pharos ledger block 1";
/// The hash before the first block.
pub const NOTHING: Hash = [0; 32];

/// A SHA-256.
pub type Hash = [u8; 32];

/// What entries say. An entry is served as one resource or as several, its *parts*, which have numbers one behind the other.
pub trait Form: Send + Sync {
    /// The resource type that entries are served as.
    fn type_name(&self) -> &'static str;
    /// How many parts an entry has, at least one.
    ///
    /// # Errors
    /// For bytes that are no entry.
    fn parts(&self, entry: &Entry) -> StoreResult<u32>;
    /// The resource of a part, which has this number.
    ///
    /// # Errors
    /// As [`Form::parts`].
    fn resource(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<Object<'static>>;
    /// The search keys of a part, without those that a commit adds.
    ///
    /// # Errors
    /// As [`Form::parts`].
    fn keys(&self, number: u64, entry: &Entry, part: u32) -> StoreResult<KeyList>;
    /// Of the keys of a part those that its time alone makes: one each of some codes. They ascend as times do.
    fn time_keys(&self, time: Micros) -> Vec<Box<[u8]>>;
    /// The search keys of all parts but for those that number and time alone make.
    ///
    /// # Errors
    /// As [`Form::parts`].
    fn all_keys(&self, entry: &Entry) -> StoreResult<Vec<PartKeys>>;
    /// What an entry says that stands for so many others: they were staged, and are missing where they waited.
    ///
    /// # Errors
    /// When it can't be written.
    fn missing(&self, count: u64, time: Micros) -> StoreResult<Entry>;
    /// What an entry says of so many bytes in which others were staged, and that can't be read.
    ///
    /// # Errors
    /// When it can't be written.
    fn unread(&self, bytes: usize, time: Micros) -> StoreResult<Entry>;
    /// The ids of the patients that a part is about.
    ///
    /// # Errors
    /// As [`Form::parts`].
    fn patients(&self, entry: &Entry, part: u32) -> StoreResult<Box<[Box<str>]>>;
}

/// The keys that number and time of a part make alone, one each of some codes: each ascends with the number.
pub fn placed_keys(form: &dyn Form, number: u64, time: Micros) -> Vec<Box<[u8]>> {
    let of_all = [id_key(&id_of(number)).into(), last_updated_key(time)];
    of_all.into_iter().chain(form.time_keys(time)).collect()
}

/// The search keys of a part.
#[derive(Debug, Clone)]
pub struct PartKeys {
    /// Those that many parts have: the same list for all of them.
    pub shared: Arc<KeyList>,
    /// The others; none of them is among the shared.
    pub own: Vec<Box<[u8]>>,
}

impl PartKeys {
    /// All of them.
    #[must_use]
    pub fn joined(self) -> KeyList {
        self.shared.with(self.own)
    }
}

/// The form of a store that nobody gave one: bytes that say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Opaque;

impl Form for Opaque {
    fn type_name(&self) -> &'static str {
        "AuditEvent"
    }

    fn parts(&self, _: &Entry) -> StoreResult<u32> {
        Ok(1)
    }

    fn resource(&self, number: u64, _: &Entry, _: u32) -> StoreResult<Object<'static>> {
        let tree = crate::tree!({ "resourceType": "AuditEvent", "id": (id_of(number)) });
        tree.as_object().cloned().ok_or_else(|| StoreError::Damaged("an entry of the ledger".into()))
    }

    fn keys(&self, number: u64, _: &Entry, _: u32) -> StoreResult<KeyList> {
        Ok(KeyList::new(vec![id_key(&id_of(number)).into()]))
    }

    fn time_keys(&self, _: Micros) -> Vec<Box<[u8]>> {
        Vec::new()
    }

    fn all_keys(&self, _: &Entry) -> StoreResult<Vec<PartKeys>> {
        Ok(vec![PartKeys { shared: Arc::default(), own: Vec::new() }])
    }

    fn missing(&self, count: u64, time: Micros) -> StoreResult<Entry> {
        Ok(Entry { time, bytes: format!("{count} missing").into_bytes().into() })
    }

    fn unread(&self, bytes: usize, time: Micros) -> StoreResult<Entry> {
        Ok(Entry { time, bytes: format!("{bytes} unread").into_bytes().into() })
    }

    fn patients(&self, _: &Entry, _: u32) -> StoreResult<Box<[Box<str>]>> {
        Ok(Box::default())
    }
}

impl Rid {
    /// The number of a tenant's n-th entry, counted from 0.
    #[must_use]
    pub const fn of_entry(number: u64) -> Self {
        Self(ENTRY | number)
    }

    /// Which entry this is the number of; `None` for a resource.
    #[must_use]
    pub const fn entry(self) -> Option<u64> {
        if self.0 & ENTRY == 0 { None } else { Some(self.0 & !ENTRY) }
    }
}

/// The id under which an entry is served: its number, in so many digits that ids sort as numbers do.
#[must_use]
pub fn id_of(number: u64) -> String {
    format!("{number:016}")
}

/// The entry that is served under an id.
#[must_use]
pub fn number_of(id: &str) -> Option<u64> {
    id.parse().ok().filter(|number: &u64| id_of(*number) == id)
}

/// How far a tenant's chain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number that the next entry gets.
    pub next: u64,
    /// The hash over the last block.
    pub hash: Hash,
}

impl Head {
    /// That of a chain without a block.
    pub const FIRST: Self = Self { next: 0, hash: NOTHING };

    /// As it is kept.
    #[must_use]
    pub fn pack(self) -> Vec<u8> {
        [&[FORMAT][..], &self.next.to_be_bytes(), &self.hash].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// For other bytes.
    pub fn unpack(bytes: &[u8]) -> StoreResult<Self> {
        let fields = || {
            let (next, hash) = bytes.strip_prefix(&[FORMAT])?.split_first_chunk::<8>()?;
            Some(Self { next: u64::from_be_bytes(*next), hash: hash.try_into().ok()? })
        };
        fields().ok_or_else(|| StoreError::Damaged("the head of a ledger".into()))
    }
}

/// The plain part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// The number of its first entry.
    pub first: u64,
    /// How many numbers its entries take.
    pub count: u32,
    /// The time of its first entry.
    pub from: Micros,
    /// The time of its last entry.
    pub through: Micros,
    /// The hash over the block before.
    pub before: Hash,
}

/// The length of [`BlockHeader::pack`].
pub const HEADER_LEN: usize = 1 + 8 + 4 + 8 + 8 + 32;

impl BlockHeader {
    /// As it stands before the sealed entries.
    #[must_use]
    pub fn pack(self) -> Vec<u8> {
        let times = [self.from.0.to_be_bytes(), self.through.0.to_be_bytes()].concat();
        [&[FORMAT][..], &self.first.to_be_bytes(), &self.count.to_be_bytes(), &times, &self.before].concat()
    }

    /// Reads it, and gives what follows.
    ///
    /// # Errors
    /// For other bytes.
    pub fn unpack(block: &[u8]) -> StoreResult<(Self, &[u8])> {
        let fields = || {
            let (first, rest) = block.strip_prefix(&[FORMAT])?.split_first_chunk::<8>()?;
            let (count, rest) = rest.split_first_chunk::<4>()?;
            let (from, rest) = rest.split_first_chunk::<8>()?;
            let (through, rest) = rest.split_first_chunk::<8>()?;
            let (before, sealed) = rest.split_first_chunk::<32>()?;
            let (first, count) = (u64::from_be_bytes(*first), u32::from_be_bytes(*count));
            let [from, through] = [from, through].map(|time| Micros(i64::from_be_bytes(*time)));
            Some((Self { first, count, from, through, before: *before }, sealed))
        };
        fields().ok_or_else(|| StoreError::Damaged("the header of a block of the ledger".into()))
    }
}

/// The chain's hash over a block.
#[must_use]
pub fn hash_of(tenant: TenantId, block: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in [DOMAIN, &tenant.0.to_be_bytes(), block] {
        context.update(part);
    }
    let mut hash = NOTHING;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A block of a chain.
#[derive(Debug, Clone)]
pub struct Block {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Under which number it stands: that of its first entry.
    pub place: u64,
    /// The entries, or why they do not open. Empty where they were not asked for.
    pub entries: StoreResult<Vec<Entry>>,
}

/// A stream of the blocks of a ledger.
pub type Blocks<'b> = Box<dyn Iterator<Item = StoreResult<Block>> + Send + 'b>;

/// What keeps ledgers: a part of [`super::Backend`].
pub trait Ledger: Send + Sync {
    /// Takes an entry for a tenant's ledger: with `Ok` the end of this process does not lose it, and within 50 ms it is on disk.
    /// Answers a number to wait for: see [`Ledger::synced`].
    ///
    /// An error means that the ledger can't take it, or has fallen behind: what the entry tells of must not happen. Where the future is
    /// dropped, the entry may be taken or not.
    fn record(&self, tenant: TenantId, entry: Entry) -> BoxFuture<'static, StoreResult<u64>>;
    /// Waits until an entry is on disk, by the number that [`Ledger::record`] answered.
    fn synced(&self, number: u64) -> BoxFuture<'static, StoreResult<()>>;
    /// Waits until all that was recorded before this call is in the chains, and so to be found.
    fn settled(&self) -> BoxFuture<'static, StoreResult<()>>;
    /// How far a tenant's chain has come.
    fn head(&self, tenant: TenantId) -> StoreResult<Head>;
    /// The blocks of a tenant's chain in order, as they are now, from the one on that stands under this number or behind it; with
    /// their entries where `is_open`.
    fn blocks(&self, tenant: TenantId, from: u64, is_open: bool) -> StoreResult<Blocks<'_>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_to_numbers_and_back() {
        assert!(id_of(9) < id_of(10));
        for number in [0, 1, 42, ENTRY - 1] {
            assert_eq!(number_of(&id_of(number)), Some(number));
            assert_eq!(Rid::of_entry(number).entry(), Some(number));
        }
        for id in ["", "1", "000000000000001", "00000000000000001", "-000000000000001", "+000000000000001", "x"] {
            assert_eq!(number_of(id), None, "{id}");
        }
        assert_eq!(Rid(7).entry(), None);
    }

    #[test]
    fn headers_come_back() {
        let header = BlockHeader { first: 7, count: 3, from: Micros(-1), through: Micros(5), before: [9; 32] };
        let block = [&header.pack()[..], b"sealed"].concat();
        assert_eq!(header.pack().len(), HEADER_LEN);
        assert_eq!(BlockHeader::unpack(&block).unwrap(), (header, &b"sealed"[..]));
        assert_ne!(hash_of(TenantId(0), &block), hash_of(TenantId(1), &block));
        let head = Head { next: 5, hash: [3; 32] };
        assert_eq!(Head::unpack(&head.pack()).unwrap(), head);
    }
}
