//! The lines of an input, from somewhere in the middle of its file on. One that is longer than a body may be is passed over, bit by bit.

use crate::bulk::files::{Chunks, File, Place};
use crate::error::Result;

/// The most bytes of a line that are passed over in one go.
const SKIPPED: u64 = 32 << 20;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without what ends it.
    Text(Vec<u8>),
    /// It was longer than allowed; it has ended.
    TooLong,
    /// It is longer than allowed, and goes on.
    Unfinished,
}

impl Line {
    /// What is to be stored, unless that is nothing.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) if !text.trim_ascii().is_empty() => Some(text),
            _ => None,
        }
    }
}

/// See the module.
pub struct Lines {
    chunks: Chunks,
    buffer: Vec<u8>,
    /// How much of the buffer is used up.
    used: usize,
    /// Where in the file the next byte is.
    at: u64,
    most: usize,
    is_skipping: bool,
}

impl Lines {
    /// Reads from here on. `most` is the length of a line; `is_skipping` tells that the rest of one that is too long comes first.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn new(place: &Place, file: &File, at: u64, most: usize, is_skipping: bool) -> Result<Self> {
        let chunks = place.read(file, at..file.bytes)?;
        Ok(Self { chunks, buffer: Vec::new(), used: 0, at, most, is_skipping })
    }

    /// Where the next line begins.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The next line, if there is one.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn next(&mut self) -> Result<Option<Line>> {
        let from = self.at;
        let mut text = Vec::new();
        let mut is_too_long = std::mem::take(&mut self.is_skipping);
        let mut is_any = is_too_long;
        loop {
            if self.used >= self.buffer.len() {
                match self.chunks.next() {
                    Some(chunk) => (self.buffer, self.used) = (chunk?, 0),
                    None if is_any => return Ok(Some(if is_too_long { Line::TooLong } else { Line::Text(text) })),
                    None => return Ok(None),
                }
            }
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest);
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            is_any = true;
            if !is_too_long && text.len() + part.len() <= self.most {
                text.extend_from_slice(part);
            } else {
                is_too_long = true;
                text = Vec::new();
            }
            let taken = part.len() + usize::from(end.is_some());
            self.used += taken;
            self.at += taken as u64;
            if end.is_some() {
                return Ok(Some(if is_too_long { Line::TooLong } else { Line::Text(text) }));
            }
            if is_too_long && self.at - from >= SKIPPED {
                self.is_skipping = true;
                return Ok(Some(Line::Unfinished));
            }
        }
    }
}
