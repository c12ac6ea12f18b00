//! Wrapping and unwrapping data keys, held against what comes back.

use super::hex;
use super::{About, Master, MasterError, Masters, OwnersKeys, Secret, State, Unwrapped, Wrapped, WrappedKey};
use crate::clock::{Clock, SystemClock};
use crate::store::seal::{DataKey, STORE};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Threads that ask a provider over the network at the same time.
const ASKING: usize = 8;

/// A key that was unwrapped, and what is told of that.
pub(super) type Opened = (Unwrapped, Arc<DataKey>);

/// The keys, as they were last read from the table.
pub(super) struct Ring {
    pub masters: Masters,
    pub owners: BTreeMap<u32, OwnersKeys>,
    /// See [`super::Loaded::revision`].
    pub revision: u64,
    /// Those that are in the sealer.
    pub live: BTreeMap<u32, Vec<Arc<DataKey>>>,
    pub unwrapped: Vec<Unwrapped>,
    /// When the table was last asked for a key of an owner that is not here.
    pub looked: BTreeMap<u32, Instant>,
}

impl Ring {
    pub(super) const fn new(masters: Masters, revision: u64) -> Self {
        Self {
            masters,
            owners: BTreeMap::new(),
            revision,
            live: BTreeMap::new(),
            unwrapped: Vec::new(),
            looked: BTreeMap::new(),
        }
    }

    /// Whether another master key than the one in use has wrapped a key.
    pub(super) fn has_foreign(&self) -> bool {
        let current = self.masters.current.id();
        self.owners.values().flat_map(|keys| &keys.keys).any(|key| key.master != current)
    }

    /// Whether the store's own key was wrapped by another master key, which another process has rotated to.
    pub(super) fn is_overtaken(&self) -> bool {
        let own = self.owners.get(&STORE.0).and_then(|own| own.keys.last());
        own.is_some_and(|own| own.master != self.masters.current.id())
    }

    /// Adds a key that was unwrapped.
    pub(super) fn take(&mut self, (told, key): Opened) {
        self.live.entry(told.owner.0).or_default().push(key);
        self.unwrapped.push(told);
    }

    /// Adds a new key to those of an owner, as the newest.
    pub(super) fn add_to(&self, keys: &mut OwnersKeys, key: &DataKey, secret: &Secret) -> StoreResult<()> {
        let master = self.masters.current.id();
        let owner = TenantId(keys.owner);
        if self.is_overtaken() {
            // What the one before wraps nobody may be able to unwrap any more.
            return Err(StoreError::Closed(format!(
                "the master key was rotated by another process, and this one has {master}: give it the new one"
            )));
        }
        let id = hex(&key.id().0);
        if keys.keys.iter().any(|other| other.id == id) {
            return Err(StoreError::Closed("a new key has the id of another one: try again".into()));
        }
        for other in keys.keys.iter_mut().filter(|other| other.state == State::Newest) {
            other.state = State::Replaced;
        }
        let generation = keys.keys.last().map_or(1, |last| last.generation + 1);
        let wrapped = self.wrap(About { owner, generation }, secret)?;
        keys.keys.push(WrappedKey {
            generation,
            state: State::Newest,
            id,
            check: hex(&key.check_value()?),
            created: SystemClock.now().0,
            master,
            version: wrapped.version,
            wrapped: STANDARD.encode(&wrapped.bytes),
        });
        Ok(())
    }

    /// Wraps the keys of an owner anew. Answers how many there are, and what is told of having unwrapped them.
    pub(super) fn rewrap(&self, keys: &mut OwnersKeys) -> StoreResult<(usize, Vec<Unwrapped>)> {
        let mut all = Vec::new();
        for n in 0..keys.keys.len() {
            let Some(key) = keys.keys.get(n) else { continue };
            let about = keys.about(key);
            let (secret, _) = self.unwrap_one(keys, key)?;
            all.push(told(keys, key));
            let wrapped = self.wrap(about, &secret)?;
            if let Some(key) = keys.keys.get_mut(n) {
                key.rewrap(self.masters.current.id(), &wrapped);
            }
        }
        Ok((all.len(), all))
    }

