//! The settings of the audit ledger.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is recorded, and how safely.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Whether requests are recorded. Where it is not set: unless the server is open (`insecure_open`).
    pub enabled: Option<bool>,
    /// Whether an answer waits until its record is on disk. Else it is with the operating system before the answer, and on disk 50 ms later.
    pub sync_before_answer: bool,
    /// How often a checkpoint is signed where something was recorded, in seconds; never when 0.
    pub checkpoint_interval_s: u64,
    /// A file to which each checkpoint is appended, a line each.
    pub checkpoint_file: Option<PathBuf>,
    /// An address to which each checkpoint is posted, as `application/jose`.
    pub checkpoint_url: Option<String>,
    /// The host and port of a syslog server (RFC 5424, over UDP) to which each checkpoint is sent.
    pub checkpoint_syslog: Option<String>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: None,
            sync_before_answer: false,
            checkpoint_interval_s: 300,
            checkpoint_file: None,
            checkpoint_url: None,
            checkpoint_syslog: None,
        }
    }
}
