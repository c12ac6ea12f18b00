//! The data keys of all tenants: made, unwrapped, rotated, destroyed. What it has unwrapped, the [`Sealer`] holds.

use super::hex;
use super::local::random;
use super::wrapping::{Ring, destroyed};
use super::{KeyTable, Loaded, Masters, OwnersKeys, Secret, State, WrappedKey};
use crate::clock::{Clock, Micros, SystemClock};
use crate::store::seal::{DataKey, KEY_LEN, KeyId, STORE, Sealer};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How often a change of the table is tried that other processes come before.
const MOST_TRIES: usize = 50;
/// How often the table is asked for keys of a tenant that sealed values name and nobody has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is told of a key: no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Counts the keys of its owner.
    pub generation: u32,
    /// How it stands.
    pub state: State,
    /// By which sealed values name it, in hexadecimal.
    pub id: String,
    /// When it was made.
    pub created: Micros,
    /// Which master key wrapped it, and which version of that.
    pub master: String,
    /// See [`super::Wrapped::version`].
    pub version: u32,
}

/// A key was unwrapped: for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped {
    /// Whose key.
    pub owner: TenantId,
    /// Which of them.
    pub generation: u32,
    /// By which sealed values name it, in hexadecimal.
    pub id: String,
    /// By which master key.
    pub master: String,
}

/// Reads the master keys anew.
type MastersAgain = Box<dyn Fn() -> StoreResult<Masters> + Send + Sync>;

/// All data keys of a store.
pub struct Keyring {
    sealer: Arc<Sealer>,
    table: Box<dyn KeyTable>,
    ring: Mutex<Ring>,
    /// Where other processes share the table.
    masters_again: OnceLock<MastersAgain>,
}

impl Keyring {
    /// Unwraps all keys of a table. What an older master key wrapped is wrapped anew.
    ///
    /// # Errors
    /// When a key can't be unwrapped, or is not the one that it was: with whose it is, and by which master key.
    pub fn open(masters: Masters, table: Box<dyn KeyTable>) -> StoreResult<Self> {
        let Loaded { revision, owners } = table.load()?;
        let mut ring = Ring::new(masters, revision);
        let owners = owners.into_iter().map(|keys| (keys.owner, keys)).collect();
        for (_, unwrapped) in ring.unwrap_new(&owners) {
            ring.take(unwrapped?);
        }
        ring.owners = owners;
        let this = Self { sealer: Arc::default(), table, ring: Mutex::new(ring), masters_again: OnceLock::new() };
        {
            let mut ring = this.lock();
            if ring.has_foreign() {
                this.rewrap_all(&mut ring)?;
            }
            ring.settle()?;
            for (owner, keys) in &ring.live {
                this.sealer.set(TenantId(*owner), keys.clone());
            }
        }
        Ok(this)
    }

