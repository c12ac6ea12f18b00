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
    /// The exports of a tenant whose files are kept at a time, those that are under way included.
    pub kept_exports: usize,
    /// The free space below which exports wait, in MiB: the store may live on the same disk.
    pub free_floor_mib: u64,
    /// How often what is over is removed, in seconds; never when 0.
    pub sweep_interval_s: u64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            folder: None,
            lifetime_s: 86_400,
            file_bytes: 256 << 20,
            kept_exports: 50,
            free_floor_mib: 1024,
            sweep_interval_s: 60,
        }
    }
}
