//! What every [`Keeper`] must do.

use super::{Breach, wait};
use crate::auth::keeper::{Entry, Expect, Keep, Keeper, KeeperError};
use crate::clock::Micros;
use crate::store::Backend;
use crate::tenant::TenantId;

/// One clause: passes, or says how it is broken.
pub type Clause = fn(&dyn Keeper, TenantId) -> Result<(), Breach>;

/// Every clause with its name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("records come back", records_come_back),
    ("expectations are kept", expectations_are_kept),
    ("all changes happen or none", all_or_none),
    ("a list is of one moment", a_list_is_of_one_moment),
    ("what is used once is used by one", used_by_one),
    ("what has expired is absent", expired_is_absent),
    ("lists are in order, by prefix and page", lists_are_in_order),
    ("tenants share nothing", tenants_share_nothing),
    ("the epoch tells changes", the_epoch_tells),
    ("malformed changes are refused", malformed_is_refused),
];

/// Times that have passed and that have not, whatever the clock says.
const PAST: Option<Micros> = Some(Micros(1));
const FUTURE: Option<Micros> = Some(Micros(i64::MAX / 2));

/// Changes records and waits.
///
/// # Errors
/// As [`Keeper::keep`].
pub fn keep(keeper: &dyn Keeper, tenant: TenantId, changes: Vec<Keep>) -> Result<(), KeeperError> {
    wait(keeper.keep(tenant, changes))
}

/// A change that writes a record for good.
#[must_use]
pub fn put(kind: &'static str, id: &str, text: &str) -> Keep {
    Keep { kind, id: id.into(), expect: Expect::Any, bytes: Some(text.into()), expires: None }
}

/// A change that removes a record.
#[must_use]
pub fn remove(kind: &'static str, id: &str) -> Keep {
    Keep { bytes: None, ..put(kind, id, "") }
}

fn expecting(expect: Expect, change: Keep) -> Keep {
    Keep { expect, ..change }
}

/// Runs every clause, each in a tenant of its own from `first_tenant` on.
///
/// # Errors
/// The first clause that is broken, and how.
pub fn check_all(keeper: &dyn Keeper, first_tenant: TenantId) -> Result<(), Breach> {
    for (offset, (name, clause)) in (0..).zip(CLAUSES) {
        clause(keeper, TenantId(first_tenant.0 + offset)).map_err(|Breach(how)| Breach(format!("{name}: {how}")))?;
    }
    Ok(())
}

fn stale(outcome: &Result<(), KeeperError>) -> Option<usize> {
    match outcome {
        Err(KeeperError::Stale(change)) => Some(*change),
        _ => None,
    }
}

