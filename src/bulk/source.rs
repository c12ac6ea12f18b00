//! Reads the sources of imports: from allowed hosts only, into a sealed file of the job, so that what is imported then stands still.
//!
//! A source is read by a thread of its own, since one that is slow must not hold up other jobs. What breaks off is read anew from its
//! beginning, a few times; where the source says then that it is another (`ETag`, `Last-Modified`, `Content-Length`), the input has
//! failed.

use super::credentials::{Credentials, NoToken};
use super::files::{File, Kind, Place, Writing};
use crate::auth::fetch::{FetchError, Fetcher};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::tenant::TenantId;
use flate2::read::MultiGzDecoder;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::io::{Cursor, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{self, HeaderName};
use url::Url;

const ACCEPT: &str = "application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.1";
/// The size of a manifest, and of what comes before a token, in bytes.
pub(super) const MANIFEST_BYTES: usize = 4 << 20;
/// The time for it, or one page of it, in milliseconds: who asked for the import waits.
const BRIEF_MS: u64 = 10_000;
/// Redirects that are followed, each checked like the first address.
const REDIRECTS: usize = 5;
/// So often a source is read that breaks off.
const ATTEMPTS: u32 = 3;
/// The wait before the second attempt; it grows.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes read at a time.
const BUFFER: usize = 64 << 10;
/// After so many bytes it is looked whether there is room for more, and whether anybody still wants it.
const LOOK: u64 = 8 << 20;
/// The first bytes of what is compressed with gzip. No JSON text begins so.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a source says of what it has: by that it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    etag: Option<String>,
    modified: Option<String>,
    length: Option<String>,
}

impl Seen {
    fn of(response: &Response<Body>) -> Self {
        let text = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Self { etag: text(header::ETAG), modified: text(header::LAST_MODIFIED), length: text(header::CONTENT_LENGTH) }
    }
}

/// How far the reading of a source is.
#[derive(Debug)]
pub enum State {
    /// It goes on; and what the source said of it, once it has answered.
    UnderWay(Option<Seen>),
    /// It is there.
    Whole(File),
    /// It can't be had: a sentence.
    Failed(String),
}

/// What is to be read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which input of the job, counted from 0.
    pub nth: usize,
    /// Its type, or another word for its file.
    pub type_name: Box<str>,
    /// Where it is.
    pub url: String,
    /// What its source said of it before.
    pub seen: Option<Seen>,
}

/// Why an attempt came to nothing.
pub(super) enum Trouble {
    /// It may go better.
    Passing(String),
    /// It stays so.
    Lasting(String),
    /// It is the server's own.
    Own(Error),
    /// Nobody wants it any more.
    Unwanted,
}

/// A source that is being read.
#[derive(Default)]
struct Reading {
    nth: usize,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    seen: Option<Seen>,
    end: Option<Result<File, Trouble>>,
}

impl Reading {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Key = (TenantId, Box<str>);

/// The sources of the imports that this process works at.
pub struct Sources {
    fetcher: Fetcher,
    /// For what is read at once: manifests, and what comes before a token.
    pub(super) brief: Fetcher,
    credentials: Credentials,
    bytes: u64,
    /// For all pages of a manifest.
    pub(super) manifest_time: Duration,
    free_floor: u64,
    /// By tenant and job.
    under_way: Mutex<FxHashMap<Key, Arc<Reading>>>,
}

impl Sources {
    /// By the settings.
    #[must_use]
    pub fn new(settings: &config::Bulk, clock: Arc<dyn Clock>) -> Self {
        let fetch = config::Auth {
            fetch_hosts: settings.import_hosts.clone(),
            fetch_private: settings.import_private,
            fetch_timeout_ms: settings.import_timeout_s.saturating_mul(1000),
            ..config::Auth::default()
        };
        let brief = config::Auth { fetch_timeout_ms: BRIEF_MS, fetch_bytes: MANIFEST_BYTES, ..fetch.clone() };
        let brief = Fetcher::new(&brief);
        Self {
            credentials: Credentials::new(settings.import_sources.clone(), brief.clone(), clock),
            brief,
            fetcher: Fetcher::new(&fetch).with_stall(Duration::from_millis(settings.import_stall_ms)),
            bytes: settings.import_bytes,
            manifest_time: Duration::from_millis(settings.import_manifest_timeout_ms),
            free_floor: settings.free_floor_mib.saturating_mul(1 << 20),
            under_way: Mutex::default(),
        }
    }

