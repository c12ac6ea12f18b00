//! Re-sealing, destroying, and taking over a store that has one key for all tenants.

use super::{Embedded, Options, check};
use crate::clock::{Clock, FixedClock, Micros};
use crate::store::contract::keeper::{keep, put as put_kept};
use crate::store::contract::{commit, put, wait};
use crate::store::keys::{About, Folder, KeyTable, LocalKey, Master, OwnersKeys, State, WrappedKey, hex};
use crate::store::ledger::{Entry, Ledger};
use crate::store::schema::{OPENS, OWN_KEYS};
use crate::store::seal::{DataKey, Place, Purpose, STORE, Sealer};
use crate::store::{Backend, Commit, Rid, StoreError, StoreResult};
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use zeroize::Zeroizing;

const TENANT: TenantId = TenantId(7);
const OTHER: TenantId = TenantId(8);

fn options(folder: &TempDir) -> Options {
    Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) }
}

fn open(options: &Options) -> StoreResult<Embedded> {
    Embedded::open(options.clone(), FixedClock::at(Micros(0)) as Arc<dyn Clock>)
}

/// Two versions of one resource, one version of others, a deletion, records with and without expiry.
fn fill(store: &Embedded, tenant: TenantId) {
    for text in ["first", "second"] {
        commit(store, tenant, vec![put("Basic", "changed", text, &["k\0a-name"])]).unwrap();
    }
    for n in 0..20 {
        commit(store, tenant, vec![put("Basic", &format!("b{n}"), "body", &["k\0a-name"])]).unwrap();
    }
    let kept = crate::auth::keeper::Keep { expires: Some(Micros(i64::MAX)), ..put_kept("jti", "later", "x") };
    keep(store, tenant, vec![put_kept("client", "app", "x"), kept]).unwrap();
}

/// What can be read of it.
fn bodies(store: &Embedded, tenant: TenantId) -> StoreResult<Vec<Vec<u8>>> {
    let view = store.view(tenant)?;
    let mut found = Vec::new();
    for outline in view.resources(Rid(0)) {
        let outline = outline?;
        for version in 1..=outline.version {
            let version = view.version(outline.rid, version)?.ok_or_else(|| StoreError::Damaged("a test".into()))?;
            found.push(version.body.ok_or_else(|| StoreError::Damaged("a test".into()))?.packed.to_vec());
            view.version_keys(outline.rid, version.version)?.ok_or_else(|| StoreError::Damaged("a test".into()))?;
        }
    }
    Ok(found)
}

/// Goes through the store as the job does; gives how many rows were sealed anew.
fn reseal(store: &Embedded, tenant: TenantId, most: usize) -> usize {
    let (mut after, mut count): (Box<[u8]>, _) = (Box::default(), 0);
    loop {
        let found = store.old_rows(tenant, &after, most).unwrap();
        count += found.rows.len();
        wait(store.commit(Commit { reseals: found.rows, ..Commit::of(tenant) })).unwrap();
        match found.next {
            Some(next) => after = next,
            None => return count,
        }
    }
}

#[test]
fn all_that_a_tenant_has_is_sealed_under_its_newest_key() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    let store = open(&options).unwrap();
    for tenant in [TENANT, OTHER] {
        fill(&store, tenant);
    }
    let before = bodies(&store, TENANT).unwrap();
    let ring = store.keyring().unwrap();
    ring.rotate(TENANT).unwrap();
    commit(&store, TENANT, vec![put("Basic", "new", "body", &[])]).unwrap();
    // 21 records with their key lists, 1 old version, 2 records that are no resources.
    assert_eq!(reseal(&store, TENANT, 7), 21 * 2 + 1 + 2);
    assert_eq!(reseal(&store, TENANT, 7), 0);
    assert_eq!(reseal(&store, OTHER, 7), 0, "it has its own key");
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
    assert_eq!(bodies(&store, TENANT).unwrap()[..before.len()], before);
    store.close().unwrap();
    drop(store);
    let report = check(&options).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.resources, report.kept), (43, 4));
}