/// Version and text of a record.
fn read(keeper: &dyn Keeper, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<(u64, String)>, Breach> {
    let kept = keeper.get(tenant, kind, id)?;
    hold!("the id", kept.as_ref().map_or(id, |kept| &kept.id), id);
    Ok(kept.map(|kept| (kept.version, String::from_utf8_lossy(&kept.bytes).into_owned())))
}

fn version(number: u64, text: &str) -> (u64, String) {
    (number, text.to_owned())
}

fn records_come_back(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let long = "\u{e9}".repeat(127);
    hold!("nothing yet", read(keeper, tenant, "client", "a")?, None);
    let first = vec![put("client", "a", "one"), put("user", "a", ""), put("client", &long, "long")];
    keep(keeper, tenant, first)?;
    hold!("a record", read(keeper, tenant, "client", "a")?, Some(version(1, "one")));
    hold!("of another kind", read(keeper, tenant, "user", "a")?, Some(version(1, "")));
    hold!("a long id", read(keeper, tenant, "client", &long)?, Some(version(1, "long")));
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let binary = Keep { bytes: Some(bytes.clone()), expires: FUTURE, ..put("client", "a", "") };
    keep(keeper, tenant, vec![binary])?;
    let kept = keeper.get(tenant, "client", "a")?.map(|kept| (kept.version, kept.expires, kept.bytes == bytes));
    hold!("its second content", kept, Some((2, FUTURE, true)));
    keep(keeper, tenant, vec![remove("client", "a"), remove("client", "never")])?;
    hold!("removed", read(keeper, tenant, "client", "a")?, None);
    hold!("the other kind stays", read(keeper, tenant, "user", "a")?, Some(version(1, "")));
    keep(keeper, tenant, vec![put("client", "a", "new")])?;
    hold!("counted anew", read(keeper, tenant, "client", "a")?, Some(version(1, "new")));
    Ok(())
}

fn expectations_are_kept(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let attempt = |expect, text| keep(keeper, tenant, vec![expecting(expect, put("client", "a", text))]);
    hold!("no version yet", stale(&attempt(Expect::Version(1), "0")), Some(0));
    attempt(Expect::Absent, "1")?;
    hold!("not absent", stale(&attempt(Expect::Absent, "2")), Some(0));
    attempt(Expect::Version(1), "2")?;
    hold!("an old version", stale(&attempt(Expect::Version(1), "3")), Some(0));
    hold!("what was kept", read(keeper, tenant, "client", "a")?, Some(version(2, "2")));
    let used = |number| keep(keeper, tenant, vec![expecting(Expect::Version(number), remove("client", "a"))]);
    hold!("a removal too", stale(&used(1)), Some(0));
    used(2)?;
    hold!("removed once", stale(&used(2)), Some(0));
    attempt(Expect::Absent, "again").map_err(Into::into)
}

fn all_or_none(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    keep(keeper, tenant, vec![put("user", "a", "one"), put("user", "b", "one")])?;
    let epoch = keeper.epoch(tenant);
    let refused = vec![
        put("user", "a", "two"),
        remove("user", "b"),
        put("user", "c", "two"),
        expecting(Expect::Absent, put("user", "d", "two")),
        expecting(Expect::Version(7), put("user", "e", "two")),
    ];
    hold!("refused", stale(&keep(keeper, tenant, refused)), Some(4));
    hold!("the first", read(keeper, tenant, "user", "a")?, Some(version(1, "one")));
    hold!("the second", read(keeper, tenant, "user", "b")?, Some(version(1, "one")));
    hold!("no other", keeper.list(tenant, "user", "", None, 9)?.len(), 2);
    hold!("the epoch", keeper.epoch(tenant), epoch);
    let rotated = vec![expecting(Expect::Version(1), remove("user", "a")), put("user", "c", "two")];
    keep(keeper, tenant, rotated)?;
    let ids: Vec<_> = keeper.list(tenant, "user", "", None, 9)?.into_iter().map(|kept| kept.id).collect();
    hold!("both", ids, ["b".into(), "c".into()]);
    Ok(())
}

fn a_list_is_of_one_moment(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let id = |n: u32| format!("token-{n}");
    keep(keeper, tenant, vec![put("token", &id(0), "")])?;
    std::thread::scope(|scope| {
        let rotate = |n| keep(keeper, tenant, vec![remove("token", &id(n)), put("token", &id(n + 1), "")]);
        let rotating = scope.spawn(move || (0..100).try_for_each(rotate));
        while !rotating.is_finished() {
            hold!("there is always one", keeper.list(tenant, "token", "", None, 9)?.len(), 1);
        }
        rotating.join().map_err(|_| Breach("the other thread failed".into()))?.map_err(Into::into)
    })
}

/// Several at once try to use up a code; each round exactly one may.
fn used_by_one(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    for round in 0..40 {
        let id = format!("code-{round}");
        keep(keeper, tenant, vec![Keep { expires: FUTURE, ..put("code", &id, "secret") }])?;
        let consume = |n: u32| {
            let token = put("grant", &format!("{id}~{n}"), "");
            keep(keeper, tenant, vec![token, expecting(Expect::Version(1), remove("code", &id))])
        };
        let consume = &consume;
        let outcomes = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|n| scope.spawn(move || consume(n))).collect();
            all.into_iter().filter_map(|one| one.join().ok()).collect::<Vec<_>>()
        });
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let lost = outcomes.iter().filter(|outcome| stale(outcome) == Some(1)).count();
        hold!("one wins, the others lose", (won, lost), (1, 3));
        hold!("one result", keeper.list(tenant, "grant", &format!("{id}~"), None, 9)?.len(), 1);
        hold!("it is used up", read(keeper, tenant, "code", &id)?, None);
    }
    Ok(())
}

