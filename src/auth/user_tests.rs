//! The rules between accounts and roles.

use super::keeper::Expect;
use super::records::{self, Authorization, Role};
use super::role::scopes;
use super::scope::Scopes;
use super::sign_in_tests::{PASSWORD, TENANT, house};
use super::user::NewUser;
use crate::error::{Category, Result};
use std::sync::Arc;

type Change = fn(&mut NewUser);

fn is<T: std::fmt::Debug>(category: Category, result: Result<T>) {
    assert_eq!(result.unwrap_err().category, category);
}

fn custom(name: &str, text: &str) -> Role {
    Role {
        name: name.into(),
        scopes: scopes(text).unwrap(),
        own_patients: false,
        break_glass: false,
        is_admin: false,
        purpose_of_use: Vec::new(),
    }
}

#[tokio::test]
async fn what_a_user_can_not_be_is_refused() {
    let house = house(|_| ());
    house.add("eve", &[]).await;
    let cases: [(Category, Change); 8] = [
        (Category::Conflict, |new| new.username = " EVE ".into()),
        (Category::Unprocessable, |new| new.username = "  ".into()),
        (Category::Unprocessable, |new| new.username = "a\nb".into()),
        (Category::Unprocessable, |new| new.name = "x".repeat(129)),
        (Category::Unprocessable, |new| new.roles = vec!["admin".into()]),
        (Category::Unprocessable, |new| new.fhir_user = Some("Observation/1".into())),
        (Category::Unprocessable, |new| new.fhir_user = Some("Patient/".into())),
        (Category::Unprocessable, |new| new.password = Some("short".into())),
    ];
    for (category, change) in cases {
        let mut new = NewUser { username: "adam".into(), ..NewUser::default() };
        change(&mut new);
        is(category, house.server.add_user(TENANT, new).await);
    }
    assert_eq!(house.server.users(TENANT, None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_name_moves_with_its_user() {
    let house = house(|_| ());
    let eve = house.add("eve", &[]).await;
    house.server.change_user(TENANT, &eve.id, Some(1), |user| user.username = "eva".into()).await.unwrap();
    let stale = house.server.change_user(TENANT, &eve.id, Some(1), |user| user.username = "evi".into());
    is(Category::PreconditionFailed, stale.await);
    assert!(house.server.user_by_name(TENANT, "eve").unwrap().is_none());
    house.sign_in("eva").await;
    house.add("eve", &[]).await;
    house.server.remove_user(TENANT, &eve.id, None).await.unwrap();
    house.add("eva", &[]).await;
    is(Category::NotFound, house.server.remove_user(TENANT, &eve.id, None).await);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let house = house(|_| ());
    let server = &house.server;
    let (one, two) = (house.add("one", &["Admin"]).await, house.add("two", &["Admin", "Billing"]).await);
    server.change_user(TENANT, &two.id, None, |user| user.disabled = true).await.unwrap();
    is(Category::Conflict, server.remove_user(TENANT, &one.id, None).await);
    is(Category::Conflict, server.change_user(TENANT, &one.id, None, |user| user.disabled = true).await);
    is(Category::Conflict, server.change_user(TENANT, &one.id, None, |user| user.roles.clear()).await);
    assert!(server.has_admin(TENANT).unwrap());
    server.change_user(TENANT, &two.id, None, |user| user.disabled = false).await.unwrap();
    server.remove_user(TENANT, &one.id, None).await.unwrap();
}

#[tokio::test]
async fn two_changes_at_once_leave_an_administrator() {
    for _ in 0..20 {
        let house = house(|_| ());
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let new = NewUser { username: name.into(), roles: vec!["Admin".into()], ..NewUser::default() };
            ids.push(house.server.add_user(TENANT, new).await.unwrap().id);
        }
        let tasks = ids.into_iter().map(|id| {
            let server = Arc::clone(&house.server);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(server.remove_user(TENANT, &id, None))
            })
        });
        let done = tasks.collect::<Vec<_>>().into_iter().map(|task| task.join().unwrap());
        assert_eq!(done.flatten().count(), 1);
        assert!(house.server.has_admin(TENANT).unwrap());
    }
}

