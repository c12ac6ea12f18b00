//! What views have just read of single resources: an update reads the current version to decide, and its commit needs the same rows.
//!
//! A hint may be old. So a commit that rests on hints writes each of the records only if it still is what the hint says, and is made
//! anew without hints where one is not, or where it came to anything but a new version of every resource.

use super::place::led_to;
use crate::store::rows::Row;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Resources whose rows are at hand, until a commit takes them.
const HINTS: usize = 1024;
/// Of larger rows, together, no hint is given: they are read again.
pub(super) const LARGEST: usize = 64 << 10;

/// The rows to which an id leads, the row of the id among them: those that are there.
pub(super) struct Hint {
    pub rid: Vec<u8>,
    /// Record, key list, and mark of erased versions.
    pub records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Hints by the key of the id.
pub(super) struct Hints(Cache<Vec<u8>, Arc<Hint>>);

impl Default for Hints {
    fn default() -> Self {
        Self(Cache::new(HINTS))
    }
}

impl Hints {
    /// Remembers what an id leads to.
    pub(super) fn give(&self, id: &[u8], rid: &[u8], rows: &[Row]) {
        let Some(led) = led_to(id, rid) else { return };
        let value = |key: &Vec<u8>| rows.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone());
        let records = led.into_iter().map(|key| (key.clone(), value(&key))).collect();
        self.0.insert(id.to_vec(), Arc::new(Hint { rid: rid.to_vec(), records }));
    }

    /// Takes what is remembered, which is no longer so when a commit has been made of it.
    pub(super) fn take(&self, id: &[u8]) -> Option<Arc<Hint>> {
        self.0.remove(id).map(|(_, hint)| hint)
    }
}
