//! The committer of a process: takes what waits, writes it as one transaction, and answers all.
//!
//! Every tenant has a head, which each commit of resources moves on. So commits of one tenant happen one after the other, whichever
//! process makes them, their times rise strictly, and what a decision rests on can't change unseen: whoever finds that another
//! process has moved the head reads anew and decides again. What keeps that quick is that a process writes all that waits at once, and
//! that processes at work at the same tenant take [`turns`](super::turns).

use super::Shared;
use super::catch_up::CatchUp;
use super::client::{Connection, Failed, Meaning};
use super::fence;
use super::read::{Known, Reading};
use super::transaction::{Large, Transaction};
use super::turns::{self, Looked, Turns};
use super::write::Orders;
use crate::clock::Micros;
use crate::store::index::Index;
use crate::store::rows::group::{Group, Lane, Prepared};
use crate::store::rows::queue::{Answer, Outcome};
use crate::store::rows::record::{Head, Header, rid_of};
use crate::store::rows::touched::Touched;
use crate::store::rows::{Rows, Table, erase, layout, sealing};
use crate::store::{Erasure, Extent, StoreError, StoreResult};
use crate::tenant::TenantId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long expired records wait to be erased.
const ERASE_EVERY: Duration = Duration::from_secs(30);
/// How long a group is tried again that other processes, or the database, keep from happening.
const LONGEST_TRY: Duration = Duration::from_secs(10);
/// Of what may wait in all, this part may be commits of one tenant that wait for their turn.
const MOST_OF_ONE_TENANT: usize = 2;
/// The longest pause between two tries.
const LONGEST_PAUSE_MS: u64 = 50;

