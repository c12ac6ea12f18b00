//! The keyring over a folder, with providers that fail on command.

use super::*;
use crate::clock::Micros;
use crate::store::Rid;
use crate::store::seal::{Place, Purpose, STORE, Sealer};
use std::path::PathBuf;
use std::sync::Mutex;
use tempfile::TempDir;

const TENANT: TenantId = TenantId(7);

/// What a provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Down,
    /// It answers with another key than it was given.
    Wrong,
    /// It answers with what is no key.
    Short,
}

/// A provider across a network, which does what it is told.
struct Moody {
    key: LocalKey,
    mood: Mutex<Mood>,
}

impl Moody {
    fn new() -> Arc<Self> {
        let key = LocalKey::new(Zeroizing::new([3; 32]), None).unwrap();
        Arc::new(Self { key, mood: Mutex::new(Mood::Well) })
    }

    fn feel(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Result<Mood, MasterError> {
        match *self.mood.lock().unwrap() {
            Mood::Down => Err(MasterError::Unreachable("connection refused".into())),
            mood => Ok(mood),
        }
    }
}

impl Master for Moody {
    fn id(&self) -> String {
        "moody:1".into()
    }

    fn wrap(&self, about: About, key: &Secret) -> Result<Wrapped, MasterError> {
        self.mood()?;
        self.key.wrap(about, key)
    }

    fn unwrap(&self, about: About, wrapped: &Wrapped) -> Result<Secret, MasterError> {
        match self.mood()? {
            Mood::Wrong => Ok(Zeroizing::new([9; 32])),
            Mood::Short => Err(MasterError::Damaged("what it answered is not a key of 32 bytes".into())),
            _ => self.key.unwrap(about, wrapped),
        }
    }

    fn is_remote(&self) -> bool {
        true
    }
}

fn with(current: Arc<dyn Master>, older: Vec<Arc<dyn Master>>, folder: &TempDir) -> StoreResult<Keyring> {
    Keyring::open(Masters { current, older }, Box::new(Folder::new(folder.path().join("keys"))))
}

fn local(byte: u8) -> Arc<dyn Master> {
    Arc::new(LocalKey::new(Zeroizing::new([byte; 32]), None).unwrap())
}

fn place(tenant: TenantId) -> Place {
    Place { purpose: Purpose::Body, tenant, rid: Rid(1), version: 1 }
}

fn seal(sealer: &Sealer, tenant: TenantId) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(place(tenant), Micros(0), b"secret", &mut out).unwrap();
    out
}

fn states(ring: &Keyring) -> Vec<State> {
    ring.facts(TENANT).into_iter().map(|fact| fact.state).collect()
}

fn refusal(opened: StoreResult<Keyring>) -> String {
    opened.err().unwrap().to_string()
}

#[test]
fn each_tenant_has_its_own_key_and_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    for owner in [STORE, TENANT, TenantId(8)] {
        ring.ensure(owner).unwrap();
        ring.ensure(owner).unwrap();
        assert_eq!(ring.facts(owner).len(), 1);
    }
    assert_ne!(ring.facts(TENANT)[0].id, ring.facts(TenantId(8))[0].id);
    assert_eq!(ring.take_unwrapped(), [], "what was made was not unwrapped");
    let value = seal(&ring.sealer(), TENANT);
    let derived = ring.derive(b"something").unwrap();
    drop(ring);
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    assert_eq!(&*ring.sealer().open(place(TENANT), b"", &value).unwrap(), b"secret");
    assert_eq!(ring.derive(b"something").unwrap(), derived);
    let told = ring.take_unwrapped();
    assert_eq!(told.iter().map(|told| told.owner).collect::<Vec<_>>(), [TENANT, TenantId(8), STORE]);
    assert!(told.iter().all(|told| told.master.starts_with("local:")) && ring.take_unwrapped().is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let about = std::fs::metadata(folder.path().join("keys/7.json")).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn keys_are_replaced_retired_and_dropped_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    ring.ensure(TENANT).unwrap();
    let old = seal(&ring.sealer(), TENANT);
    ring.rotate(TENANT).unwrap();
    let new = seal(&ring.sealer(), TENANT);
    assert!(ring.sealer().is_old(TENANT, &old) && !ring.sealer().is_old(TENANT, &new));
    assert_eq!(states(&ring), [State::Replaced, State::Newest]);
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 0, "values may be under it");
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(states(&ring), [State::Retired, State::Newest]);
    drop(ring);
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    assert!(ring.sealer().open(place(TENANT), b"", &old).is_ok(), "files may be under it");
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
    for ring in [ring, with(local(1), Vec::new(), &folder).unwrap()] {
        assert_eq!(states(&ring), [State::Newest]);
        let sealer = ring.sealer();
        assert!(sealer.open(place(TENANT), b"", &old).is_err() && sealer.open(place(TENANT), b"", &new).is_ok());
    }
}

