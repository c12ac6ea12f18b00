//! Refresh tokens: `{authorization}.{generation}.{secret}`.
//!
//! None of them is kept. The secret is a MAC over the generation under a key that the [`Authorization`] holds, so an older token is
//! known for what it is, however long ago it was replaced.

use super::records::Authorization;
use super::secret;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A refresh token in its parts. That it is well-formed proves nothing: [`RefreshToken::is_of`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken<'a> {
    /// The id of the authorization.
    pub authorization: &'a str,
    /// Counted from 1.
    pub generation: u64,
    secret: &'a str,
}

impl<'a> RefreshToken<'a> {
    /// Reads a token; `None` for what can't be one.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (rest, secret) = text.rsplit_once('.')?;
        let (authorization, generation) = rest.rsplit_once('.')?;
        let generation = generation.parse().ok()?;
        (1..=255).contains(&authorization.len()).then_some(Self { authorization, generation, secret })
    }

    /// Whether this server made it for this authorization, now or earlier.
    #[must_use]
    pub fn is_of(&self, authorization: &Authorization) -> bool {
        self.authorization == authorization.id
            && (1..=authorization.refresh).contains(&self.generation)
            && secret::are_equal(self.secret, &secret_of(authorization, self.generation))
    }
}

/// The refresh token of an authorization that is good now; `None` where it has none.
#[must_use]
pub fn current(authorization: &Authorization) -> Option<String> {
    let Authorization { id, refresh, refresh_secret, .. } = authorization;
    let has_one = *refresh > 0 && !refresh_secret.is_empty();
    has_one.then(|| format!("{id}.{refresh}.{}", secret_of(authorization, *refresh)))
}

fn secret_of(authorization: &Authorization, generation: u64) -> String {
    let key = Key::new(HMAC_SHA256, authorization.refresh_secret.as_bytes());
    URL_SAFE_NO_PAD.encode(sign(&key, format!("{}.{generation}", authorization.id).as_bytes()))
}
