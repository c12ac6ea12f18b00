//! Sealing: AES-256-GCM under subkeys that are derived (HKDF-SHA256) for each tenant, purpose and epoch.
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
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub const OVERHEAD: usize = 4 + 4 + NONCE_LEN + TAG_LEN;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;
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
    /// The value that tells at opening whether the key file is the right one.
    Check = 3,
    /// Records that are no resources: see [`crate::auth::keeper`].
    Kept = 4,
    /// Blocks of the ledger: see [`crate::store::ledger`].
    Ledger = 5,
    /// Entries that wait to be put into such a block.
    Staged = 6,
    /// Files outside of the store.
    File = 7,
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

/// Seals and opens under one master key. The master key itself is not kept: only what HKDF made of it.
pub struct Sealer {
    key_id: [u8; 4],
    root: Prk,
    subkeys: RwLock<FxHashMap<(u8, u32, u32), Arc<LessSafeKey>>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer under this master key.
    ///
    /// # Errors
    /// When the derivation fails, which it does for no key of this length.
    pub fn new(master: &[u8; KEY_LEN]) -> StoreResult<Self> {
        let root = Salt::new(HKDF_SHA256, b"pharos store").extract(master);
        let mut key_id = [0; 4];
        root.expand(&[b"key id"], IdLength).and_then(|okm| okm.fill(&mut key_id)).map_err(|_| no_crypto())?;
        Ok(Self { key_id, root, subkeys: RwLock::default() })
    }

    /// Reads the master key from a file; makes one (mode 0600) where there is none and `create` allows it.
    ///
    /// # Errors
    /// When the file is absent, unreadable, or not 32 bytes long.
    pub fn from_file(path: &Path, create: bool) -> StoreResult<Self> {
        if create && !path.exists() {
            make_key_file(path)?;
        }
        let mut master = Zeroizing::new([0_u8; KEY_LEN]);
        let mut file = std::fs::File::open(path)
            .map_err(|error| StoreError::Closed(format!("the key file {} can't be read: {error}", path.display())))?;
        let mut rest = [0_u8; 1];
        if file.read_exact(&mut *master).is_err() || file.read(&mut rest).is_ok_and(|more| more > 0) {
            return Err(StoreError::Closed(format!("the key file {} does not hold 32 bytes", path.display())));
        }
        Self::new(&master)
    }

    /// A key for something outside the store, such as page links: the same for the same master key and purpose.
    ///
    /// # Errors
    /// When the derivation fails, which it does for no purpose.
    pub fn derive(&self, purpose: &[u8]) -> StoreResult<[u8; KEY_LEN]> {
        let mut key = [0; KEY_LEN];
        let info = [b"derived".as_slice(), purpose];
        self.root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut key)).map_err(|_| no_crypto())?;
        Ok(key)
    }

    /// Appends the sealed form of `plain` to `out`. Everything already in `out` is the header it is bound to.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, place: Place, time: Micros, plain: &[u8], out: &mut Vec<u8>) -> StoreResult<()> {
        let bound = bind(place, out);
        let epoch = epoch_of(time);
        let mut nonce = [0_u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| no_crypto())?;
        out.reserve(OVERHEAD + plain.len());
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let key = self.subkey(place, epoch)?;
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
        if *key_id != self.key_id {
            return Err(StoreError::Damaged("a value was sealed under another master key".into()));
        }
        let key = self.subkey(place, u32::from_be_bytes(*epoch))?;
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

    fn subkey(&self, place: Place, epoch: u32) -> StoreResult<Arc<LessSafeKey>> {
        let name = (place.purpose as u8, place.tenant.0, epoch);
        let known = self.subkeys.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let info = [&[name.0][..], &name.1.to_be_bytes(), &name.2.to_be_bytes()];
        let okm = self.root.expand(&info, &AES_256_GCM).map_err(|_| no_crypto())?;
        let key = Arc::new(LessSafeKey::new(UnboundKey::from(okm)));
        let mut subkeys = self.subkeys.write().unwrap_or_else(PoisonError::into_inner);
        if subkeys.len() >= CACHED_SUBKEYS {
            subkeys.clear();
        }
        subkeys.insert(name, Arc::clone(&key));
        Ok(key)
    }
}

struct IdLength;

impl aws_lc_rs::hkdf::KeyType for IdLength {
    fn len(&self) -> usize {
        4
    }
}

/// 32 random bytes in a new file that only its owner can read, on disk before it is used.
fn make_key_file(path: &Path) -> StoreResult<()> {
    let mut master = Zeroizing::new([0_u8; KEY_LEN]);
    aws_lc_rs::rand::fill(&mut *master).map_err(|_| no_crypto())?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(path).and_then(|mut file| {
        file.write_all(&*master)?;
        file.sync_all()?;
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), super::embedded::sync_folder)
    });
    made.map_err(|error| StoreError::Io(format!("the key file {} can't be made: {error}", path.display())))
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

fn no_crypto() -> StoreError {
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
    fn a_key_file_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        assert!(Sealer::from_file(&path, false).is_err());
        let first = Sealer::from_file(&path, true).unwrap();
        let again = Sealer::from_file(&path, true).unwrap();
        assert_eq!(first.key_id, again.key_id);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, [0; 33]).unwrap();
        assert!(Sealer::from_file(&path, true).is_err());
    }
}
