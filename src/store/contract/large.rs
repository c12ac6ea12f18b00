//! What a store must do with resources and records of many megabytes, which none may find too large.

use super::erase::{before, erase, whole};
use super::keeper::keep;
use super::{Breach, Clause, commit, put, stale};
use crate::auth::keeper::{Expect as KeptExpect, Keep};
use crate::store::{Backend, Change, Expect, Rid, View};
use crate::tenant::TenantId;

/// Every clause with its name. What a clause writes into its tenant it erases.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("large bodies come back, and go", large_bodies_come_back),
    ("large bodies are written with all of their commit or not at all", all_or_none),
];

/// A text of so many bytes that can't be made much smaller; another one for another number.
#[must_use]
pub fn noise(bytes: usize, number: u64) -> String {
    const LETTERS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes + 8);
    let mut state = number;
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let places = (state ^ (state >> 29)).to_be_bytes();
        text.extend(places.iter().filter_map(|place| LETTERS.get(usize::from(*place) % 64)));
    }
    text.truncate(bytes);
    String::from_utf8(text).unwrap_or_default()
}

/// The text of a version.
fn text(view: &dyn View, rid: Rid, version: u64) -> Result<Option<String>, Breach> {
    let Some(version) = view.version(rid, version)? else { return Ok(None) };
    let Some(body) = version.body else { return Ok(None) };
    let json = String::from_utf8_lossy(&body.unpack(version.version, version.time)?).into_owned();
    Ok(json.split_once(r#""text":""#).and_then(|(_, rest)| Some(rest.strip_suffix(r#""}"#)?.to_owned())))
}

fn large_bodies_come_back(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let texts: Vec<String> =
        (0..).zip([11, 26, 0, 45, 11]).map(|(n, megabytes)| noise((megabytes << 20) + 5, n)).collect();
    for text in &texts {
        commit(store, tenant, vec![put("Basic", "a", text, &["k\0x"]), put("Basic", "b", "small", &["k\0x"])])?;
    }
    let view = store.view(tenant)?;
    let rid = view.find("Basic", "a")?.ok_or_else(|| Breach("no such id".into()))?;
    for (version, own) in (1..).zip(&texts) {
        hold!(format!("version {version}"), text(&*view, rid, version)?.as_ref() == Some(own), true);
    }
    let found = view.rids("Basic", b"k\0x", Rid(0)).collect::<Result<Vec<_>, _>>()?;
    let read = view.currents(&found)?;
    hold!("both are read together", read.iter().flatten().filter(|version| version.body.is_some()).count(), 2);
    let told = view.resources(Rid(0)).collect::<Result<Vec<_>, _>>()?;
    hold!("all are told", told.iter().map(|told| told.version).collect::<Vec<_>>(), [5, 5]);
    drop(view);
    erase(store, tenant, vec![before("Basic", "a", 4)])?;
    let view = store.view(tenant)?;
    hold!("what was erased", text(&*view, rid, 2)?, None);
    hold!("what is left", text(&*view, rid, 4)?.as_ref() == texts.get(3), true);
    commit(store, tenant, vec![super::delete("Basic", "a")])?;
    let view = store.view(tenant)?;
    hold!("the past of what was deleted", text(&*view, rid, 5)?.as_ref() == texts.get(4), true);
    erase(store, tenant, vec![whole("Basic", "a", 6), whole("Basic", "b", 5)])?;
    hold!("nothing is left", store.view(tenant)?.resources(Rid(0)).count(), 0);
    Ok(())
}

fn all_or_none(store: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let (first, second) = (noise(11 << 20, 7), noise(20 << 20, 8));
    let record = |text: Option<&str>| {
        let bytes = text.map(|text| text.as_bytes().into());
        Keep { kind: "large", id: "r".into(), expect: KeptExpect::Any, bytes, expires: None }
    };
    commit(store, tenant, vec![put("Basic", "a", &first, &[])])?;
    keep(store, tenant, vec![record(Some(&first))])?;
    let refused = vec![
        put("Basic", "a", &second, &[]),
        put("Basic", "c", &second, &[]),
        Change { expect: Expect::Version(4), ..put("Basic", "b", "", &[]) },
    ];
    hold!("it is refused", stale(&commit(store, tenant, refused)), Some((2, None)));
    let view = store.view(tenant)?;
    let rid = view.find("Basic", "a")?.ok_or_else(|| Breach("no such id".into()))?;
    hold!("it is as it was", text(&*view, rid, 1)?.as_ref() == Some(&first), true);
    hold!("nothing was written", (view.version(rid, 2)?.is_some(), view.find("Basic", "c")?), (false, None));
    for text in [&second, "small", &first] {
        keep(store, tenant, vec![record(Some(text))])?;
        let kept = store.get(tenant, "large", "r").map_err(|error| Breach(error.to_string()))?;
        hold!("a record", kept.is_some_and(|kept| kept.bytes == text.as_bytes()), true);
    }
    keep(store, tenant, vec![record(None)])?;
    erase(store, tenant, vec![whole("Basic", "a", 1)])?;
    Ok(())
}
