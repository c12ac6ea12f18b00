//! The files of exports, sent chunk by chunk: whole, or a range (RFC 9110 section 14) so that a download that broke off can go on.
//!
//! <https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-output-file-request>

use super::response::{REQUEST_ID, private};
use crate::bulk::files::Chunks;
use crate::error::{Category, Error, Result};
use crate::interaction::Download;
use crate::serve::{Reply, Shape};
use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::{Stream, stream};
use std::ops::Range;

const NDJSON: &str = "application/fhir+ndjson";

/// Sends a file.
pub async fn send(request: &HttpRequest, download: Download, request_id: &str) -> HttpResponse {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let length = download.file.bytes;
    let tag = format!("\"{}-{}\"", download.place.job, download.file.name);
    // What is compressed on the way has other bytes, and no range of it can be asked for.
    let coded = header(ACCEPT_ENCODING).is_some_and(|codings| codings != "identity");
    let is_part = header(RANGE).is_some() && header(IF_RANGE).is_none_or(|known| known == tag);
    let shown_tag = if coded && !is_part { format!("W/{tag}") } else { tag.clone() };
    let knows = |known: &str| known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    if header(IF_NONE_MATCH).is_some_and(knows) {
        return about(StatusCode::NOT_MODIFIED, &shown_tag, request_id).finish();
    }
    let part = if is_part { range(header(RANGE).unwrap_or_default(), length) } else { Wanted::Whole };
    let wanted = match part {
        Wanted::Whole => 0..length,
        Wanted::Part(part) => part,
        Wanted::Nothing => {
            let mut response = about(StatusCode::RANGE_NOT_SATISFIABLE, &tag, request_id);
            return response.insert_header((CONTENT_RANGE, format!("bytes */{length}"))).finish();
        }
    };
    let is_whole = wanted == (0..length);
    let status = if is_part && !is_whole { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = about(status, &shown_tag, request_id);
    response.insert_header((CONTENT_TYPE, NDJSON)).insert_header((ACCEPT_RANGES, "bytes"));
    if is_part {
        response.insert_header((CONTENT_ENCODING, "identity"));
        let last = wanted.end.saturating_sub(1);
        response.insert_header((CONTENT_RANGE, format!("bytes {}-{last}/{length}", wanted.start)));
    }
    let size = wanted.end - wanted.start;
    if request.method() == Method::HEAD {
        return response.body(SizedStream::new(size, stream::empty::<Result<Bytes>>()));
    }
    let opened = tokio::task::spawn_blocking(move || download.place.read(&download.file, wanted)).await;
    match opened.unwrap_or_else(|_| Err(Error::new(Category::Internal, "exception", "opening a file panicked"))) {
        Ok(chunks) => response.body(SizedStream::new(size, Box::pin(parts(chunks)))),
        Err(error) => super::response::send(Reply::from_error(&error, Shape::default()), Some(request_id)),
    }
}

fn about(status: StatusCode, tag: &str, request_id: &str) -> HttpResponseBuilder {
    let mut response = private(status);
    response.insert_header((ETAG, tag)).insert_header((REQUEST_ID, request_id));
    response
}

/// The chunks, each read on the blocking pool.
fn parts(chunks: Chunks) -> impl Stream<Item = Result<Bytes>> {
    stream::try_unfold(chunks, async |mut chunks| {
        let read = tokio::task::spawn_blocking(move || (chunks.next(), chunks)).await;
        match read.map_err(|_| Error::new(Category::Internal, "exception", "reading a file panicked"))? {
            (Some(chunk), chunks) => Ok(Some((Bytes::from(chunk?), chunks))),
            (None, _) => Ok(None),
        }
    })
}

/// What a header `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// Reads one. Of several ranges, and what can't be read, the whole is sent.
fn range(text: &str, length: u64) -> Wanted {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let part = match (first.trim().parse::<u64>(), last.trim().parse::<u64>(), first.trim(), last.trim()) {
        (Ok(first), Ok(last), ..) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), _, _, "") => first..length,
        (_, Ok(last), "", _) => length.saturating_sub(last)..length,
        _ => return Wanted::Whole,
    };
    if part.start >= part.end { Wanted::Nothing } else { Wanted::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_written() {
        let cases = [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=50-1000", Wanted::Part(50..100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-0", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(range(text, 100), expected, "{text}");
        }
    }
}
