//! `encode() decode() escape() unescape()`, which later versions added.

use super::{Call, Function, function};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::fhir::write;
use crate::fhirpath::eval::{Evaluated, Evaluator};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("encode", 1, 1, transform),
    function("decode", 1, 1, transform),
    function("escape", 1, 1, transform),
    function("unescape", 1, 1, transform),
];

fn transform<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(text), Some(form)) = (call.text()?, call.string(e, 0)?) else { return Ok(Vec::new()) };
    let result = match (call.name, &*form) {
        ("encode", "hex") => Some(to_hex(&text)),
        ("encode", "base64") => Some(STANDARD.encode(&*text)),
        ("encode", "urlbase64") => Some(URL_SAFE.encode(&*text)),
        ("decode", "hex") => from_hex(&text).and_then(|bytes| String::from_utf8(bytes).ok()),
        ("decode", "base64") => base64(&STANDARD, &text),
        ("decode", "urlbase64") => base64(&URL_SAFE, &text),
        ("escape", "html") => Some(to_html(&text)),
        ("escape", "json") => to_json(&text),
        ("unescape", "html") => Some(from_html(&text)),
        ("unescape", "json") => from_json(&text),
        _ => return Err(call.error(format!("`{}` does not know that form", call.name))),
    };
    result.map_or_else(|| Ok(Vec::new()), |text| call.made(e, text))
}

fn base64(engine: &GeneralPurpose, text: &str) -> Option<String> {
    String::from_utf8(engine.decode(text).ok()?).ok()
}

fn to_hex(text: &str) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16);
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

const HTML: [(&str, &str); 5] = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];

fn to_html(text: &str) -> String {
    HTML.iter().rev().fold(text.to_owned(), |text, (entity, plain)| text.replace(plain, entity))
}

fn from_html(text: &str) -> String {
    HTML.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

fn to_json(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write::write_str(text, &mut out);
    let quoted = String::from_utf8(out).ok()?;
    Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

fn from_json(text: &str) -> Option<String> {
    // What stands between quotes; a bare quote in it is taken as it is.
    let mut quoted = String::from("\"");
    let mut escaped = false;
    for c in text.chars() {
        if c == '"' && !escaped {
            quoted.push('\\');
        }
        escaped = c == '\\' && !escaped;
        quoted.push(c);
    }
    quoted.push('"');
    match parse(quoted.as_bytes(), 1) {
        Ok(Value::String(text)) => Some(text.into_owned()),
        _ => None,
    }
}