    /// From now on other processes may change the table, too: a key that is named by a sealed value and is not here is looked for
    /// there. `masters` reads the master keys anew, for when another process has rotated them.
    pub fn share(this: &Arc<Self>, masters: impl Fn() -> StoreResult<Masters> + Send + Sync + 'static) {
        let weak = Arc::downgrade(this);
        this.masters_again.get_or_init(|| Box::new(masters));
        this.sealer.ask_for_missing(move |owner, id| {
            if let Some(ring) = weak.upgrade() {
                ring.look_for(owner, id);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What seals and opens under these keys.
    #[must_use]
    pub fn sealer(&self) -> Arc<Sealer> {
        Arc::clone(&self.sealer)
    }

    /// Makes the first key of a tenant, if it has none. Cheap where it has.
    ///
    /// # Errors
    /// When the provider fails, or the tenant's keys were destroyed.
    pub fn ensure(&self, owner: TenantId) -> StoreResult<()> {
        if self.sealer.has(owner) {
            return Ok(());
        }
        let mut ring = self.lock();
        if self.sealer.has(owner) {
            return Ok(());
        }
        if ring.owners.get(&owner.0).is_some_and(|keys| !keys.keys.is_empty()) {
            // They could not be unwrapped when another process made them.
            self.renewed(&mut ring)?;
        }
        self.add(&mut ring, owner, &random()?, true)
    }

    /// Takes over a store in which one key was that of all: it becomes the first key of the store and of each of these tenants, who get
    /// a newer one of their own.
    ///
    /// # Errors
    /// As [`Keyring::ensure`].
    pub fn adopt(&self, common: &Secret, tenants: &[TenantId]) -> StoreResult<()> {
        let mut ring = self.lock();
        // What a migration that was cut short left has sealed nothing yet.
        ring.owners.clear();
        ring.live.clear();
        for owner in tenants.iter().copied().chain([STORE]) {
            self.add(&mut ring, owner, common, false)?;
            if owner != STORE {
                self.add(&mut ring, owner, &random()?, false)?;
            }
        }
        Ok(())
    }

    /// Gives a tenant a new key, under which everything is sealed from now on. [`STORE`] stands for the ledger's.
    ///
    /// # Errors
    /// As [`Keyring::ensure`].
    pub fn rotate(&self, owner: TenantId) -> StoreResult<()> {
        let mut ring = self.lock();
        self.add(&mut ring, owner, &random()?, false)
    }

    /// Changes the keys of an owner in the table: `make` is given them as they are, again where another process came first.
    fn change<T>(
        &self,
        ring: &mut Ring,
        owner: TenantId,
        make: impl Fn(&Ring, &mut OwnersKeys) -> StoreResult<T>,
    ) -> StoreResult<T> {
        for _ in 0..MOST_TRIES {
            let before = ring.owners.get(&owner.0).cloned().unwrap_or(OwnersKeys::none(owner));
            let mut keys = before.clone();
            let made = make(ring, &mut keys)?;
            if keys == before {
                return Ok(made);
            }
            if self.table.replace(ring.revision, &keys)? {
                ring.revision += 1;
                ring.owners.insert(owner.0, keys);
                return Ok(made);
            }
            self.renewed(ring)?;
        }
        Err(StoreError::Unreachable("other processes keep changing the keys".into()))
    }

    /// Adds a key of an owner; if `is_first`, then only to one who has none.
    fn add(&self, ring: &mut Ring, owner: TenantId, secret: &Secret, is_first: bool) -> StoreResult<()> {
        let key = Arc::new(DataKey::new(secret)?);
        if ring.is_overtaken() {
            self.renewed(ring)?;
        }
        let is_added = self.change(ring, owner, |ring, keys| {
            if keys.destroyed.is_some() {
                return Err(destroyed(owner));
            }
            let is_wanted = !is_first || keys.keys.is_empty();
            if is_wanted {
                ring.add_to(keys, &key, secret)?;
            }
            Ok(is_wanted)
        })?;
        if is_added {
            let live = ring.live.entry(owner.0).or_default();
            live.push(key);
            self.sealer.set(owner, live.clone());
        }
        if self.sealer.has(owner) {
            return Ok(());
        }
        Err(StoreError::Unreachable(format!("the keys of tenant {} can't be unwrapped now", owner.0)))
    }

    /// The generation of an owner's newest key; 0 where there is none.
    #[must_use]
    pub fn newest(&self, owner: TenantId) -> u32 {
        let ring = self.lock();
        ring.owners.get(&owner.0).and_then(|keys| keys.keys.last()).map_or(0, |key| key.generation)
    }

    /// Nothing in the store is under the keys of a tenant that were replaced before the one of generation `newest` was.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn retire(&self, owner: TenantId, newest: u32) -> StoreResult<()> {
        self.change(&mut self.lock(), owner, |_, keys| {
            let is_over = |key: &&mut WrappedKey| key.state == State::Replaced && key.generation < newest;
            keys.keys.iter_mut().filter(is_over).for_each(|key| key.state = State::Retired);
            Ok(())
        })
    }

    /// How old the newest key of a tenant is: all processes have heard of one that is not quite new.
    #[must_use]
    pub fn newest_age(&self, owner: TenantId) -> Duration {
        let created = self.lock().owners.get(&owner.0).and_then(|keys| keys.keys.last()).map(|key| key.created);
        let age = SystemClock.now().0.saturating_sub(created.unwrap_or_default());
        Duration::from_micros(u64::try_from(age).unwrap_or_default())
    }

    /// Destroys the retired keys of a tenant that are older than the generation `below`: files outside of the store that are sealed under them
    /// do not open any more. Answers how many there were.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn drop_retired(&self, owner: TenantId, below: u32) -> StoreResult<usize> {
        let mut ring = self.lock();
        let dropped = self.change(&mut ring, owner, |_, keys| {
            let before = keys.keys.len();
            keys.keys.retain(|key| key.state != State::Retired || key.generation >= below);
            Ok(before - keys.keys.len())
        })?;
        if dropped > 0 {
            self.sync(&mut ring, owner.0);
        }
        Ok(dropped)
    }

    /// Destroys all keys of a tenant for good, on disk when this returns. The sealer has them until they are taken from it, too.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn destroy(&self, owner: TenantId) -> StoreResult<()> {
        let mut ring = self.lock();
        let now = SystemClock.now().0;
        self.change(&mut ring, owner, |_, keys| {
            if keys.destroyed.is_none() {
                *keys = OwnersKeys { destroyed: Some(now), ..OwnersKeys::none(owner) };
            }
            Ok(())
        })?;
        ring.live.remove(&owner.0);
        Ok(())
    }

    /// Takes over what other processes have made of the table.
    ///
    /// # Errors
    /// When it can't be read, or the new key of a tenant can't be unwrapped: nothing may be sealed under the one before, then. The first
    /// key of a tenant can wait.
    pub fn renew(&self) -> StoreResult<()> {
        self.renewed(&mut self.lock())
    }

    fn renewed(&self, ring: &mut Ring) -> StoreResult<()> {
        let Loaded { revision, owners } = self.table.load()?;
        let owners: BTreeMap<_, _> = owners.into_iter().map(|keys| (keys.owner, keys)).collect();
        let is_foreign = |key: &WrappedKey| key.master != ring.masters.current.id();
        if let Some(again) = self.masters_again.get()
            && owners.values().flat_map(|keys| &keys.keys).any(is_foreign)
        {
            match again() {
                Ok(masters) => ring.masters = masters,
                Err(error) => tracing::warn!(%error, "the master key can't be read anew"),
            }
        }
        let mut new = Vec::new();
        let mut without = BTreeSet::new();
        for (owner, unwrapped) in ring.unwrap_new(&owners) {
            match unwrapped {
                Ok(unwrapped) => new.push(unwrapped),
                Err(error) if ring.live.contains_key(&owner) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a key that another process made can't be used");
                    without.insert(owner);
                }
            }
        }
        for unwrapped in new.into_iter().filter(|(told, _)| !without.contains(&told.owner.0)) {
            ring.take(unwrapped);
        }
        ring.revision = revision;
        let all: BTreeSet<u32> = ring.owners.keys().chain(owners.keys()).copied().collect();
        ring.owners = owners;
        for owner in all {
            self.sync(ring, owner);
        }
        Ok(())
    }

