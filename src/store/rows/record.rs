//! The values of rows: records (a version of a resource), key lists, and the head of a tenant.
//!
//! A record is a plain header and a sealed body bound to it: `format method splice-kind version time rid-less-base type id
//! [splice-position plain-length] patients`, then the sealed bytes (of nothing, for a deletion, so that a deletion can't be forged either).

use super::varint;
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::last_updated::{ALL, last_updated_key};
use crate::store::body::{Body, Splice};
use crate::store::seal::{Place, Purpose, Sealer};
use crate::store::{Method, Rid, StoreError, StoreResult, Version};
use crate::tenant::TenantId;

const FORMAT: u8 = 1;
const DELETED: u8 = 0;
const WHOLE_META: u8 = 1;
const INTO_META: u8 = 2;

/// What the store keeps of a tenant as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Head {
    /// The time of the newest commit.
    pub time: Micros,
    /// The number that the next new resource gets.
    pub next_rid: Rid,
    /// Which generation of postings is in use.
    pub generation: u16,
}

impl Head {
    /// The head of a tenant in which nothing has happened. Lane 0, counted from 1.
    pub(in crate::store) const FIRST: Self = Self { time: Micros(i64::MIN), next_rid: Rid(1), generation: 1 };

    pub(in crate::store) fn pack(self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.time.0.to_be_bytes());
        out.extend_from_slice(&self.next_rid.0.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out
    }

    pub(in crate::store) fn unpack(bytes: &[u8]) -> StoreResult<Self> {
        let fields = || {
            let rest = bytes.strip_prefix(&[FORMAT])?;
            let (time, rest) = rest.split_first_chunk::<8>()?;
            let (next_rid, rest) = rest.split_first_chunk::<8>()?;
            Some(Self {
                time: Micros(i64::from_be_bytes(*time)),
                next_rid: Rid(u64::from_be_bytes(*next_rid)),
                generation: u16::from_be_bytes(rest.try_into().ok()?),
            })
        };
        fields().ok_or_else(|| StoreError::Damaged("the head of a tenant".into()))
    }
}

/// The plain header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header<'a> {
    pub method: Method,
    pub version: u64,
    pub time: Micros,
    /// How far the number of the resource lies after its base: see [`super::block`].
    pub after_base: u64,
    pub type_name: &'a str,
    pub id: &'a str,
    /// Where the version is spliced in and the plain length; `None` for a deletion.
    pub body: Option<(Splice, u32)>,
    /// The patients whose data it is: [`pack_patients`].
    pub patients: &'a [u8],
}

impl<'a> Header<'a> {
    fn pack(&self, out: &mut Vec<u8>) {
        let kind = match self.body {
            None => DELETED,
            Some((Splice::WholeMeta(_), _)) => WHOLE_META,
            Some((Splice::IntoMeta(_), _)) => INTO_META,
        };
        out.extend_from_slice(&[FORMAT, self.method as u8, kind]);
        varint::push(self.version, out);
        out.extend_from_slice(&self.time.0.to_be_bytes());
        varint::push(self.after_base, out);
        varint::push_bytes(self.type_name.as_bytes(), out);
        varint::push_bytes(self.id.as_bytes(), out);
        if let Some((splice, plain_len)) = self.body {
            varint::push(u64::from(splice.position()), out);
            varint::push(u64::from(plain_len), out);
        }
        varint::push_bytes(self.patients, out);
    }

    /// Reads a header; what follows it is the sealed body.
    pub(in crate::store) fn unpack(record: &'a [u8]) -> StoreResult<(Self, &'a [u8])> {
        Self::parse(record).ok_or_else(|| StoreError::Damaged("the header of a record".into()))
    }

    fn parse(record: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[format, method, kind], mut rest) = record.split_first_chunk::<3>()?;
        if format != FORMAT {
            return None;
        }
        let version = varint::take(&mut rest)?;
        let (time, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        let after_base = varint::take(&mut rest)?;
        let type_name = std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
        let id = std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
        let body = if kind == DELETED {
            None
        } else {
            let position = u32::try_from(varint::take(&mut rest)?).ok()?;
            let plain_len = u32::try_from(varint::take(&mut rest)?).ok()?;
            let splice = match kind {
                WHOLE_META => Splice::WholeMeta(position),
                INTO_META => Splice::IntoMeta(position),
                _ => return None,
            };
            Some((splice, plain_len))
        };
        let time = Micros(i64::from_be_bytes(*time));
        let patients = varint::take_bytes(&mut rest)?;
        Some((Self { method: method_of(method)?, version, time, after_base, type_name, id, body, patients }, rest))
    }
}

