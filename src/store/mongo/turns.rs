//! Turns: processes that write to the same tenant do so one after the other, instead of getting in each other's way.
//!
//! A turn is no lock. Whatever is written holds because of the tenant's head, which every commit moves on ([`super::committer`]); a process that
//! writes without having the turn only makes another one decide again. So a turn may be lost, or taken from a process that says nothing, and all stays right.
//! A process alone at a tenant asks for none: that others are at work it learns when the head has been moved, or when it hears of turns that they take.
//!
//! A tenant's turn is a document: which process has it (`has`, none where it is empty), who waits for it (`wait`, in that order), and a count that grows with each change
//! of hands (`n`) or while it is being used (`u`). Who has it gives it to the first who waits after [`LONGEST_TURN`], or when there was nothing to
//! write for [`IDLE`].

use super::client::{Connection, Failed, Meaning};
use crate::tenant::TenantId;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The collection with the turns.
pub(super) const TURNS: &str = "turns";
/// After another process has moved a head, so many groups of that tenant are written in turns.
const IN_TURNS_FOR: u32 = 50;
/// What a group counts for that nobody else has waited beside.
const ALONE: u32 = 10;
/// So long others wait for who has much to write.
const LONGEST_TURN: Duration = Duration::from_millis(200);
/// So long a process may have nothing to write before it gives its turn away: those it has just answered ask for the next thing.
pub(super) const IDLE: Duration = Duration::from_millis(15);
/// How often who waits looks whether it is its turn.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a process says that it uses its turn.
const SAY_EVERY: Duration = Duration::from_millis(250);
/// A turn that nobody was heard to use for so long is taken.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A turn is not waited for longer; who has waited so long writes without.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The turns that others use, by tenant, with their counts.
pub(super) type Used = FxHashMap<TenantId, (i64, i64)>;

/// The tenants at which others were heard to be at work.
#[derive(Default)]
pub(super) struct Heard(Mutex<FxHashSet<TenantId>>);

impl Heard {
    /// The turns that others use now. What has changed since the last look is heard of; at the first there is nothing to compare with.
    pub(super) async fn look(
        &self,
        connection: &Connection,
        process: &str,
        last: Option<&Used>,
    ) -> Result<Used, Failed> {
        let turns = connection.db().collection::<Document>(TURNS);
        let mut cursor = turns.find(doc! { "has": { "$nin": ["", process] } }).await?;
        let mut used = Used::default();
        while cursor.advance().await? {
            let document = cursor.deserialize_current()?;
            let number = |name| document.get_i64(name).unwrap_or_default();
            if let Ok(tenant) = u32::try_from(number("_id")) {
                used.insert(TenantId(tenant), (number("n"), number("u")));
            }
        }
        let is_new = |tenant: &TenantId| last.is_some_and(|last| last.get(tenant) != used.get(tenant));
        let new = used.keys().filter(|tenant| is_new(tenant));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(new.copied());
        Ok(used)
    }

    /// The tenants that were heard of since the last call.
    pub(super) fn take(&self) -> FxHashSet<TenantId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The turns of a process. It has one at most: two that each wait for what the other one has would wait long.
pub(super) struct Turns {
    connection: Arc<Connection>,
    process: String,
    /// The tenants at which others are at work, and for how many more groups that is believed.
    shared: FxHashMap<TenantId, u32>,
    held: Option<Held>,
    asked: FxHashMap<TenantId, Asked>,
}

/// What a look for a turn has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is this process's turn; others may have moved the head.
    Had,
    /// It is to be looked again.
    NotYet,
    /// It is not waited for any longer.
    InVain,
}

/// The turn that a process has.
struct Held {
    tenant: TenantId,
    since: Instant,
    used_at: Instant,
    n: i64,
    /// As long as it is there, the process says that it uses its turn.
    _used: Arc<()>,
}

/// A turn that a process waits for.
struct Asked {
    since: Instant,
    /// The counts of the turn that another one has, and when they last changed.
    seen: Option<(i64, i64)>,
    heard: Instant,
}

impl Asked {
    fn now() -> Self {
        let now = Instant::now();
        Self { since: now, seen: None, heard: now }
    }
}

