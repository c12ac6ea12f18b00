//! Reading a ledger by time, for somebody who may see all of it.
//!
//! A search answers with AuditEvents, each made and written for it; what counts and groups the entries of a month reads the blocks
//! themselves, which costs a small part of that. It is no way around a grant: who may see a part only of the AuditEvents can't read so.

use super::record::{self, Record};
use crate::auth::access::Allowed;
use crate::auth::grant::Grant;
use crate::auth::scope::Letters;
use crate::clock::Micros;
use crate::error::{Category, Error, Result};
use crate::store::Store;
use crate::store::ledger::Block;
use crate::tenant::TenantId;
use std::ops::{ControlFlow, Range};

/// How far entries may stand from where their time would put them, in microseconds: they are folded within moments.
const SLACK: i64 = 60_000_000;

/// A span of time. The end is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The beginning.
    pub from: Micros,
    /// The end.
    pub to: Micros,
}

impl Period {
    /// Whether a time is in it.
    #[must_use]
    pub fn has(&self, time: Micros) -> bool {
        self.from <= time && time < self.to
    }
}

/// An entry.
#[derive(Debug)]
pub struct Read {
    /// The number of its first part, which is the id of an AuditEvent.
    pub number: u64,
    /// How many parts it has.
    pub parts: u32,
    /// When it happened.
    pub time: Micros,
    /// What happened.
    pub record: Record<'static>,
}

/// A tenant's ledger, open to be read.
#[derive(Clone)]
pub struct Reader {
    store: Store,
    tenant: TenantId,
}

impl Reader {
    /// The ledger of the grant's tenant, with all that was recorded until now.
    ///
    /// # Errors
    /// 403 for a grant that does not reach every AuditEvent; when the store fails.
    pub async fn open(store: &Store, grant: &Grant) -> Result<Self> {
        if !Self::is_for(grant) {
            let text = "This is for those whose roles let them see the whole audit ledger.";
            return Err(Error::new(Category::Forbidden, "forbidden", text));
        }
        store.settled().await?;
        Ok(Self { store: store.clone(), tenant: grant.tenant() })
    }

    /// Whether a grant reaches every AuditEvent.
    #[must_use]
    pub fn is_for(grant: &Grant) -> bool {
        grant.allowed("AuditEvent", Letters::SEARCH) == Allowed::Everything
    }

    /// The numbers among which all entries of a period are.
    ///
    /// # Errors
    /// When the store fails.
    pub fn numbers(&self, period: Period) -> Result<Range<u64>> {
        let from = self.first_since(Micros(period.from.0.saturating_sub(SLACK)))?;
        let to = self.first_since(Micros(period.to.0.saturating_add(SLACK)))?;
        // The block before may end in the period.
        Ok(from.saturating_sub(1)..to)
    }

    /// Gives the entries of the blocks that begin at these numbers, in order: number, time and what it says. Where a block can't be
    /// read, or an entry in it, `None` in place of them: verifying tells more. Answers the number of the block at which it was stopped.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(&self, numbers: Range<u64>, each: &mut dyn FnMut(Option<Read>) -> ControlFlow<()>) -> Result<u64> {
        for block in self.store.ledger(self.tenant, numbers.start, true)? {
            let Block { place, entries, .. } = block?;
            if place >= numbers.end {
                break;
            }
            let Ok(entries) = entries else {
                if each(None).is_break() {
                    return Ok(place);
                }
                continue;
            };
            let mut number = place;
            for entry in &entries {
                let parts = record::parts(&entry.bytes).unwrap_or(1);
                let read = Record::read(entry).ok().map(|record| Read { number, parts, time: entry.time, record });
                number += u64::from(parts);
                if each(read).is_break() {
                    return Ok(place);
                }
            }
        }
        Ok(numbers.end)
    }

    /// The place of the first block that begins at a time or later, found by halving; the end of the ledger where there is none.
    fn first_since(&self, time: Micros) -> Result<u64> {
        let (mut low, mut high) = (0, self.store.ledger_head(self.tenant)?.next);
        while low < high {
            let middle = low.midpoint(high);
            if self.begins_before(middle, time)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether the block at this number, or the first one behind that can be read, begins before a time.
    fn begins_before(&self, number: u64, time: Micros) -> Result<bool> {
        for block in self.store.ledger(self.tenant, number, true)? {
            if let Some(first) = block?.entries.ok().and_then(|entries| entries.first().map(|entry| entry.time)) {
                return Ok(first < time);
            }
        }
        Ok(false)
    }
}
