//! The settings of the master key, which wraps the data keys of the tenants.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a master key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyProvider {
    /// In a file.
    #[default]
    File,
    /// In a variable of the environment.
    Environment,
    /// In HashiCorp Vault, whose engine Transit wraps with it.
    Vault,
    /// In AWS KMS.
    AwsKms,
}

/// The master key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// `file`, `environment`, `vault` or `aws-kms`.
    pub provider: KeyProvider,
    /// The variable that holds 32 bytes in base64, for `environment`.
    pub variable: String,
    /// The time for one answer of Vault or AWS KMS, in milliseconds.
    pub timeout_ms: u64,
    /// HashiCorp Vault.
    pub vault: VaultKey,
    /// AWS KMS.
    pub aws_kms: AwsKmsKey,
    /// The master key that was in use before: at the next start all that it wrapped is wrapped anew.
    pub previous: Option<PreviousKey>,
}

/// A master key that was in use before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviousKey {
    /// As [`Keys::provider`].
    pub provider: KeyProvider,
    /// The file that holds it, for `file`.
    pub key_file: Option<PathBuf>,
    /// As [`Keys::variable`].
    pub variable: String,
    /// HashiCorp Vault.
    pub vault: VaultKey,
    /// AWS KMS.
    pub aws_kms: AwsKmsKey,
}

/// A key of Vault's engine Transit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaultKey {
    /// Vault's address: `https://vault.example.org:8200`. Plain `http` only on the own machine, where an agent of Vault may listen.
    pub address: String,
    /// Where the engine is mounted.
    pub mount: String,
    /// The name of the key.
    pub key: String,
    /// The file with the token, which is read anew for each request, since an agent of Vault renews it; without it the variable `VAULT_TOKEN`.
    pub token_file: Option<PathBuf>,
    /// The namespace, where Vault has several.
    pub namespace: Option<String>,
}

/// A key of AWS KMS. The credentials are those of the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsKmsKey {
    /// The region: `eu-central-1`.
    pub region: String,
    /// The key's id, ARN or alias.
    pub key: String,
    /// Another address than the region's own.
    pub endpoint: Option<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            provider: KeyProvider::File,
            variable: "PHAROS_MASTER_KEY".to_owned(),
            timeout_ms: 5_000,
            vault: VaultKey::default(),
            aws_kms: AwsKmsKey::default(),
            previous: None,
        }
    }
}

impl Default for VaultKey {
    fn default() -> Self {
        let (mount, key) = ("transit".to_owned(), "pharos".to_owned());
        Self { address: String::new(), mount, key, token_file: None, namespace: None }
    }
}

impl Keys {
    /// Names the first setting that can't be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let needed = |is_there: bool, setting, reason: &str| {
            if is_there { Ok(()) } else { Err(ConfigError::Value { setting, reason: reason.to_owned() }) }
        };
        match self.provider {
            KeyProvider::Vault => {
                needed(is_address(&self.vault.address), "keys.vault.address", "must be the https address of Vault")
            }
            KeyProvider::AwsKms => {
                needed(!self.aws_kms.key.is_empty(), "keys.aws_kms.key", "must be the id, ARN or alias of a key")?;
                needed(
                    !self.aws_kms.region.is_empty(),
                    "keys.aws_kms.region",
                    "must be a region, such as eu-central-1",
                )?;
                let endpoint = self.aws_kms.endpoint.as_deref();
                needed(endpoint.is_none_or(is_address), "keys.aws_kms.endpoint", "must be an https address")
            }
            KeyProvider::File | KeyProvider::Environment => Ok(()),
        }
    }
}

/// Whether keys may be sent there: by `https`, or to the own machine.
pub(super) fn is_address(address: &str) -> bool {
    let Ok(url) = url::Url::parse(address) else { return false };
    let is_own = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_by_https_or_to_the_own_machine() {
        for good in
            ["https://vault.example.org:8200", "http://127.0.0.1:8100", "http://localhost:8100", "http://[::1]:1"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "http://vault.example.org",
            "http://10.0.0.1:8200",
            "ftp://localhost",
            "vault:8200",
            "http://localhost.evil.org",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
