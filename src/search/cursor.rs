//! Where a page starts or ends, so that the next one, or the one before, goes on there.

use super::order::Place;
use super::query::{Query, refuse};
use crate::error::{Error, Result};
use crate::store::Rid;

/// The version of the byte form.
const FORMAT: u8 = 2;

/// The place of the last match of a page, or of the first one for the page before. Valid for one query only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which of the sets that are read.
    pub(super) source: u32,
    /// Whether the page is the one before the place.
    pub(super) is_back: bool,
    /// The keys that decided on the order; `None` where the resource has none.
    pub(super) keys: Vec<Option<Box<[u8]>>>,
    /// The resource.
    pub(super) rid: Rid,
}

impl Cursor {
    /// A cursor after a match, or before it.
    pub(super) fn at(source: u32, place: &Place, is_back: bool) -> Self {
        Self { source, is_back, keys: place.keys.clone(), rid: place.rid }
    }

    /// The place that it marks.
    pub(super) fn place(&self) -> Place {
        Place { keys: self.keys.clone(), rid: self.rid }
    }

    /// The bytes of a cursor. They hold parts of search keys: seal them before they leave the server.
    #[must_use]
    pub fn to_bytes(&self, query: &Query) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&query.fingerprint);
        bytes.extend_from_slice(&self.source.to_be_bytes());
        bytes.push(u8::from(self.is_back));
        bytes.extend_from_slice(&self.rid.0.to_be_bytes());
        for key in &self.keys {
            let length = key.as_ref().map_or(0, |key| key.len() + 1);
            bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(key.as_deref().unwrap_or_default());
        }
        bytes
    }

    /// Reads a cursor back.
    ///
    /// # Errors
    /// [`crate::error::Category::Invalid`] for bytes that are no cursor, or one of another query.
    pub fn from_bytes(bytes: &[u8], query: &Query) -> Result<Self> {
        let cursor = Self::read(bytes, query).ok_or_else(bad)?;
        let own = cursor
            .keys
            .iter()
            .zip(&query.sort)
            .all(|(key, sort)| key.as_ref().is_none_or(|key| key.starts_with(&sort.prefix)));
        // Without an order, a key stands for a place on a route.
        let is_on_a_route = query.sort.is_empty() && matches!(cursor.keys.as_slice(), [Some(_)]);
        let fits = is_on_a_route || (cursor.keys.len() == query.sort.len() && own);
        if fits { Ok(cursor) } else { Err(bad()) }
    }

    fn read(bytes: &[u8], query: &Query) -> Option<Self> {
        let rest = bytes.strip_prefix(&[FORMAT])?.strip_prefix(&query.fingerprint)?;
        let (source, rest) = rest.split_first_chunk()?;
        let (is_back, rest) = rest.split_first()?;
        let (rid, mut rest) = rest.split_first_chunk()?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (key, after) = after.split_at_checked(length.saturating_sub(1))?;
            keys.push((length > 0).then(|| key.into()));
            rest = after;
        }
        let (source, rid) = (u32::from_be_bytes(*source), Rid(u64::from_be_bytes(*rid)));
        Some(Self { source, is_back: *is_back != 0, keys, rid })
    }
}

/// What a page link that does not fit is answered.
pub(super) fn bad() -> Error {
    refuse("invalid", "The page link is not one of this search.".into()).at("_cursor")
}