#[test]
fn a_row_that_is_written_beside_its_sealing_is_not_undone() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    let store = open(&options).unwrap();
    fill(&store, TENANT);
    store.keyring().unwrap().rotate(TENANT).unwrap();
    let found = store.old_rows(TENANT, &[], usize::MAX).unwrap();
    // In one group, and after it: what was named is not as it was when it was named.
    let resealing = store.commit(Commit { reseals: found.rows.clone(), ..Commit::of(TENANT) });
    let writing = store.commit(Commit {
        changes: vec![put("Basic", "changed", "third", &["k\0b"]), put("Basic", "b1", "third", &["k\0b"])],
        keeps: vec![put_kept("client", "app", "y")],
        ..Commit::of(TENANT)
    });
    wait(resealing).unwrap();
    wait(writing).unwrap();
    wait(store.commit(Commit { reseals: found.rows, ..Commit::of(TENANT) })).unwrap();
    reseal(&store, TENANT, 100);
    let ring = store.keyring().unwrap();
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    ring.drop_retired(TENANT, u32::MAX).unwrap();
    let view = store.view(TENANT).unwrap();
    let rid = view.find("Basic", "changed").unwrap().unwrap();
    assert_eq!(view.current(rid).unwrap().unwrap().version, 3);
    drop(view);
    bodies(&store, TENANT).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
}

/// Whether a file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            path.is_file() && memchr::memmem::find(&std::fs::read(&path).unwrap(), bytes).is_some()
        }
    })
}

#[test]
fn nothing_of_a_destroyed_tenant_opens_and_nothing_of_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    let store = open(&options).unwrap();
    commit(&store, TENANT, vec![put("Patient", "id-that-goes", "text", &["name\0key-that-goes"])]).unwrap();
    fill(&store, TENANT);
    fill(&store, OTHER);
    let entry = |text: &[u8]| Entry { time: Micros(0), bytes: text.into() };
    wait(store.record(TENANT, entry(b"what happened"))).unwrap();
    wait(store.settled()).unwrap();
    let file = store.seal_file(TENANT, "archive", b"old versions").unwrap();
    store.compact().unwrap();
    // A copy from before, as a backup would be that holds no wrapped keys.
    let key = std::fs::read_to_string(options.folder.join("keys/7.json")).unwrap();
    let wrapped: OwnersKeys = serde_json::from_str(&key).unwrap();
    assert!(holds(&options.folder, b"key-that-goes") && holds(&options.folder, wrapped.keys[0].wrapped.as_bytes()));
    let open_view = store.view(TENANT).unwrap();
    let rid = open_view.find("Basic", "changed").unwrap().unwrap();

    wait(store.destroy(TENANT)).unwrap();
    wait(store.destroy(TENANT)).unwrap();
    assert!(open_view.current(rid).is_err(), "an old snapshot does not open it either");
    drop(open_view);
    assert!(store.open_file(TENANT, "archive", &file).is_err() && store.seal_file(TENANT, "a", b"").is_err());
    let refused = commit(&store, TENANT, vec![put("Basic", "again", "", &[])]).unwrap_err().to_string();
    assert!(refused.contains("were destroyed"), "{refused}");
    let view = store.view(TENANT).unwrap();
    assert!(view.find("Basic", "b1").unwrap().is_none() && view.resources(Rid(0)).next().is_none());
    assert!(view.types().unwrap().is_empty());
    drop(view);
    // The proof stays, and goes on.
    wait(store.record(TENANT, entry(b"that it was deleted"))).unwrap();
    wait(store.settled()).unwrap();
    let blocks = store.blocks(TENANT, 0, true).unwrap();
    let entries: Vec<_> = blocks.flat_map(|block| block.unwrap().entries.unwrap()).collect();
    assert_eq!(
        entries.iter().map(|entry| &*entry.bytes).collect::<Vec<_>>(),
        [&b"what happened"[..], b"that it was deleted"]
    );
    assert_eq!(bodies(&store, OTHER).unwrap().len(), 22);
    store.close().unwrap();
    drop(store);

    let store = open(&options).unwrap();
    store.compact().unwrap();
    assert!(commit(&store, TENANT, vec![put("Basic", "again", "", &[])]).is_err());
    store.close().unwrap();
    drop(store);
    for gone in [&b"key-that-goes"[..], b"id-that-goes", wrapped.keys[0].wrapped.as_bytes()] {
        assert!(!holds(&options.folder, gone), "{}", String::from_utf8_lossy(gone));
    }
    let report = check(&options).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.ledger, 2);
}

