//! What browsers ask before a page of another origin may see an answer.

use crate::support::smart::Smart;
use crate::support::{Answer, Client};
use pharos::auth::records;

const APP: &str = "https://app.example.org";
const EVIL: &str = "https://evil.example.org";

fn preflight(client: &Client, path: &str, origin: &str) -> Answer {
    let request = client.request("OPTIONS", path).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "PUT");
    request.header("Access-Control-Request-Headers", "authorization,if-match").send()
}

fn allowed(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer}");
    answer.header("access-control-allow-origin")
}

#[test]
fn what_needs_no_token_is_for_every_origin() {
    let smart = Smart::start();
    for path in [
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/fhir/.well-known/openid-configuration",
        "/auth/keys",
    ] {
        for origin in [EVIL, "null"] {
            assert_eq!(allowed(&smart.get(path).header("Origin", origin).expect(200)), Some("*"), "{path}");
            assert_eq!(allowed(&preflight(&smart, path, origin).status_is(204)), Some("*"), "{path}");
        }
    }
}

#[test]
fn fhir_and_tokens_are_for_the_origins_of_clients() {
    let smart = Smart::start();
    smart.public("app", "patient/*.rs");
    for path in ["/fhir/Patient/1", "/fhir", "/fhir/Patient?name=x", "/auth/token", "/auth/userinfo", "/auth/revoke"] {
        let answer = preflight(&smart, path, APP).status_is(204);
        assert_eq!(allowed(&answer), Some(APP), "{path}");
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)));
        let headers = answer.header("access-control-allow-headers").unwrap();
        let wanted = ["Authorization", "Content-Type", "Prefer", "If-Match", "If-None-Match", "If-None-Exist"];
        assert!(wanted.iter().all(|name| headers.contains(name)), "{headers}");
        assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
        for origin in
            [EVIL, "null", "https://app.example.org.evil.org", "http://app.example.org", "https://app.example.org/"]
        {
            let answer = preflight(&smart, path, origin).status_is(204);
            assert_eq!((allowed(&answer), answer.header("access-control-allow-methods")), (None, None), "{origin}");
        }
    }
}

#[test]
fn errors_carry_the_headers_too() {
    let smart = Smart::start();
    smart.public("app", "patient/*.rs");
    for (method, path, status) in [
        ("GET", "/fhir/Patient/1", 401),
        ("GET", "/auth/userinfo", 401),
        ("POST", "/auth/token", 400),
        ("PUT", "/auth/token", 405),
        ("GET", "/fhir/metadata?mode=x", 400),
    ] {
        let answer = smart.request(method, path).header("Origin", APP).expect(status);
        assert!([Some(APP), Some("*")].contains(&allowed(&answer)), "{answer}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "ETag",
            "Location",
            "Content-Location",
            "Last-Modified",
            "Retry-After",
            "X-Progress",
            "X-Request-Id",
            "WWW-Authenticate",
        ] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"), "{answer}");
        let answer = smart.request(method, path).header("Origin", EVIL).expect(status);
        assert_ne!(allowed(&answer), Some(EVIL), "{answer}");
    }
}

#[test]
fn pages_and_introspection_are_for_no_other_origin() {
    let smart = Smart::start();
    smart.public("app", "patient/*.rs");
    for path in ["/auth/introspect", "/health/live", "/metrics"] {
        let answer = smart.request("GET", path).header("Origin", APP).send();
        assert_eq!(allowed(&answer), None, "{answer}");
    }
}

#[test]
fn a_new_client_counts_at_once_and_one_that_is_gone_does_not_count() {
    let smart = Smart::start();
    let origin =
        |origin: &str| preflight(&smart, "/fhir/Patient", origin).header("access-control-allow-origin").is_some();
    assert!(!origin(APP));
    let mut app = smart.public("app", "patient/*.rs");
    assert!(origin(APP));
    app.origins = vec!["https://other.example.org".into()];
    smart.server.keep("app", &app);
    assert!(origin("https://other.example.org") && !origin(APP));
    smart.public("app", "patient/*.rs");
    assert!(origin(APP));
    smart.server.forget::<records::Client>("app");
    // A look at an unknown origin reads the clients anew.
    assert!(!origin(EVIL) && !origin(APP));
}