    /// Whether a source may be read, as far as its address tells.
    ///
    /// # Errors
    /// Why not: a sentence.
    pub fn check(&self, url: &str) -> Result<(), String> {
        self.fetcher.check(url).map(drop).map_err(|error| said(&error))
    }

    /// Begins to read a source where that has not begun, waits for a moment, and tells how far it is. `is_wanted` is asked now and then
    /// whether to go on.
    ///
    /// # Errors
    /// [`Category::Unavailable`](crate::error::Category::Unavailable) where the disk does not take it.
    pub fn look(
        self: &Arc<Self>,
        place: &Place,
        wanted: &Wanted,
        is_wanted: impl Fn() -> bool + Send + 'static,
        moment: Duration,
    ) -> Result<State> {
        let key = (place.grant.tenant(), place.job.clone());
        let reading = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(reading) = under_way.get(&key).filter(|reading| reading.nth == wanted.nth) {
                Arc::clone(reading)
            } else {
                let reading = self.begin(place, wanted, is_wanted)?;
                under_way.insert(key.clone(), Arc::clone(&reading));
                reading
            }
        };
        let is_as_before = |inner: &mut Inner| inner.end.is_none() && inner.seen == wanted.seen;
        let waited = reading.changed.wait_timeout_while(reading.inner(), moment, is_as_before);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(end) = inner.end.take() else { return Ok(State::UnderWay(inner.seen.clone())) };
        drop(inner);
        self.forget(&key, &reading);
        match end {
            Ok(file) => Ok(State::Whole(file)),
            Err(Trouble::Passing(text) | Trouble::Lasting(text)) => Ok(State::Failed(text)),
            Err(Trouble::Own(error)) => Err(error),
            Err(Trouble::Unwanted) => Ok(State::UnderWay(None)),
        }
    }

    fn forget(&self, key: &Key, reading: &Arc<Reading>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(key).is_some_and(|known| Arc::ptr_eq(known, reading)) {
            under_way.remove(key);
        }
    }

    fn begin(
        self: &Arc<Self>,
        place: &Place,
        wanted: &Wanted,
        is_wanted: impl Fn() -> bool + Send + 'static,
    ) -> Result<Arc<Reading>> {
        let inner = Inner { seen: wanted.seen.clone(), end: None };
        let reading = Arc::new(Reading { nth: wanted.nth, inner: Mutex::new(inner), changed: Condvar::new() });
        let (sources, place, wanted) = (Arc::clone(self), place.clone(), wanted.clone());
        let told = Arc::clone(&reading);
        let read = move || {
            let end = sources.read(&place, &wanted, &told, &is_wanted);
            if !is_wanted() {
                sources.forget(&(place.grant.tenant(), place.job.clone()), &told);
            }
            told.inner().end = Some(end);
            told.changed.notify_all();
        };
        std::thread::Builder::new().name("pharos-import".into()).spawn(read).map_err(Error::internal)?;
        Ok(reading)
    }