fn method_of(byte: u8) -> Option<Method> {
    [Method::Create, Method::Update, Method::Patch, Method::Delete].into_iter().find(|method| *method as u8 == byte)
}

pub(super) const fn body_place(tenant: TenantId, rid: Rid, version: u64) -> Place {
    Place { purpose: Purpose::Body, tenant, rid, version }
}

pub(super) const fn keys_place(tenant: TenantId, rid: Rid, version: u64) -> Place {
    Place { purpose: Purpose::Keys, tenant, rid, version }
}

/// A record: the header, and sealed after it the body.
pub(in crate::store) fn seal_record(
    sealer: &Sealer,
    tenant: TenantId,
    rid: Rid,
    header: &Header<'_>,
    body: &[u8],
) -> StoreResult<Vec<u8>> {
    let mut out = Vec::with_capacity(64 + body.len() + crate::store::seal::OVERHEAD);
    header.pack(&mut out);
    sealer.seal(body_place(tenant, rid, header.version), header.time, body, &mut out)?;
    Ok(out)
}

/// Opens a record.
pub(in crate::store) fn open_record(
    sealer: &Sealer,
    tenant: TenantId,
    rid: Rid,
    record: &[u8],
) -> StoreResult<Version> {
    let (header, text) = Header::unpack(record)?;
    let plain_header = record.get(..record.len() - text.len()).unwrap_or_default();
    let packed = sealer.open(body_place(tenant, rid, header.version), plain_header, text)?;
    Ok(Version {
        rid,
        type_name: header.type_name.into(),
        id: header.id.into(),
        version: header.version,
        time: header.time,
        method: header.method,
        patients: unpack_patients(header.patients),
        body: header.body.map(|(splice, plain_len)| Body { splice, packed, plain_len }),
    })
}

/// The ids of patients for a header.
pub(in crate::store) fn pack_patients(patients: &[Box<str>]) -> Vec<u8> {
    let mut out = Vec::new();
    for id in patients {
        varint::push_bytes(id.as_bytes(), &mut out);
    }
    out
}

/// The reverse of [`pack_patients`].
pub(in crate::store) fn unpack_patients(mut packed: &[u8]) -> Box<[Box<str>]> {
    std::iter::from_fn(|| Some(std::str::from_utf8(varint::take_bytes(&mut packed)?).ok()?.into())).collect()
}

/// What a key does not share with the one before it, in bytes, about: for room.
const KEY_REST_LEN: usize = 16;

/// A key list made ready to be sealed: each key by what it shares with the one before. Compression would save a third of that
/// and cost more time than all else, here and at each check of a search.
pub(in crate::store) fn pack_keys(keys: &KeyList) -> Vec<u8> {
    let mut packed = Vec::with_capacity(keys.byte_len() + 2 * keys.len());
    let mut before: &[u8] = &[];
    for key in keys {
        let shared = before.iter().zip(key.iter()).take_while(|(a, b)| a == b).count();
        varint::push(shared as u64, &mut packed);
        varint::push_bytes(key.get(shared..).unwrap_or_default(), &mut packed);
        before = key;
    }
    packed
}

fn unpack_keys(mut packed: &[u8]) -> Option<KeyList> {
    let mut keys = KeyList::with_capacity(packed.len() / KEY_REST_LEN, 2 * packed.len());
    while !packed.is_empty() {
        let shared = usize::try_from(varint::take(&mut packed)?).ok()?;
        let rest = varint::take_bytes(&mut packed)?;
        keys.push_shared(shared, rest)?;
    }
    Some(keys)
}

/// The value of the table `keys`: the version, and sealed after it the list.
pub(in crate::store) fn seal_keys(
    sealer: &Sealer,
    tenant: TenantId,
    rid: Rid,
    version: u64,
    time: Micros,
    packed: &[u8],
) -> StoreResult<Vec<u8>> {
    let mut out = Vec::with_capacity(18 + packed.len() + crate::store::seal::OVERHEAD);
    varint::push(version, &mut out);
    out.extend_from_slice(&time.0.to_be_bytes());
    sealer.seal(keys_place(tenant, rid, version), time, packed, &mut out)?;
    Ok(out)
}

/// A key list as it was given to the commit, without the keys that the commit adds, and of which version it is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct OpenKeys {
    pub version: u64,
    pub time: Micros,
    pub content: KeyList,
}

