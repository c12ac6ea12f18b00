//! The stored form of a resource: minified JSON without `meta.versionId` and `meta.lastUpdated`, compressed, with the
//! place where these two are spliced in when it is read. So a read never parses.

use crate::clock::Micros;
use crate::fhir::tree::Object;

/// A resource's compressed bytes and where its version is spliced in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Where `versionId` and `lastUpdated` go.
    pub splice: Splice,
    /// zstd-compressed JSON, or plain JSON where that is not smaller; `plain_len` tells the length before.
    pub packed: Box<[u8]>,
    /// The length of the JSON before compression.
    pub plain_len: u32,
}

/// Where, counted in bytes of the plain JSON, the two elements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// There is no `meta`: a whole one goes here, after a comma.
    WholeMeta(u32),
    /// Right after the opening brace of a `meta` that has other members.
    IntoMeta(u32),
}

impl Body {
    /// Packs a resource. `meta.versionId` and `meta.lastUpdated` are left out, and a `meta` that is empty then too.
    #[must_use]
    pub fn pack(_resource: &Object<'_>) -> Self {
        unreachable!("written with the embedded store")
    }

    /// The resource's JSON with this version and time in its `meta`.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn unpack(&self, _version: u64, _time: Micros) -> super::StoreResult<Vec<u8>> {
        unreachable!("written with the embedded store")
    }
}
