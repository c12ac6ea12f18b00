//! Files of what was archived: gzipped NDJSON, a version a line, sealed under the tenant's key and bound to the file's name. They are kept for
//! years, so they are sealed anew with all else when the tenant has a new key.

use crate::auth::grant::Grant;
use crate::error::{Category, Error, Result};
use crate::jobs::reseal::Resealed;
use crate::store::{Store, StoreError};
use crate::tenant::TenantId;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// Writes a file, on disk when this returns. One of the same name is replaced: it is of a part that was not committed.
///
/// # Errors
/// When it can't be written.
pub fn write(store: &Store, grant: &Grant, folder: &Path, name: &str, lines: &[u8]) -> Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(lines).and_then(|()| encoder.finish());
    let sealed = store.seal_file(grant, name, &packed.map_err(Error::internal)?)?;
    put(folder, name, &sealed).map_err(|error| {
        let text = "The archive can't be written: nothing that was to go there is erased.";
        Error::unavailable(text, format!("{}: {error}", folder.join(name).display()))
    })
}

/// What the name of an archive ends with.
const ENDING: &str = ".ndjson.gz.sealed";

/// The name of a file of a tenant, of what a part of a job archives that begins at a number.
#[must_use]
pub fn name(tenant: TenantId, job: &str, from: u64) -> String {
    format!("{}-{job}-{from:020}{ENDING}", tenant.0)
}

/// Puts a file in its place, whole.
fn put(folder: &Path, name: &str, sealed: &[u8]) -> std::io::Result<()> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    std::fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(sealed)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()
}

/// Files that are looked at in one part of a job, and bytes that are sealed anew in one, about.
const LOOKED_AT: usize = 1_000;
const BYTES: usize = 16 << 20;

/// Seals anew, under the tenant's newest key, the archives that come after a name and are under older keys: so many as make a part of a job.
///
/// # Errors
/// 503 where the folder can't be read or written now. Where an archive does not open, which one.
pub fn reseal(store: &Store, grant: &Grant, folder: &Path, after: &str) -> Result<Resealed> {
    let unread = |error| {
        let text = "The archives can't be read or written now: older keys stay until they are sealed anew.";
        Error::unavailable(text, format!("{}: {error}", folder.display()))
    };
    let Some(ring) = store.keyring() else { return Ok(Resealed::default()) };
    let (sealer, mut resealed, mut bytes) = (ring.sealer(), Resealed::default(), 0);
    let names = names(folder, grant.tenant()).map_err(unread)?.into_iter().filter(|name| &**name > after);
    for (looked_at, name) in names.enumerate() {
        if looked_at == LOOKED_AT || bytes >= BYTES {
            return Ok(resealed);
        }
        match std::fs::read(folder.join(&name)) {
            Ok(sealed) if sealer.is_old(grant.tenant(), &sealed) => {
                let packed = store.open_file(grant, &name, &sealed).map_err(|error| unopened(&name, &error))?;
                put(folder, &name, &store.seal_file(grant, &name, &packed)?).map_err(unread)?;
                bytes += sealed.len();
                resealed.files += 1;
            }
            // It was moved away just now, or is under the newest key.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unread(error)),
        }
        resealed.last = Some(name);
    }
    Ok(Resealed { last: None, ..resealed })
}

/// The names of a tenant's archives, ascending.
fn names(folder: &Path, tenant: TenantId) -> std::io::Result<Vec<String>> {
    let begins = format!("{}-", tenant.0);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&begins) && name.ends_with(ENDING) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Before anything is lost for good, somebody has to look at it.
fn unopened(name: &str, error: &StoreError) -> Error {
    let text = format!(
        "The archive {name} does not open, so it can't be sealed anew, and no older key is dropped: move it to another folder, and ask again."
    );
    Error::new(Category::Internal, "exception", text).with_log(error)
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