    /// Lets the sealer have those keys of an owner that the table has, in its order.
    fn sync(&self, ring: &mut Ring, owner: u32) {
        let before = ring.live.remove(&owner).unwrap_or_default();
        let named = |key: &WrappedKey| before.iter().find(|live| hex(&live.id().0) == key.id).cloned();
        let keys: Vec<_> = ring.owners.get(&owner).into_iter().flat_map(|keys| &keys.keys).filter_map(named).collect();
        self.sealer.set(TenantId(owner), keys.clone());
        if !keys.is_empty() {
            ring.live.insert(owner, keys);
        }
    }

    /// Looks for a key that a sealed value names, and that is not here. A damaged value names one that is nowhere, so the table is not
    /// asked for each.
    fn look_for(&self, owner: TenantId, id: KeyId) {
        let mut ring = self.lock();
        let is_here = ring.live.get(&owner.0).is_some_and(|keys| keys.iter().any(|key| key.id() == id));
        if is_here || ring.looked.get(&owner.0).is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        match self.renewed(&mut ring) {
            Ok(()) => drop(ring.looked.insert(owner.0, Instant::now())),
            Err(error) => tracing::warn!(%error, "the keys can't be looked at"),
        }
    }

    /// Whether a tenant's keys were destroyed.
    #[must_use]
    pub fn is_destroyed(&self, owner: TenantId) -> bool {
        self.lock().owners.get(&owner.0).is_some_and(|keys| keys.destroyed.is_some())
    }