impl Turns {
    pub(super) fn new(connection: Arc<Connection>, process: &str) -> Self {
        Self {
            connection,
            process: process.to_owned(),
            shared: FxHashMap::default(),
            held: None,
            asked: FxHashMap::default(),
        }
    }

    /// Another process has moved the head of a tenant.
    pub(super) fn meet(&mut self, tenant: TenantId) {
        self.shared.insert(tenant, IN_TURNS_FOR);
    }

    /// Whether others may move the head of a tenant before this process has written its next group.
    pub(super) fn may_meet(&self, tenant: TenantId) -> bool {
        self.shared.contains_key(&tenant) && !self.has(tenant)
    }

    /// Whether this process has the turn at a tenant.
    pub(super) fn has(&self, tenant: TenantId) -> bool {
        self.held.as_ref().is_some_and(|held| held.tenant == tenant)
    }

    pub(super) const fn has_one(&self) -> bool {
        self.held.is_some()
    }

    /// Looks whether it is this process's turn at a tenant, and asks for it. Another turn that it has is given away then.
    pub(super) fn look(&mut self, tenant: TenantId) -> Looked {
        let mut asked = self.asked.remove(&tenant).unwrap_or_else(Asked::now);
        let place = self.place(tenant);
        if asked.since.elapsed() > LONGEST_WAIT {
            tracing::debug!("a turn was waited for in vain");
            self.connection.spawn(async move { drop(place.leave().await) });
            return Looked::InVain;
        }
        match self.connection.wait(async move { Ok((place.look(&mut asked).await?, asked)) }) {
            Ok((Some((n, was_free)), _)) => {
                self.give();
                self.count(tenant, if was_free { ALONE } else { 1 });
                let used = Arc::new(());
                self.connection.spawn(self.place(tenant).say(Arc::downgrade(&used)));
                let now = Instant::now();
                self.held = Some(Held { tenant, since: now, used_at: now, n, _used: used });
                Looked::Had
            }
            Ok((None, asked)) => {
                self.asked.insert(tenant, asked);
                Looked::NotYet
            }
            Err(failed) => {
                tracing::debug!(error = %failed.text, "a turn can't be had");
                Looked::InVain
            }
        }
    }

    /// It was written to these tenants.
    pub(super) fn use_at(&mut self, mut tenants: impl Iterator<Item = TenantId>) {
        if let Some(held) = &mut self.held
            && tenants.any(|tenant| tenant == held.tenant)
        {
            held.used_at = Instant::now();
        }
    }

    /// Gives the turn away if there is nothing to write, or if it has lasted long enough and another process waits for it.
    pub(super) fn give_if_over(&mut self) {
        let Some(held) = &self.held else { return };
        if held.used_at.elapsed() >= IDLE {
            self.give();
        } else if held.since.elapsed() >= LONGEST_TURN {
            self.give_or(true);
        }
    }

    /// Gives the turn away.
    pub(super) fn give(&mut self) {
        self.give_or(false);
    }

    fn give_or(&mut self, keeps: bool) {
        let Some(held) = self.held.take() else { return };
        let (place, tenant) = (self.place(held.tenant), held.tenant);
        match self.connection.wait(async move { place.give(held.n, keeps).await }) {
            Ok(Given::Kept) => {
                self.held = Some(Held { since: Instant::now(), ..held });
                self.count(tenant, ALONE);
            }
            Ok(Given::ToOther) => self.meet(tenant),
            Ok(Given::ToNone) => {}
            Err(failed) => tracing::debug!(error = %failed.text, "a turn can't be given away; it will be taken"),
        }
    }

    /// Some of the groups are written that were to be written in turns.
    fn count(&mut self, tenant: TenantId, groups: u32) {
        if let Some(left) = self.shared.get_mut(&tenant) {
            *left = left.saturating_sub(groups);
            if *left == 0 {
                self.shared.remove(&tenant);
            }
        }
    }

    fn place(&self, tenant: TenantId) -> Place {
        let turns = self.connection.db().collection(TURNS);
        Place { turns, process: self.process.clone(), id: i64::from(tenant.0) }
    }
}