#[tokio::test]
async fn a_custom_role_that_makes_administrators_keeps_doing_so() {
    let house = house(|_| ());
    let server = &house.server;
    let boss = Role { is_admin: true, ..custom("Boss", "user/Patient.rs") };
    server.put_role(TENANT, &boss, Some(0), &|_| Ok(())).await.unwrap();
    let one = house.add("one", &["Boss"]).await;
    assert!(server.is_admin(TENANT, &one).unwrap());
    is(Category::Conflict, server.put_role(TENANT, &Role { is_admin: false, ..boss.clone() }, None, &|_| Ok(())).await);
    is(Category::Conflict, server.remove_role(TENANT, "Boss", None).await);
    house.add("two", &["Admin"]).await;
    server.put_role(TENANT, &Role { is_admin: false, ..boss }, Some(1), &|_| Ok(())).await.unwrap();
    assert!(!server.is_admin(TENANT, &one).unwrap());
}

#[tokio::test]
async fn roles_are_checked_and_take_effect_at_once() {
    let house = house(|_| ());
    let server = &house.server;
    let put = async |role: &Role, version| server.put_role(TENANT, role, version, &|_| Ok(())).await;
    let lab = custom("Lab", "user/Observation.rs?category=laboratory");
    put(&lab, None).await.unwrap();
    is(Category::PreconditionFailed, put(&lab, Some(0)).await);
    is(Category::Conflict, put(&custom("patient", "user/Patient.r"), None).await);
    is(Category::Unprocessable, put(&custom("a~b", "user/Patient.r"), None).await);
    is(Category::Unprocessable, put(&Role { scopes: Scopes::parse("openid"), ..lab.clone() }, None).await);
    let refuse = |_: &_| Err(crate::error::Error::invalid("no such parameter"));
    is(Category::Invalid, server.put_role(TENANT, &lab, None, &refuse).await);

    let eve = house.add("eve", &["Lab", "Provider"]).await;
    let session = house.sign_in("eve").await;
    put(&custom("Lab", "user/Patient.r"), Some(1)).await.unwrap();
    let roles = server.roles_of(TENANT, &eve).unwrap();
    assert_eq!(roles[0].scopes.to_string(), "user/Patient.r");
    assert!(!roles[0].own_patients && roles[1].own_patients && roles[1].break_glass);
    assert!(house.is_live(&session).await, "the user's account is as it was");

    is(Category::Conflict, server.remove_role(TENANT, "Lab", None).await);
    let eve = server.change_user(TENANT, &eve.id, None, |user| user.roles = vec!["Billing".into()]).await.unwrap();
    assert!(!house.is_live(&session).await, "other roles end the session");
    assert_eq!(server.roles_of(TENANT, &eve).unwrap()[0].name, "Billing");
    server.remove_role(TENANT, "Lab", Some(2)).await.unwrap();
    is(Category::Conflict, server.remove_role(TENANT, "Billing", None).await);
}

#[tokio::test]
async fn switching_off_and_a_new_password_end_sessions_and_what_was_granted() {
    let house = house(|_| ());
    let server = &house.server;
    let eve = house.add("eve", &[]).await;
    let granted = async |n: u32| {
        let authorization = serde_json::json!({
            "id": "", "client_id": "app", "user": eve.id, "scopes": "openid", "context": {}, "created": 0, "auth_time": 0,
        });
        let authorization: Authorization = serde_json::from_value(authorization).unwrap();
        let id = format!("{}~{n}", eve.id);
        let keep = records::put(&id, &authorization, Expect::Absent, None).unwrap();
        server.keeper.keep(TENANT, vec![keep]).await.unwrap();
    };
    let count = || server.keeper.list(TENANT, "authorization", "", None, 9).unwrap().len();

    let session = house.sign_in("eve").await;
    granted(1).await;
    granted(2).await;
    server.change_user(TENANT, &eve.id, None, |user| user.disabled = true).await.unwrap();
    assert!(!house.is_live(&session).await && count() == 0);
    server.change_user(TENANT, &eve.id, None, |user| user.disabled = false).await.unwrap();

    let session = house.sign_in("eve").await;
    granted(3).await;
    server.change_user(TENANT, &eve.id, None, |user| user.name = "Eve".into()).await.unwrap();
    assert!(house.is_live(&session).await && count() == 1, "a name changes nothing");
    server.set_password(TENANT, &eve.id, None, "green kettle under stars", false).await.unwrap();
    assert!(!house.is_live(&session).await && count() == 0);
    assert_ne!(server.user(TENANT, &eve.id).unwrap().unwrap().0.password.as_deref(), Some(PASSWORD));
}
