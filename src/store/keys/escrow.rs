//! The escrow of a master key: a copy that only the holder of a private RSA key can read, to be kept elsewhere.
//!
//! The form is RSA-OAEP with SHA-256 and MGF1 (RFC 8017 section 7.1) over the 32 bytes, and nothing around it, so that `openssl` opens it and
//! what comes out is a key file.

use super::Secret;
use crate::store::seal::no_crypto;
use crate::store::{StoreError, StoreResult};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// The shortest RSA key that a master key is entrusted to, in bits.
const SHORTEST: usize = 3072;

/// The master key for the holder of the private key to this public one, which is a PEM text (`PUBLIC KEY`).
///
/// # Errors
/// When it is no RSA key, or a short one.
pub fn seal(pem: &[u8], secret: &Secret) -> StoreResult<Vec<u8>> {
    let wrong = |what: &str| StoreError::Closed(format!("the public key {what}"));
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| wrong("is not in PEM (BEGIN PUBLIC KEY)"))?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_| wrong("is not an RSA key"))?;
    if key.key_size_bits() < SHORTEST {
        return Err(wrong("is shorter than 3072 bits"));
    }
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| no_crypto())?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let used = key.encrypt(&OAEP_SHA256_MGF1SHA256, &**secret, &mut sealed, None).map_err(|_| no_crypto())?;
    Ok(used.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use zeroize::Zeroizing;

    fn pem(key: &PrivateDecryptingKey) -> String {
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    #[test]
    fn the_holder_of_the_private_key_reads_the_master_key() {
        let secret = Zeroizing::new([7; 32]);
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
        let sealed = seal(pem(&key).as_bytes(), &secret).unwrap();
        assert_eq!(sealed.len(), 384);
        let key = OaepPrivateDecryptingKey::new(key).unwrap();
        let mut plain = vec![0; key.min_output_size()];
        assert_eq!(key.decrypt(&OAEP_SHA256_MGF1SHA256, &sealed, &mut plain, None).unwrap(), &secret[..]);

        let short = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        assert!(seal(pem(&short).as_bytes(), &secret).unwrap_err().to_string().contains("3072"));
        assert!(seal(b"no key", &secret).is_err());
    }
}
