//! The form of a tenant's postings in a group: see [`crate::store::index`].

use super::{Group, Prepared, Writing, lane};
use crate::auth::keeper::Keep;
use crate::auth::records::Record;
use crate::key::KeyList;
use crate::key::blind::LEDGER;
use crate::store::index::{Index, IndexRecord};
use crate::store::rows::postings::Scope;
use crate::store::rows::record::{Head, Header, keys_of};
use crate::store::rows::{Table, block, layout};
use crate::store::{CommitError, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::sync::Arc;

/// Plain postings of the ledger after which one commit hides no further block: each can become ten of hashes, and a block has thousands.
const HIDDEN_TOGETHER: usize = 4096;
/// Blocks that are read at once for that.
const BLOCKS_TOGETHER: usize = 200;

impl Prepared {
    /// The change of the form, and its place among what is kept.
    pub(in crate::store) fn new_form(&self) -> Option<(usize, &Keep)> {
        self.keeps.iter().enumerate().find(|(_, keep)| keep.kind == IndexRecord::KIND)
    }
}

impl Group<'_> {
    pub(super) fn index(&mut self, tenant: TenantId) -> StoreResult<Arc<Index>> {
        let lane = lane(self.rows, self.lanes, tenant)?;
        if let Some(known) = &lane.index {
            return Ok(Arc::clone(known));
        }
        let loaded = Index::load(self.rows, self.sealer, tenant)?;
        lane.index = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The form that a commit changes to. It is refused where resources would be left with postings that nothing reads or removes.
    pub(super) fn changed_form(&mut self, commit: &Prepared) -> Result<Option<Arc<Index>>, CommitError> {
        let Some((place, keep)) = commit.new_form() else { return Ok(None) };
        let new = Index::read(keep.bytes.as_deref())?;
        let before = self.index(commit.commit_of)?;
        let is_empty = self.lane(commit.commit_of)?.head.next_rid == Head::FIRST.next_rid;
        if is_empty || keep.bytes.is_none() || new.follows(&before) {
            return Ok(Some(new));
        }
        let change = commit.changes.len() + commit.erasures.len() + place;
        Err(CommitError::Stale { change, current: None })
    }

    /// Gives a resource the postings that it should have, where it is there.
    pub(super) fn repost(&mut self, writing: &Writing, type_name: &str, id: &str) -> StoreResult<()> {
        let tenant = writing.tenant;
        let Some(state) = self.state(tenant, &layout::id(tenant, type_name, id))? else { return Ok(()) };
        let (header, _) = Header::unpack(&state.record)?;
        if header.body.is_none() {
            return Ok(());
        }
        let keys = keys_of(self.sealer, tenant, state.rid, &header, &state.keys)?;
        let index = self.index(tenant)?;
        let base = Rid(state.rid.0.saturating_sub(header.after_base));
        let scope = Scope { tenant, generation: self.lane(tenant)?.head.generation, type_name, base };
        let (before, made) = (index.before(type_name, &keys), index.made(type_name, &keys));
        self.postings.exchange(scope, base >= self.first_new(tenant), state.rid, &before, &made);
        Ok(())
    }

    /// Hides postings of the ledger that are plain, of a few blocks, where they shall be hidden. Blocks keep their bases.
    pub(super) fn hide_ledger(&mut self, tenant: TenantId) -> StoreResult<()> {
        let index = self.index(tenant)?;
        let Some(blind) = index.of_ledger() else { return Ok(()) };
        let generation = self.lane(tenant)?.head.generation;
        let mut hidden = 0;
        for range in blind.plain_of_ledger() {
            let (from, to) = layout::postings_range(tenant, generation, LEDGER, &range);
            for (name, block) in self.rows.range(Table::Index, &from, &to, BLOCKS_TOGETHER)? {
                if hidden >= HIDDEN_TOGETHER {
                    return Ok(());
                }
                let damaged = || StoreError::Damaged("the key of a block of postings".into());
                let (_, key, base) = layout::posting_parts(&name).ok_or_else(damaged)?;
                let plain = KeyList::new(vec![key.into()]);
                let made = blind.postings(LEDGER, &plain);
                let scope = Scope { tenant, generation, type_name: LEDGER, base };
                let rids = block::unpack(base, &block)?;
                hidden += rids.len();
                self.postings.exchange_all(scope, &rids, &plain, &made);
            }
        }
        Ok(())
    }
}