#[test]
fn destroyed_keys_stay_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    ring.ensure(TENANT).unwrap();
    let value = seal(&ring.sealer(), TENANT);
    let wrapped = std::fs::read_to_string(folder.path().join("keys/7.json")).unwrap();
    ring.destroy(TENANT).unwrap();
    drop(ring);
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    assert!(ring.is_destroyed(TENANT) && ring.sealer().open(place(TENANT), b"", &value).is_err());
    assert!(ring.ensure(TENANT).is_err() && ring.rotate(TENANT).is_err());
    let wrapped: OwnersKeys = serde_json::from_str(&wrapped).unwrap();
    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("keys")).unwrap().map(|file| file.unwrap().path()).collect();
    let holds = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(&wrapped.keys[0].wrapped);
    assert!(!files.is_empty() && !files.iter().any(holds));
}

#[test]
fn a_key_file_is_replaced_and_what_is_sealed_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let masters = || Masters::of(&Keys::default(), &path, true).unwrap();
    let open = || Keyring::open(masters(), Box::new(Folder::new(folder.path().join("keys")))).unwrap();
    let ring = open();
    ring.ensure(TENANT).unwrap();
    ring.ensure(STORE).unwrap();
    let value = seal(&ring.sealer(), TENANT);
    let first = std::fs::read(&path).unwrap();
    assert_eq!(ring.rotate_master().unwrap(), 2);
    assert_ne!(std::fs::read(&path).unwrap(), first);
    assert!(ring.sealer().open(place(TENANT), b"", &value).is_ok());
    assert_eq!(ring.take_unwrapped().len(), 2);
    let ring = open();
    assert!(ring.sealer().open(place(TENANT), b"", &value).is_ok());
    // The file before is good for nothing.
    let second = std::fs::read(&path).unwrap();
    std::fs::write(&path, first).unwrap();
    let told = refusal(Keyring::open(masters(), Box::new(Folder::new(folder.path().join("keys")))));
    assert!(told.contains("restore the right key file"), "{told}");

    // A rotation that ended in the middle is brought to its end.
    std::fs::write(&path, &second).unwrap();
    std::fs::write(folder.path().join("master.key.new"), [5; 32]).unwrap();
    assert!(open().sealer().open(place(TENANT), b"", &value).is_ok());
    assert_eq!(std::fs::read(&path).unwrap(), [5; 32]);
    assert!(!folder.path().join("master.key.new").exists());
    assert!(open().sealer().open(place(TENANT), b"", &value).is_ok());

    // One that ended before its key was written harms nothing.
    std::fs::write(folder.path().join("master.key.new"), b"half").unwrap();
    let ring = open();
    assert_eq!(std::fs::read(&path).unwrap(), [5; 32]);
    assert_eq!(ring.rotate_master().unwrap(), 2);
    assert_ne!(std::fs::read(&path).unwrap(), [5; 32]);
    assert!(open().sealer().open(place(TENANT), b"", &value).is_ok());
}

