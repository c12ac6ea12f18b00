//! The settings of transport security.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How connections are secured. The server speaks TLS where `certificate` and `key` are set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate, and behind it those that lead to a root.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// A PEM file with the authorities whose certificates clients must show; where it is not set, they need none.
    pub client_ca: Option<PathBuf>,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// What `Strict-Transport-Security` says, in seconds, where clients reach the server by `https`; the header is not sent when 0.
    pub hsts_max_age_s: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, client_ca: None, tls12: true, hsts_max_age_s: 31_536_000 }
    }
}

impl Tls {
    /// Whether the server speaks TLS itself.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    /// Names the first setting that can't be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting, reason: &str| Err(ConfigError::Value { setting, reason: reason.to_owned() });
        match (&self.certificate, &self.key, &self.client_ca) {
            (Some(_), None, _) => wrong("tls.key", "must be set beside tls.certificate"),
            (None, Some(_), _) => wrong("tls.certificate", "must be set beside tls.key"),
            (None, None, Some(_)) => wrong("tls.client_ca", "needs tls.certificate and tls.key"),
            _ => Ok(()),
        }
    }
}