    /// Whether it is known what became of a tenant's keys: they are there, or were destroyed.
    #[must_use]
    pub fn knows(&self, owner: TenantId) -> bool {
        self.lock().owners.contains_key(&owner.0)
    }

    /// Wraps all data keys anew: by a new master key where Pharos makes it (a key file), else by the newest version that the provider
    /// has. Answers how many there are. What is sealed stays as it is.
    ///
    /// # Errors
    /// When the provider fails. What was wrapped anew until then stays so, and all stay good.
    pub fn rotate_master(&self) -> StoreResult<usize> {
        let mut ring = self.lock();
        self.renewed(&mut ring)?;
        if let Some(new) = ring.masters.current.renew()? {
            let old = std::mem::replace(&mut ring.masters.current, new);
            ring.masters.older.push(old);
        }
        let count = self.rewrap_all(&mut ring)?;
        ring.settle()?;
        Ok(count)
    }

    /// The store's own key comes first: of two processes that wrap by different master keys one goes on, and who makes a key meanwhile
    /// learns which ([`Ring::add_to`]).
    fn rewrap_all(&self, ring: &mut Ring) -> StoreResult<usize> {
        let mut done = BTreeSet::new();
        let mut count = 0;
        // Others may make keys meanwhile.
        while let Some(owner) = ring.owners.keys().rev().copied().find(|owner| !done.contains(owner)) {
            let (wrapped, told) = self.change(ring, TenantId(owner), Ring::rewrap)?;
            count += wrapped;
            ring.unwrapped.extend(told);
            done.insert(owner);
        }
        Ok(count)
    }

    /// What is told of a tenant's keys, the newest last.
    #[must_use]
    pub fn facts(&self, owner: TenantId) -> Vec<KeyFacts> {
        let ring = self.lock();
        let fact = |key: &WrappedKey| KeyFacts {
            generation: key.generation,
            state: key.state,
            id: key.id.clone(),
            created: Micros(key.created),
            master: key.master.clone(),
            version: key.version,
        };
        ring.owners.get(&owner.0).map(|keys| keys.keys.iter().map(fact).collect()).unwrap_or_default()
    }

    /// All keys as they are kept, wrapped.
    #[must_use]
    pub fn wrapped(&self) -> Vec<OwnersKeys> {
        self.lock().owners.values().cloned().collect()
    }

    /// The keys that were unwrapped since this was asked last.
    #[must_use]
    pub fn take_unwrapped(&self) -> Vec<Unwrapped> {
        std::mem::take(&mut self.lock().unwrapped)
    }

    /// The master key for the holder of a private key: see [`super::escrow`].
    ///
    /// # Errors
    /// When the public key can't be used, or the master key can't leave its provider.
    pub fn escrow(&self, public_key: &[u8]) -> StoreResult<Vec<u8>> {
        let ring = self.lock();
        let Some(secret) = ring.masters.current.secret() else {
            let id = ring.masters.current.id();
            return Err(StoreError::Closed(format!("{id} never leaves its provider: back it up there")));
        };
        super::escrow::seal(public_key, secret)
    }

    /// A key for something outside the store: the same for as long as the store lives. See [`DataKey::derive`].
    ///
    /// # Errors
    /// When the store has no key.
    pub fn derive(&self, purpose: &[u8]) -> StoreResult<[u8; KEY_LEN]> {
        let ring = self.lock();
        let first = ring.live.get(&STORE.0).and_then(|keys| keys.first());
        first.ok_or_else(|| StoreError::Closed("the store's own key is not there".into()))?.derive(purpose)
    }
}