    fn read(
        &self,
        place: &Place,
        wanted: &Wanted,
        reading: &Reading,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<File, Trouble> {
        let mut attempt = 1;
        loop {
            match self.attempt(place, wanted, reading, is_wanted) {
                Err(Trouble::Passing(_)) if attempt < ATTEMPTS && is_wanted() => std::thread::sleep(PAUSE * attempt),
                end => return end,
            }
            attempt += 1;
        }
    }

    fn attempt(
        &self,
        place: &Place,
        wanted: &Wanted,
        reading: &Reading,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<File, Trouble> {
        let response = self.answer(&self.fetcher, place.grant.tenant(), &wanted.url, ACCEPT)?;
        let seen = Seen::of(&response);
        {
            let mut inner = reading.inner();
            if inner.seen.as_ref().is_some_and(|before| *before != seen) {
                return Err(Trouble::Lasting("It changed while it was read: another attempt found another.".into()));
            }
            inner.seen = Some(seen);
        }
        reading.changed.notify_all();
        let mut text = plain(response.into_body().into_reader()).map_err(|error| broken(&error))?;
        let file = File::new(wanted.nth + 1, Kind::Input, &wanted.type_name);
        let mut writing = Writing::open(place, file).map_err(Trouble::Own)?;
        let (mut buffer, mut looked) = (vec![0; BUFFER], None);
        loop {
            if looked.is_none_or(|at| writing.bytes() - at >= LOOK) {
                looked = Some(writing.bytes());
                place.check_room(self.free_floor).map_err(Trouble::Own)?;
                if !is_wanted() {
                    return Err(Trouble::Unwanted);
                }
            }
            let length = match text.read(&mut buffer) {
                Ok(0) => return writing.finish().map_err(Trouble::Own),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&error)),
            };
            if writing.bytes() + length as u64 > self.bytes {
                return Err(Trouble::Lasting("It is larger than bulk.import_bytes allows.".into()));
            }
            writing.append(buffer.get(..length).unwrap_or_default()).map_err(Trouble::Own)?;
        }
    }

    /// The answer of a source, redirects followed; with an access token where one belongs there, which is fetched anew when it is refused.
    pub(super) fn answer(
        &self,
        fetcher: &Fetcher,
        tenant: TenantId,
        url: &str,
        accept: &str,
    ) -> Result<Response<Body>, Trouble> {
        let (mut url, mut is_renewed) = (url.to_owned(), false);
        for _ in 0..=REDIRECTS {
            fetcher.check(&url).map_err(|error| Trouble::Lasting(said(&error)))?;
            let token = self.credentials.token(tenant, &url)?;
            let bearer = token.as_ref().map(|token| token.as_str());
            let response = fetcher.open(&url, accept, bearer).map_err(|error| match error {
                FetchError::Failed(_) => Trouble::Passing(said(&error)),
                _ => Trouble::Lasting(said(&error)),
            })?;
            let status = response.status();
            if status.as_u16() == 401 && bearer.is_some() && !is_renewed {
                is_renewed = true;
                self.credentials.forget(tenant, &url);
                continue;
            }
            if status.is_redirection() {
                let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| Url::parse(&url).ok()?.join(to).ok());
                url = to.ok_or_else(|| Trouble::Lasting("It is redirected to nowhere.".into()))?.into();
                continue;
            }
            let text = || format!("Its host answered with status {}.", status.as_u16());
            return match status.as_u16() {
                200 => Ok(response),
                408 | 429 | 500..=599 => Err(Trouble::Passing(text())),
                _ => Err(Trouble::Lasting(text())),
            };
        }
        Err(Trouble::Lasting("It is redirected too often.".into()))
    }
}

impl From<NoToken> for Trouble {
    fn from(why: NoToken) -> Self {
        if why.is_passing { Self::Passing(why.text) } else { Self::Lasting(why.text) }
    }
}

/// The text of what is perhaps compressed.
fn plain(mut body: impl Read + 'static) -> std::io::Result<Box<dyn Read>> {
    let mut head = Vec::new();
    body.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let is_compressed = head == GZIP;
    let whole = Cursor::new(head).chain(body);
    Ok(if is_compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

pub(super) fn broken(error: &std::io::Error) -> Trouble {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    let text = match error.kind() {
        _ if matches!(inner, Some(ureq::Error::Timeout(_))) => {
            "It took longer than bulk.import_stall_ms or bulk.import_timeout_s allow."
        }
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "It can't be decompressed.",
        _ => "It was cut off.",
    };
    Trouble::Passing(text.into())
}

/// What a client hears.
fn said(error: &FetchError) -> String {
    match error {
        FetchError::Address => "It must have an https address, without a user name and a fragment.".into(),
        FetchError::Host(_) => "Its host is not one of bulk.import_hosts.".into(),
        FetchError::Failed(why) => format!("Its host can't be asked: {why}."),
        other => format!("It can't be read: {other}."),
    }
}
