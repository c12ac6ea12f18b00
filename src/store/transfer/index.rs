//! Makes what is not moved: ids, postings, and the index of expiry. They follow from the records, the key lists and the ledger, which are
//! all opened for it, so that what is damaged is found here, as are marks of erased versions that nobody with the key made.

use super::Target;
use super::content::{Beside, Walk, number_in, rid_in, tenants};
use crate::key::range::after_prefix;
use crate::store::index::{Before, Index};
use crate::store::ledger::Form;
use crate::store::rows::erase::Marks;
use crate::store::rows::ledger::fold;
use crate::store::rows::postings::{PostingEdits, Scope};
use crate::store::rows::record::{Head, Header, keys_of, open_record};
use crate::store::rows::{Table, Writes, kept, layout};
use crate::store::schema::Stand;
use crate::store::seal::Sealer;
use crate::store::{Rid, StoreResult};
use crate::tenant::TenantId;

/// Resources whose postings are gathered before they are written.
const PART: usize = 2048;
/// Blocks of a ledger whose postings have their bases together.
const RUN: usize = 64;
/// Rows that are removed together.
const REMOVED_TOGETHER: usize = 5000;

/// Makes the index of all tenants, but for those whose keys were destroyed. The rows are of the schema `oldest` and later ones.
pub(super) fn make(target: &dyn Target, form: &dyn Form, oldest: u32) -> StoreResult<()> {
    let ring = target.ring();
    let sealer = ring.sealer();
    let marks = Marks { sealer: &sealer, are_sealed: Stand::of(oldest).has_sealed_marks() };
    remove_all(target, Table::Records, &layout::all_expiry())?;
    for tenant in tenants(target.rows())? {
        remove_all(target, Table::Index, &tenant.0.to_be_bytes())?;
        if ring.is_destroyed(tenant) {
            continue;
        }
        for row in Walk::over(target.rows(), Table::Records, &layout::all_erased(tenant)) {
            let (key, mark) = row?;
            marks.oldest(tenant, rid_in(&key), Some(&mark))?;
        }
        let head = target.rows().get(Table::Records, &layout::head(tenant))?;
        let generation = head.map_or(Ok(Head::FIRST), |bytes| Head::unpack(&bytes))?.generation;
        let making = Making { target, sealer: &sealer, form, tenant, generation };
        making.of_resources()?;
        making.of_ledger()?;
        making.of_kept()?;
    }
    Ok(())
}

fn remove_all(target: &dyn Target, table: Table, prefix: &[u8]) -> StoreResult<()> {
    let after = after_prefix(prefix);
    loop {
        let rows = target.rows().range(table, prefix, &after, REMOVED_TOGETHER)?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        for (key, _) in rows {
            writes.remove(table, key);
        }
        target.write(writes)?;
    }
}

#[derive(Clone, Copy)]
struct Making<'m> {
    target: &'m dyn Target,
    sealer: &'m Sealer,
    form: &'m dyn Form,
    tenant: TenantId,
    generation: u16,
}

impl Making<'_> {
    fn of_resources(self) -> StoreResult<()> {
        let Self { target, sealer, tenant, generation, .. } = self;
        let index = Index::load(target.rows(), sealer, tenant)?;
        let mut lists = Beside::over(target.rows(), Table::Records, &layout::all_keys(tenant));
        let (mut part, mut count, mut last) = (Part::default(), 0, Rid(0));
        for row in Walk::over(target.rows(), Table::Records, &layout::all_current(tenant)) {
            let (key, record) = row?;
            let rid = rid_in(&key);
            let (header, _) = Header::unpack(&record)?;
            let base = Rid(rid.0.saturating_sub(header.after_base));
            if count >= PART && base != last {
                std::mem::take(&mut part).write(target)?;
                count = 0;
            }
            (last, count) = (base, count + 1);
            part.writes.put(Table::Index, layout::id(tenant, header.type_name, header.id), rid.0.to_be_bytes());
            open_record(sealer, tenant, rid, &record)?;
            let list = lists.at(&layout::keys(tenant, rid))?.unwrap_or_default();
            let keys = keys_of(sealer, tenant, rid, &header, &list)?;
            let scope = Scope { tenant, generation, type_name: header.type_name, base };
            part.edits.exchange(scope, true, rid, &Before::nothing(), &index.made(header.type_name, &keys));
        }
        part.write(target)
    }

    fn of_ledger(self) -> StoreResult<()> {
        let Self { target, sealer, form, tenant, generation } = self;
        let blind = Index::load(target.rows(), sealer, tenant)?.of_ledger().cloned();
        let mut run: Option<(fold::Index<'_>, usize)> = None;
        for row in Walk::over(target.rows(), Table::History, &layout::all_ledger(tenant)) {
            let (key, block) = row?;
            let first = number_in(&key);
            let begin = || (fold::Index::new(form, blind.clone(), (tenant, generation), first), 0);
            let (index, blocks) = run.get_or_insert_with(begin);
            index.add(first, &fold::open(sealer, tenant, first, &block)?)?;
            *blocks += 1;
            if *blocks == RUN {
                self.write_run(run.take())?;
            }
        }
        self.write_run(run)
    }

    fn write_run(self, run: Option<(fold::Index<'_>, usize)>) -> StoreResult<()> {
        let Some((index, _)) = run else { return Ok(()) };
        let mut writes = Writes::default();
        for (key, value) in index.into_writes(self.target.rows())? {
            writes.set(Table::Index, key, value);
        }
        self.target.write(writes)
    }

    fn of_kept(self) -> StoreResult<()> {
        let Self { target, sealer, tenant, .. } = self;
        let mut writes = Writes::default();
        for row in Walk::over(target.rows(), Table::Records, &layout::all_kept(tenant)) {
            let (key, value) = row?;
            kept::open(sealer, tenant, &key, &value)?;
            if let Some(time) = kept::Header::unpack(&value)?.0.expires {
                writes.put(Table::Records, layout::expiry(time, &key), Vec::new());
            }
            if writes.all.len() >= REMOVED_TOGETHER {
                target.write(std::mem::take(&mut writes))?;
            }
        }
        if writes.all.is_empty() { Ok(()) } else { target.write(writes) }
    }
}

/// What is gathered for some resources.
#[derive(Default)]
struct Part {
    writes: Writes,
    edits: PostingEdits,
}

impl Part {
    fn write(self, target: &dyn Target) -> StoreResult<()> {
        let Self { mut writes, edits } = self;
        for (key, value) in edits.into_writes(target.rows())? {
            writes.set(Table::Index, key, value);
        }
        if writes.all.is_empty() { Ok(()) } else { target.write(writes) }
    }
}
