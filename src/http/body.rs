//! Reading a body: decompressed, within its limits, and not for ever.

use crate::config::Limits;
use crate::error::{Category, Error, Result};
use actix_web::dev::Decompress;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, ContentEncoding, HeaderMap};
use actix_web::web::{self, Bytes};
use futures_util::{Stream, StreamExt};
use std::time::{Duration, Instant};

/// A body may be slow for this long before its average speed counts.
const GRACE: Duration = Duration::from_secs(10);

/// The most memory that is set aside for a body that is only announced so far, in bytes.
const MOST_RESERVED: usize = 1 << 20;

/// Whether the headers announce a body.
pub fn is_announced(headers: &HeaderMap) -> bool {
    announced_length(headers).is_some_and(|length| length > 0) || headers.contains_key(header::TRANSFER_ENCODING)
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the whole body.
///
/// # Errors
/// 413 over `limits.body_bytes` (announced or decompressed), 415 for an unknown `Content-Encoding`, 408 for a body that
/// stalls or crawls, 400 for one that breaks off or can't be decompressed.
pub async fn read(headers: &HeaderMap, payload: web::Payload, limits: &Limits) -> Result<Vec<u8>> {
    let encoding = encoding(headers)?;
    gather(headers, Decompress::new(payload.into_inner(), encoding), limits).await
}

/// Reads the whole body as it was sent.
///
/// # Errors
/// As [`read`], but for the encoding.
pub async fn raw(headers: &HeaderMap, payload: web::Payload, limits: &Limits) -> Result<Vec<u8>> {
    gather(headers, payload, limits).await
}

async fn gather(
    headers: &HeaderMap,
    mut parts: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let too_large = || {
        let text = format!("The body is larger than {} bytes (limits.body_bytes).", limits.body_bytes);
        Error::new(Category::TooLarge, "too-long", text)
    };
    let announced = announced_length(headers).unwrap_or(0);
    if announced > limits.body_bytes {
        return Err(too_large());
    }
    let started = Instant::now();
    let stall = Duration::from_millis(limits.body_stall_timeout_ms);
    let mut body = Vec::with_capacity(announced.min(MOST_RESERVED));
    loop {
        let part = tokio::time::timeout(stall, parts.next()).await.map_err(|_| too_slow())?;
        let Some(part) = part else { return Ok(body) };
        let part = part.map_err(|error| broken(&error))?;
        if body.len() + part.len() > limits.body_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&part);
        let elapsed = started.elapsed();
        let least = u128::from(limits.body_bytes_per_s) * elapsed.as_millis() / 1000;
        if elapsed > GRACE && (body.len() as u128) < least {
            return Err(too_slow());
        }
    }
}

fn encoding(headers: &HeaderMap) -> Result<ContentEncoding> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(ContentEncoding::Identity) };
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => Ok(ContentEncoding::Gzip),
        b"br" => Ok(ContentEncoding::Brotli),
        b"deflate" => Ok(ContentEncoding::Deflate),
        b"identity" => Ok(ContentEncoding::Identity),
        _ => {
            let text = "The body is encoded in a way that the server does not know; it knows gzip, br and deflate.";
            Err(Error::new(Category::UnsupportedMediaType, "not-supported", text))
        }
    }
}

fn too_slow() -> Error {
    Error::new(Category::RequestTimeout, "timeout", "The body arrived too slowly.")
}

fn broken(error: &PayloadError) -> Error {
    Error::new(Category::Invalid, "structure", "The body broke off or can't be decompressed.").with_log(error)
}
