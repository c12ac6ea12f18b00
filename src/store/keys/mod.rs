//! Envelope encryption: each tenant has a data key, 32 random bytes, under which [`super::seal`] seals what belongs to it. A data key is
//! kept wrapped by the master key, which stands with a [`Master`]: in a file, in the environment, in HashiCorp Vault, in AWS KMS.
//!
//! All data keys are unwrapped when a store is opened. So a provider that is down later stops nothing but what needs a new key: a
//! new tenant, or a rotation. Whoever destroys a tenant's wrapped keys has destroyed all that was sealed under them, in copies too.
//!
//! | a key is | it seals | it opens | sealed values in the store |
//! |---|---|---|---|
//! | newest | yes | yes | yes |
//! | replaced | no | yes | until they are re-sealed |
//! | retired | no | yes | none; perhaps in files outside, such as archives |

mod aws_kms;
pub mod escrow;
mod folder;
mod local;
#[cfg(test)]
mod provider_tests;
pub mod remote;
mod ring;
mod rows;
#[cfg(test)]
mod shared_tests;
pub mod sigv4;
#[cfg(test)]
mod tests;
mod vault;
mod wrapping;

pub use folder::Folder;
pub use local::LocalKey;
pub use ring::{KeyFacts, Keyring, Unwrapped};
pub(in crate::store) use rows::hex;
pub use rows::{OwnersKeys, State, WrappedKey};

use crate::config::{KeyProvider, Keys};
use crate::store::seal::KEY_LEN;
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A key in plain form, zeroed when it is dropped.
pub type Secret = Zeroizing<[u8; KEY_LEN]>;

/// Which data key it is about. The wrapped form is bound to it, so that one can't stand in another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Whose.
    pub owner: TenantId,
    /// Counts the keys of this owner.
    pub generation: u32,
}

impl About {
    /// As bytes that a wrapped key is bound to.
    #[must_use]
    pub fn text(self) -> String {
        format!("pharos data key {} {}", self.owner.0, self.generation)
    }
}

/// A key that a master key has wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// By which version of the master key, where its provider counts them; else 1.
    pub version: u32,
    /// The provider's own form.
    pub bytes: Vec<u8>,
}

/// Why a provider did not wrap or unwrap. Neither keys nor tokens are in the messages.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MasterError {
    /// It was not reached in time.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// It refused.
    #[error("it refused: {0}")]
    Refused(String),
    /// What it answered is no key.
    #[error("{0}")]
    Damaged(String),
}

/// Who holds a master key: a provider.
pub trait Master: Send + Sync {
    /// What is kept beside each key that it wraps, so that another master key is not mistaken for it.
    fn id(&self) -> String;
    /// Wraps a key.
    ///
    /// # Errors
    /// Why not.
    fn wrap(&self, about: About, key: &Secret) -> Result<Wrapped, MasterError>;
    /// Unwraps one.
    ///
    /// # Errors
    /// Why not.
    fn unwrap(&self, about: About, wrapped: &Wrapped) -> Result<Secret, MasterError>;
    /// Whether it is asked over a network.
    fn is_remote(&self) -> bool;
    /// The master key itself, where it can leave its provider.
    fn secret(&self) -> Option<&Secret> {
        None
    }
    /// A new master key, where Pharos makes them; else the provider's newest version of it is what wraps from now on.
    ///
    /// # Errors
    /// When it can't be made.
    fn renew(&self) -> StoreResult<Option<Arc<dyn Master>>> {
        Ok(None)
    }
    /// All keys are wrapped by it: no older master key is needed.
    ///
    /// # Errors
    /// When that can't be kept.
    fn settle(&self) -> StoreResult<()> {
        Ok(())
    }
}

/// The master keys of a store: the one in use, and those that older wrapped keys may need.
#[derive(Clone)]
pub struct Masters {
    /// The one in use.
    pub current: Arc<dyn Master>,
    /// Others.
    pub older: Vec<Arc<dyn Master>>,
}

impl Masters {
    /// Those of the settings. Makes a key file where there is none and `create` allows it.
    ///
    /// # Errors
    /// Which can't be had, and why.
    pub fn of(keys: &Keys, key_file: &Path, create: bool) -> StoreResult<Self> {
        let timeout = Duration::from_millis(keys.timeout_ms);
        let only = |current| Self { current, older: Vec::new() };
        let Self { current, mut older } = match keys.provider {
            KeyProvider::File => local::from_file(key_file, create)?,
            KeyProvider::Environment => only(Arc::new(LocalKey::from_variable(&keys.variable)?)),
            KeyProvider::Vault => only(Arc::new(vault::Vault::new(keys.vault.clone(), timeout))),
            KeyProvider::AwsKms => only(Arc::new(aws_kms::AwsKms::new(&keys.aws_kms, timeout)?)),
        };
        if let Some(previous) = &keys.previous {
            older.push(match previous.provider {
                KeyProvider::File => {
                    let missing = || StoreError::Closed("keys.previous.key_file: must be set".into());
                    local::from_file(previous.key_file.as_deref().ok_or_else(missing)?, false)?.current
                }
                KeyProvider::Environment => Arc::new(LocalKey::from_variable(&previous.variable)?),
                KeyProvider::Vault => Arc::new(vault::Vault::new(previous.vault.clone(), timeout)),
                KeyProvider::AwsKms => Arc::new(aws_kms::AwsKms::new(&previous.aws_kms, timeout)?),
            });
        }
        Ok(Self { current, older })
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Master>> {
        std::iter::once(&self.current).chain(&self.older)
    }

    /// The key of a store from before tenants had their own: the master key was the only one.
    pub(super) fn of_old_store(&self) -> impl Iterator<Item = &Secret> {
        self.all().filter_map(|master| master.secret())
    }
}

/// Where wrapped keys are kept: apart from all that is sealed, so that a backup can leave them out.
pub trait KeyTable: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// When they can't be read.
    fn load(&self) -> StoreResult<Loaded>;
    /// Replaces those of one owner, on disk when this returns, if the table is as it was when it was loaded with this revision; the next one
    /// is that and one. Answers whether: other processes may share the table. What stood there before is not to be found any more, as far
    /// as the table can see to that.
    ///
    /// # Errors
    /// When it can't be written, or it is not known whether it was.
    fn replace(&self, revision: u64, keys: &OwnersKeys) -> StoreResult<bool>;
}

/// What a table holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Counts the changes of the table, where processes share it.
    pub revision: u64,
    /// The keys of each owner.
    pub owners: Vec<OwnersKeys>,
}