fn expired_is_absent(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let until = |expires, id: &str| Keep { expires, ..put("session", id, "text") };
    keep(keeper, tenant, vec![until(PAST, "a"), until(FUTURE, "b"), until(PAST, "c"), until(None, "d")])?;
    hold!("expired", read(keeper, tenant, "session", "a")?, None);
    hold!("not expired", read(keeper, tenant, "session", "b")?, Some(version(1, "text")));
    let listed = keeper.list(tenant, "session", "", None, 2)?;
    hold!("in lists too", listed.iter().map(|kept| &*kept.id).collect::<Vec<_>>(), ["b", "d"]);
    hold!("the time", listed.first().map(|kept| kept.expires), Some(FUTURE));
    let refused = keep(keeper, tenant, vec![expecting(Expect::Version(1), until(None, "a"))]);
    hold!("it has no version", stale(&refused), Some(0));
    keep(keeper, tenant, vec![expecting(Expect::Absent, until(FUTURE, "a")), remove("session", "c")])?;
    hold!("it begins anew", read(keeper, tenant, "session", "a")?, Some(version(1, "text")));
    keep(keeper, tenant, vec![until(None, "a"), until(PAST, "b")])?;
    hold!(
        "now for good",
        keeper.get(tenant, "session", "a")?.map(|kept| (kept.version, kept.expires)),
        Some((2, None))
    );
    hold!("now expired", read(keeper, tenant, "session", "b")?, None);
    Ok(())
}

