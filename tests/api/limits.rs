//! How much a client may ask.

use crate::support::smart::{Smart, basic};
use crate::support::{Answer, Client, Server};
use pharos::config::Config;

/// Requests until one is refused: how many were not, and the refusal. A slow machine may let a few more pass.
fn until_refused(ask: impl Fn() -> Answer) -> (usize, Answer) {
    let mut passed = 0;
    loop {
        let answer = ask();
        if answer.status() == 429 {
            return (passed, answer);
        }
        passed += 1;
        assert!(passed < 1_000, "never refused");
    }
}

fn guarded(change: impl FnOnce(&mut Config)) -> Server {
    Server::with(|config| {
        config.insecure_open = false;
        change(config);
    })
}

#[test]
fn a_client_over_its_limit_waits_and_others_do_not() {
    let server = guarded(|config| config.limits.client_requests_per_s = 2);
    let (one, other) = (server.as_system("system/*.rs"), server.as_system("system/*.rs"));
    let (passed, refused) = until_refused(|| one.get("/Patient").send());
    assert!((20..60).contains(&passed), "{passed}");
    refused.header_is("retry-after", "1").issue("throttled");
    other.get("/Patient").expect(200);
    // Whoever shows no good token is counted by address, apart from them.
    let nobody = Client::new(server.base());
    let (passed, _) = until_refused(|| nobody.get("/Patient").send());
    assert!(passed >= 20, "{passed}");
    server.get("/metadata").expect(429);
    other.get("/Patient").expect(200);
}

#[test]
fn the_clients_of_a_tenant_share_a_limit() {
    let server = guarded(|config| config.limits.tenant_requests_per_s = 2);
    let clients = [server.as_system("system/*.rs"), server.as_system("system/*.rs")];
    let (passed, refused) = until_refused(|| {
        clients.iter().map(|client| client.get("/Patient").send()).max_by_key(Answer::status).unwrap()
    });
    assert!((9..40).contains(&passed), "{passed}");
    assert!(refused.to_string().contains("limits.tenant_requests_per_s"), "{refused}");
    server.get("/metadata").expect(200);
}

#[test]
fn an_open_server_counts_addresses_and_none_is_no_limit() {
    let server = Server::with(|config| config.limits.client_requests_per_s = 1);
    let (passed, _) = until_refused(|| server.get("/Patient").send());
    assert!(passed >= 10, "{passed}");
    let server = Server::with(|config| {
        (config.limits.client_requests_per_s, config.limits.tenant_requests_per_s) = (0, 0);
    });
    (0..50).for_each(|_| drop(server.get("/Patient").expect(200)));
}

#[test]
fn only_trusted_proxies_tell_of_addresses() {
    let from =
        |server: &Server, address: &str| server.get("/Patient").header("X-Forwarded-For", address).send().status();
    let server = Server::with(|config| {
        config.limits.client_requests_per_s = 1;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    until_refused(|| server.get("/Patient").header("X-Forwarded-For", "192.0.2.1").send());
    assert_eq!((from(&server, "192.0.2.2"), from(&server, "192.0.2.9, 192.0.2.3")), (200, 200));
    let server = Server::with(|config| config.limits.client_requests_per_s = 1);
    until_refused(|| server.get("/Patient").send());
    assert_eq!(from(&server, "192.0.2.2"), 429);
}

#[test]
fn the_endpoints_under_auth_have_limits_too() {
    let smart = Smart::start();
    let long = format!("/auth/keys?{}", "x".repeat(10_000));
    smart.get(&long).send().status_is(414);
    let server = guarded(|config| config.limits.client_requests_per_s = 1);
    let root = Client::new(server.base().trim_end_matches("/fhir"));
    let (passed, refused) = until_refused(|| root.get("/auth/keys").send());
    assert!(passed >= 10, "{passed}");
    assert_eq!(refused.at("/error"), "slow_down");
    refused.header_is("retry-after", "1").header_is("cache-control", "no-store");
}

#[test]
fn failures_at_the_token_endpoint_are_counted_behind_the_proxy() {
    let server = guarded(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let root = Client::new(server.base().trim_end_matches("/fhir"));
    let try_from = |address: &str| {
        let form = root.post("/auth/token").form("grant_type=client_credentials");
        form.header("Authorization", &basic("nobody", "x")).header("X-Forwarded-For", address).send().status()
    };
    let slowed = (0..60).find(|_| try_from("192.0.2.1") == 429);
    assert!(slowed.is_some());
    assert_eq!(try_from("192.0.2.2"), 401);
}