    /// Unwraps those of some keys that are not live yet, several at a time where a network is between.
    pub(super) fn unwrap_new(&self, owners: &BTreeMap<u32, OwnersKeys>) -> Vec<(u32, StoreResult<Opened>)> {
        let is_live = |keys: &OwnersKeys, key: &WrappedKey| {
            self.live.get(&keys.owner).is_some_and(|live| live.iter().any(|live| hex(&live.id().0) == key.id))
        };
        let all = owners.values().flat_map(|keys| keys.keys.iter().map(move |key| (keys, key)));
        let all: Vec<_> = all.filter(|(keys, key)| !is_live(keys, key)).collect();
        let threads = if self.masters.all().any(|master| master.is_remote()) { ASKING } else { 1 };
        let share = all.len().div_ceil(threads).max(1);
        let one = |(keys, key): &(&OwnersKeys, &WrappedKey)| {
            let opened = self.unwrap_one(keys, key).map(|(_, data_key)| (told(keys, key), Arc::new(data_key)));
            (keys.owner, opened)
        };
        let unwrap = |share: &[(&OwnersKeys, &WrappedKey)]| share.iter().map(one).collect::<Vec<_>>();
        let unwrap = &unwrap;
        std::thread::scope(|scope| {
            let asking: Vec<_> = all.chunks(share).map(|share| (share, scope.spawn(move || unwrap(share)))).collect();
            let ended = || StoreError::Closed("unwrapping keys ended abnormally".into());
            let asked = asking.into_iter().flat_map(|(share, asked)| {
                let owners = share.iter().map(|(keys, _)| keys.owner);
                asked.join().unwrap_or_else(|_| owners.map(|owner| (owner, Err(ended()))).collect())
            });
            asked.collect()
        })
    }

    /// All is wrapped by the master key in use: the others go.
    pub(super) fn settle(&mut self) -> StoreResult<()> {
        self.masters.current.settle()?;
        self.masters.older.clear();
        Ok(())
    }

    /// Wraps a key. What a provider across a network answers is held against the key before anything rests on it.
    fn wrap(&self, about: About, secret: &Secret) -> StoreResult<Wrapped> {
        let master = &*self.masters.current;
        let wrapped = master.wrap(about, secret).map_err(|error| failed(about, master, &error))?;
        if master.is_remote() {
            let back = master.unwrap(about, &wrapped).map_err(|error| failed(about, master, &error))?;
            if back != *secret {
                return Err(StoreError::Closed(format!(
                    "{} answered with another key than {}",
                    master.id(),
                    name(about)
                )));
            }
        }
        Ok(wrapped)
    }

    /// Unwraps one key, and makes sure that it is the one that was wrapped.
    fn unwrap_one(&self, keys: &OwnersKeys, key: &WrappedKey) -> StoreResult<(Secret, DataKey)> {
        let about = keys.about(key);
        let known = |master: &&Arc<dyn Master>| master.id() == key.master;
        let master = self.masters.all().find(known).ok_or_else(|| {
            StoreError::Closed(format!(
                "{} was wrapped by {}, and the master key is {}: restore the right key file, or set keys.provider and \
                 keys.previous as they were",
                name(about),
                key.master,
                self.masters.current.id()
            ))
        })?;
        let secret = master.unwrap(about, &key.wrapped()?).map_err(|error| failed(about, &**master, &error))?;
        let data_key = DataKey::new(&secret)?;
        if hex(&data_key.check_value()?) != key.check || hex(&data_key.id().0) != key.id {
            let what = name(about);
            return Err(StoreError::Closed(format!("{} answered with another key than {what}", master.id())));
        }
        Ok((secret, data_key))
    }
}

fn told(keys: &OwnersKeys, key: &WrappedKey) -> Unwrapped {
    let (owner, master) = (TenantId(keys.owner), key.master.clone());
    Unwrapped { owner, generation: key.generation, id: key.id.clone(), master }
}

fn name(about: About) -> String {
    match about.owner {
        STORE => format!("key {} of the store", about.generation),
        owner => format!("key {} of tenant {}", about.generation, owner.0),
    }
}

fn failed(about: About, master: &dyn Master, error: &MasterError) -> StoreError {
    StoreError::Closed(format!("{}: the master key {} does not help: {error}", name(about), master.id()))
}

pub(super) fn destroyed(owner: TenantId) -> StoreError {
    StoreError::Closed(format!("the keys of tenant {} were destroyed", owner.0))
}
