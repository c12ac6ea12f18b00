//! The data keys of all tenants: made, unwrapped, rotated, destroyed. What it has unwrapped, the [`Sealer`] holds.

use super::hex;
use super::local::random;
use super::{About, KeyTable, Master, MasterError, Masters, OwnersKeys, Secret, State, Wrapped, WrappedKey};
use crate::clock::{Clock, Micros, SystemClock};
use crate::store::seal::{DataKey, KEY_LEN, STORE, Sealer};
use crate::store::{StoreError, StoreResult};
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that ask a provider over the network at the same time.
const ASKING: usize = 8;

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

struct Ring {
    masters: Masters,
    owners: BTreeMap<u32, OwnersKeys>,
    /// Those that are in the sealer.
    live: BTreeMap<u32, Vec<Arc<DataKey>>>,
    unwrapped: Vec<Unwrapped>,
}

/// All data keys of a store.
pub struct Keyring {
    sealer: Arc<Sealer>,
    table: Box<dyn KeyTable>,
    ring: Mutex<Ring>,
}

impl Keyring {
    /// Unwraps all keys of a table. What an older master key wrapped is wrapped anew.
    ///
    /// # Errors
    /// When a key can't be unwrapped, or is not the one that it was: with whose it is, and by which master key.
    pub fn open(masters: Masters, table: Box<dyn KeyTable>) -> StoreResult<Self> {
        let owners: BTreeMap<_, _> = table.load()?.into_iter().map(|keys| (keys.owner, keys)).collect();
        let ring = Ring { masters, owners, live: BTreeMap::new(), unwrapped: Vec::new() };
        let this = Self { sealer: Arc::default(), table, ring: Mutex::new(ring) };
        {
            let mut ring = this.lock();
            ring.unwrap_all()?;
            let is_foreign = |key: &WrappedKey, ring: &Ring| key.master != ring.masters.current.id();
            if ring.owners.values().flat_map(|keys| &keys.keys).any(|key| is_foreign(key, &ring)) {
                this.rewrap_all(&mut ring)?;
            }
            ring.settle()?;
            for (owner, keys) in &ring.live {
                this.sealer.set(TenantId(*owner), keys.clone());
            }
        }
        Ok(this)
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
        if self.sealer.has(owner) { Ok(()) } else { self.add(&mut ring, owner, &random()?) }
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
            self.add(&mut ring, owner, common)?;
            if owner != STORE {
                self.add(&mut ring, owner, &random()?)?;
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
        self.add(&mut ring, owner, &random()?)
    }

    fn add(&self, ring: &mut Ring, owner: TenantId, secret: &Secret) -> StoreResult<()> {
        let mut keys = ring.owners.get(&owner.0).cloned().unwrap_or(OwnersKeys::none(owner));
        if keys.destroyed.is_some() {
            return Err(destroyed(owner));
        }
        let key = Arc::new(DataKey::new(secret)?);
        let id = hex(&key.id().0);
        if keys.keys.iter().any(|other| other.id == id) {
            return Err(StoreError::Closed("a new key has the id of another one: try again".into()));
        }
        for other in keys.keys.iter_mut().filter(|other| other.state == State::Newest) {
            other.state = State::Replaced;
        }
        let generation = keys.keys.last().map_or(1, |last| last.generation + 1);
        let wrapped = ring.wrap(About { owner, generation }, secret)?;
        keys.keys.push(WrappedKey {
            generation,
            state: State::Newest,
            id,
            check: hex(&key.check_value()?),
            created: SystemClock.now().0,
            master: ring.masters.current.id(),
            version: wrapped.version,
            wrapped: STANDARD.encode(&wrapped.bytes),
        });
        self.table.save(&keys)?;
        let live = ring.live.entry(owner.0).or_default();
        live.push(key);
        self.sealer.set(owner, live.clone());
        ring.owners.insert(owner.0, keys);
        Ok(())
    }

    /// Nothing in the store is under the replaced keys of a tenant any more.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn retire(&self, owner: TenantId) -> StoreResult<()> {
        let mut ring = self.lock();
        let Some(mut keys) = ring.owners.get(&owner.0).cloned() else { return Ok(()) };
        for key in keys.keys.iter_mut().filter(|key| key.state == State::Replaced) {
            key.state = State::Retired;
        }
        self.table.save(&keys)?;
        ring.owners.insert(owner.0, keys);
        Ok(())
    }

