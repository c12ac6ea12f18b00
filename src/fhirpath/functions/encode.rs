//! `encode() decode() escape() unescape()`, which later versions added.

use super::{Call, Function, function};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::fhir::write;
use crate::fhirpath::eval::{Evaluated, Evaluator};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("encode", 1, 1, transform),
    function("decode", 1, 1, transform),
    function("escape", 1, 1, transform),
    function("unescape", 1, 1, transform),
];

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn transform<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(text), Some(form)) = (call.text()?, call.string(e, 0)?) else { return Ok(Vec::new()) };
    let result = match (call.name, &*form) {
        ("encode", "hex") => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("encode", "base64") => Some(to_base64(text.as_bytes(), BASE64)),
        ("encode", "urlbase64") => Some(to_base64(text.as_bytes(), URL_BASE64)),
        ("decode", "hex") => from_hex(&text).and_then(|bytes| String::from_utf8(bytes).ok()),
        ("decode", "base64") => from_base64(&text, BASE64).and_then(|bytes| String::from_utf8(bytes).ok()),
        ("decode", "urlbase64") => from_base64(&text, URL_BASE64).and_then(|bytes| String::from_utf8(bytes).ok()),
        ("escape", "html") => Some(to_html(&text)),
        ("escape", "json") => to_json(&text),
        ("unescape", "html") => Some(from_html(&text)),
        ("unescape", "json") => from_json(&text),
        _ => return Err(call.error(format!("`{}` does not know that form", call.name))),
    };
    result.map_or_else(|| Ok(Vec::new()), |text| call.made(e, text))
}

fn to_base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..4 {
            let letter = alphabet.get(bits >> (18 - 6 * n) & 63).copied().unwrap_or(b'=');
            out.push(if n <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &str, alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    if !text.len().is_multiple_of(4) {
        return None;
    }
    for letter in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in letter {
            bits = bits << 6 | u32::try_from(alphabet.iter().position(|known| known == byte)?).ok()?;
        }
        let [_, bytes @ ..] = (bits << (6 * (4 - letter.len()))).to_be_bytes();
        out.extend(bytes.iter().take(letter.len() - 1));
    }
    Some(out)
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