/// Writes the format file of a store whose own key this is.
fn write_format(options: &Options, schema: u32, secret: &[u8; 32]) {
    let mut format = format!("pharos store schema {schema}\n").into_bytes();
    let place = Place { purpose: Purpose::Check, tenant: STORE, rid: Rid(0), version: 0 };
    Sealer::new(secret).unwrap().seal(place, Micros(0), b"pharos", &mut format).unwrap();
    std::fs::write(options.folder.join("format"), format).unwrap();
}

/// Has the key file's key be that of all, as it was.
fn share_one_key(options: &Options, owners: &[TenantId]) -> [u8; 32] {
    let secret: [u8; 32] = std::fs::read(&options.key_file).unwrap().try_into().unwrap();
    let key = DataKey::new(&secret).unwrap();
    let local = LocalKey::new(Zeroizing::new(secret), None).unwrap();
    for owner in owners {
        let mut keys = OwnersKeys::none(*owner);
        let about = About { owner: *owner, generation: 1 };
        keys.keys.push(WrappedKey {
            generation: 1,
            state: State::Newest,
            id: hex(&key.id().0),
            check: hex(&key.check_value().unwrap()),
            created: 0,
            master: local.id(),
            version: 1,
            wrapped: STANDARD.encode(local.wrap(about, &Zeroizing::new(secret)).unwrap().bytes),
        });
        Folder::new(options.folder.join("keys")).replace(0, &keys).unwrap();
    }
    secret
}

#[test]
fn a_store_with_one_key_for_all_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    open(&options).unwrap().close().unwrap();
    let secret = share_one_key(&options, &[STORE, TENANT]);
    write_format(&options, OWN_KEYS, &secret);
    let store = open(&options).unwrap();
    fill(&store, TENANT);
    wait(store.record(OTHER, Entry { time: Micros(0), bytes: b"refused".as_slice().into() })).unwrap();
    wait(store.settled()).unwrap();
    let (before, derived) = (bodies(&store, TENANT).unwrap(), store.derive_key(b"links").unwrap());
    store.close().unwrap();
    drop(store);
    write_format(&options, OPENS, &secret);
    std::fs::remove_dir_all(options.folder.join("keys")).unwrap();

    // With another key file it is refused, and nothing is changed.
    std::fs::write(&options.key_file, [1; 32]).unwrap();
    assert!(open(&options).err().unwrap().to_string().contains("key file"));
    assert!(!options.folder.join("keys").exists());
    std::fs::write(&options.key_file, secret).unwrap();

    let store = open(&options).unwrap();
    assert_eq!(bodies(&store, TENANT).unwrap(), before);
    assert_eq!(store.derive_key(b"links").unwrap(), derived);
    let ring = store.keyring().unwrap();
    let states = |owner| ring.facts(owner).into_iter().map(|fact| fact.state).collect::<Vec<_>>();
    assert_eq!((states(TENANT), states(STORE)), (vec![State::Replaced, State::Newest], vec![State::Newest]));
    assert_eq!(states(OTHER), [], "it has only what is in its ledger");
    assert!(reseal(&store, TENANT, 100) > 40);
    ring.retire(TENANT, ring.newest(TENANT)).unwrap();
    assert_eq!(ring.drop_retired(TENANT, u32::MAX).unwrap(), 1);
    assert_eq!(bodies(&store, TENANT).unwrap(), before);
    store.close().unwrap();
    drop(store);
    assert_eq!(check(&options).unwrap().problems, Vec::<String>::new());
}

#[test]
fn wrapped_keys_that_are_missing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    let store = open(&options).unwrap();
    fill(&store, TENANT);
    store.close().unwrap();
    drop(store);
    let (keys, aside) = (options.folder.join("keys"), folder.path().join("aside"));
    for (name, said) in [("7.json", "keys of tenant 7 are missing"), ("store.json", "keys of the store are missing")] {
        std::fs::rename(keys.join(name), &aside).unwrap();
        let told = open(&options).err().unwrap().to_string();
        assert!(told.contains(said), "{told}");
        std::fs::rename(&aside, keys.join(name)).unwrap();
    }
    open(&options).unwrap().close().unwrap();
}
