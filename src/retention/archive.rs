//! Files of what was archived: gzipped NDJSON, a version a line, sealed under the tenant's key and bound to the file's name.

use crate::auth::grant::Grant;
use crate::error::{Error, Result};
use crate::store::Store;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

/// Writes a file, on disk when this returns. One of the same name is replaced: it is of a part that was not committed.
///
/// # Errors
/// When it can't be written.
pub fn write(store: &Store, grant: &Grant, folder: &Path, name: &str, lines: &[u8]) -> Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(lines).and_then(|()| encoder.finish());
    let sealed = store.seal_file(grant, name, &packed.map_err(Error::internal)?)?;
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let text = "The archive can't be written: nothing that was to go there is erased.";
        Error::unavailable(text, format!("{}: {error}", path.display()))
    })
}

/// The lines of a file.
///
/// # Errors
/// When it can't be read, was altered or renamed, or is of another tenant or store.
pub fn read(store: &Store, grant: &Grant, path: &Path) -> Result<Vec<u8>> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let sealed = std::fs::read(path).map_err(|error| Error::internal(format!("{}: {error}", path.display())))?;
    let packed = store.open_file(grant, &name, &sealed)?;
    let mut lines = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut lines).map_err(Error::internal)?;
    Ok(lines)
}
