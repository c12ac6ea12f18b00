//! A disk that fails on command: `faults.c`, loaded into a process before the C library. Linux only.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The compiled shim. A C compiler is there: the crate's own dependencies need one to build.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(source).arg("-ldl");
        assert!(cc.status().unwrap().success());
        (folder, path)
    });
    path
}

/// The orders to a disk, and what it has made safe.
pub struct Disk {
    orders: PathBuf,
    root: PathBuf,
}

impl Disk {
    /// A disk under `root` whose orders lie in `orders`.
    pub fn new(root: &Path, orders: &Path) -> Self {
        std::fs::create_dir_all(orders.join("synced")).unwrap();
        std::fs::create_dir_all(root).unwrap();
        Self { orders: orders.to_owned(), root: root.canonicalize().unwrap() }
    }

    /// Puts a process on this disk.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", shim()).env("PHAROS_FAULTS", &self.orders).env("PHAROS_FAULTS_ROOT", &self.root);
    }

    pub fn order(&self, what: &str) {
        std::fs::write(self.orders.join(what), "").unwrap();
    }

    pub fn revoke(&self, what: &str) {
        std::fs::remove_file(self.orders.join(what)).unwrap();
    }

    /// Takes everything that is there now as safe.
    pub fn all_is_safe(&self) {
        std::fs::remove_dir_all(self.orders.join("synced")).unwrap();
        std::fs::create_dir_all(self.orders.join("synced")).unwrap();
        let mut log = String::new();
        for file in files(&self.root) {
            let (inode, size) = (file.metadata().unwrap().ino(), file.metadata().unwrap().len());
            writeln!(log, "{inode} {size} {size}").unwrap();
            if size <= 64 * 1024 {
                std::fs::copy(&file, self.orders.join("synced").join(inode.to_string())).unwrap();
            }
        }
        std::fs::write(self.orders.join("synced/log"), log).unwrap();
    }

    /// Takes away every byte that was not synced, as a power cut may: journals are zero after the last synced position,
    /// small files go back to their content at the last sync, others are cut to their synced length, and files that were
    /// never synced are empty. Returns how many bytes were lost.
    pub fn lose_what_was_not_synced(&self) -> u64 {
        let log = std::fs::read_to_string(self.orders.join("synced/log")).unwrap();
        let mut safe: HashMap<u64, (u64, u64)> = HashMap::new();
        for line in log.lines() {
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            safe.insert(numbers[0], (numbers[1], numbers[2]));
        }
        let mut lost = 0;
        for path in files(&self.root) {
            let inode = path.metadata().unwrap().ino();
            let (position, size) = safe.get(&inode).copied().unwrap_or_default();
            let before = std::fs::read(&path).unwrap();
            let copy = self.orders.join("synced").join(inode.to_string());
            let is_journal = path.extension().is_some_and(|end| end == "jnl");
            let after = if copy.exists() && !is_journal {
                std::fs::read(copy).unwrap()
            } else if is_journal {
                let mut kept = before[..before.len().min(position as usize)].to_vec();
                kept.resize(before.len().min(size.max(position) as usize), 0);
                kept
            } else {
                before[..before.len().min(size as usize)].to_vec()
            };
            lost += before.iter().enumerate().filter(|(n, byte)| after.get(*n).unwrap_or(&0) != *byte).count() as u64;
            if after != before {
                std::fs::write(&path, after).unwrap();
            }
        }
        lost
    }
}

/// All files under a folder. The socket of a store is none.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