/// What became of a turn that was given away.
enum Given {
    Kept,
    ToOther,
    ToNone,
}

/// Where a process meets the others.
struct Place {
    turns: Collection<Document>,
    process: String,
    id: i64,
}

/// What the document says.
struct Turn {
    has: String,
    wait: Vec<String>,
    /// The count that is a turn's, and the one of its use.
    n: i64,
    used: i64,
}

impl Place {
    async fn read(&self) -> Result<Option<Turn>, Failed> {
        let Some(document) = self.turns.find_one(doc! { "_id": self.id }).await? else { return Ok(None) };
        let number = |name| document.get_i64(name).unwrap_or_default();
        let wait = document.get_array("wait").into_iter().flatten();
        Ok(Some(Turn {
            has: document.get_str("has").unwrap_or_default().to_owned(),
            wait: wait.filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
            n: number("n"),
            used: number("u"),
        }))
    }

    /// Looks at the turn, and asks for it: its number and whether nobody has wanted it, where it is had.
    async fn look(&self, asked: &mut Asked) -> Result<Option<(i64, bool)>, Failed> {
        let Some(turn) = self.read().await? else {
            self.make().await?;
            return Ok(None);
        };
        if turn.has == self.process {
            return Ok(Some((turn.n, false)));
        }
        if asked.seen != Some((turn.n, turn.used)) {
            (asked.seen, asked.heard) = (Some((turn.n, turn.used)), Instant::now());
        }
        let is_free = turn.has.is_empty();
        if is_free || asked.heard.elapsed() > SILENT_AFTER {
            let was_unwanted = is_free && turn.wait.is_empty();
            return Ok(self.hand(turn.n, &self.process).await?.then_some((turn.n + 1, was_unwanted)));
        }
        if !turn.wait.contains(&self.process) {
            let asks = doc! { "$addToSet": { "wait": &self.process } };
            self.turns.update_one(doc! { "_id": self.id }, asks).await?;
        }
        Ok(None)
    }

    /// Waits no more.
    async fn leave(&self) -> Result<(), Failed> {
        let leaves = doc! { "$pull": { "wait": &self.process } };
        self.turns.update_one(doc! { "_id": self.id }, leaves).await?;
        Ok(())
    }

    async fn make(&self) -> Result<(), Failed> {
        let none: [&str; 0] = [];
        let made =
            self.turns.insert_one(doc! { "_id": self.id, "has": "", "wait": none.as_slice(), "n": 0_i64, "u": 0_i64 });
        match made.await.map_err(Failed::from) {
            Err(failed) if failed.meaning != Meaning::Again => Err(failed),
            // Or another process has made it.
            _ => Ok(()),
        }
    }

    /// Gives the turn of a number to a process, who waits no more; whether it still was that turn.
    async fn hand(&self, n: i64, to: &str) -> Result<bool, Failed> {
        let hands = doc! { "$set": { "has": to }, "$inc": { "n": 1_i64 }, "$pull": { "wait": to } };
        let handed = self.turns.update_one(doc! { "_id": self.id, "n": n }, hands).await?;
        Ok(handed.matched_count == 1)
    }

    async fn give(&self, n: i64, or_keeps: bool) -> Result<Given, Failed> {
        let turn = self.read().await?.filter(|turn| turn.n == n);
        let Some(turn) = turn else { return Ok(Given::ToOther) };
        let next = turn.wait.iter().find(|name| **name != self.process);
        match next {
            None if or_keeps => Ok(Given::Kept),
            _ => {
                self.hand(n, next.map_or("", String::as_str)).await?;
                Ok(if next.is_some() { Given::ToOther } else { Given::ToNone })
            }
        }
    }

    /// Says that a turn is being used, as long as it is.
    async fn say(self, used: Weak<()>) {
        loop {
            tokio::time::sleep(SAY_EVERY).await;
            if used.upgrade().is_none() {
                return;
            }
            let says =
                self.turns.update_one(doc! { "_id": self.id, "has": &self.process }, doc! { "$inc": { "u": 1_i64 } });
            if let Err(error) = says.await {
                tracing::debug!(error = %Failed::from(error).text, "it can't be said that a turn is being used");
            }
        }
    }
}
