//! The four calls of Amazon S3 that a [bucket](super::bucket) needs, over any server that understands them.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>
//!
//! Each has a time limit and one more attempt where the server does not answer or is not well; one that did not answer in time is [left alone](super::pause)
//! for a while. What goes wrong is told without the credentials.

use super::pause::{Pause, Turn};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::store::keys::remote::agent;
use crate::store::keys::sigv4::{Credentials, Scope, Unsigned, amz_date, authorization, sha256};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use ureq::http::{Request, Response};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

/// So often a call is tried.
const ATTEMPTS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(300);
/// The longest answer that is no content of an object, in bytes.
const LONGEST: u64 = 8 << 20;
/// What stands in a signed path or query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PLAIN_PATH: &AsciiSet = &PLAIN.remove(b'/');

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, as the server says it.
    pub modified: String,
}

/// What stands below a prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, in the order of their keys.
    pub objects: Vec<Object>,
    /// Longer prefixes, where only those were asked for.
    pub prefixes: Vec<String>,
}

/// One bucket.
pub struct S3 {
    agent: Agent,
    endpoint: String,
    host: String,
    bucket: String,
    region: String,
    credentials: Option<PathBuf>,
    pause: Pause,
}

impl S3 {
    /// By the settings.
    #[must_use]
    pub fn new(settings: &config::S3, bucket: &str) -> Self {
        let region = settings.region.clone();
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host).to_owned();
        let agent = agent(Duration::from_millis(settings.timeout_ms));
        let (bucket, credentials) = (bucket.to_owned(), settings.credentials.clone());
        Self { agent, endpoint, host, bucket, region, credentials, pause: Pause::default() }
    }

    /// Its name, for the log.
    #[must_use]
    pub fn name(&self) -> String {
        format!("the bucket {} at {}", self.bucket, self.host)
    }

    /// Writes an object, whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::NotConnected`] where it can't be done now; so with the others.
    pub fn put(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.call("PUT", key, &[], bytes).map(drop)
    }

    /// The content of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn get(&self, key: &str) -> io::Result<Vec<u8>> {
        self.call("GET", key, &[], b"")
    }

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// As [`S3::put`].
    pub fn delete(&self, key: &str) -> io::Result<()> {
        match self.call("DELETE", key, &[], b"") {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    /// All objects below a prefix, or with `is_by_folder` the prefixes that are longer by one name.
    ///
    /// # Errors
    /// As [`S3::put`].
    pub fn list(&self, prefix: &str, is_by_folder: bool) -> io::Result<Listing> {
        let (mut all, mut token) = (Listing::default(), None::<String>);
        loop {
            // In the order in which they are signed.
            let mut query = Vec::new();
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            query.extend(is_by_folder.then_some(("delimiter", "/")));
            query.extend([("list-type", "2"), ("prefix", prefix)]);
            let (page, next) = read_listing(&self.call("GET", "", &query, b"")?)?;
            all.objects.extend(page.objects);
            all.prefixes.extend(page.prefixes);
            match next {
                Some(next) => token = Some(next),
                None => return Ok(all),
            }
        }
    }

    fn call(&self, method: &str, key: &str, query: &[(&str, &str)], body: &[u8]) -> io::Result<Vec<u8>> {
        let (began, mut attempt) = (Instant::now(), 1);
        let attempts = match self.pause.turn(began) {
            Turn::Usual => ATTEMPTS,
            Turn::Once => 1,
            Turn::None => {
                let text = format!("{} did not answer and is left alone for a while", self.name());
                return Err(io::Error::new(ErrorKind::NotConnected, text));
            }
        };
        loop {
            match self.once(method, key, query, body) {
                Err(error) if error.kind() == ErrorKind::NotConnected && attempt < attempts => {
                    std::thread::sleep(PAUSE * attempt);
                    attempt += 1;
                }
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    self.pause.has_failed(began, Instant::now());
                    return Err(error);
                }
                done => {
                    self.pause.has_answered();
                    return done;
                }
            }
        }
    }

    fn once(&self, method: &str, key: &str, query: &[(&str, &str)], body: &[u8]) -> io::Result<Vec<u8>> {
        let failed = |error: ureq::Error| io::Error::new(ErrorKind::NotConnected, format!("{}: {error}", self.name()));
        let mut response = self.send(method, key, query, body).map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            let mut bytes = Vec::new();
            response.body_mut().as_reader().read_to_end(&mut bytes).map_err(|error| {
                io::Error::new(ErrorKind::NotConnected, format!("{}: the answer broke off: {error}", self.name()))
            })?;
            return Ok(bytes);
        }
        let answer = response.body_mut().with_config().limit(LONGEST).read_to_vec().unwrap_or_default();
        let why = format!("{}: status {} {}", self.name(), status.as_u16(), code_of(&answer).unwrap_or_default());
        let kind = match status.as_u16() {
            404 if !key.is_empty() && code_of(&answer).as_deref() != Some("NoSuchBucket") => ErrorKind::NotFound,
            429 | 500..=599 => ErrorKind::NotConnected,
            _ => ErrorKind::PermissionDenied,
        };
        Err(io::Error::new(kind, why))
    }

    fn send(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<Body>, ureq::Error> {
        let by = self.credentials()?;
        let path = format!("/{}/{key}", self.bucket);
        let path = utf8_percent_encode(path.trim_end_matches('/'), PLAIN_PATH).to_string();
        let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let query = query.join("&");
        let (date, hash) = (amz_date(SystemClock.now()), sha256(body));
        let mut headers = vec![("host", &*self.host), ("x-amz-content-sha256", &*hash), ("x-amz-date", &*date)];
        headers.extend(by.session_token.as_ref().map(|token| ("x-amz-security-token", token.as_str())));
        let scope = Scope { region: &self.region, service: "s3" };
        let signed = authorization(
            &by,
            &scope,
            &date,
            &Unsigned { method, path: &path, query: &query, headers: &headers, body },
        );
        let mark = if query.is_empty() { "" } else { "?" };
        let request = Request::builder().method(method).uri(format!("{}{path}{mark}{query}", self.endpoint));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.header("authorization", signed);
        if method == "PUT" { self.agent.run(request.body(body.to_vec())?) } else { self.agent.run(request.body(())?) }
    }

    /// The credentials as they are now: they may be renewed.
    fn credentials(&self) -> io::Result<Credentials> {
        let text = self.credentials.as_ref().map(std::fs::read_to_string).transpose().map_err(|error| {
            io::Error::new(ErrorKind::PermissionDenied, format!("bulk.s3.credentials can't be read: {}", error.kind()))
        })?;
        let value = |name: &str| match &text {
            Some(text) => text
                .lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(own, value)| own.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())),
            None => std::env::var(name.to_ascii_uppercase()).ok(),
        };
        let needed = |name: &str| {
            let missing = || io::Error::new(ErrorKind::PermissionDenied, format!("the bucket's {name} is not there"));
            value(name).ok_or_else(missing)
        };
        Ok(Credentials {
            access_key: needed("aws_access_key_id")?,
            secret_key: Zeroizing::new(needed("aws_secret_access_key")?),
            session_token: value("aws_session_token").map(Zeroizing::new),
        })
    }
}