#[test]
fn another_provider_takes_over_from_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    ring.ensure(TENANT).unwrap();
    let value = seal(&ring.sealer(), TENANT);
    let told = refusal(with(local(2), Vec::new(), &folder));
    assert!(told.contains("key 1 of tenant 7 was wrapped by local:") && told.contains("keys.previous"), "{told}");
    for older in [vec![local(1)], Vec::new()] {
        let ring = with(local(2), older, &folder).unwrap();
        assert!(ring.sealer().open(place(TENANT), b"", &value).is_ok());
        assert_eq!(ring.facts(TENANT)[0].master, local(2).id());
    }
}

#[test]
fn a_provider_that_is_down_or_mistaken_at_the_start_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Moody::new();
    let open = || with(Arc::clone(&provider) as Arc<dyn Master>, Vec::new(), &folder);
    let ring = open().unwrap();
    for tenant in 0..40 {
        ring.ensure(TenantId(tenant)).unwrap();
    }
    for (mood, said) in [
        (Mood::Down, "can't be reached: connection refused"),
        (Mood::Wrong, "moody:1 answered with another key than key 1 of tenant"),
        (Mood::Short, "not a key of 32 bytes"),
    ] {
        provider.feel(mood);
        let told = refusal(open());
        assert!(told.contains(said), "{told}");
    }
    provider.feel(Mood::Well);
    let ring = open().unwrap();
    assert_eq!(ring.take_unwrapped().len(), 40);

    // Down later: what is unwrapped goes on, and what needs a new key waits.
    provider.feel(Mood::Down);
    let value = seal(&ring.sealer(), TENANT);
    assert!(ring.sealer().open(place(TENANT), b"", &value).is_ok() && ring.ensure(TENANT).is_ok());
    let told = ring.ensure(TenantId(99)).unwrap_err().to_string();
    assert!(told.contains("connection refused"), "{told}");
    assert!(ring.rotate(TENANT).is_err() && ring.rotate_master().is_err());
    assert_eq!(states(&ring), [State::Newest]);
    // One that wraps something else is found out before anything is sealed under the key.
    provider.feel(Mood::Wrong);
    assert!(ring.rotate(TENANT).is_err() && ring.rotate_master().is_err());
    assert_eq!(states(&ring), [State::Newest]);
    provider.feel(Mood::Well);
    ring.ensure(TenantId(99)).unwrap();
    ring.rotate(TENANT).unwrap();
    assert!(ring.sealer().open(place(TENANT), b"", &value).is_ok());
}

#[test]
fn damaged_and_swapped_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let ring = with(local(1), Vec::new(), &folder).unwrap();
    ring.ensure(TENANT).unwrap();
    ring.ensure(TenantId(8)).unwrap();
    let path = |name: &str| folder.path().join("keys").join(name);
    let (seven, eight) = (std::fs::read(path("7.json")).unwrap(), std::fs::read(path("8.json")).unwrap());
    for length in [0, 10, seven.len() - 3] {
        std::fs::write(path("7.json"), &seven[..length]).unwrap();
        let told = refusal(with(local(1), Vec::new(), &folder));
        assert!(told.contains("7.json are damaged"), "{told}");
    }
    // One tenant's keys under another's name, and in another's place.
    std::fs::write(path("7.json"), &eight).unwrap();
    assert!(refusal(with(local(1), Vec::new(), &folder)).contains("7.json are damaged"));
    let mut swapped: OwnersKeys = serde_json::from_slice(&eight).unwrap();
    swapped.owner = 7;
    std::fs::write(path("7.json"), serde_json::to_vec(&swapped).unwrap()).unwrap();
    let told = refusal(with(local(1), Vec::new(), &folder));
    assert!(told.contains("does not open"), "{told}");
}

#[test]
fn a_master_key_of_the_environment_is_thirty_two_bytes_in_base64() {
    // `PATH` is always set, and holds no key.
    for (name, said) in [("PHAROS_NO_SUCH_VARIABLE", "is not set"), ("PATH", "does not hold 32 bytes in base64")] {
        let error = LocalKey::from_variable(name).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}