pub(super) struct Committer {
    shared: Arc<Shared>,
    lanes: FxHashMap<TenantId, Lane>,
    /// The heads as they are stored, of the tenants that have a lane.
    heads: FxHashMap<TenantId, Option<Vec<u8>>>,
    /// What the lanes of tenants whose head has changed remember, and up to when that is all.
    behind: FxHashMap<TenantId, (Touched, Micros)>,
    turns: Turns,
    /// What waits for a turn.
    waiting: BTreeMap<TenantId, Vec<(Prepared, Answer)>>,
    erased_at: Instant,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            turns: Turns::new(Arc::clone(&shared.connection), &shared.process),
            shared,
            lanes: FxHashMap::default(),
            heads: FxHashMap::default(),
            behind: FxHashMap::default(),
            waiting: BTreeMap::new(),
            erased_at: Instant::now(),
        }
    }

    /// Runs until the queue ends.
    pub(super) fn run(mut self) {
        let mut looked_at = Instant::now();
        while let Some(jobs) = self.take() {
            for tenant in self.shared.heard.take() {
                self.turns.meet(tenant);
            }
            let (waiting, free): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|(commit, _)| self.waits(commit));
            self.wait_for_turns(waiting);
            self.answer(free, true);
            self.turns.give_if_over();
            if looked_at.elapsed() >= turns::LOOK_EVERY {
                self.look_for_turns();
                looked_at = Instant::now();
            }
            if self.erased_at.elapsed() >= ERASE_EVERY {
                self.erased_at = Instant::now();
                if let Err(failed) = self.attempt(&[], Way { erases: true, uses_hints: false }) {
                    tracing::warn!(error = %failed.text, "expired records can't be erased now");
                }
            }
        }
        while !self.waiting.is_empty() {
            self.look_for_turns();
            std::thread::sleep(turns::LOOK_EVERY);
        }
        self.turns.give();
    }

    /// What has come meanwhile; `None` when the queue ends.
    fn take(&self) -> Option<Vec<(Prepared, Answer)>> {
        let Shared { queue, options, .. } = &*self.shared;
        let longest = match (self.waiting.is_empty(), self.turns.has_one()) {
            (false, _) => turns::LOOK_EVERY,
            (true, true) => turns::IDLE,
            (true, false) => ERASE_EVERY,
        };
        queue.take(options.most_changes_in_group, longest)
    }

    /// Whether a commit has to wait for a turn.
    fn waits(&self, commit: &Prepared) -> bool {
        commit.moves_head() && self.turns.may_meet(commit.commit_of)
    }

    /// Has commits wait, of each tenant a part of what may wait in all.
    fn wait_for_turns(&mut self, jobs: Vec<(Prepared, Answer)>) {
        let most = self.shared.options.most_waiting / MOST_OF_ONE_TENANT;
        for (commit, answer) in jobs {
            let waiting = self.waiting.entry(commit.commit_of).or_default();
            if waiting.len() < most {
                waiting.push((commit, answer));
            } else {
                drop(answer.send(Err(StoreError::Busy.into())));
            }
        }
    }

    /// Writes what waits for a turn that is had now. Nothing else waits for those that are not.
    fn look_for_turns(&mut self) {
        for tenant in self.waiting.keys().copied().collect::<Vec<_>>() {
            let looked = self.turns.look(tenant);
            if looked == Looked::NotYet {
                continue;
            }
            self.fall_behind(tenant);
            while let Some(jobs) = self.next_group(tenant) {
                self.answer(jobs, false);
                self.turns.give_if_over();
                if looked == Looked::Had && !self.turns.has(tenant) {
                    break;
                }
            }
        }
    }

    /// What is written together of what waits at a tenant.
    fn next_group(&mut self, tenant: TenantId) -> Option<Vec<(Prepared, Answer)>> {
        let mut waiting = self.waiting.remove(&tenant)?;
        let (mut changes, mut count) = (0, 0);
        for (commit, _) in &waiting {
            changes += commit.len();
            if count > 0 && changes > self.shared.options.most_changes_in_group {
                break;
            }
            count += 1;
        }
        let rest = waiting.split_off(count);
        if !rest.is_empty() {
            self.waiting.insert(tenant, rest);
        }
        Some(waiting)
    }

    /// Makes commits happen or not, and answers them; those that meet another process wait for their turn, if they may.
    fn answer(&mut self, jobs: Vec<(Prepared, Answer)>, may_wait: bool) {
        if jobs.is_empty() {
            return;
        }
        let (commits, answers): (Vec<Prepared>, Vec<Answer>) = jobs.into_iter().unzip();
        if let Some(outcomes) = self.settle(&commits, may_wait) {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Who asked may have gone away.
                drop(answer.send(outcome));
            }
            return;
        }
        let jobs = commits.into_iter().zip(answers);
        let (waiting, free): (Vec<_>, Vec<_>) = jobs.partition(|(commit, _)| self.waits(commit));
        self.wait_for_turns(waiting);
        self.answer(free, false);
    }

    /// Makes commits happen or not; `None` where they meet another process, and may wait for their turns.
    fn settle(&mut self, commits: &[Prepared], may_wait: bool) -> Option<Vec<Outcome>> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let failed = match self.attempt(commits, Way { erases: false, uses_hints: tries == 0 }) {
                Ok(outcomes) => {
                    self.turns.use_at(commits.iter().filter(|one| one.moves_head()).map(|one| one.commit_of));
                    return Some(outcomes);
                }
                Err(failed) => failed,
            };
            for commit in commits {
                self.fall_behind(commit.commit_of);
            }
            if let Err(error) = fence::renew(&self.shared) {
                tracing::warn!(%error, "the keys can't be read anew");
            }
            if let Some(error) = self.shared.queue.failure() {
                return Some(commits.iter().map(|_| Err(error.clone().into())).collect());
            }
            tries += 1;
            let is_late = began.elapsed() > LONGEST_TRY;
            match failed.meaning {
                Meaning::Again if self.meets(commits) && may_wait => return None,
                Meaning::Stale if tries == 1 => {}
                Meaning::Stale | Meaning::Again | Meaning::Unreachable if !is_late => {
                    tracing::debug!(error = %failed.text, tries, "a transaction is tried again");
                    std::thread::sleep(Duration::from_millis(pause_ms(tries)));
                }
                // One of them may be what the database does not take.
                Meaning::Other if commits.len() > 1 => {
                    return Some(commits.chunks(1).filter_map(|one| self.settle(one, false)).flatten().collect());
                }
                _ => {
                    tracing::error!(error = %failed.text, "a transaction failed");
                    let error = StoreError::from(failed);
                    return Some(commits.iter().map(|_| Err(error.clone().into())).collect());
                }
            }
        }
    }

    /// Another process is at work at the tenants of these. Whether there is one whose turn this process does not have.
    fn meets(&mut self, commits: &[Prepared]) -> bool {
        let tenants: FxHashSet<_> = commits.iter().filter(|one| one.moves_head()).map(|one| one.commit_of).collect();
        for tenant in &tenants {
            self.turns.meet(*tenant);
        }
        tenants.iter().any(|tenant| !self.turns.has(*tenant))
    }

    /// One transaction.
    fn attempt(&mut self, commits: &[Prepared], way: Way) -> Result<Vec<Outcome>, Failed> {
        let shared = Arc::clone(&self.shared);
        let Shared { connection, sealer, schema, clock, epochs, staging, process, fence, .. } = &*shared;
        // From before anything is sealed, and before it is asked in which form to write.
        let (mark, _in_use) = (fence.mark(), fence.in_use());
        let reading = Reading::new(Arc::clone(connection), usize::MAX);
        let is_on_hints = way.uses_hints && self.take_hints(commits, &reading);
        self.look_ahead(commits, &reading)?;
        self.catch_up(&reading)?;
        let mut group = Group::new(&reading, (sealer, schema), &mut self.lanes);
        let mut outcomes = Vec::with_capacity(commits.len());
        for commit in commits {
            let outcome = group.add(commit.clone(), clock.now());
            if let Some(failed) = reading.failure() {
                return Err(failed);
            }
            outcomes.push(outcome?);
        }
        if is_on_hints && !outcomes.iter().all(is_all_new) {
            return Err(Failed::stale("what was read before may not hold"));
        }
        if way.erases {
            group.kept.erase(&reading, Micros(i64::MIN), clock.now())?;
        }
        let concerned: FxHashSet<_> = commits.iter().filter(|one| one.moves_head()).map(|one| one.commit_of).collect();
        let moved: FxHashSet<_> = concerned.iter().copied().filter(|tenant| group.moves_head_of(*tenant)).collect();
        if group.is_empty() {
            self.remember_heads(&concerned, &moved, &reading.known());
            return Ok(outcomes);
        }
        let renewed = std::mem::take(&mut group.kept.renewed);
        let mut staged = std::mem::take(&mut group.staged);
        for entry in &mut staged {
            entry.row = Some(staging.next_row(entry.entry.time));
        }
        reading.fetch(Table::Index, group.old_blocks())?;
        let writes = group.into_writes(&staged);
        if let Some(failed) = reading.failure() {
            return Err(failed);
        }
        let mut writes = writes?;
        for tenant in commits.iter().filter(|commit| commit.is_untold()).map(|commit| commit.commit_of) {
            if let Some(lane) = self.lanes.get(&tenant) {
                writes.put(Table::Records, layout::untold(tenant), lane.head.time.0.to_be_bytes());
            }
        }
        let known = reading.known();
        let mut orders = Orders::new(writes, &known, is_on_hints, schema.in_force())?;
        for tenant in &renewed {
            orders.renew(*tenant, process);
        }
        for commit in commits.iter().filter(|commit| commit.new_form().is_some()) {
            orders.interrupt_folds(commit.commit_of);
        }
        if !orders.is_empty() {
            orders.stand_behind(fence, mark);
            write(&shared, reading, orders)?;
        }
        self.remember_heads(&concerned, &moved, &known);
        for tenant in renewed {
            epochs.grow(tenant);
        }
        staging.add_rows(staged.len());
        Ok(outcomes)
    }

    /// Takes over what views have read of the resources that are changed, where commits do nothing else. Whether there was anything.
    fn take_hints(&self, commits: &[Prepared], reading: &Reading) -> bool {
        let is_plain = |commit: &Prepared| commit.changes_only();
        if !commits.iter().all(is_plain) {
            return false;
        }
        let mut any = false;
        for commit in commits {
            for id in commit.named().map(|(type_name, id)| layout::id(commit.commit_of, type_name, id)) {
                let Some(hint) = self.shared.hints.take(&id) else { continue };
                for (key, value) in &hint.records {
                    reading.remember(Table::Records, key.clone(), value.clone());
                }
                reading.remember(Table::Index, id, Some(hint.rid.clone()));
                any = true;
            }
        }
        any
    }

    /// Remembers the heads of tenants as they are stored now.
    fn remember_heads(&mut self, concerned: &FxHashSet<TenantId>, moved: &FxHashSet<TenantId>, known: &Known) {
        for tenant in concerned {
            let head = match self.lanes.get(tenant) {
                Some(lane) if moved.contains(tenant) => Some(Some(lane.head.pack())),
                Some(_) => known.get(&(Table::Records, layout::head(*tenant))).cloned(),
                None => None,
            };
            match head {
                Some(head) => drop(self.heads.insert(*tenant, head)),
                None => drop(self.lanes.remove(tenant)),
            }
        }
    }

    /// Reads what the commits are going to need, in as few commands as it goes.
    fn look_ahead(&self, commits: &[Prepared], reading: &Reading) -> Result<(), Failed> {
        let mut records = Vec::new();
        let mut ids = Vec::new();
        let mut tenants = FxHashSet::default();
        for commit in commits {
            let tenant = commit.commit_of;
            ids.extend(commit.named().map(|(type_name, id)| layout::id(tenant, type_name, id)));
            records.extend(commit.keeps.iter().map(|keep| layout::kept(tenant, keep.kind, &keep.id)));
            if commit.moves_head() && tenants.insert(tenant) {
                match self
                    .heads
                    .get(&tenant)
                    .filter(|_| !self.turns.may_meet(tenant) && self.lanes.contains_key(&tenant))
                {
                    Some(head) => reading.remember(Table::Records, layout::head(tenant), head.clone()),
                    None => records.extend([layout::head(tenant), Index::row(tenant)]),
                }
            }
        }
        let mut history = Vec::new();
        for name in commits.iter().flat_map(|commit| &commit.reseals) {
            match sealing::parts(name)? {
                (Table::History, key) => history.push(key.to_vec()),
                (_, key) => records.push(key.to_vec()),
            }
        }
        reading.follow(ids, Large::Whole)?;
        reading.fetch(Table::Records, records)?;
        for commit in commits.iter().filter(|commit| !commit.erasures.is_empty()) {
            for erasure in &commit.erasures {
                history.extend(Self::old_versions(commit.commit_of, erasure, reading)?);
            }
        }
        reading.fetch(Table::History, history)?;
        Ok(())
    }

    /// Forgets the head of a tenant, which may have changed.
    fn fall_behind(&mut self, tenant: TenantId) {
        let head = self.heads.remove(&tenant).flatten().and_then(|bytes| Head::unpack(&bytes).ok());
        if let (Some(lane), Some(head)) = (self.lanes.remove(&tenant), head) {
            self.behind.insert(tenant, (lane.touched, head.time));
        }
    }

    /// Brings what is remembered of tenants up to the heads that were read.
    fn catch_up(&mut self, reading: &Reading) -> StoreResult<()> {
        let shared = Arc::clone(&self.shared);
        let is_read = |tenant: &TenantId| reading.knows(Table::Records, &layout::head(*tenant));
        let read = |tenant: TenantId| reading.get(Table::Records, &layout::head(tenant));
        for tenant in self.heads.keys().copied().filter(is_read).collect::<Vec<_>>() {
            if self.heads.get(&tenant) != Some(&read(tenant)?) {
                self.fall_behind(tenant);
            }
        }
        for tenant in self.behind.keys().copied().filter(is_read).collect::<Vec<_>>() {
            let (Some((mut touched, since)), Some(bytes)) = (self.behind.remove(&tenant), read(tenant)?) else {
                continue;
            };
            let head = Head::unpack(&bytes)?;
            let changes = CatchUp { reading, sealer: &shared.sealer, tenant };
            if head.time == since || changes.add_to(&mut touched, since, head)? {
                self.lanes.insert(tenant, Lane { head, touched, index: None });
                self.heads.insert(tenant, Some(bytes));
            }
        }
        Ok(())
    }

    /// The rows of the versions that an erasure looks at, of a resource whose record is known.
    fn old_versions(tenant: TenantId, erasure: &Erasure, reading: &Reading) -> StoreResult<Vec<Vec<u8>>> {
        let id = layout::id(tenant, &erasure.type_name, &erasure.id);
        let Some(rid) = reading.get(Table::Index, &id)? else { return Ok(Vec::new()) };
        let rid = rid_of(&rid)?;
        let Some(record) = reading.get(Table::Records, &layout::current(tenant, rid))? else { return Ok(Vec::new()) };
        let oldest = match erase::oldest(reading.get(Table::Records, &layout::erased(tenant, rid))?.as_deref()) {
            // All goes, whatever somebody has put there.
            Err(_) if matches!(erasure.extent, Extent::Whole { .. }) => 1,
            oldest => oldest?,
        };
        let current = Header::unpack(&record)?.0.version;
        let before = if let Extent::Before(version) = erasure.extent { version.min(current) } else { current };
        Ok((oldest..before).map(|version| layout::history(tenant, rid, version)).collect())
    }
}

