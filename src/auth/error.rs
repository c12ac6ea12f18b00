//! What OAuth endpoints answer where they refuse: RFC 6749 section 5.2, and the codes of its kin.

use super::keeper::KeeperError;
use std::borrow::Cow;

/// A refusal: an error code that a standard defines, with words for the developer. No patient data belongs into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthError {
    /// `error`: `invalid_request`, `invalid_client`, `invalid_grant`, `invalid_scope`, …
    pub code: &'static str,
    /// `error_description`.
    pub description: Cow<'static, str>,
    /// What the log hears: of faults that are the server's, and why a token or a proof is not good.
    pub log: Option<String>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u32>,
}

impl OAuthError {
    /// A refusal with this code.
    pub fn new(code: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), log: None, retry_after_s: None }
    }

    /// `invalid_request`.
    pub fn request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new("invalid_request", description)
    }

    /// `invalid_client`, the same for an unknown client and for a bad proof.
    #[must_use]
    pub fn client() -> Self {
        Self::new("invalid_client", "The client is not known, or its proof is not good.")
    }

    /// `invalid_grant`.
    pub fn grant(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new("invalid_grant", description)
    }

    /// `slow_down`, with the seconds to wait.
    pub fn slow_down(description: impl Into<Cow<'static, str>>, wait_s: u32) -> Self {
        Self { retry_after_s: Some(wait_s), ..Self::new("slow_down", description) }
    }

    /// `server_error`: the log hears why.
    pub fn server(log: impl std::fmt::Display) -> Self {
        let mut error = Self::new("server_error", "The server failed to handle the request.");
        error.log = Some(log.to_string());
        error
    }

    /// What an endpoint says where an access token does not let somebody in.
    #[must_use]
    pub fn of_bearer(error: &crate::error::Error) -> Self {
        use crate::error::Category;
        let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
        let mut own = match error.category {
            Category::Unauthenticated => Self::new("invalid_token", text),
            Category::Forbidden => Self::new("insufficient_scope", text),
            _ => Self::server(error),
        };
        own.log.clone_from(&error.log);
        own
    }

    /// The one table from code to HTTP status, for answers that are no redirect.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            "invalid_client" | "invalid_token" => 401,
            "access_denied" | "insufficient_scope" => 403,
            "slow_down" => 429,
            "server_error" => 500,
            "temporarily_unavailable" => 503,
            _ => 400,
        }
    }
}

impl From<KeeperError> for OAuthError {
    fn from(error: KeeperError) -> Self {
        Self::server(error)
    }
}

/// `invalid_token` of RFC 6750: the client hears no more than that, the log hears why.
impl From<super::jwt::TokenError> for OAuthError {
    fn from(error: super::jwt::TokenError) -> Self {
        let mut refusal = Self::new("invalid_token", "The access token is not good.");
        refusal.log = Some(error.to_string());
        refusal
    }
}

/// 503 is `temporarily_unavailable`; all else is the server's fault.
impl From<crate::error::Error> for OAuthError {
    fn from(error: crate::error::Error) -> Self {
        if error.category != crate::error::Category::Unavailable {
            return Self::server(error);
        }
        let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
        Self { log: error.log, ..Self::new("temporarily_unavailable", text) }
    }
}

impl From<KeeperError> for crate::error::Error {
    fn from(error: KeeperError) -> Self {
        Self::unavailable("The server can't keep or read what it needs now.", error)
    }
}
