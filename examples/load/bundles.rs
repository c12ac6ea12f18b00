//! The transaction Bundles that are loaded: a folder of them, or the sample population of `pharos demo`.

use crate::client::Failure;
use flate2::read::GzDecoder;
use pharos::cli::demo::population::{PATIENTS, Population, SEED};
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use pharos::fhir::write::to_vec;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How deep Bundles may be nested.
pub const DEPTH: usize = 64;

/// One Bundle.
pub struct Source {
    pub json: Vec<u8>,
    pub entries: usize,
    /// Whether it is sent once only: what it writes has fixed ids.
    pub once: bool,
}

/// Reads the Bundles of a folder (`.json`, `.json.gz`), in the order of their names.
pub fn read_folder(folder: &Path) -> Result<Vec<Source>, Failure> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.retain(|path| [".json", ".json.gz"].iter().any(|end| path.to_string_lossy().ends_with(end)));
    paths.sort();
    let sources: Vec<Source> = paths.iter().map(|path| read_file(path)).collect::<Result<_, Failure>>()?;
    if sources.is_empty() { Err(format!("no Bundles in {}", folder.display()).into()) } else { Ok(sources) }
}

fn read_file(path: &Path) -> Result<Source, Failure> {
    let mut json = std::fs::read(path)?;
    if path.extension().is_some_and(|end| end == "gz") {
        let mut plain = Vec::new();
        GzDecoder::new(json.as_slice()).read_to_end(&mut plain)?;
        json = plain;
    }
    let bundle = parse(&json, DEPTH).map_err(|error| format!("{}: {error}", path.display()))?;
    let entries = bundle.get("entry").map_or(0, |entries| entries.items().len());
    Ok(Source { json, entries, once: false })
}

/// The sample population; its patients are made anew with each round (`POST`), what they share is written once (`PUT`).
pub fn sample() -> Vec<Source> {
    let today = jiff::Zoned::now().date();
    let bundles = Population::new(SEED, PATIENTS, today).enumerate();
    bundles
        .map(|(n, mut bundle)| {
            if n > 0 {
                post_instead_of_put(&mut bundle);
            }
            let entries = bundle.get("entry").map_or(0, |entries| entries.items().len());
            Source { json: to_vec(&bundle), entries, once: n == 0 }
        })
        .collect()
}

fn post_instead_of_put(bundle: &mut Value<'static>) {
    let entries = bundle.as_object_mut().and_then(|bundle| bundle.get_mut("entry")).and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let request = entry.as_object_mut().and_then(|entry| entry.get_mut("request")).and_then(Value::as_object_mut);
        let Some(request) = request else { continue };
        let type_name = request.str("url").and_then(|url| url.split('/').next()).unwrap_or_default().to_owned();
        request.set("method", Value::from("POST"));
        request.set("url", Value::from(type_name));
    }
}

impl Source {
    /// The Bundle with UUIDs of its own for this round (counted from 0, which leaves them as they are). The same UUID
    /// becomes the same new one wherever it stands, so references and identifiers stay together.
    pub fn renewed(&self, round: u32) -> Vec<u8> {
        let mut json = self.json.clone();
        if round > 0 && !self.once {
            renew_uuids(&mut json, round);
        }
        json
    }
}

/// Changes the first eight digits of every UUID by exclusive or with `mask`.
fn renew_uuids(json: &mut [u8], mask: u32) {
    const LENGTH: usize = 36;
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr(b'-', rest)) {
        let dash = at + found;
        at = dash + 1;
        let Some(start) = dash.checked_sub(8) else { continue };
        let Some(text) = json.get_mut(start..start + LENGTH) else { continue };
        if !is_uuid(text) {
            continue;
        }
        for (digit, byte) in text.iter_mut().take(8).enumerate() {
            let change = (mask >> (28 - 4 * digit)) & 15;
            let value = char::from(*byte).to_digit(16).unwrap_or(0) ^ change;
            *byte = char::from_digit(value, 16).map_or(*byte, |digit| digit as u8);
        }
        at = start + LENGTH;
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(n, byte)| match n {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    })
}
