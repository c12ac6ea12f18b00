//! Verifying a tenant's chain: does each block follow from the one before, and does each open?

use crate::clock::Micros;
use crate::store::Store;
use crate::store::StoreResult;
use crate::store::ledger::{BlockHeader, Hash, Head, NOTHING, hash_of};
use crate::tenant::TenantId;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How far the chain was looked at.
    pub head: Head,
    /// The blocks.
    pub blocks: u64,
    /// The time of the first and the last entry.
    pub span: Option<(Micros, Micros)>,
    /// What is wrong, in the order of the entries.
    pub faults: Vec<Fault>,
}

/// Something that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of the first entry that is concerned.
    pub entry: u64,
    /// What is wrong with it: a sentence.
    pub what: String,
}

/// Faults that are told; what follows the first ones follows from them.
const MOST_FAULTS: usize = 20;

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, entry: u64, what: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { entry, what: what.into() });
        }
    }
}

/// A place in the chain that is known from elsewhere: a checkpoint says that the chain had come this far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The number of the checkpoint.
    pub checkpoint: u64,
    /// How far the chain had come.
    pub head: Head,
}

/// Walks a chain from its first block to its head. `known` are places that it must have gone through, in their order.
///
/// # Errors
/// When the store can't be read at all. What can be read and is wrong is in the answer.
pub fn verify(store: &Store, tenant: TenantId, known: &[Known]) -> StoreResult<Verified> {
    let head = store.ledger_head(tenant)?;
    let mut found = Verified { head, blocks: 0, span: None, faults: Vec::new() };
    let mut known = known.iter().copied().peekable();
    let (mut next, mut hash) = (0, NOTHING);
    for block in store.ledger(tenant, 0, true)? {
        let block = block?;
        if next >= head.next {
            if block.place >= head.next {
                // Written since the head was read.
                break;
            }
        }
        let header = match BlockHeader::unpack(&block.bytes) {
            Ok((header, _)) => header,
            Err(error) => {
                found.fault(block.place, format!("its block can't be read: {error}"));
                continue;
            }
        };
        link(&mut found, (next, hash), block.place, header);
        match &block.entries {
            Ok(entries) => {
                let times = entries.iter().map(|entry| entry.time);
                let (low, high) = (times.clone().min(), times.max());
                if let (Some(low), Some(high)) = (low, high) {
                    let old = found.span.unwrap_or((low, high));
                    found.span = Some((old.0.min(low), old.1.max(high)));
                }
            }
            Err(error) => found.fault(block.place, format!("the entries from it on were altered: {error}")),
        }
        next = block.place + u64::from(header.count);
        hash = hash_of(tenant, &block.bytes);
        found.blocks += 1;
        check(&mut found, &mut known, Head { next, hash });
    }
    if next != head.next {
        found.fault(next, format!("the entries from it to {} are missing", head.next.saturating_sub(1)));
    } else if hash != head.hash {
        found.fault(next.saturating_sub(1), "the last block is not the one that was written");
    }
    for late in known {
        if late.head.next > next {
            let text = format!(
                "checkpoint {} knows of {} entries; those from here on are missing",
                late.checkpoint, late.head.next
            );
            found.fault(next, text);
        }
    }
    found.faults.sort_by_key(|fault| fault.entry);
    Ok(found)
}

fn link(found: &mut Verified, (next, hash): (u64, Hash), place: u64, header: BlockHeader) {
    if place > next {
        found.fault(next, format!("the entries from it to {} are missing", place - 1));
    } else if place < next {
        found.fault(place, "its block stands in another's place");
    } else if header.before != hash {
        found.fault(
            place.saturating_sub(1),
            "the block that ends with it, or the one after, was altered or put in another's place",
        );
    }
    if header.first != place {
        found.fault(place, "its block was moved here from another place");
    }
}

/// Compares with the checkpoints that were made at this place.
fn check(found: &mut Verified, known: &mut std::iter::Peekable<impl Iterator<Item = Known>>, head: Head) {
    while let Some(at) = known.next_if(|known| known.head.next <= head.next) {
        if at.head.next < head.next {
            found.fault(at.head.next, format!("no block ends where checkpoint {} says", at.checkpoint));
        } else if at.head.hash != head.hash {
            let text = format!("checkpoint {} was signed over another chain up to here", at.checkpoint);
            found.fault(head.next.saturating_sub(1), text);
        }
    }
}
