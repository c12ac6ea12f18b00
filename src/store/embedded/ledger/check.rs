//! Walking the chains of a stopped store: to check them, and to make their postings anew.

use super::blocks;
use crate::clock::Micros;
use crate::key::KeyList;
use crate::key::blind::Blind;
use crate::key::last_updated::ALL;
use crate::store::Rid;
use crate::store::StoreResult;
use crate::store::embedded::tables::Tables;
use crate::store::index::{Index, in_form};
use crate::store::ledger::{BlockHeader, Form, Head, hash_of};
use crate::store::rows::layout;
use crate::store::rows::ledger::{fold, head};
use crate::store::rows::postings::Write;
use crate::store::seal::Sealer;
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Postings that are gathered before they are written.
const PART: usize = 20_000;

/// A tenant's ledger in a stopped store.
#[derive(Clone, Copy)]
pub(in crate::store::embedded) struct Walk<'w> {
    pub tables: &'w Tables,
    pub sealer: &'w Sealer,
    pub form: &'w dyn Form,
    pub tenant: TenantId,
}

/// Lists of keys that are known at once.
const MOST_KNOWN: usize = 4096;

/// The lists of keys that many parts have, as their postings are.
struct Shapes {
    blind: Option<Arc<Blind>>,
    /// By the place of the list in memory, which stays its own while it is held here.
    known: FxHashMap<*const KeyList, (Arc<KeyList>, KeyList)>,
}

impl Shapes {
    fn made(&mut self, type_name: &str, keys: &Arc<KeyList>) -> &KeyList {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let make = || (Arc::clone(keys), in_form(self.blind.as_deref(), type_name, keys).into_owned());
        &self.known.entry(Arc::as_ptr(keys)).or_insert_with(make).1
    }
}

impl Walk<'_> {
    /// Follows the chain. Each posting that there has to be is given to `posting`, and each sentence of what is wrong to `problem`.
    /// Answers how many numbers the entries take.
    pub(in crate::store::embedded) fn check(
        &self,
        mut posting: impl FnMut(&[u8], Rid),
        mut problem: impl FnMut(String),
    ) -> StoreResult<u64> {
        let stored = head(self.tables, self.tenant)?;
        let (mut found, mut time) = (Head::FIRST, Micros(i64::MIN));
        let mut shapes = Shapes { blind: self.blind()?, known: FxHashMap::default() };
        let type_name = self.form.type_name();
        for block in blocks(self.stored(), self.sealer, self.tenant, true) {
            let block = block?;
            let header = BlockHeader::unpack(&block.bytes)?.0;
            if (header.first, header.before) != (found.next, found.hash) || block.place != header.first {
                problem(format!("the ledger's chain is broken at entry {}", found.next.min(block.place)));
            }
            match block.entries {
                Ok(entries) => {
                    let mut number = header.first;
                    for entry in entries {
                        if entry.time < time || entry.time < header.from || header.through < entry.time {
                            problem(format!("entry {number} of the ledger is not in the order of the times"));
                        }
                        time = entry.time;
                        for keys in self.form.all_keys(&entry)? {
                            let rid = Rid::of_entry(number);
                            keys.own.iter().for_each(|key| posting(key, rid));
                            shapes.made(type_name, &keys.shared).iter().chain([ALL]).for_each(|key| posting(key, rid));
                            number += 1;
                        }
                    }
                    if number != header.first + u64::from(header.count) {
                        problem(format!(
                            "the block of the ledger at entry {} has another number of entries",
                            header.first
                        ));
                    }
                }
                Err(error) => problem(format!("the ledger from entry {} on: {error}", block.place)),
            }
            found = Head { next: header.first + u64::from(header.count), hash: hash_of(self.tenant, &block.bytes) };
        }
        if found != stored {
            problem(format!("the ledger ends at entry {}, and not where its head says", found.next));
        }
        Ok(found.next)
    }

    /// Makes the postings of a generation, part by part.
    pub(in crate::store::embedded) fn postings(
        &self,
        generation: u16,
        mut write: impl FnMut(Vec<Write>) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let (mut gathered, blind) = (Vec::new(), self.blind()?);
        for block in blocks(self.stored(), self.sealer, self.tenant, true) {
            let block = block?;
            // What does not open, the check names.
            let Ok(entries) = block.entries else { continue };
            let mut index = fold::Index::new(self.form, blind.clone(), (self.tenant, generation), block.place);
            index.add(block.place, &entries)?;
            gathered.extend(index.into_writes(self.tables)?);
            if gathered.len() >= PART {
                write(std::mem::take(&mut gathered))?;
            }
        }
        write(gathered)
    }

    /// How the postings are hidden, if they are.
    fn blind(&self) -> StoreResult<Option<Arc<Blind>>> {
        Ok(Index::load(self.tables, self.sealer, self.tenant)?.of_ledger().cloned())
    }

    fn stored(&self) -> fjall::Iter {
        self.tables.history.prefix(layout::all_ledger(self.tenant))
    }
}
