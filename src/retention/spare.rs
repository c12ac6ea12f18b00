//! What makes the rules wait: exports that are under way need what was there at their moment.
//!
//! An export says that it begins before it takes its snapshot, and says so on until it has written its last file. Meanwhile no rule
//! erases anything: it is erased when the export is over. What was decided on before is not committed, since each beginning
//! changes a record that the commit expects as it was. (`Patient/[id]/$purge` waits for nobody.)

use crate::auth::keeper::{Expect, Keep, Keeper, KeeperError};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// The id of the one [`Gate`] of a tenant.
const GATE: &str = "gate";

/// An export that is under way; its id is that of the job.
#[derive(Debug, Serialize, Deserialize)]
struct Spared {}

impl Record for Spared {
    const KIND: &'static str = "spared";
}

/// Changes whenever an export begins.
#[derive(Debug, Serialize, Deserialize)]
struct Gate {}

impl Record for Gate {
    const KIND: &'static str = "spare-gate";
}

/// The changes that begin it. They have to be durable before the snapshot is taken. `until`: when it is over by itself.
///
/// # Errors
/// None in practice.
pub fn begin(job: &str, until: Micros) -> Result<Vec<Keep>, KeeperError> {
    Ok(vec![stay(job, until)?, records::put(GATE, &Gate {}, Expect::Any, None)?])
}

/// The change by which it lasts until another time.
///
/// # Errors
/// None in practice.
pub fn stay(job: &str, until: Micros) -> Result<Keep, KeeperError> {
    records::put(job, &Spared {}, Expect::Any, Some(until))
}

/// The change that ends it.
#[must_use]
pub fn end(job: &str) -> Keep {
    records::remove::<Spared>(job, Expect::Any)
}

/// The ids of the exports that are under way.
///
/// # Errors
/// When the store fails.
pub fn under_way(keeper: &dyn Keeper, tenant: TenantId) -> Result<Vec<Box<str>>, KeeperError> {
    const MOST: usize = 1000;
    Ok(keeper.list(tenant, Spared::KIND, "", None, MOST)?.into_iter().map(|kept| kept.id).collect())
}

/// What a commit has to expect that erases by a rule; nothing where it has to wait. To be asked for before the snapshot is
/// taken on which it is decided what is erased.
///
/// # Errors
/// When the store fails.
pub fn quiet(keeper: &dyn Keeper, tenant: TenantId) -> Result<Option<Keep>, KeeperError> {
    let expected = match records::get::<Gate>(keeper, tenant, GATE)? {
        Some((gate, version)) => records::put(GATE, &gate, Expect::Version(version), None)?,
        None => records::remove::<Gate>(GATE, Expect::Absent),
    };
    Ok(under_way(keeper, tenant)?.is_empty().then_some(expected))
}
