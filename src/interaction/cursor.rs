//! The cursors in page links: opaque, sealed, bound to a tenant and a query, valid for a stated time.
//!
//! A cursor holds what a page ended with (a sort key may be a patient's name), so it is encrypted, and an altered one,
//! or one of another query, is refused.

use crate::clock::Micros;
use crate::error::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const NONCE_LEN: usize = 12;

/// Seals and opens cursors.
pub struct Cursors {
    key: RandomizedNonceKey,
    lifetime_s: u64,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors")
    }
}

impl Cursors {
    /// Cursors under this key.
    ///
    /// # Errors
    /// When the cryptographic library refuses the key.
    pub fn new(key: &[u8; 32], lifetime_s: u64) -> Result<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(Error::internal)?;
        Ok(Self { key, lifetime_s })
    }

    /// A cursor for a URL: `content`, valid only with the same `binding` (tenant, path, query).
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn seal(&self, now: Micros, binding: &[u8], content: &[u8]) -> Result<String> {
        let mut sealed = now.0.to_be_bytes().to_vec();
        sealed.extend_from_slice(content);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(binding), &mut sealed).map_err(Error::internal)?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The content of a cursor.
    ///
    /// # Errors
    /// 400 where it was altered, is of another query, or too old.
    pub fn open(&self, now: Micros, binding: &[u8], cursor: &str) -> Result<Vec<u8>> {
        let invalid = || Error::invalid("The page link is not valid (any more): start the search anew.").at("_cursor");
        let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(invalid)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| invalid())?;
        let mut rest = rest.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(binding), &mut rest).map_err(|_| invalid())?;
        let (time, content) = plain.split_first_chunk::<8>().ok_or_else(invalid)?;
        let age_s = (now.0 - i64::from_be_bytes(*time)) / 1_000_000;
        if u64::try_from(age_s.max(0)).is_ok_and(|age_s| age_s > self.lifetime_s) {
            return Err(invalid());
        }
        Ok(content.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_query_in_time_opens_a_cursor() {
        let cursors = Cursors::new(&[7; 32], 60).unwrap();
        let at = |s: i64| Micros(s * 1_000_000);
        let sealed = cursors.seal(at(100), b"query", b"Chalmers").unwrap();
        assert_eq!(cursors.open(at(160), b"query", &sealed).unwrap(), b"Chalmers");
        assert!(cursors.open(at(161), b"query", &sealed).is_err());
        assert!(cursors.open(at(100), b"other", &sealed).is_err());
        for n in 0..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[n] = if altered[n] == b'A' { b'B' } else { b'A' };
            assert!(cursors.open(at(100), b"query", std::str::from_utf8(&altered).unwrap()).is_err(), "byte {n}");
        }
        assert!(Cursors::new(&[8; 32], 60).unwrap().open(at(100), b"query", &sealed).is_err());
    }
}
