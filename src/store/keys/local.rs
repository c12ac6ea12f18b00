//! A master key that this process holds itself: 32 bytes from a file or from a variable of the environment.
//!
//! A wrapped key is `nonce (12) ciphertext (32) tag (16)`: AES-256-GCM under a key that is derived (HKDF-SHA256) from the master key.

use super::{About, Master, MasterError, Masters, Secret, Wrapped, hex};
use crate::store::embedded::sync_folder;
use crate::store::seal::{KEY_LEN, no_crypto};
use crate::store::{StoreError, StoreResult};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + 16;

/// A master key in this process.
pub struct LocalKey {
    secret: Secret,
    wrapping: LessSafeKey,
    id: String,
    /// The file whose key it is or, until it is settled, will be.
    file: Option<PathBuf>,
    /// The file that it is going to replace, locked so that no other process replaces it, too.
    _replaces: Option<File>,
}

/// Where a new master key stands until all keys are wrapped by it.
fn waiting(path: &Path) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(".new");
    name.into()
}

/// The master key of a file, and those that older wrapped keys may need. Makes one (mode 0600) where there is none and `create` allows it.
///
/// # Errors
/// When a file is absent, unreadable, or not 32 bytes long.
pub(super) fn from_file(path: &Path, create: bool) -> StoreResult<Masters> {
    if create && !path.exists() {
        make_file(path, path)?;
    }
    let key: Arc<dyn Master> = Arc::new(LocalKey::new(read(path)?, Some(path.to_path_buf()))?);
    // A rotation did not come to its end.
    match read(&waiting(path)) {
        Ok(new) => Ok(Masters { current: Arc::new(LocalKey::new(new, Some(path.to_path_buf()))?), older: vec![key] }),
        Err(_) => Ok(Masters { current: key, older: Vec::new() }),
    }
}

fn read(path: &Path) -> StoreResult<Secret> {
    let mut secret = Zeroizing::new([0_u8; KEY_LEN]);
    let mut file = File::open(path)
        .map_err(|error| StoreError::Closed(format!("the key file {} can't be read: {error}", path.display())))?;
    let mut rest = [0_u8; 1];
    if file.read_exact(&mut *secret).is_err() || file.read(&mut rest).is_ok_and(|more| more > 0) {
        return Err(StoreError::Closed(format!("the key file {} does not hold 32 bytes", path.display())));
    }
    Ok(secret)
}

/// 32 random bytes in a new file that only its owner can read, on disk before it is used. `told` is the file that an error names.
fn make_file(path: &Path, told: &Path) -> StoreResult<Secret> {
    let secret = random()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(path).and_then(|mut file| {
        file.write_all(&*secret)?;
        file.sync_all()?;
        sync_parent(path)
    });
    made.map_err(|error| StoreError::Io(format!("the key file {} can't be made: {error}", told.display())))?;
    Ok(secret)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

/// 32 random bytes.
pub(super) fn random() -> StoreResult<Secret> {
    let mut secret = Zeroizing::new([0_u8; KEY_LEN]);
    aws_lc_rs::rand::fill(&mut *secret).map_err(|_| no_crypto())?;
    Ok(secret)
}

struct IdLength;

impl aws_lc_rs::hkdf::KeyType for IdLength {
    fn len(&self) -> usize {
        8
    }
}

impl LocalKey {
    /// A master key; `file` is where it stands, if in one.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn new(secret: Secret, file: Option<PathBuf>) -> StoreResult<Self> {
        let root = Salt::new(HKDF_SHA256, b"pharos master").extract(&*secret);
        let mut id = [0; 8];
        root.expand(&[b"id"], IdLength).and_then(|okm| okm.fill(&mut id)).map_err(|_| no_crypto())?;
        let wrapping = root.expand(&[b"wrapping"], &AES_256_GCM).map_err(|_| no_crypto())?;
        let wrapping = LessSafeKey::new(UnboundKey::from(wrapping));
        Ok(Self { wrapping, id: format!("local:{}", hex(&id)), secret, file, _replaces: None })
    }

    /// That of a variable, in base64.
    ///
    /// # Errors
    /// When there is no such variable, or it does not hold 32 bytes.
    pub fn from_variable(name: &str) -> StoreResult<Self> {
        let text = std::env::var(name).map(Zeroizing::new);
        let text =
            text.map_err(|_| StoreError::Closed(format!("the variable {name} with the master key is not set")))?;
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).unwrap_or_default();
        let secret = <[u8; KEY_LEN]>::try_from(&bytes[..]).map(Zeroizing::new);
        let secret =
            secret.map_err(|_| StoreError::Closed(format!("the variable {name} does not hold 32 bytes in base64")))?;
        Self::new(secret, None)
    }
}

