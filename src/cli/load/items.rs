//! From files to what is sent: Bundles, a whole file or a group of lines each.

use super::Failure;
use super::files::{Form, Input, Reading};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::fhir::write::{write, write_str};
use std::io::{BufRead, Read};
use std::ops::RangeInclusive;

/// How deep the JSON may be nested: more than any server takes.
const DEPTH: usize = 256;

/// How many lines, and about how many bytes of them, are sent at once.
const GROUP_LINES: usize = 200;
const GROUP_BYTES: usize = 1 << 20;

/// What is sent at once.
#[derive(Debug)]
pub(super) struct Item {
    /// Which of the inputs it is from.
    pub(super) input: usize,
    pub(super) place: Place,
    pub(super) content: Content,
    /// The bytes on the disk that it accounts for.
    pub(super) bytes: u64,
}

/// Where in the file it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// All of it.
    Whole,
    /// These lines, counted from 1.
    Lines(RangeInclusive<u64>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Content {
    /// A Bundle to send, and how many entries it has.
    Bundle(Vec<u8>, usize),
    /// Lines with a resource each, and their numbers.
    Lines(Vec<(u64, Vec<u8>)>),
    /// Nothing can be sent, for this reason.
    Unusable(String),
}

/// Reads an input and hands out its items; stops early when `hand` answers false. Lines for which `is_done` answers true are
/// passed over.
pub(super) fn split(
    input: usize,
    file: &Input,
    is_done: impl Fn(u64) -> bool,
    mut hand: impl FnMut(Item) -> bool,
) -> Result<(), Failure> {
    let mut reading = file.open()?;
    match file.form {
        Form::Whole => {
            let mut text = Vec::new();
            reading.text.read_to_end(&mut text)?;
            hand(Item { input, place: Place::Whole, content: whole(text), bytes: reading.progress() });
        }
        Form::Lines => lines(input, &mut reading, is_done, &mut hand)?,
    }
    Ok(())
}

/// The content of a file with one JSON text.
fn whole(text: Vec<u8>) -> Content {
    let value = match parse(&text, DEPTH) {
        Ok(value) => value,
        Err(error) => return Content::Unusable(error.to_string()),
    };
    let Some(resource) = value.as_object() else { return Content::Unusable("not a JSON object".to_owned()) };
    let entries = resource.get("entry").map(Value::items).unwrap_or_default();
    match (resource.resource_type(), resource.str("type")) {
        (Some("Bundle"), Some("transaction" | "batch")) => {
            let count = entries.len();
            Content::Bundle(text, count)
        }
        (Some("Bundle"), Some("collection" | "searchset" | "document" | "message")) => {
            let put = |one: &Value<'_>| {
                entry(one.get("resource")?.as_object()?, one.get("fullUrl").and_then(Value::as_str), None)
            };
            let entries: Vec<Vec<u8>> = entries.iter().filter_map(put).collect();
            Content::Bundle(bundle("transaction", entries.iter().map(Vec::as_slice)), entries.len())
        }
        (Some("Bundle"), _) => {
            Content::Unusable("Bundle.type: only transaction, batch and collection can be loaded".into())
        }
        // As a line of its own.
        _ => Content::Lines(vec![(1, text)]),
    }
}

/// An entry that creates the resource, or puts it at its id. `text` is its JSON where that is at hand.
pub(super) fn entry(resource: &Object<'_>, full_url: Option<&str>, text: Option<&[u8]>) -> Option<Vec<u8>> {
    let type_name = resource.resource_type()?;
    let mut out = b"{".to_vec();
    if let Some(full_url) = full_url {
        out.extend_from_slice(b"\"fullUrl\":");
        write_str(full_url, &mut out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"resource\":");
    match text {
        Some(text) => out.extend_from_slice(text),
        None => write(&Value::Object(resource.clone()), &mut out),
    }
    let (method, url) = match resource.id() {
        Some(id) => ("PUT", format!("{type_name}/{id}")),
        None => ("POST", type_name.to_owned()),
    };
    out.extend_from_slice(b",\"request\":{\"method\":");
    write_str(method, &mut out);
    out.extend_from_slice(b",\"url\":");
    write_str(&url, &mut out);
    out.extend_from_slice(b"}}");
    Some(out)
}

/// A Bundle of these entries.
pub(super) fn bundle<'e>(bundle_type: &str, entries: impl Iterator<Item = &'e [u8]>) -> Vec<u8> {
    let mut out = format!(r#"{{"resourceType":"Bundle","type":"{bundle_type}","entry":["#).into_bytes();
    for (n, entry) in entries.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(entry);
    }
    out.extend_from_slice(b"]}");
    out
}

/// A file with a resource in each line, in groups.
fn lines(
    input: usize,
    reading: &mut Reading,
    is_done: impl Fn(u64) -> bool,
    hand: &mut impl FnMut(Item) -> bool,
) -> Result<(), Failure> {
    let (mut line, mut number) = (Vec::new(), 0);
    let mut group: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    loop {
        line.clear();
        number += 1;
        let ended = reading.text.read_until(b'\n', &mut line)? == 0;
        let text = line.trim_ascii();
        if !text.is_empty() && !is_done(number) {
            bytes += text.len();
            group.push((number, text.to_vec()));
        }
        let full = ended || group.len() >= GROUP_LINES || bytes >= GROUP_BYTES;
        if let (true, Some((first, _)), Some((last, _))) = (full, group.first(), group.last()) {
            let place = Place::Lines(*first..=*last);
            let content = Content::Lines(std::mem::take(&mut group));
            bytes = 0;
            if !hand(Item { input, place, content, bytes: reading.progress() }) {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}
