//! Wrapped keys in a folder, a file for each owner: `store.json`, and `7.json` for the tenant with the number 7.

use super::{KeyTable, Loaded, OwnersKeys};
use crate::store::embedded::sync_folder;
use crate::store::seal::STORE;
use crate::store::{StoreError, StoreResult};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// This folder, which need not be there.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, owner: u32) -> PathBuf {
        self.0.join(if owner == STORE.0 { "store.json".to_owned() } else { format!("{owner}.json") })
    }

    fn read(&self, path: &Path) -> StoreResult<OwnersKeys> {
        let bytes = std::fs::read(path).map_err(|error| io(path, &error))?;
        let keys = serde_json::from_slice::<OwnersKeys>(&bytes).ok().filter(|keys| self.path(keys.owner) == path);
        keys.ok_or_else(|| {
            StoreError::Closed(format!(
                "the wrapped keys in {} are damaged: restore the file from a copy",
                path.display()
            ))
        })
    }
}

impl KeyTable for Folder {
    fn load(&self) -> StoreResult<Loaded> {
        if !self.0.exists() {
            return Ok(Loaded::default());
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(|error| io(&self.0, &error))? {
            let path = entry.map_err(|error| io(&self.0, &error))?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                found.push(self.read(&path)?);
            }
        }
        found.sort_by_key(|keys| keys.owner);
        Ok(Loaded { revision: 0, owners: found })
    }

    /// The folder belongs to a store that one process has open: nobody else changes it.
    fn replace(&self, _: u64, keys: &OwnersKeys) -> StoreResult<bool> {
        let path = self.path(keys.owner);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(keys).map_err(|error| StoreError::Io(error.to_string()))?;
        let saved = std::fs::create_dir_all(&self.0).and_then(|()| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            let old = keys.destroyed.and_then(|_| OpenOptions::new().write(true).open(&path).ok());
            std::fs::rename(&new, &path)?;
            old.map_or(Ok(()), |old| wipe(&old))?;
            sync_folder(&self.0)?;
            self.0.parent().map_or(Ok(()), sync_folder)
        });
        saved.map_err(|error| io(&path, &error))?;
        Ok(true)
    }
}

/// Overwrites what a file holds that has no name any more. A disk may keep the old bytes elsewhere all the same; they are wrapped.
fn wipe(mut file: &File) -> std::io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}
