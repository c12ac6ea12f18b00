//! One-time codes as authenticator apps make them: RFC 6238 with SHA-1, 30 seconds and 6 digits, which is all that they share.

use super::server::Server;
use crate::error::{Error, Result};
use aws_lc_rs::hmac;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The seconds of a time step.
const STEP_S: i64 = 30;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What an authenticator app has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The secret in base32, for typing.
    pub secret: String,
    /// The same as an `otpauth://` address, for a QR code.
    pub url: String,
}

impl Server {
    /// A new secret for a user.
    pub(super) fn new_totp(&self, username: &str) -> Result<Enrolment> {
        let secret = new_base32::<20>()?;
        let host = self.public_url.split_once("://").map_or(&*self.public_url, |(_, host)| host);
        let issuer = utf8_percent_encode(&format!("Pharos {host}"), NON_ALPHANUMERIC).to_string();
        let account = utf8_percent_encode(username, NON_ALPHANUMERIC);
        let url = format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_S}"
        );
        Ok(Enrolment { secret, url })
    }
}

/// Random bytes in base32, without padding.
pub(super) fn new_base32<const BYTES: usize>() -> Result<String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    let mut text = String::with_capacity(BYTES * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let index = (buffer >> bits & 31) as usize;
            text.extend(ALPHABET.get(index).copied().map(char::from));
        }
    }
    Ok(text)
}

/// The bytes of a base32 text without padding; `None` where it is none.
fn bytes(base32: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(base32.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for letter in base32.bytes() {
        let value = ALPHABET.iter().position(|own| *own == letter)?;
        buffer = buffer << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits & 255) as u8);
        }
    }
    Some(bytes)
}

/// The time step whose code this is: that of now, the one before, or the one after, if it comes after `last`. A code that was
/// taken is so never taken again.
pub(super) fn step(secret: &str, code: &str, now_s: i64, last: u64) -> Option<u64> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes(secret)?);
    let given = code.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
    let now = u64::try_from(now_s.div_euclid(STEP_S)).ok()?;
    // All three are computed whatever the first says.
    let steps = [now.saturating_sub(1), now, now + 1].map(|step| {
        let right = code_at(&key, step);
        let is_right = aws_lc_rs::constant_time::verify_slices_are_equal(&given, right.as_bytes()).is_ok();
        (is_right && step > last).then_some(step)
    });
    steps.into_iter().flatten().next()
}

/// RFC 4226 section 5.3, with the number of a time step for the counter.
fn code_at(key: &hmac::Key, step: u64) -> String {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let offset = tag.as_ref().last().map_or(0, |byte| usize::from(byte & 15));
    let part = tag.as_ref().iter().skip(offset).take(4);
    let number = part.fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The code of a secret at a time, as an app shows it.
#[cfg(test)]
pub(super) fn shown(secret: &str, now_s: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes(secret).unwrap());
    code_at(&key, u64::try_from(now_s / STEP_S).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `12345678901234567890` in base32.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn the_codes_of_the_standard_are_taken() {
        // RFC 6238 appendix B, the last six digits.
        let codes = [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")];
        for (time, code) in codes {
            assert_eq!(step(SECRET, code, time, 0), Some(u64::try_from(time / 30).unwrap()), "{time}");
            assert!(step(SECRET, code, time + 30, 0).is_some() && step(SECRET, code, time - 30, 0).is_some());
            assert!(step(SECRET, code, time + 60, 0).is_none() && step(SECRET, code, time - 60, 0).is_none());
        }
        assert_eq!(step(SECRET, "287 082", 59, 0), Some(1));
    }

    #[test]
    fn a_code_is_taken_once() {
        let now = 1_111_111_109;
        let taken = step(SECRET, "081804", now, 0).unwrap();
        assert_eq!(step(SECRET, "081804", now, taken), None);
        assert_eq!(step(SECRET, &shown(SECRET, now - 30), now, taken), None, "nor one from before");
    }

    #[test]
    fn what_is_no_code_is_not_taken() {
        for code in ["", "28708", "2870820", "abcdef", "００００００"] {
            assert_eq!(step(SECRET, code, 59, 0), None, "{code}");
        }
        assert_eq!(step("not base32", "287082", 59, 0), None);
    }

    #[test]
    fn new_secrets_are_base32() {
        let secret = new_base32::<20>().unwrap();
        assert_eq!(secret.len(), 32);
        assert_eq!(bytes(&secret).unwrap().len(), 20);
        assert_ne!(secret, new_base32::<20>().unwrap());
        assert_eq!(bytes(SECRET).unwrap(), b"12345678901234567890");
    }
}