/// The code of an error: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
fn code_of(answer: &[u8]) -> Option<String> {
    let mut found = None;
    elements(answer, &mut |path, text| {
        if path == ["Error", "Code"] {
            found = Some(text.to_owned());
        }
    })
    .ok()?;
    found
}

/// A page of a list, and what asks for the next one.
fn read_listing(answer: &[u8]) -> io::Result<(Listing, Option<String>)> {
    let (mut listing, mut next) = (Listing::default(), None);
    let mut bad = false;
    elements(answer, &mut |path, text| match path {
        [_, "NextContinuationToken"] => next = Some(text.to_owned()),
        [_, "CommonPrefixes", "Prefix"] => listing.prefixes.push(text.to_owned()),
        [_, "Contents", "Key"] => {
            listing.objects.push(Object { key: text.to_owned(), bytes: 0, modified: String::new() });
        }
        [_, "Contents", name] => match (listing.objects.last_mut(), *name) {
            (Some(object), "Size") => text.parse().map_or_else(|_| bad = true, |bytes| object.bytes = bytes),
            (Some(object), "LastModified") => text.clone_into(&mut object.modified),
            _ => {}
        },
        _ => {}
    })?;
    if bad {
        Err(io::Error::new(ErrorKind::InvalidData, "a list of a bucket can't be read"))
    } else {
        Ok((listing, next))
    }
}

