//! Which deferred requests are performed now: so many at a time, so many of one tenant, and in turn, so that no tenant waits for all
//! that another has asked for.

use crate::bulk::purged::Kept;
use crate::error::Result;
use crate::search::Wanted;
use crate::tenant::TenantId;
use rustc_hash::FxHashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For how long a tenant counts as one that waits, after a request of it asked for a place: each asks far more often.
const WAITS: Duration = Duration::from_secs(1);

/// A request: its tenant and the id of its job.
pub(super) type Key = (TenantId, Box<str>);

/// A request that has a place.
#[derive(Default)]
pub(super) struct Performing {
    /// Who performs it; none as long as it is not kept that it is begun.
    pub thread: Option<JoinHandle<Result<Kept>>>,
    /// Whether its answer is still wanted.
    pub wanted: Wanted,
    /// Whether it is not begun as long as its tenant is suspended.
    rests: bool,
}

impl Performing {
    /// A request that this thread performs.
    pub(super) fn by(thread: JoinHandle<Result<Kept>>, wanted: Wanted) -> Self {
        Self { thread: Some(thread), wanted, rests: false }
    }

    fn is_busy(&self) -> bool {
        self.thread.as_ref().map_or(!self.rests, |thread| !thread.is_finished())
    }
}

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub total: usize,
    pub of_tenant: usize,
}

/// The places of this process.
pub(super) struct Places {
    limits: Limits,
    taken: FxHashMap<Key, Performing>,
    /// The tenants that have asked for a place in vain, and when they did last.
    waiting: FxHashMap<TenantId, Instant>,
    /// The tenants that have got a place, and which one, counted from the start.
    served: FxHashMap<TenantId, u64>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        let (taken, waiting, served) = Default::default();
        Self { limits, taken, waiting, served }
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<&mut Performing> {
        self.taken.get_mut(key)
    }

    pub(super) fn put(&mut self, key: Key, performing: Performing) {
        self.taken.insert(key, performing);
    }

    /// Takes a place for a request, where there is one and it is its tenant's turn.
    pub(super) fn take(&mut self, key: &Key, now: Instant) -> bool {
        // The answers of those that were given up are asked for by nobody.
        self.taken.retain(|_, own| own.is_busy() || own.wanted.check().is_ok());
        self.waiting.retain(|_, asked| now.saturating_duration_since(*asked) < WAITS);
        let tenant = key.0;
        let busy = self.taken.values().filter(|own| own.is_busy()).count();
        let turn = self.turn(tenant);
        let is_first =
            self.waiting.keys().all(|other| *other == tenant || !self.may(*other) || self.turn(*other) > turn);
        if busy >= self.limits.total || !self.may(tenant) || !is_first {
            self.waiting.insert(tenant, now);
            return false;
        }
        self.waiting.remove(&tenant);
        let number = self.served.values().max().map_or(1, |last| last + 1);
        self.served.insert(tenant, number);
        self.taken.insert(key.clone(), Performing::default());
        true
    }

    /// Gives up a request: it goes on no longer than to its next step.
    pub(super) fn give_up(&mut self, key: &Key) {
        if let Some(performing) = self.taken.get(key) {
            performing.wanted.give_up();
            if performing.thread.is_none() {
                self.taken.remove(key);
            }
        }
    }

    /// What has come of a request; nothing where it goes on.
    pub(super) fn ended(&mut self, key: &Key) -> Option<JoinHandle<Result<Kept>>> {
        if self.taken.get(key)?.is_busy() {
            return None;
        }
        self.taken.remove(key)?.thread
    }

    /// Leaves the place of a request that is not begun to others until it is.
    pub(super) fn rest(&mut self, key: &Key) {
        if let Some(performing) = self.taken.get_mut(key) {
            performing.rests = true;
        }
    }

    fn of(&self, tenant: TenantId) -> usize {
        self.taken.iter().filter(|((own, _), performing)| *own == tenant && performing.is_busy()).count()
    }

    fn may(&self, tenant: TenantId) -> bool {
        self.of(tenant) < self.limits.of_tenant
    }

    /// Who comes before whom: who has fewer places, and then who has waited for longer since the last.
    fn turn(&self, tenant: TenantId) -> (usize, u64) {
        (self.of(tenant), self.served.get(&tenant).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_waits_for_all_that_another_has_asked_for() {
        let mut places = Places::new(Limits { total: 3, of_tenant: 2 });
        let (now, key) = (Instant::now(), |tenant, id: &str| (TenantId(tenant), Box::from(id)));
        let take = |places: &mut Places, tenant, id| places.take(&key(tenant, id), now);
        assert!(take(&mut places, 1, "a") && take(&mut places, 1, "b"));
        assert!(!take(&mut places, 1, "c"), "two of one tenant");
        assert!(take(&mut places, 2, "a"));
        assert!(!take(&mut places, 3, "a") && !take(&mut places, 2, "b"), "three in all");
        // A place becomes free: it is for who has none, whoever asks first.
        places.give_up(&key(1, "a"));
        assert!(!take(&mut places, 1, "c") && !take(&mut places, 2, "b"));
        assert!(take(&mut places, 3, "a"));
        // Of two who have as many, who got the last one longer ago.
        assert!(!take(&mut places, 1, "c") && !take(&mut places, 3, "b"));
        places.give_up(&key(2, "a"));
        assert!(!take(&mut places, 1, "c"), "the tenant without any waits");
        places.give_up(&key(3, "a"));
        assert!(take(&mut places, 2, "b") && !take(&mut places, 1, "c") && take(&mut places, 3, "b"));
        // Who has not asked for a while is not waited for.
        assert!(!take(&mut places, 3, "c"));
        places.give_up(&key(3, "b"));
        assert!(!take(&mut places, 1, "c"));
        assert!(places.take(&key(1, "c"), now + 2 * WAITS));
    }

    #[test]
    fn a_place_is_for_others_while_its_tenant_is_suspended() {
        let mut places = Places::new(Limits { total: 1, of_tenant: 1 });
        let (key, other, now) = ((TenantId(1), Box::from("a")), (TenantId(2), Box::from("b")), Instant::now());
        assert!(places.take(&key, now) && !places.take(&other, now));
        places.rest(&key);
        assert!(places.take(&other, now));
        assert!(places.get(&key).is_some_and(|own| own.thread.is_none()), "it is known that it is not begun");
    }

    #[test]
    fn what_is_given_up_leaves_its_place_when_it_has_ended() {
        let mut places = Places::new(Limits { total: 1, of_tenant: 1 });
        let [first, second, third] = ["a", "b", "c"].map(|id| (TenantId(1), Box::from(id)));
        let now = Instant::now();
        assert!(places.take(&first, now));
        places.give_up(&first);
        assert!(places.take(&second, now), "it was not begun");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wanted = Wanted::default();
        let seen = wanted.clone();
        let thread = std::thread::spawn(move || {
            wait.recv().unwrap_err();
            seen.check().map(|()| unreachable!("it was given up"))
        });
        places.put(second.clone(), Performing::by(thread, wanted));
        places.give_up(&second);
        assert!(!places.take(&third, now), "it still is at work");
        drop(go);
        while !places.take(&third, now) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(places.ended(&second).is_none() && places.get(&second).is_none());
    }
}
