//! HashiCorp Vault: the engine Transit encrypts and decrypts under a key that never leaves it.
//! <https://developer.hashicorp.com/vault/api-docs/secret/transit>

use super::remote::Remote;
use super::{About, Master, MasterError, Secret, Wrapped};
use crate::config::VaultKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use ureq::http::Request;
use zeroize::Zeroizing;

/// A key of an engine.
pub(super) struct Vault {
    settings: VaultKey,
    remote: Remote,
}

impl Vault {
    pub(super) fn new(settings: VaultKey, timeout: Duration) -> Self {
        Self { settings, remote: Remote::new(timeout) }
    }

    fn token(&self) -> Result<Zeroizing<String>, MasterError> {
        let token = match &self.settings.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| MasterError::Refused(format!("its token in {}: {error}", path.display())))?,
            None => std::env::var("VAULT_TOKEN")
                .map_err(|_| MasterError::Refused("neither keys.vault.token_file nor VAULT_TOKEN is set".into()))?,
        };
        Ok(Zeroizing::new(token.trim().to_owned()))
    }

    /// Calls `encrypt` or `decrypt`.
    fn call(&self, verb: &str, about: About, (name, value): (&str, &str)) -> Result<Value, MasterError> {
        let VaultKey { address, mount, key, namespace, .. } = &self.settings;
        let url = format!("{}/v1/{}/{verb}/{key}", address.trim_end_matches('/'), mount.trim_matches('/'));
        let body = json!({ name: value, "associated_data": STANDARD.encode(about.text()) });
        let body = Zeroizing::new(body.to_string());
        self.remote.ask(|| {
            let token = self.token()?;
            let mut request = Request::post(&url).header("X-Vault-Token", &*token).header("X-Vault-Request", "true");
            if let Some(namespace) = namespace {
                request = request.header("X-Vault-Namespace", namespace);
            }
            let request = request.header("Content-Type", "application/json").body(body.as_bytes().to_vec());
            request.map_err(|_| MasterError::Refused("keys.vault or the token can't stand in a request".into()))
        })
    }
}

impl Master for Vault {
    fn id(&self) -> String {
        format!("vault:{}/{}", self.settings.mount.trim_matches('/'), self.settings.key)
    }

    fn wrap(&self, about: About, key: &Secret) -> Result<Wrapped, MasterError> {
        let answer = self.call("encrypt", about, ("plaintext", &Zeroizing::new(STANDARD.encode(**key))))?;
        let text = answer.pointer("/data/ciphertext").and_then(Value::as_str);
        let text = text.ok_or_else(|| MasterError::Damaged("its answer has no data.ciphertext".into()))?;
        Ok(Wrapped { version: version(text), bytes: text.as_bytes().to_vec() })
    }

    fn unwrap(&self, about: About, wrapped: &Wrapped) -> Result<Secret, MasterError> {
        let text = std::str::from_utf8(&wrapped.bytes);
        let text = text.map_err(|_| MasterError::Damaged("the wrapped key is not of Vault's form".into()))?;
        let mut answer = self.call("decrypt", about, ("ciphertext", text))?;
        let plain = answer.pointer_mut("/data/plaintext").map(Value::take);
        let Some(Value::String(plain)) = plain else {
            return Err(MasterError::Damaged("its answer has no data.plaintext".into()));
        };
        secret_of(&Zeroizing::new(plain))
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// The version in `vault:v3:…`.
fn version(text: &str) -> u32 {
    text.split(':').nth(1).and_then(|version| version.strip_prefix('v')?.parse().ok()).unwrap_or(1)
}

/// A key that a provider answers in base64.
pub(super) fn secret_of(text: &str) -> Result<Secret, MasterError> {
    let bytes = STANDARD.decode(text).map(Zeroizing::new).unwrap_or_default();
    let key = bytes[..].try_into().map(Zeroizing::new);
    key.map_err(|_| MasterError::Damaged("what it answered is not a key of 32 bytes".into()))
}