/// The texts of an XML document, each with the names of the elements around it.
fn elements(xml: &[u8], told: &mut dyn FnMut(&[&str], &str)) -> io::Result<()> {
    let unreadable = |error: &dyn std::fmt::Display| {
        io::Error::new(ErrorKind::InvalidData, format!("an answer of a bucket: {error}"))
    };
    let xml = str::from_utf8(xml).map_err(|error| unreadable(&error))?;
    let mut reader = Reader::from_str(xml);
    let (mut path, mut text) = (Vec::<String>::new(), String::new());
    loop {
        match reader.read_event().map_err(|error| unreadable(&error))? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(letter)) => text.push(letter),
                _ => text.push_str(match reference.as_ref() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => return Err(unreadable(&"an entity that is not known")),
                }),
            },
            Event::End(_) => {
                let names: Vec<_> = path.iter().map(String::as_str).collect();
                told(&names, &text);
                path.pop();
                text.clear();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_page_by_page() {
        let xml = br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>
            <Contents><LastModified>2026-01-01T00:00:00.000Z</LastModified><Key>p/a&amp;b&#45;c</Key><Size>12</Size></Contents>
            <Contents><Key>p/d</Key><LastModified>2026-01-02T00:00:00Z</LastModified><Size>0</Size></Contents>
            <CommonPrefixes><Prefix>p/e/</Prefix></CommonPrefixes>
            <IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken></ListBucketResult>"#;
        let (listing, next) = read_listing(xml).unwrap();
        assert_eq!((listing.prefixes.as_slice(), next.as_deref()), (&["p/e/".to_owned()][..], Some("t=")));
        let keys: Vec<_> = listing.objects.iter().map(|object| (object.key.as_str(), object.bytes)).collect();
        assert_eq!(keys, [("p/a&b-c", 12), ("p/d", 0)]);
        assert_eq!(listing.objects[1].modified, "2026-01-02T00:00:00Z");
        for bad in [
            &b"<ListBucketResult><Contents><Key>a</Key><Size>x</Size></Contents></ListBucketResult>"[..],
            b"<a></b>",
            b"\xff",
        ] {
            assert!(read_listing(bad).is_err());
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_waited_for_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::write(&credentials, "aws_access_key_id=a\naws_secret_access_key=b\n").unwrap();
        let settings = config::S3 {
            endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
            credentials: Some(credentials),
            timeout_ms: 600,
            ..config::S3::default()
        };
        let s3 = S3::new(&settings, "bucket");
        let began = Instant::now();
        assert_eq!(s3.get("a").unwrap_err().kind(), ErrorKind::NotConnected);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(1200), "two attempts: {waited:?}");
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(s3.put("a", b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        }
        assert!(began.elapsed() < Duration::from_millis(600), "no other waits: {:?}", began.elapsed());
    }

    #[test]
    fn what_is_refused_has_a_code() {
        assert_eq!(
            code_of(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>").as_deref(),
            Some("AccessDenied")
        );
        assert_eq!(code_of(b"not found"), None);
    }
}
