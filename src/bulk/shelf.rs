//! Where the bytes of files are kept: in a folder, or in a [bucket](super::bucket). What is kept is sealed already.
//!
//! A file grows at its end only. Whoever goes on behind a length that is known takes away what stands behind it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders that may be made with a file: that of all exports, of the tenant, of the job.
const NEW_FOLDERS: usize = 3;

/// A length of a file: of its sealed bytes, and of the plain ones that they stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Length {
    /// On the shelf.
    pub sealed: u64,
    /// Before sealing.
    pub plain: u64,
}

/// A place for files. Folders are names with slashes between them. All calls may block; what does not answer for now is an error of the kind
/// [`NotConnected`](io::ErrorKind::NotConnected).
pub trait Shelf: Send + Sync {
    /// Opens a file to go on behind so much of it. One of no length is new.
    fn append(&self, folder: &str, name: &str, behind: Length) -> io::Result<Box<dyn Append>>;
    /// Opens a file of this length, at a chunk that begins at or before a plain byte, and tells where that chunk begins.
    fn read(&self, folder: &str, name: &str, length: u64, from: u64) -> io::Result<(Length, Box<dyn Source>)>;
    /// Removes a file, if it is there.
    fn remove(&self, folder: &str, name: &str) -> io::Result<()>;
    /// Removes a folder with all that is in it, if it is there.
    fn remove_all(&self, folder: &str) -> io::Result<()>;
    /// The folders in a folder.
    fn folders(&self, folder: &str) -> io::Result<Vec<Box<str>>>;
    /// For how long nothing was changed in a folder; nothing where that is not known.
    fn age(&self, folder: &str) -> io::Result<Option<Duration>>;
    /// The bytes that are free for a folder; nothing where there is no such limit.
    fn room(&self, folder: &str) -> io::Result<Option<u64>>;
    /// What it is called in the log.
    fn name(&self) -> String;
}

/// A file that something is appended to.
pub trait Append: Send {
    /// Adds a chunk, of which the plain form has so many bytes.
    fn add(&mut self, sealed: &[u8], plain: u64) -> io::Result<()>;
    /// Returns when all of it is durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read.
pub trait Source: Read + Send {
    /// Passes over some bytes.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// A folder of this machine.
pub struct Disk(pub PathBuf);

impl Shelf for Disk {
    fn append(&self, folder: &str, name: &str, behind: Length) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(at_end(&self.0.join(folder), name, behind.sealed)?))
    }

    fn read(&self, folder: &str, name: &str, _: u64, _: u64) -> io::Result<(Length, Box<dyn Source>)> {
        Ok((Length::default(), Box::new(fs::File::open(self.0.join(folder).join(name))?)))
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        gone(fs::remove_file(self.0.join(folder).join(name)))
    }

    fn remove_all(&self, folder: &str) -> io::Result<()> {
        gone(fs::remove_dir_all(self.0.join(folder)))
    }

    fn folders(&self, folder: &str) -> io::Result<Vec<Box<str>>> {
        match fs::read_dir(self.0.join(folder)) {
            Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.into())).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn age(&self, folder: &str) -> io::Result<Option<Duration>> {
        Ok(fs::metadata(self.0.join(folder))?.modified()?.elapsed().ok())
    }

    fn room(&self, folder: &str) -> io::Result<Option<u64>> {
        let folder = self.0.join(folder);
        fs::create_dir_all(&folder)?;
        let about = rustix::fs::statvfs(&folder)?;
        Ok(Some(about.f_bavail.saturating_mul(about.f_frsize)))
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Append for fs::File {
    fn add(&mut self, sealed: &[u8], _: u64) -> io::Result<()> {
        self.write_all(sealed)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Source for fs::File {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.seek_relative(i64::try_from(bytes).map_err(io::Error::other)?)
    }
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Opens a file to go on behind so many bytes. A new one is there after a crash, too.
fn at_end(folder: &Path, name: &str, length: u64) -> io::Result<fs::File> {
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(length == 0);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if length == 0 {
        fs::create_dir_all(folder)?;
    }
    let mut handle = options.open(&path)?;
    if length == 0 {
        for folder in folder.ancestors().take(NEW_FOLDERS) {
            fs::File::open(folder)?.sync_all()?;
        }
    }
    if handle.metadata()?.len() < length {
        return Err(io::Error::other("a file of an export is shorter than it was"));
    }
    handle.set_len(length)?;
    handle.seek(SeekFrom::End(0))?;
    Ok(handle)
}
