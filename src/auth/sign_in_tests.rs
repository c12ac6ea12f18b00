//! Signing in, as the pages do it, on a keeper in memory and a clock that the test moves.

use super::fixture::{self, START_S, StillClock};
use super::password::Weakness;
use super::records::User;
use super::server::Server;
use super::sign_in::{Refusal, SignedIn, Step};
use super::totp::shown;
use super::user::NewUser;
use crate::config;
use crate::tenant::TenantId;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const TENANT: TenantId = TenantId::DEFAULT;
pub(super) const PASSWORD: &str = "tin otter paints slowly";
const OTHER: &str = "green kettle under stars";

pub(super) struct House {
    pub(super) server: Arc<Server>,
    clock: Arc<StillClock>,
}

pub(super) fn house(change: impl FnOnce(&mut config::Auth)) -> House {
    let mut config = config::Auth::default();
    change(&mut config);
    let (server, clock) = fixture::server(config);
    House { server, clock }
}

fn from(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

impl House {
    pub(super) async fn add(&self, username: &str, roles: &[&str]) -> User {
        let new = NewUser {
            username: username.into(),
            name: username.into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            password: Some(PASSWORD.into()),
            ..NewUser::default()
        };
        self.server.add_user(TENANT, new).await.unwrap()
    }

    async fn try_in(&self, username: &str, password: &str) -> Result<Step, Refusal> {
        self.server.sign_in(TENANT, username, password, from(1)).await
    }

    pub(super) async fn sign_in(&self, username: &str) -> SignedIn {
        match self.try_in(username, PASSWORD).await.unwrap() {
            Step::SignedIn(signed_in) => *signed_in,
            step => panic!("{step:?}"),
        }
    }

    pub(super) async fn is_live(&self, signed_in: &SignedIn) -> bool {
        self.server.session(TENANT, &signed_in.cookie).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_name_is_known_however_it_is_written_and_each_sign_in_starts_a_session() {
    let house = house(|_| ());
    let user = house.add("Marie.Curie", &["Provider"]).await;
    let first = house.sign_in(" marie.CURIE ").await;
    let second = house.sign_in("ｍarie.curie").await;
    assert_eq!(first.user.id, user.id);
    assert!(first.cookie != second.cookie && first.session.csrf != second.session.csrf);
    assert!(house.is_live(&first).await && house.is_live(&second).await);

    house.server.sign_out(TENANT, &first.cookie).await.unwrap();
    assert!(!house.is_live(&first).await && house.is_live(&second).await);
    assert!(house.server.session(TenantId(7), &second.cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn whoever_may_not_sign_in_hears_the_same() {
    let house = house(|_| ());
    let off = house.add("off", &[]).await;
    house.server.change_user(TENANT, &off.id, None, |user| user.disabled = true).await.unwrap();
    let without = NewUser { username: "elsewhere".into(), ..NewUser::default() };
    house.server.add_user(TENANT, without).await.unwrap();
    house.add("eve", &[]).await;
    for (name, password) in [("off", PASSWORD), ("elsewhere", ""), ("nobody", PASSWORD), ("nobody", ""), ("eve", OTHER)]
    {
        assert!(matches!(house.try_in(name, password).await, Err(Refusal::Wrong)), "{name}");
    }
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_known_one() {
    let house = house(|config| config.lockout_failures = 1_000);
    house.add("eve", &[]).await;
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..7 {
        for (times, name) in times.iter_mut().zip(["eve", "nobody"]) {
            let start = Instant::now();
            assert!(matches!(house.try_in(name, OTHER).await, Err(Refusal::Wrong)));
            times.push(start.elapsed());
        }
    }
    let [known, unknown] = times.map(|times| times.into_iter().min().unwrap());
    // A hash takes some 10 ms, all the rest some microseconds; how fast the machine is changes meanwhile.
    assert!(known > Duration::from_millis(1) && unknown > known / 10, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn an_account_waits_after_failures_even_for_the_right_password() {
    let house = house(|_| ());
    house.add("eve", &[]).await;
    for name in ["eve", "nobody"] {
        for _ in 0..10 {
            assert!(matches!(house.try_in(name, OTHER).await, Err(Refusal::Wrong)));
        }
        let refusal = house.try_in(name, PASSWORD).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Wait { retry_after_s: 900 }), "{name}: {refusal:?}");
    }
    // Another process sees the same records.
    let (keeper, clock) = (Arc::clone(&house.server.keeper), Arc::clone(&house.server.clock));
    let other = Server::new(keeper, clock, house.server.config.clone(), &house.server.public_url);
    let elsewhere = other.sign_in(TENANT, "EVE", PASSWORD, from(9)).await;
    assert!(matches!(elsewhere, Err(Refusal::Wait { .. })));

    house.clock.pass(899);
    assert!(matches!(house.try_in("eve", PASSWORD).await, Err(Refusal::Wait { retry_after_s: 1 })));
    house.clock.pass(1);
    assert!(matches!(house.try_in("eve", OTHER).await, Err(Refusal::Wrong)));
    assert!(matches!(house.try_in("eve", PASSWORD).await, Err(Refusal::Wait { .. })), "one try for each time");
    house.server.unlock(TENANT, "Eve").await.unwrap();
    house.sign_in("eve").await;
    for _ in 0..9 {
        assert!(matches!(house.try_in("eve", OTHER).await, Err(Refusal::Wrong)));
    }
    house.sign_in("eve").await;
}

#[tokio::test]
async fn guesses_at_once_count_like_those_one_after_another() {
    let house = house(|config| config.lockout_failures = 3);
    house.add("eve", &[]).await;
    let tries = (0..8).map(|_| {
        let server = Arc::clone(&house.server);
        tokio::spawn(async move { server.sign_in(TENANT, "eve", OTHER, from(1)).await })
    });
    let mut looked_at = 0;
    for tried in futures_util::future::join_all(tries).await {
        looked_at += usize::from(matches!(tried.unwrap(), Err(Refusal::Wrong)));
    }
    assert_eq!(looked_at, 3);
}

#[tokio::test]
async fn an_address_waits_after_failures_with_many_names() {
    let house = house(|config| config.lockout_address_failures = 4);
    house.add("eve", &[]).await;
    for n in 0..4 {
        house.sign_in("eve").await;
        assert!(matches!(house.try_in(&format!("guess-{n}"), OTHER).await, Err(Refusal::Wrong)));
    }
    assert!(matches!(house.try_in("eve", PASSWORD).await, Err(Refusal::Wait { .. })));
    let neighbour = house.server.sign_in(TENANT, "eve", PASSWORD, from(2)).await;
    assert!(matches!(neighbour, Ok(Step::SignedIn(_))));
    house.clock.pass(900);
    house.sign_in("eve").await;
}

#[tokio::test]
async fn a_session_ends_without_use_and_at_its_last_hour() {
    let house = house(|_| ());
    house.add("eve", &[]).await;
    let idle = house.sign_in("eve").await;
    house.clock.pass(899);
    assert!(house.is_live(&idle).await);
    house.clock.pass(899);
    assert!(house.is_live(&idle).await, "the use before counts");
    house.clock.pass(30);
    let last_used = house.server.session(TENANT, &idle.cookie).await.unwrap().unwrap().1.last_used;
    assert_eq!(last_used, START_S + 1_798, "to the minute");
    house.clock.pass(870);
    assert!(!house.is_live(&idle).await);

    let busy = house.sign_in("eve").await;
    for _ in 0..71 {
        house.clock.pass(600);
        assert!(house.is_live(&busy).await);
    }
    house.clock.pass(600);
    assert!(!house.is_live(&busy).await, "twelve hours");
}

#[tokio::test]
async fn a_cookie_is_for_its_host_and_no_script() {
    let house = house(|_| ());
    assert_eq!(house.server.set_cookie(TENANT, "x"), "__Host-pharos=x; Path=/; HttpOnly; SameSite=Lax; Secure");
    assert!(house.server.clear_cookie(TENANT).ends_with("; Max-Age=0"));
}

#[tokio::test]
async fn a_second_factor_is_set_up_and_then_asked_for() {
    let house = house(|_| ());
    let eve = house.add("eve", &[]).await;
    let before = house.sign_in("eve").await;
    let server = &house.server;
    let enrolment = server.enrol_totp(TENANT, &eve).await.unwrap();
    assert!(enrolment.url.starts_with("otpauth://totp/Pharos%20pharos%2Eexample%2Eorg:eve?secret="), "{enrolment:?}");
    assert!(matches!(server.confirm_totp(TENANT, &eve, "000000", from(1)).await, Err(Refusal::Wrong)));
    let now = || server.now_s();
    let first = shown(&enrolment.secret, now());
    let signed_in = server.confirm_totp(TENANT, &eve, &first, from(1)).await.unwrap();
    assert!(signed_in.session.second_factor && house.is_live(&signed_in).await && !house.is_live(&before).await);

    let Ok(Step::SecondFactor { ticket }) = house.try_in("eve", PASSWORD).await else { panic!() };
    let give = async |code: &str| server.second_factor(TENANT, &ticket, code, from(1)).await;
    assert!(matches!(give(&first).await, Err(Refusal::Wrong)), "taken before");
    assert!(matches!(server.choose_password(TENANT, &ticket, OTHER).await, Err(Refusal::Expired)));
    house.clock.pass(30);
    let code = shown(&enrolment.secret, now());
    assert!(matches!(give(&code).await, Ok(Step::SignedIn(done)) if done.session.second_factor));
    assert!(matches!(give(&code).await, Err(Refusal::Expired)), "a ticket is used once");

    let Ok(Step::SecondFactor { ticket }) = house.try_in("eve", PASSWORD).await else { panic!() };
    assert!(matches!(server.second_factor(TENANT, &ticket, &code, from(1)).await, Err(Refusal::Wrong)), "replayed");
    house.clock.pass(601);
    let code = shown(&enrolment.secret, now());
    assert!(matches!(server.second_factor(TENANT, &ticket, &code, from(1)).await, Err(Refusal::Expired)));
}

#[tokio::test]
async fn the_right_password_does_not_make_guessing_codes_free() {
    let house = house(|config| {
        config.lockout_failures = 4;
        config.second_factor = true;
    });
    house.add("eve", &[]).await;
    let Ok(Step::EnrolSecondFactor { ticket, enrolment }) = house.try_in("eve", PASSWORD).await else { panic!() };
    let code = shown(&enrolment.secret, house.server.now_s());
    assert!(matches!(house.server.second_factor(TENANT, &ticket, &code, from(1)).await, Ok(Step::SignedIn(_))));
    for _ in 0..4 {
        let Ok(Step::SecondFactor { ticket }) = house.try_in("eve", PASSWORD).await else { panic!() };
        assert!(matches!(house.server.second_factor(TENANT, &ticket, "x", from(1)).await, Err(Refusal::Wrong)));
    }
    assert!(matches!(house.try_in("eve", PASSWORD).await, Err(Refusal::Wait { .. })));
}

#[tokio::test]
async fn a_one_time_password_is_replaced_at_the_first_sign_in() {
    let house = house(|_| ());
    let eve = house.add("eve", &[]).await;
    house.server.set_password(TENANT, &eve.id, None, OTHER, true).await.unwrap();
    let Ok(Step::ChangePassword { ticket }) = house.try_in("eve", OTHER).await else { panic!() };
    let choose = async |new: &str| house.server.choose_password(TENANT, &ticket, new).await;
    assert!(matches!(choose(OTHER).await, Err(Refusal::Password(Weakness::Same))));
    assert!(matches!(choose("short").await, Err(Refusal::Password(Weakness::TooShort(15)))));
    assert!(matches!(choose("eve eve eve eve eve").await, Err(Refusal::Password(Weakness::Predictable))));
    assert!(matches!(choose(&"long ".repeat(201)).await, Err(Refusal::Password(Weakness::TooLong))));
    assert!(matches!(choose(PASSWORD).await, Ok(Step::SignedIn(_))));
    assert!(matches!(choose(PASSWORD).await, Err(Refusal::Expired)));
    house.sign_in("eve").await;
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_other_sessions_end() {
    let house = house(|_| ());
    house.add("eve", &[]).await;
    let (here, there) = (house.sign_in("eve").await, house.sign_in("eve").await);
    let change =
        async |old: &str, new: &str| house.server.change_password(TENANT, &here.session, old, new, from(1)).await;
    assert!(matches!(change(OTHER, OTHER).await, Err(Refusal::Wrong)));
    let renewed = change(PASSWORD, OTHER).await.unwrap();
    assert!(house.is_live(&renewed).await && !house.is_live(&here).await && !house.is_live(&there).await);
    assert!(matches!(house.try_in("eve", PASSWORD).await, Err(Refusal::Wrong)));
    assert!(matches!(house.try_in("eve", OTHER).await, Ok(Step::SignedIn(_))));
}

#[tokio::test]
async fn the_first_administrator_needs_the_code_of_this_start() {
    let house = house(|_| ());
    let server = &house.server;
    let old = server.new_set_up_code(TENANT).await.unwrap().unwrap();
    let code = server.new_set_up_code(TENANT).await.unwrap().unwrap();
    assert!(code.len() == 29 && server.is_to_be_set_up(TENANT).unwrap());
    let set_up = async |code: &str, password: &str| server.set_up(TENANT, code, "root", password).await;
    assert!(matches!(set_up(&old, PASSWORD).await, Err(Refusal::Expired)));
    assert!(matches!(set_up("", PASSWORD).await, Err(Refusal::Expired)));
    assert!(matches!(set_up(&code, "rootrootrootroot").await, Err(Refusal::Password(Weakness::Predictable))));
    let typed = code.to_lowercase().replace('-', " ");
    let root = set_up(&typed, PASSWORD).await.unwrap();
    assert!(server.is_admin(TENANT, &root.user).unwrap() && house.is_live(&root).await);
    assert!(matches!(set_up(&code, PASSWORD).await, Err(Refusal::Expired)), "used up");
    assert!(server.new_set_up_code(TENANT).await.unwrap().is_none() && !server.is_to_be_set_up(TENANT).unwrap());
}

#[tokio::test]
async fn a_code_dies_with_its_hour_and_when_there_is_an_administrator() {
    let house = house(|_| ());
    let code = house.server.new_set_up_code(TENANT).await.unwrap().unwrap();
    house.clock.pass(3_600);
    assert!(matches!(house.server.set_up(TENANT, &code, "root", PASSWORD).await, Err(Refusal::Expired)));
    let code = house.server.new_set_up_code(TENANT).await.unwrap().unwrap();
    house.add("first", &["Admin"]).await;
    assert!(matches!(house.server.set_up(TENANT, &code, "root", PASSWORD).await, Err(Refusal::Failed(_))));
    assert!(house.server.user_by_name(TENANT, "root").unwrap().is_none());
}
