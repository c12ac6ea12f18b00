//! What there is to load: files of known forms, and how much of each was read.

use super::Failure;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// How a file holds its resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON text: a Bundle or a resource.
    Whole,
    /// A resource in each line.
    Lines,
}

/// A file to load.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) form: Form,
    compressed: bool,
    /// In bytes, as it lies on the disk.
    pub(super) size: u64,
    /// When it was changed, in milliseconds since 1970.
    pub(super) modified_ms: u64,
}

/// The files that these paths mean: files themselves, and what lies in folders at any depth, in the order of names. Files of
/// other forms are passed over in folders and are an error where they are named.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in paths {
        let about = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        if about.is_dir() {
            walk(path, &mut inputs)?;
        } else {
            let other = || format!("{}: neither .json nor .ndjson, with or without .gz", path.display());
            inputs.push(Input::new(path)?.ok_or_else(other)?);
        }
    }
    if inputs.is_empty() { Err("there is nothing to load: no .json and no .ndjson files".into()) } else { Ok(inputs) }
}

fn walk(folder: &Path, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(named)? {
        paths.push(entry.map_err(named)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, inputs)?;
        } else {
            inputs.extend(Input::new(&path)?);
        }
    }
    Ok(())
}

impl Input {
    /// `None` where the name tells another form.
    fn new(path: &Path) -> Result<Option<Self>, Failure> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let name = path.to_string_lossy();
        let plain = name.strip_suffix(".gz");
        let form = match Path::new(plain.unwrap_or(&name)).extension().and_then(|end| end.to_str()) {
            Some("json") => Form::Whole,
            Some("ndjson" | "jsonl") => Form::Lines,
            _ => return Ok(None),
        };
        let about = path.metadata().map_err(named)?;
        let age = about.modified().map_err(named)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let path = path.canonicalize().map_err(named)?;
        Ok(Some(Self { path, form, compressed: plain.is_some(), size: about.len(), modified_ms }))
    }

    /// Opens the file for reading, decompressed.
    pub(super) fn open(&self) -> std::io::Result<Reading> {
        let taken = Arc::new(AtomicU64::new(0));
        let file = Counted { file: File::open(&self.path)?, taken: Arc::clone(&taken) };
        let text: Box<dyn BufRead> = if self.compressed {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Reading { text, taken, told: 0 })
    }
}

/// A file that is being read.
pub(super) struct Reading {
    pub(super) text: Box<dyn BufRead>,
    taken: Arc<AtomicU64>,
    told: u64,
}

impl Reading {
    /// The bytes on the disk that were read since this was last asked.
    pub(super) fn progress(&mut self) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        let new = taken - self.told;
        self.told = taken;
        new
    }
}

struct Counted {
    file: File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
