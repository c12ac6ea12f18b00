//! The body of a request: which kinds a call takes, and how each is read.

use super::body;
use super::negotiate::{BodyFormat, require};
use super::request::text;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::interaction::call::{Call, Verb};
use crate::interaction::criteria::pairs;
use crate::serve::Body;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web;

/// Reads what a call takes: a resource in JSON; a patch; NDJSON to be imported; the form of a search, whose fields are added to `query`; or
/// anything at all for a Binary.
///
/// # Errors
/// 415 for another kind, and those of [`body::read`].
pub async fn read(
    headers: &HeaderMap,
    payload: web::Payload,
    limits: &Limits,
    (verb, call): (Verb, &Call),
    query: &mut Vec<(String, String)>,
) -> Result<Body> {
    if verb.is_read() || verb == Verb::Delete {
        return Ok(Body::None);
    }
    match call {
        Call::Create { type_name } | Call::Update { type_name, .. } if type_name == "Binary" => Ok(Body::Binary {
            content_type: text(headers, header::CONTENT_TYPE)?.unwrap_or("application/octet-stream").to_owned(),
            security_context: text(headers, "X-Security-Context")?.map(str::to_owned),
            bytes: body::read(headers, payload, limits).await?,
        }),
        Call::Operation { name, .. } if name == "import" && is_ndjson(text(headers, header::CONTENT_TYPE)?) => {
            Ok(Body::Lines(body::read(headers, payload, limits).await?))
        }
        Call::Search { .. } | Call::CompartmentSearch { .. } | Call::Operation { .. }
            if !body::is_announced(headers) =>
        {
            Ok(Body::None)
        }
        Call::Search { .. } | Call::CompartmentSearch { .. } => {
            require(text(headers, header::CONTENT_TYPE)?, &[BodyFormat::Form])?;
            let bytes = body::read(headers, payload, limits).await?;
            let form = str::from_utf8(&bytes).map_err(|_| Error::invalid("The form is not in UTF-8."))?;
            query.extend(pairs(form));
            Ok(Body::None)
        }
        Call::Patch { .. } | Call::ConditionalPatch { .. } => {
            require(text(headers, header::CONTENT_TYPE)?, &[BodyFormat::Resource, BodyFormat::JsonPatch])?;
            json(headers, payload, limits).await
        }
        _ => {
            require(text(headers, header::CONTENT_TYPE)?, &[BodyFormat::Resource])?;
            json(headers, payload, limits).await
        }
    }
}

fn is_ndjson(content_type: Option<&str>) -> bool {
    let name = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    ["application/fhir+ndjson", "application/ndjson", "application/x-ndjson"].contains(&name.as_str())
}

async fn json(headers: &HeaderMap, payload: web::Payload, limits: &Limits) -> Result<Body> {
    let bytes = body::read(headers, payload, limits).await?;
    Ok(if bytes.is_empty() { Body::None } else { Body::Json(bytes) })
}
