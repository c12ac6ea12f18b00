//! Wrapped keys as they are kept.

use super::{About, Wrapped};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How a key stands: see [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It seals.
    Newest,
    /// Another one does, and values in the store may be under this one.
    Replaced,
    /// No value in the store is under it.
    Retired,
}

/// A data key, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Counts the keys of its owner, from 1.
    pub generation: u32,
    /// How it stands.
    pub state: State,
    /// By which sealed values name it, in hexadecimal.
    pub id: String,
    /// What tells it from every other key, in hexadecimal.
    pub check: String,
    /// When it was made: microseconds since 1970.
    pub created: i64,
    /// Which master key wrapped it.
    pub master: String,
    /// Which version of that.
    pub version: u32,
    /// The wrapped form, in base64.
    pub wrapped: String,
}

impl WrappedKey {
    /// The wrapped form.
    ///
    /// # Errors
    /// When it is no base64.
    pub fn wrapped(&self) -> StoreResult<Wrapped> {
        let bytes = STANDARD.decode(&self.wrapped).map_err(|_| StoreError::Damaged("a wrapped key".into()))?;
        Ok(Wrapped { version: self.version, bytes })
    }

    /// Replaces the wrapped form.
    pub fn rewrap(&mut self, master: String, wrapped: &Wrapped) {
        self.master = master;
        self.version = wrapped.version;
        self.wrapped = STANDARD.encode(&wrapped.bytes);
    }
}

/// All keys of one owner: a tenant, or the store itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnersKeys {
    /// The tenant's number.
    pub owner: u32,
    /// The keys, the newest last.
    pub keys: Vec<WrappedKey>,
    /// When they were destroyed, in microseconds since 1970: the tenant gets none again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<i64>,
}

impl OwnersKeys {
    /// Those of an owner who has none.
    #[must_use]
    pub const fn none(owner: TenantId) -> Self {
        Self { owner: owner.0, keys: Vec::new(), destroyed: None }
    }

    /// What a key is wrapped about.
    #[must_use]
    pub const fn about(&self, key: &WrappedKey) -> About {
        About { owner: TenantId(self.owner), generation: key.generation }
    }
}

/// Bytes in hexadecimal.
pub(in crate::store) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}
