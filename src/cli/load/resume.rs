//! What is done already, kept in a file that is only ever added to.
//!
//! The first line names the target; every other line one file, by path, size and time of change, and the lines of it that
//! are done (all of it where there are none). A line cut off by a crash is passed over: what it stood for is sent again.

use super::Failure;
use super::files::Input;
use super::items::Place;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    target: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    path: PathBuf,
    size: u64,
    modified_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lines: Option<(u64, u64)>,
}

type FileKey = (PathBuf, u64, u64);

/// The file, and what it said when it was opened.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    whole: HashSet<FileKey>,
    /// For each file, the first line of each range and its last.
    lines: HashMap<FileKey, BTreeMap<u64, u64>>,
}

impl Journal {
    /// Opens the file at `path`, or begins it.
    ///
    /// # Errors
    /// Where it was begun for another target.
    pub(super) fn open(path: &Path, target: &str) -> Result<Self, Failure> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(named)?;
        let mut texts = BufReader::new(&file).lines();
        let header = texts.next().transpose().map_err(named)?;
        let mut journal = Self { file: file.try_clone().map_err(named)?, whole: HashSet::new(), lines: HashMap::new() };
        let Some(header) = header else {
            let header = serde_json::to_string(&Header { target: target.to_owned() })?;
            writeln!(file, "{header}").map_err(named)?;
            return Ok(journal);
        };
        if serde_json::from_str::<Header>(&header).ok().is_none_or(|header| header.target != target) {
            return Err(format!("{}: begun for another target", path.display()).into());
        }
        for text in texts {
            if let Ok(done) = serde_json::from_str::<Done>(&text.map_err(named)?) {
                journal.note(done);
            }
        }
        // So that a line that was cut off does not spoil the next one; blank lines are passed over.
        writeln!(file).map_err(named)?;
        Ok(journal)
    }

    fn note(&mut self, done: Done) {
        let key = (done.path, done.size, done.modified_ms);
        if let Some((first, last)) = done.lines {
            self.lines.entry(key).or_default().insert(first, last);
        } else {
            self.whole.insert(key);
        }
    }

    /// Whether all of the file is done.
    pub(super) fn is_whole_done(&self, input: &Input) -> bool {
        self.whole.contains(&key(input))
    }

    /// The lines of a file that are done: the first of each range and its last.
    pub(super) fn lines_done(&self, input: &Input) -> BTreeMap<u64, u64> {
        self.lines.get(&key(input)).cloned().unwrap_or_default()
    }

    /// Notes that a place of a file is done.
    pub(super) fn add(&mut self, input: &Input, place: &Place) -> Result<(), Failure> {
        let lines = match place {
            Place::Whole => None,
            Place::Lines(lines) => Some((*lines.start(), *lines.end())),
        };
        let (path, size, modified_ms) = key(input);
        let mut text = serde_json::to_string(&Done { path, size, modified_ms, lines })?;
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes())?)
    }
}

fn key(input: &Input) -> FileKey {
    (input.path.clone(), input.size, input.modified_ms)
}

/// Whether a line lies in one of the ranges.
pub(super) fn holds(ranges: &BTreeMap<u64, u64>, line: u64) -> bool {
    ranges.range(..=line).next_back().is_some_and(|(_, last)| line <= *last)
}