fn lists_are_in_order(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let ids = (0..300).map(|n| format!("eve~{n:03}"));
    let others = ["eve", "eve~", "eve\u{7f}", "evf~000", "adam~1"].map(ToOwned::to_owned);
    keep(keeper, tenant, ids.clone().chain(others).map(|id| put("session", &id, "")).collect())?;
    keep(keeper, tenant, vec![put("sessions", "eve~x", ""), put("sess", "eve~y", ""), remove("session", "eve~100")])?;
    let list = |prefix: &str, after: Option<&str>, count| -> Result<Vec<String>, Breach> {
        let listed = keeper.list(tenant, "session", prefix, after, count)?;
        Ok(listed.into_iter().map(|kept| kept.id.into()).collect())
    };
    let all: Vec<String> = std::iter::once("eve~".to_owned()).chain(ids.filter(|id| id != "eve~100")).collect();
    hold!("by prefix", list("eve~", None, 1000)?, all);
    let mut paged = Vec::new();
    loop {
        let page = list("eve~", paged.last().map(String::as_str), 7)?;
        hold!("no page is longer", page.len() <= 7, true);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    hold!("by page", paged, all);
    hold!("everything", list("", None, 1000)?.len(), 304);
    hold!("after what is not there", list("eve~", Some("eve~1000"), 1)?, ["eve~101"]);
    hold!("after what comes before", list("eve~", Some("adam~1"), 1)?, ["eve~"]);
    hold!("after what comes behind", list("eve~", Some("f"), 9)?.len() + list("eve~", None, 0)?.len(), 0);
    Ok(())
}

fn tenants_share_nothing(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let other = TenantId(tenant.0 | 1 << 30);
    keep(keeper, tenant, vec![put("user", "a", "ours")])?;
    let epoch = keeper.epoch(tenant);
    hold!("no record", read(keeper, other, "user", "a")?, None);
    hold!("no list", keeper.list(other, "user", "", None, 9)?.len(), 0);
    keep(keeper, other, vec![expecting(Expect::Absent, put("user", "a", "theirs"))])?;
    hold!("ours", read(keeper, tenant, "user", "a")?, Some(version(1, "ours")));
    hold!("our list", keeper.list(tenant, "user", "", None, 9)?.len(), 1);
    hold!("our epoch", keeper.epoch(tenant), epoch);
    keep(keeper, other, vec![remove("user", "a")])?;
    hold!("still ours", read(keeper, tenant, "user", "a")?, Some(version(1, "ours")));
    Ok(())
}

/// What the ledgers of tenants hear of a change of records is there exactly if the change is.
pub(super) fn told_with_the_change(backend: &dyn Backend, tenant: TenantId) -> Result<(), Breach> {
    let other = TenantId(tenant.0 | 1 << 29);
    let entry = |text: &str| Entry { time: Micros(1_700_000_000_000_000), bytes: text.as_bytes().into() };
    let told = |text: &str| vec![(tenant, entry(text)), (other, entry(&format!("{text}, of another")))];
    let create = |text| {
        let change = expecting(Expect::Absent, put("client", "a", text));
        wait(backend.keep_told(tenant, vec![change, put("user", text, "")], told(text)))
    };
    create("first")?;
    hold!("refused", stale(&create("second")), Some(0));
    let malformed = wait(backend.keep_told(tenant, vec![put("Client", "b", "")], told("third")));
    hold!("refused, too", matches!(malformed, Err(KeeperError::Failed(_))), true);
    wait(backend.keep_told(tenant, vec![remove("client", "a")], told("fourth")))?;
    hold!("the change", read(backend, tenant, "client", "a")?, None);
    hold!("what was refused", read(backend, tenant, "user", "second")?, None);
    wait(backend.settled())?;
    for (tenant, suffix) in [(tenant, ""), (other, ", of another")] {
        let mut texts = Vec::new();
        for block in backend.blocks(tenant, 0, true)? {
            texts.extend(block?.entries?.iter().map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()));
        }
        hold!("what was told", texts, ["first", "fourth"].map(|text| format!("{text}{suffix}")));
    }
    Ok(())
}

fn the_epoch_tells(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let mut last = keeper.epoch(tenant);
    let passing = ["code", "jti", "attempt", "job"].map(|kind| put(kind, "a", ""));
    let quiet = [passing.to_vec(), vec![remove("user", "never")], vec![remove("code", "a")]];
    for changes in quiet {
        keep(keeper, tenant, changes)?;
        hold!("nothing to tell", keeper.epoch(tenant), last);
    }
    let telling =
        [vec![put("user", "a", "")], vec![put("user", "a", ""), put("code", "b", "")], vec![remove("user", "a")]];
    for changes in telling {
        keep(keeper, tenant, changes)?;
        let now = keeper.epoch(tenant);
        hold!("it grows", now > last, true);
        last = now;
    }
    Ok(())
}

fn malformed_is_refused(keeper: &dyn Keeper, tenant: TenantId) -> Result<(), Breach> {
    let fine = || put("user", "fine", "");
    let malformed = [put("", "a", ""), put("User", "a", ""), put("a\0b", "a", ""), put("user", "", "")];
    let long = put("user", &"x".repeat(256), "");
    for change in malformed.into_iter().chain([long, put("user", "fine", "twice")]) {
        let outcome = keep(keeper, tenant, vec![fine(), change]);
        hold!("refused", matches!(outcome, Err(KeeperError::Failed(_))), true);
    }
    hold!("and nothing kept", keeper.list(tenant, "user", "", None, 9)?.len(), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::memory::Memory;
    use crate::clock::FixedClock;

    #[test]
    fn the_keeper_in_memory_keeps_the_contract() {
        check_all(&*Memory::new(FixedClock::at(Micros(1_000))), TenantId(0)).unwrap();
    }
}
