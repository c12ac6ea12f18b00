//! The settings of Bulk Data.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Bulk Data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// The folder for the files of exports; `PATH-exports` beside the store's folder where it is not set.
    pub folder: Option<PathBuf>,
    /// For how long the files of an export can be had, in seconds.
    pub lifetime_s: u64,
    /// The length of one file, about, in bytes.
    pub file_bytes: u64,
    /// The files on one page of the manifest, where a client takes several pages.
    pub manifest_files: usize,
    /// The exports of a tenant whose files are kept at a time, those that are under way included.
    pub kept_exports: usize,
    /// The free space below which exports wait, in MiB: the store may live on the same disk.
    pub free_floor_mib: u64,
    /// How often what is over is removed, in seconds; never when 0.
    pub sweep_interval_s: u64,
    /// The hosts from which imports may read: names, or `*.` and a domain. None when empty: then only what is sent with the request is
    /// imported.
    pub import_hosts: Vec<String>,
    /// Whether such hosts may have private or loopback addresses, and plain `http`. For tests and closed networks.
    pub import_private: bool,
    /// The most of one input of an import, decompressed, in bytes.
    pub import_bytes: u64,
    /// The time for reading one input, in seconds.
    pub import_timeout_s: u64,
    /// For how long a source may send nothing, in milliseconds.
    pub import_stall_ms: u64,
    /// The inputs of one import.
    pub import_inputs: usize,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            folder: None,
            lifetime_s: 86_400,
            file_bytes: 256 << 20,
            manifest_files: 100,
            kept_exports: 50,
            free_floor_mib: 1024,
            sweep_interval_s: 60,
            import_hosts: Vec::new(),
            import_private: false,
            import_bytes: 64 << 30,
            import_timeout_s: 6 * 3600,
            import_stall_ms: 60_000,
            import_inputs: 1000,
        }
    }
}