    /// Destroys the retired keys of a tenant: files outside of the store that were sealed under them do not open any more. Answers how
    /// many there were.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn drop_retired(&self, owner: TenantId) -> StoreResult<usize> {
        let mut ring = self.lock();
        let Some(mut keys) = ring.owners.get(&owner.0).cloned() else { return Ok(0) };
        let before = keys.keys.len();
        keys.keys.retain(|key| key.state != State::Retired);
        self.table.save(&keys)?;
        let is_kept = |key: &Arc<DataKey>| keys.keys.iter().any(|kept| kept.id == hex(&key.id().0));
        let live = ring.live.entry(owner.0).or_default();
        live.retain(is_kept);
        self.sealer.set(owner, live.clone());
        let dropped = before - keys.keys.len();
        ring.owners.insert(owner.0, keys);
        Ok(dropped)
    }

    /// Destroys all keys of a tenant for good, on disk when this returns. The sealer has them until they are taken from it, too.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn destroy(&self, owner: TenantId) -> StoreResult<()> {
        let mut ring = self.lock();
        if ring.owners.get(&owner.0).is_some_and(|keys| keys.destroyed.is_some()) {
            return Ok(());
        }
        let destroyed = OwnersKeys { destroyed: Some(SystemClock.now().0), ..OwnersKeys::none(owner) };
        self.table.save(&destroyed)?;
        ring.owners.insert(owner.0, destroyed);
        ring.live.remove(&owner.0);
        Ok(())
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
        if let Some(new) = ring.masters.current.renew()? {
            let old = std::mem::replace(&mut ring.masters.current, new);
            ring.masters.older.push(old);
        }
        let count = self.rewrap_all(&mut ring)?;
        ring.settle()?;
        Ok(count)
    }

    fn rewrap_all(&self, ring: &mut Ring) -> StoreResult<usize> {
        let mut count = 0;
        for mut keys in ring.owners.values().cloned().collect::<Vec<_>>() {
            for n in 0..keys.keys.len() {
                let Some(key) = keys.keys.get(n) else { continue };
                let about = keys.about(key);
                let (secret, _) = ring.unwrap_one(&keys, key)?;
                ring.unwrapped.push(told(&keys, key));
                let wrapped = ring.wrap(about, &secret)?;
                if let Some(key) = keys.keys.get_mut(n) {
                    key.rewrap(ring.masters.current.id(), &wrapped);
                }
                count += 1;
            }
            self.table.save(&keys)?;
            ring.owners.insert(keys.owner, keys);
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

impl Ring {
    /// Unwraps what is not live yet, several at a time where a network is between.
    fn unwrap_all(&mut self) -> StoreResult<()> {
        let all: Vec<_> = self.owners.values().flat_map(|keys| keys.keys.iter().map(move |key| (keys, key))).collect();
        let threads = if self.masters.all().any(|master| master.is_remote()) { ASKING } else { 1 };
        let share = all.len().div_ceil(threads).max(1);
        let ring = &*self;
        let unwrap = |share: &[(&OwnersKeys, &WrappedKey)]| {
            let one = |(keys, key): &(&OwnersKeys, &WrappedKey)| {
                Ok((told(keys, key), Arc::new(ring.unwrap_one(keys, key)?.1)))
            };
            share.iter().map(one).collect::<StoreResult<Vec<_>>>()
        };
        let shares = std::thread::scope(|scope| {
            let asking: Vec<_> = all.chunks(share).map(|share| scope.spawn(move || unwrap(share))).collect();
            let ended = |_| Err(StoreError::Closed("unwrapping keys ended abnormally".into()));
            asking.into_iter().map(|asked| asked.join().unwrap_or_else(ended)).collect::<Vec<_>>()
        });
        for share in shares {
            for (told, key) in share? {
                self.live.entry(told.owner.0).or_default().push(key);
                self.unwrapped.push(told);
            }
        }
        Ok(())
    }

    /// All is wrapped by the master key in use: the others go.
    fn settle(&mut self) -> StoreResult<()> {
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

fn destroyed(owner: TenantId) -> StoreError {
    StoreError::Closed(format!("the keys of tenant {} were destroyed", owner.0))
}
