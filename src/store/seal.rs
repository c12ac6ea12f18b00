//! Sealing: AES-256-GCM under subkeys that are derived (HKDF-SHA256) from a tenant's data key for each purpose and epoch. Where the
//! data keys come from, [`super::keys`] tells.
//!
//! A sealed value is `key id (4) epoch (4, big-endian) nonce (12) ciphertext tag (16)`. It is bound to its place (purpose,
//! tenant, resource number, version) and to the plain header before it, so that a value moved elsewhere, or a header that was
//! edited, does not open. An epoch lasts 2^33 microseconds (2.4 hours): at 20,000 values a second that is 2^27.4 random
//! nonces under one subkey, far from the 2^32 that NIST SP 800-38D allows.

use super::{Rid, StoreError, StoreResult};
use crate::clock::Micros;
use crate::tenant::TenantId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rustc_hash::FxHashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes that sealing adds.
pub const OVERHEAD: usize = 4 + 4 + NONCE_LEN + TAG_LEN;
/// Bytes at the end that tell whether all is as it was sealed.
pub const TAG_LEN: usize = 16;
/// The length of a key, in bytes.
pub const KEY_LEN: usize = 32;
const EPOCH_SHIFT: u32 = 33;
/// Subkeys kept ready; when more are in use at once they are derived again, which costs about a microsecond each.
const CACHED_SUBKEYS: usize = 4096;

/// What a subkey is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Bodies of resources.
    Body = 1,
    /// Search keys of resources.
    Keys = 2,
    /// The value that tells at opening whether the store's own key is the right one.
    Check = 3,
    /// Records that are no resources: see [`crate::auth::keeper`].
    Kept = 4,
    /// Blocks of the ledger: see [`crate::store::ledger`].
    Ledger = 5,
    /// Entries that wait to be put into such a block.
    Staged = 6,
    /// Files outside of the store.
    File = 7,
    /// Marks that tell which versions of a resource were erased.
    Erased = 8,
}

/// Where a sealed value belongs: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// What the value is.
    pub purpose: Purpose,
    /// Whose it is.
    pub tenant: TenantId,
    /// The resource, 0 where there is none.
    pub rid: Rid,
    /// The version, 0 where there is none.
    pub version: u64,
}

impl Place {
    /// Whose key it is sealed with.
    const fn owner(self) -> TenantId {
        match self.purpose {
            Purpose::Ledger | Purpose::Staged | Purpose::Check => STORE,
            Purpose::Body | Purpose::Keys | Purpose::Kept | Purpose::File | Purpose::Erased => self.tenant,
        }
    }
}

/// Whose key seals what belongs to the store and to no tenant alone: the ledgers of all tenants, so that a tenant whose key was destroyed
/// leaves the proof of it; and what is derived for use outside of the store.
pub const STORE: TenantId = TenantId(u32::MAX);

/// By which a sealed value names its key: four bytes that are derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 4]);

/// A data key, of which only what HKDF made of it is kept; that is zeroed when it is dropped.
pub struct DataKey {
    id: KeyId,
    root: Prk,
}

impl DataKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// When the derivation fails, which it does for no key of this length.
    pub fn new(key: &[u8; KEY_LEN]) -> StoreResult<Self> {
        let root = Salt::new(HKDF_SHA256, b"pharos store").extract(key);
        let mut id = [0; 4];
        root.expand(&[b"key id"], Length(4)).and_then(|okm| okm.fill(&mut id)).map_err(|_| no_crypto())?;
        Ok(Self { id: KeyId(id), root })
    }

    /// By which sealed values name it.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What tells this key from every other one, and nothing of it: kept beside the wrapped key.
    ///
    /// # Errors
    /// As [`DataKey::new`].
    pub fn check_value(&self) -> StoreResult<[u8; 16]> {
        let mut check = [0; 16];
        self.root
            .expand(&[b"check value"], Length(16))
            .and_then(|okm| okm.fill(&mut check))
            .map_err(|_| no_crypto())?;
        Ok(check)
    }

    /// A key for something outside the store, such as page links: the same for the same key and purpose.
    ///
    /// # Errors
    /// When the derivation fails, which it does for no purpose.
    pub fn derive(&self, purpose: &[u8]) -> StoreResult<[u8; KEY_LEN]> {
        let mut key = [0; KEY_LEN];
        let info = [b"derived".as_slice(), purpose];
        self.root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut key)).map_err(|_| no_crypto())?;
        Ok(key)
    }
}

