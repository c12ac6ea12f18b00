//! The registry, on a keeper in memory.

use super::*;
use crate::auth::fixture::server;
use crate::config::Auth;
use futures_util::future::FutureExt;

const NOW: Micros = Micros(1_000_000);

fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().unwrap()
}

fn named(name: &str) -> Value {
    json!({ "name": name })
}

fn status<T>(result: Result<T>) -> u16 {
    result.err().map_or(200, |error| error.category.status())
}

#[test]
fn a_tenant_has_a_number_and_addresses_of_its_own() {
    let (server, _) = server(Auth::default());
    let tenants = &server.tenants;
    assert_eq!(tenants.all().unwrap().len(), 1, "the default tenant is there");
    let acme = now(tenants.create(&named("acme"), 3, NOW, None)).unwrap();
    let other = now(tenants.create(&named("other"), 3, NOW, None)).unwrap();
    assert_eq!((acme.number, other.number), (1, 2));
    assert_eq!(server.base(acme.id()), "https://pharos.example.org/t/acme/fhir");
    assert_eq!(server.endpoint(acme.id(), "token"), "https://pharos.example.org/t/acme/auth/token");
    assert_eq!(server.base(TenantId::DEFAULT), "https://pharos.example.org/fhir");
    assert_eq!(server.base(TenantId(9)), "https://pharos.example.org/t/9/fhir", "which is nobody's name");
    let names: Vec<_> = tenants.all().unwrap().iter().map(|one| one.tenant.name.to_string()).collect();
    assert_eq!(names, ["default", "acme", "other"]);
    assert_eq!(server.cookie_name(acme.id()), "__Host-pharos.acme");
}

#[test]
fn names_and_numbers_are_given_out_once() {
    let (server, _) = server(Auth::default());
    let tenants = &server.tenants;
    let make = |name: &str| now(tenants.create(&named(name), 2, NOW, None));
    make("acme").unwrap();
    assert_eq!(status(make("acme")), 409);
    assert_eq!(status(make("default")), 409);
    now(tenants.set_state("acme", None, State::Deleted, None)).unwrap();
    assert_eq!(status(make("acme")), 409, "though it was deleted");
    assert_eq!(make("b").unwrap().number, 2);
    make("c").unwrap();
    assert_eq!(status(make("d")), 403, "two are there");
    now(tenants.set_state("c", None, State::Deleted, None)).unwrap();
    assert_eq!(make("d").unwrap().number, 4);
}

#[test]
fn what_is_said_of_a_tenant_is_checked() {
    let provider = json!({ "name": "main", "title": "Main", "issuer": "https://i.example", "client_id": "x" });
    let config = Auth { providers: vec![serde_json::from_value(provider).unwrap()], ..Auth::default() };
    let (server, _) = server(config);
    let make = |given: Value| now(server.tenants.create(&given, 100, NOW, None));
    for (given, member) in [
        (json!({}), "/name"),
        (named("Acme"), "/name"),
        (named(".."), "/name"),
        (named("a--b"), "/name"),
        (named(&"a".repeat(64)), "/name"),
        (json!({ "name": "a", "region": "EU West" }), "/region"),
        (json!({ "name": "a", "display_name": "a\nb" }), "/display_name"),
        (json!({ "name": "a", "limits": { "jobs": 0 } }), "/limits/jobs"),
        (json!({ "name": "a", "limits": { "storage_bytes": -1 } }), "/limits/storage_bytes"),
        (json!({ "name": "a", "identity_providers": ["other"] }), "/identity_providers"),
        (json!({ "name": "a", "trusted_issuers": ["https://i.example"] }), "/trusted_issuers"),
        (json!({ "name": "a", "limits": { "speed": 1 } }), "/limits"),
        (json!({ "name": "a", "retention": [{ "what": "deleted", "then": "purge" }] }), "/retention"),
        (json!({ "name": "a", "retention": [{ "what": "current", "then": "purge", "keep_days": 1 }] }), "/retention"),
        (
            json!({ "name": "a", "retention": [{ "types": ["Flags"], "what": "deleted", "then": "keep" }] }),
            "/retention",
        ),
        (
            json!({ "name": "a", "retention": [{ "what": "deleted", "then": "archive", "keep_days": 1 }] }),
            "/retention/0/then",
        ),
        (json!({ "name": "a", "state": "deleted" }), ""),
        (json!({ "name": "a", "number": 7 }), ""),
    ] {
        let error = make(given.clone()).unwrap_err();
        assert_eq!(
            (error.category, error.issues[0].expression.as_deref()),
            (Category::Invalid, Some(member)),
            "{given}"
        );
    }
    let given = json!({ "name": "a", "display_name": "A", "region": "eu-west", "limits": { "jobs": 2, "requests_per_s": null } });
    let tenant = make(given).unwrap();
    assert_eq!((tenant.limits.jobs, tenant.limits.requests_per_s), (Some(2), None));
    assert!(server.providers(tenant.id()).is_empty() && server.providers(TenantId::DEFAULT).len() == 1);
    let configured =
        now(server.tenants.configure("a", Some(1), &json!({ "identity_providers": ["main"] }), None)).unwrap();
    assert_eq!((configured.region, configured.limits.jobs), (None, None), "all is said anew");
    assert_eq!(server.providers(tenant.id()).len(), 1);
}

#[test]
fn a_change_expects_a_version_and_the_default_tenant_stays() {
    let (server, _) = server(Auth::default());
    let tenants = &server.tenants;
    now(tenants.create(&named("a"), 9, NOW, None)).unwrap();
    let set = |name: &str, version, state| status(now(tenants.set_state(name, version, state, None)));
    assert_eq!(set("a", Some(2), State::Suspended), 412);
    assert_eq!(set("a", Some(1), State::Suspended), 200);
    assert_eq!(status(tenants.named("a").unwrap().check_served()), 403);
    assert_eq!(set("a", Some(2), State::Active), 200);
    assert_eq!(set("a", None, State::Deleted), 200);
    assert_eq!(set("a", None, State::Active), 410, "there is no way back");
    assert_eq!(status(tenants.named("a").unwrap().check_served()), 410);
    assert_eq!((set("none", None, State::Active), set("default", None, State::Suspended)), (404, 409));
    let given = json!({ "display_name": "House", "limits": { "jobs": 4 } });
    now(tenants.configure("default", Some(0), &given, None)).unwrap();
    assert_eq!(status(now(tenants.configure("default", Some(0), &given, None))), 412);
    let house = tenants.named("default").unwrap();
    assert_eq!(
        (&*house.tenant.display_name, house.id(), &*house.base),
        ("House", TenantId::DEFAULT, "https://pharos.example.org/fhir")
    );
}