/// Opens a key list.
pub(in crate::store) fn open_keys(sealer: &Sealer, tenant: TenantId, rid: Rid, value: &[u8]) -> StoreResult<OpenKeys> {
    let (version, time, text) = split_keys(value)?;
    let header = value.get(..value.len() - text.len()).unwrap_or_default();
    let packed = sealer.open(keys_place(tenant, rid, version), header, text)?;
    Ok(OpenKeys { version, time, content: unpack_keys(&packed).ok_or_else(damaged_keys)? })
}

/// Version and time of a key list, and what is sealed behind the plain header.
pub(super) fn split_keys(value: &[u8]) -> StoreResult<(u64, Micros, &[u8])> {
    let mut text = value;
    let version = varint::take(&mut text).ok_or_else(damaged_keys)?;
    let (time, text) = text.split_first_chunk::<8>().ok_or_else(damaged_keys)?;
    Ok((version, Micros(i64::from_be_bytes(*time)), text))
}

fn damaged_keys() -> StoreError {
    StoreError::Damaged("a key list".into())
}

/// All keys of a live version: those of its content and those that the commit added.
pub(in crate::store) fn with_added_keys(content: &KeyList, time: Micros) -> KeyList {
    let mut added = vec![last_updated_key(time)];
    added.push(ALL.into());
    content.with(added)
}

/// The value of the table `history`: an old record and its key list, both as they were when they were current.
pub(in crate::store) fn pack_history(record: &[u8], keys: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + record.len() + keys.len());
    varint::push_bytes(record, &mut out);
    out.extend_from_slice(keys);
    out
}

/// The record and the sealed key list (empty for a deletion) of a history value.
pub(in crate::store) fn unpack_history(mut value: &[u8]) -> StoreResult<(&[u8], &[u8])> {
    let record = varint::take_bytes(&mut value).ok_or_else(|| StoreError::Damaged("an old version".into()))?;
    Ok((record, value))
}

/// The number that an entry of the table of ids holds.
pub(in crate::store) fn rid_of(bytes: &[u8]) -> StoreResult<Rid> {
    let number = bytes.try_into().map_err(|_| StoreError::Damaged("an entry of the table of ids".into()))?;
    Ok(Rid(u64::from_be_bytes(number)))
}

/// The keys of a version: none for a deletion; a live version must have a list, and it must be its own.
pub(in crate::store) fn keys_of(
    sealer: &Sealer,
    tenant: TenantId,
    rid: Rid,
    header: &Header<'_>,
    value: &[u8],
) -> StoreResult<KeyList> {
    if header.body.is_none() {
        return Ok(KeyList::default());
    }
    let OpenKeys { version, time, content } = open_keys(sealer, tenant, rid, value)?;
    if (version, time) != (header.version, header.time) {
        return Err(StoreError::Damaged("a key list belongs to another version than the record".into()));
    }
    Ok(with_added_keys(&content, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let sealer = Sealer::new(&[3; 32]).unwrap();
        let header = Header {
            method: Method::Patch,
            version: 300,
            time: Micros(1_700_000_000_000_000),
            after_base: 7,
            type_name: "Patient",
            id: "a",
            body: Some((Splice::IntoMeta(40), 1000)),
            patients: &pack_patients(&["p".into(), "q".into()]),
        };
        let record = seal_record(&sealer, TenantId(1), Rid(2), &header, b"body").unwrap();
        assert_eq!(Header::unpack(&record).unwrap().0, header);
        let version = open_record(&sealer, TenantId(1), Rid(2), &record).unwrap();
        assert_eq!(*version.patients, ["p".into(), "q".into()]);
        assert_eq!(&*version.body.unwrap().packed, b"body");
        assert!(open_record(&sealer, TenantId(1), Rid(3), &record).is_err(), "a swapped record must not open");
        let mut edited = record;
        edited[1] = Method::Update as u8;
        assert!(open_record(&sealer, TenantId(1), Rid(2), &edited).is_err(), "an edited header must not open");
    }

    #[test]
    fn key_lists_come_back() {
        let sealer = Sealer::new(&[3; 32]).unwrap();
        let keys = KeyList::new([&b"code\0abc"[..], b"code\0abd", b"", b"x"].map(Into::into).to_vec());
        let value = seal_keys(&sealer, TenantId(1), Rid(2), 5, Micros(-7), &pack_keys(&keys)).unwrap();
        let opened = OpenKeys { version: 5, time: Micros(-7), content: keys };
        assert_eq!(open_keys(&sealer, TenantId(1), Rid(2), &value).unwrap(), opened);
    }

    #[test]
    fn heads_come_back() {
        let head = Head { time: Micros(-3), next_rid: Rid(9), generation: 2 };
        assert_eq!(Head::unpack(&head.pack()).unwrap(), head);
        assert!(Head::unpack(b"\x01short").is_err());
    }
}