/// The length of something derived, in bytes.
struct Length(usize);

impl aws_lc_rs::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Seals under the newest data key of each tenant, and opens under all that are live.
#[derive(Default)]
pub struct Sealer {
    live: RwLock<Live>,
    missing: OnceLock<Missing>,
}

/// Hears of a key that a sealed value names and that is not here, and may bring it.
type Missing = Box<dyn Fn(TenantId, KeyId) + Send + Sync>;

#[derive(Default)]
struct Live {
    /// The keys of a tenant, the newest last.
    keys: FxHashMap<TenantId, Vec<Arc<DataKey>>>,
    /// The key of all tenants that have none of their own.
    common: Option<Arc<DataKey>>,
    /// By key, purpose, tenant and epoch.
    subkeys: FxHashMap<(KeyId, u8, u32, u32), Arc<LessSafeKey>>,
}

impl Live {
    fn newest(&self, owner: TenantId) -> Option<&Arc<DataKey>> {
        self.keys.get(&owner).and_then(|keys| keys.last()).or(self.common.as_ref())
    }

    fn named(&self, owner: TenantId, id: KeyId) -> Option<&Arc<DataKey>> {
        self.keys.get(&owner).into_iter().flatten().chain(self.common.as_ref()).find(|key| key.id == id)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer with one key for all tenants, as stores had before each tenant got its own.
    ///
    /// # Errors
    /// As [`DataKey::new`].
    pub fn new(key: &[u8; KEY_LEN]) -> StoreResult<Self> {
        let live = Live { common: Some(Arc::new(DataKey::new(key)?)), ..Live::default() };
        Ok(Self { live: RwLock::new(live), missing: OnceLock::new() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the live keys of a tenant, the newest last. Those that were live before and are not among them open nothing any more.
    pub fn set(&self, owner: TenantId, keys: Vec<Arc<DataKey>>) {
        let mut live = self.write();
        live.subkeys.retain(|(id, _, tenant, _), _| *tenant != owner.0 || keys.iter().any(|key| key.id == *id));
        if keys.is_empty() {
            live.keys.remove(&owner);
        } else {
            live.keys.insert(owner, keys);
        }
    }

    /// `bring` is asked for keys that are not here, and sets them if it has them; who opens a value waits for it.
    pub fn ask_for_missing(&self, bring: impl Fn(TenantId, KeyId) + Send + Sync + 'static) {
        self.missing.get_or_init(|| Box::new(bring));
    }

    /// Whether something can be sealed for this tenant.
    #[must_use]
    pub fn has(&self, owner: TenantId) -> bool {
        self.read().newest(owner).is_some()
    }

    /// Whether a sealed value is under another key than the newest of its tenant.
    #[must_use]
    pub fn is_old(&self, tenant: TenantId, sealed: &[u8]) -> bool {
        let live = self.read();
        let (Some(id), Some(newest)) = (sealed.first_chunk::<4>(), live.newest(tenant)) else { return false };
        *id != newest.id.0
    }

    /// Whether the key is here under which a value was sealed.
    #[must_use]
    pub fn knows(&self, place: Place, sealed: &[u8]) -> bool {
        let id = sealed.first_chunk::<4>();
        id.is_some_and(|id| self.read().named(place.owner(), KeyId(*id)).is_some())
    }

    /// Appends the sealed form of `plain` to `out`. Everything already in `out` is the header it is bound to.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, place: Place, time: Micros, plain: &[u8], out: &mut Vec<u8>) -> StoreResult<()> {
        let bound = bind(place, out);
        let epoch = epoch_of(time);
        let (id, key) = self.newest_subkey(place, epoch)?;
        let mut nonce = [0_u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| no_crypto())?;
        out.reserve(OVERHEAD + plain.len());
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let text = out.get_mut(start..).ok_or_else(no_crypto)?;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&bound), text)
            .map_err(|_| no_crypto())?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a sealed value that stands after `header`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it was sealed under another key, for another place, or was altered.
    pub fn open(&self, place: Place, header: &[u8], sealed: &[u8]) -> StoreResult<Box<[u8]>> {
        let Some((key_id, rest)) = sealed.split_first_chunk::<4>() else { return Err(altered(place)) };
        let Some((epoch, rest)) = rest.split_first_chunk::<4>() else { return Err(altered(place)) };
        let Some((nonce, rest)) = rest.split_first_chunk::<NONCE_LEN>() else { return Err(altered(place)) };
        let Some((text, tag)) = rest.split_last_chunk::<TAG_LEN>() else { return Err(altered(place)) };
        let key = self.subkey(KeyId(*key_id), place, u32::from_be_bytes(*epoch))?;
        let mut plain = vec![0; text.len()].into_boxed_slice();
        key.open_separate_gather(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(&bind(place, header)),
            text,
            tag,
            &mut plain,
        )
        .map_err(|_| altered(place))?;
        Ok(plain)
    }

    /// What was sealed after `header`, sealed under the newest key; it is as long as before.
    ///
    /// # Errors
    /// As [`Sealer::open`].
    pub fn reseal(&self, place: Place, header: &[u8], sealed: &[u8]) -> StoreResult<Vec<u8>> {
        let plain = self.open(place, header, sealed)?;
        let epoch = sealed.get(4..8).and_then(<[u8]>::first_chunk::<4>).map_or(0, |epoch| u32::from_be_bytes(*epoch));
        let mut out = header.to_vec();
        self.seal(place, Micros(i64::from(epoch) << EPOCH_SHIFT), &plain, &mut out)?;
        out.drain(..header.len());
        Ok(out)
    }

    /// The sealed form of what is kept in a file of this name.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal_file(&self, tenant: TenantId, name: &str, time: Micros, plain: &[u8]) -> StoreResult<Vec<u8>> {
        let mut out = name.as_bytes().to_vec();
        self.seal(file_place(tenant), time, plain, &mut out)?;
        out.drain(..name.len());
        Ok(out)
    }

    /// What [`Sealer::seal_file`] sealed.
    ///
    /// # Errors
    /// When it was altered, or belongs to another tenant, name or master key.
    pub fn open_file(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        Ok(self.open(file_place(tenant), name.as_bytes(), sealed)?.into_vec())
    }

    /// The newest key of who owns the place, and its subkey.
    fn newest_subkey(&self, place: Place, epoch: u32) -> StoreResult<(KeyId, Arc<LessSafeKey>)> {
        let live = self.read();
        let id = live.newest(place.owner()).ok_or_else(|| no_key(place))?.id;
        let known = live.subkeys.get(&(id, place.purpose as u8, place.tenant.0, epoch)).cloned();
        drop(live);
        Ok((id, known.map_or_else(|| self.make_subkey(id, place, epoch), Ok)?))
    }

    fn subkey(&self, id: KeyId, place: Place, epoch: u32) -> StoreResult<Arc<LessSafeKey>> {
        let live = self.read();
        if let Some(known) = live.subkeys.get(&(id, place.purpose as u8, place.tenant.0, epoch)) {
            return Ok(Arc::clone(known));
        }
        let is_here = live.named(place.owner(), id).is_some();
        drop(live);
        if let (false, Some(bring)) = (is_here, self.missing.get()) {
            bring(place.owner(), id);
        }
        self.make_subkey(id, place, epoch)
    }

    fn make_subkey(&self, id: KeyId, place: Place, epoch: u32) -> StoreResult<Arc<LessSafeKey>> {
        let name = (id, place.purpose as u8, place.tenant.0, epoch);
        let mut live = self.write();
        let key = live.named(place.owner(), id).ok_or_else(|| no_key(place))?;
        let info = [&[name.1][..], &name.2.to_be_bytes(), &name.3.to_be_bytes()];
        let okm = key.root.expand(&info, &AES_256_GCM).map_err(|_| no_crypto())?;
        let key = Arc::new(LessSafeKey::new(UnboundKey::from(okm)));
        if live.subkeys.len() >= CACHED_SUBKEYS {
            live.subkeys.clear();
        }
        live.subkeys.insert(name, Arc::clone(&key));
        Ok(key)
    }
}

const fn file_place(tenant: TenantId) -> Place {
    Place { purpose: Purpose::File, tenant, rid: Rid(0), version: 0 }
}

fn epoch_of(time: Micros) -> u32 {
    u32::try_from(time.0.max(0) >> EPOCH_SHIFT).unwrap_or(u32::MAX)
}

fn bind(place: Place, header: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(21 + header.len());
    bound.push(place.purpose as u8);
    bound.extend_from_slice(&place.tenant.0.to_be_bytes());
    bound.extend_from_slice(&place.rid.0.to_be_bytes());
    bound.extend_from_slice(&place.version.to_be_bytes());
    bound.extend_from_slice(header);
    bound
}

/// Its owner's keys are gone, or it was sealed under one that never was among them.
fn no_key(place: Place) -> StoreError {
    let Place { purpose, tenant, rid, version } = place;
    let what = format!("{purpose:?} of tenant {} resource {} version {version}", tenant.0, rid.0);
    StoreError::Damaged(format!("{what} does not open: it is under a key that is not there"))
}

pub(super) fn no_crypto() -> StoreError {
    StoreError::Io("the cryptographic library failed".into())
}

fn altered(place: Place) -> StoreError {
    let Place { purpose, tenant, rid, version } = place;
    StoreError::Damaged(format!(
        "{purpose:?} of tenant {} resource {} version {version} does not open: altered, or moved from elsewhere",
        tenant.0, rid.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(rid: u64, version: u64) -> Place {
        Place { purpose: Purpose::Body, tenant: TenantId(7), rid: Rid(rid), version }
    }

    #[test]
    fn a_value_opens_only_in_its_place() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let mut out = b"head".to_vec();
        sealer.seal(place(1, 1), Micros(0), b"secret", &mut out).unwrap();
        assert_eq!(out.len(), 4 + OVERHEAD + 6);
        let value = &out[4..];
        assert_eq!(&*sealer.open(place(1, 1), b"head", value).unwrap(), b"secret");
        assert!(sealer.open(place(2, 1), b"head", value).is_err());
        assert!(sealer.open(place(1, 2), b"head", value).is_err());
        assert!(sealer.open(Place { tenant: TenantId(8), ..place(1, 1) }, b"head", value).is_err());
        assert!(sealer.open(Place { purpose: Purpose::Keys, ..place(1, 1) }, b"head", value).is_err());
        assert!(sealer.open(place(1, 1), b"Head", value).is_err());
        let mut altered = value.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(sealer.open(place(1, 1), b"head", &altered).is_err());
        assert!(Sealer::new(&[2; 32]).unwrap().open(place(1, 1), b"head", value).is_err());
    }

    #[test]
    fn a_file_opens_under_its_own_name_only() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let sealed = sealer.seal_file(TenantId(1), "a.gz", Micros(0), b"secret").unwrap();
        assert_eq!(sealer.open_file(TenantId(1), "a.gz", &sealed).unwrap(), b"secret");
        assert!(sealer.open_file(TenantId(1), "b.gz", &sealed).is_err());
        assert!(sealer.open_file(TenantId(2), "a.gz", &sealed).is_err());
    }

    #[test]
    fn several_keys_of_a_tenant_are_live_and_the_newest_seals() {
        let key = |byte| Arc::new(DataKey::new(&[byte; 32]).unwrap());
        let sealer = Sealer::default();
        let seal = || {
            let mut out = Vec::new();
            sealer.seal(place(1, 1), Micros(0), b"secret", &mut out).map(|()| out)
        };
        assert!(seal().is_err() && !sealer.has(TenantId(7)));
        sealer.set(TenantId(7), vec![key(1)]);
        let old = seal().unwrap();
        sealer.set(TenantId(7), vec![key(1), key(2)]);
        let new = seal().unwrap();
        assert!(sealer.is_old(TenantId(7), &old) && !sealer.is_old(TenantId(7), &new));
        for value in [&old, &new] {
            assert_eq!(&*sealer.open(place(1, 1), b"", value).unwrap(), b"secret");
        }
        sealer.set(TenantId(7), vec![key(2)]);
        assert!(sealer.open(place(1, 1), b"", &old).is_err() && sealer.open(place(1, 1), b"", &new).is_ok());
        sealer.set(TenantId(7), Vec::new());
        assert!(sealer.open(place(1, 1), b"", &new).is_err() && seal().is_err());
    }

    #[test]
    fn the_ledger_is_sealed_under_the_stores_own_key() {
        let sealer = Sealer::default();
        sealer.set(STORE, vec![Arc::new(DataKey::new(&[1; 32]).unwrap())]);
        let mut out = Vec::new();
        let block = Place { purpose: Purpose::Ledger, ..place(1, 0) };
        sealer.seal(block, Micros(0), b"what happened", &mut out).unwrap();
        assert_eq!(&*sealer.open(block, b"", &out).unwrap(), b"what happened");
        assert!(sealer.open(Place { tenant: TenantId(8), ..block }, b"", &out).is_err());
    }
}
