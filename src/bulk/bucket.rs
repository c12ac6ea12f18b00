//! Files in a bucket of an object store.
//!
//! An object can't grow, so a file is a row of objects: `folder/name/SEALED-PLAIN`, where the two numbers (hexadecimal) say where in the
//! sealed and in the plain file it begins. Each holds whole chunks. What a part of a job writes is one object as a rule; whoever writes that part
//! again after a crash writes the same object.

use super::s3::{Object, S3};
use super::shelf::{Append, Length, Shelf, Source};
use crate::config;
use std::collections::VecDeque;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one object, about.
const OBJECT: usize = 8 << 20;

/// A bucket, or what is below a prefix in it.
pub struct Bucket {
    s3: Arc<S3>,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl Bucket {
    /// The bucket that `bulk.files` names.
    #[must_use]
    pub fn new(settings: &config::S3, place: &config::BucketPlace) -> Self {
        let prefix = if place.prefix.is_empty() { String::new() } else { format!("{}/", place.prefix) };
        Self { s3: Arc::new(S3::new(settings, &place.bucket)), prefix }
    }

    fn below(&self, folder: &str) -> String {
        format!("{}{folder}/", self.prefix)
    }

    fn remove_below(&self, prefix: &str) -> io::Result<()> {
        self.s3.list(prefix, false)?.objects.iter().try_for_each(|object| self.s3.delete(&object.key))
    }
}

impl Shelf for Bucket {
    fn append(&self, folder: &str, name: &str, behind: Length) -> io::Result<Box<dyn Append>> {
        let key = format!("{}{name}/", self.below(folder));
        if behind.sealed == 0 {
            // What an attempt has left that was broken off.
            self.remove_below(&key)?;
        }
        let s3 = Arc::clone(&self.s3);
        Ok(Box::new(Appending { s3, key, begin: behind, buffer: Vec::new(), plain: 0 }))
    }

    fn read(&self, folder: &str, name: &str, length: u64, from: u64) -> io::Result<(Length, Box<dyn Source>)> {
        let key = format!("{}{name}/", self.below(folder));
        let mut row = row(&key, &self.s3.list(&key, false)?.objects, length)?;
        while row.get(1).is_some_and(|next| next.begin.plain <= from && next.begin.plain > 0) {
            row.pop_front();
        }
        let begin = row.front().map(|part| part.begin).unwrap_or_default();
        let s3 = Arc::clone(&self.s3);
        Ok((begin, Box::new(Reading { s3, key, row, open: Cursor::default() })))
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        self.remove_below(&format!("{}{name}/", self.below(folder)))
    }

    fn remove_all(&self, folder: &str) -> io::Result<()> {
        self.remove_below(&self.below(folder))
    }

    fn folders(&self, folder: &str) -> io::Result<Vec<Box<str>>> {
        let prefix = self.below(folder);
        let found = self.s3.list(&prefix, true)?.prefixes;
        let name = |found: &String| Some(Box::from(found.strip_prefix(&prefix)?.trim_end_matches('/')));
        Ok(found.iter().filter_map(name).collect())
    }

    fn age(&self, folder: &str) -> io::Result<Option<Duration>> {
        let objects = self.s3.list(&self.below(folder), false)?.objects;
        let changed = objects.iter().filter_map(|object| object.modified.parse::<jiff::Timestamp>().ok()).max();
        Ok(changed.and_then(|changed| jiff::Timestamp::now().duration_since(changed).try_into().ok()))
    }

    fn room(&self, _: &str) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn name(&self) -> String {
        self.s3.name()
    }
}

/// An object of a file.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    begin: Length,
    bytes: u64,
}

fn name_of(begin: Length) -> String {
    format!("{:012x}-{:012x}", begin.sealed, begin.plain)
}

/// The objects that make up a file of this length. Others were left by an attempt that was broken off.
fn row(key: &str, objects: &[Object], length: u64) -> io::Result<VecDeque<Part>> {
    let (mut row, mut at) = (VecDeque::new(), 0);
    let begin = |object: &Object| {
        let (sealed, plain) = object.key.strip_prefix(key)?.split_once('-')?;
        Some(Length { sealed: u64::from_str_radix(sealed, 16).ok()?, plain: u64::from_str_radix(plain, 16).ok()? })
    };
    for object in objects {
        if let Some(begin) = begin(object).filter(|begin| at < length && begin.sealed == at) {
            row.push_back(Part { begin, bytes: object.bytes });
            at += object.bytes;
        }
    }
    if at < length {
        Err(io::Error::new(ErrorKind::NotFound, "a part of a file is not in the bucket"))
    } else {
        Ok(row)
    }
}

struct Appending {
    s3: Arc<S3>,
    key: String,
    /// Where in the file the buffer begins.
    begin: Length,
    buffer: Vec<u8>,
    /// The plain bytes in the buffer.
    plain: u64,
}

impl Append for Appending {
    fn add(&mut self, sealed: &[u8], plain: u64) -> io::Result<()> {
        self.buffer.extend_from_slice(sealed);
        self.plain += plain;
        if self.buffer.len() >= OBJECT { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.s3.put(&format!("{}{}", self.key, name_of(self.begin)), &self.buffer)?;
        self.begin.sealed += self.buffer.len() as u64;
        self.begin.plain += self.plain;
        (self.buffer, self.plain) = (Vec::new(), 0);
        Ok(())
    }
}

struct Reading {
    s3: Arc<S3>,
    key: String,
    /// What was not fetched yet.
    row: VecDeque<Part>,
    open: Cursor<Vec<u8>>,
}

impl Reading {
    fn left(&self) -> u64 {
        (self.open.get_ref().len() as u64).saturating_sub(self.open.position())
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left() == 0 {
            let Some(part) = self.row.pop_front() else { return Ok(0) };
            self.open = Cursor::new(self.s3.get(&format!("{}{}", self.key, name_of(part.begin)))?);
        }
        self.open.read(buffer)
    }
}

impl Source for Reading {
    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        let here = self.left().min(bytes);
        self.open.set_position(self.open.position() + here);
        bytes -= here;
        while let Some(part) = self.row.front().filter(|part| part.bytes <= bytes) {
            bytes -= part.bytes;
            self.row.pop_front();
        }
        io::copy(&mut self.take(bytes), &mut io::sink()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attempt_left_is_no_part_of_a_file() {
        let object = |sealed, plain, bytes| {
            let key = format!("f/{}", name_of(Length { sealed, plain }));
            Object { key, bytes, modified: String::new() }
        };
        let objects = [object(0, 0, 10), object(7, 90, 30), object(10, 100, 5), object(12, 130, 9), object(15, 150, 5)];
        let found = |length| {
            row("f/", &objects, length).map(|row| row.iter().map(|part| part.begin.sealed).collect::<Vec<_>>())
        };
        assert_eq!(found(15).unwrap(), [0, 10]);
        assert_eq!(found(20).unwrap(), [0, 10, 15]);
        assert_eq!(found(0).unwrap(), [0; 0]);
        assert_eq!(found(21).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