impl LocalKey {
    /// Whether it is the new key of a rotation that is not at its end.
    fn is_waiting(&self, waiting: &Path) -> bool {
        read(waiting).is_ok_and(|secret| secret == self.secret)
    }
}

impl Master for LocalKey {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn wrap(&self, about: About, key: &Secret) -> Result<Wrapped, MasterError> {
        let failed = || MasterError::Refused("the cryptographic library failed".into());
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| failed())?;
        let mut bytes = nonce.to_vec();
        let mut text = key.clone();
        let aad = Aad::from(about.text());
        let tag = self
            .wrapping
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *text)
            .map_err(|_| failed())?;
        bytes.extend_from_slice(&*text);
        bytes.extend_from_slice(tag.as_ref());
        Ok(Wrapped { version: 1, bytes })
    }

    fn unwrap(&self, about: About, wrapped: &Wrapped) -> Result<Secret, MasterError> {
        let altered = || MasterError::Damaged("the wrapped key does not open: it was altered".into());
        let bytes = <&[u8; WRAPPED_LEN]>::try_from(&wrapped.bytes[..]).map_err(|_| altered())?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(altered)?;
        let (text, tag) = rest.split_first_chunk::<KEY_LEN>().ok_or_else(altered)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(about.text()));
        self.wrapping.open_separate_gather(nonce, aad, text, tag, &mut *key).map_err(|_| altered())?;
        Ok(key)
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<&Secret> {
        Some(&self.secret)
    }

    fn renew(&self) -> StoreResult<Option<Arc<dyn Master>>> {
        let Some(path) = &self.file else { return Ok(None) };
        let waiting = waiting(path);
        if self.is_waiting(&waiting) {
            return Ok(None);
        }
        let replaced = File::open(path).ok().filter(|file| file.try_lock().is_ok());
        if replaced.is_none() || !read(path).is_ok_and(|secret| secret == self.secret) {
            return Err(StoreError::Closed(format!(
                "the key file {} is not the one that is in use, or another process is replacing it",
                path.display()
            )));
        }
        if waiting.exists() {
            // It was not written to its end, so nothing is wrapped by it.
            std::fs::remove_file(&waiting)
                .map_err(|error| StoreError::Io(format!("{}: {error}", waiting.display())))?;
        }
        let secret = make_file(&waiting, path)?;
        let new = Self::new(secret, Some(path.clone()))?;
        Ok(Some(Arc::new(Self { _replaces: replaced, ..new })))
    }

    fn settle(&self) -> StoreResult<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let waiting = waiting(path);
        if !self.is_waiting(&waiting) {
            return Ok(());
        }
        let settled = std::fs::rename(&waiting, path).and_then(|()| sync_parent(path));
        settled.map_err(|error| StoreError::Io(format!("the key file {} can't be replaced: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        assert!(from_file(&path, false).is_err());
        let first = from_file(&path, true).unwrap().current.id();
        assert_eq!(from_file(&path, true).unwrap().current.id(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for wrong in [0, 31, 33] {
            std::fs::write(&path, vec![0; wrong]).unwrap();
            let error = from_file(&path, true).err().unwrap().to_string();
            assert!(error.contains("does not hold 32 bytes"), "{error}");
        }
    }
}
