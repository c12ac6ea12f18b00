//! Documents of others as they are remembered: key sets and discovery documents.

use super::fetch::{FetchError, Fetcher};
use crate::config::Auth;
use quick_cache::sync::Cache;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The documents of a kind that are remembered.
const MOST_DOCUMENTS: usize = 1_000;

/// How long an address is left alone after it was asked, in seconds.
const PAUSE_S: i64 = 10;

/// Fetched documents of a kind.
pub struct Remote<T> {
    fetcher: Arc<Fetcher>,
    lifetime_s: i64,
    documents: Cache<String, Arc<Mutex<Remembered<T>>>>,
}

/// One address: held locked while it is asked, so that it is asked once for all who wait.
struct Remembered<T> {
    document: Option<Arc<T>>,
    fetched: i64,
    asked: Option<i64>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { document: None, fetched: 0, asked: None }
    }
}

impl<T> Remote<T> {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(config: &Auth, fetcher: Arc<Fetcher>) -> Self {
        let lifetime_s = i64::try_from(config.fetch_cache_s).unwrap_or(i64::MAX);
        Self { fetcher, lifetime_s, documents: Cache::new(MOST_DOCUMENTS) }
    }

    /// The document at an address at `now`, in seconds since 1970, as `read` understands it. One that does not suffice is fetched
    /// anew, but not twice in ten seconds; so is one that could not be fetched. A document that is too old is not used, also
    /// when its host is down.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(
        &self,
        address: &str,
        now: i64,
        read: impl Fn(Value) -> Option<T>,
        suffices: impl Fn(&T) -> bool,
    ) -> Result<Arc<T>, FetchError> {
        let fresh = || Ok::<_, FetchError>(Arc::default());
        let remembered = self.documents.get_or_insert_with(address, fresh)?;
        let mut remembered = remembered.lock().await;
        let young = remembered.document.clone().filter(|_| now.saturating_sub(remembered.fetched) < self.lifetime_s);
        if let Some(document) = young.as_ref().filter(|document| suffices(document)) {
            return Ok(Arc::clone(document));
        }
        if remembered.asked.is_some_and(|asked| now.saturating_sub(asked) < PAUSE_S) {
            return young.ok_or_else(|| FetchError::Failed("the host was asked a moment ago".to_owned()));
        }
        remembered.asked = Some(now);
        let document = self.fetcher.fetch(address).await?;
        let document = Arc::new(read(document).ok_or(FetchError::NotJson)?);
        remembered.document = Some(Arc::clone(&document));
        remembered.fetched = now;
        Ok(document)
    }
}