/// How an attempt is made.
#[derive(Clone, Copy)]
struct Way {
    /// Whether expired records are erased.
    erases: bool,
    /// Whether what views have read counts as read.
    uses_hints: bool,
}

/// Whether a commit made a new version of each of its resources.
fn is_all_new(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|done| done.written.iter().all(|written| written.changed))
}

/// Sends what is to be written, and makes it happen. With `Ok` a majority has it on disk.
pub(super) fn write(shared: &Shared, reading: Reading, orders: Orders) -> Result<(), Failed> {
    write_to(&shared.connection, reading, orders)
}

/// The same, by who is no server.
pub(super) fn write_to(connection: &Arc<Connection>, reading: Reading, orders: Orders) -> Result<(), Failed> {
    let transaction = reading.into_transaction()?;
    let opened = Arc::clone(connection);
    let transaction = connection.wait(async move {
        let mut transaction = match transaction {
            Some(open) => open,
            None => Transaction::new(&opened).await?,
        };
        match orders.send(&mut transaction).await {
            Ok(()) => Ok(transaction),
            Err(failed) => {
                transaction.abort().await;
                Err(failed)
            }
        }
    })?;
    finish(connection, transaction)
}

/// Makes what a transaction has written happen.
pub(super) fn finish(connection: &Connection, mut transaction: Transaction) -> Result<(), Failed> {
    let began = Instant::now();
    loop {
        // The end of a transaction may be asked for again and again: it happens once.
        let ended = connection.wait(async move {
            let ended = transaction.commit().await;
            Ok((ended, transaction))
        });
        let unknown = |text: String| Failed { meaning: Meaning::Unknown, text };
        let (ended, open) = ended.map_err(|failed| unknown(failed.text))?;
        transaction = open;
        match ended {
            Ok(()) => return Ok(()),
            Err(failed) if !matches!(failed.meaning, Meaning::Unknown | Meaning::Unreachable) => return Err(failed),
            Err(failed) if began.elapsed() > LONGEST_TRY => return Err(unknown(failed.text)),
            Err(_) => std::thread::sleep(Duration::from_millis(LONGEST_PAUSE_MS)),
        }
    }
}

/// A pause that grows, and is not the same in every process.
fn pause_ms(tries: u32) -> u64 {
    let most = 2_u64.saturating_pow(tries.min(6)).min(LONGEST_PAUSE_MS);
    let mut byte = [0_u8];
    // Without randomness the processes just meet again.
    let _same = aws_lc_rs::rand::fill(&mut byte);
    1 + most * u64::from(byte[0]) / 256
}
