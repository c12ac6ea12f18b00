//! What is refused before it is clear what it asks for stands in the ledger, without what was typed; and of many requests over a limit one.

use crate::security_events::{events, hides};
use crate::support::smart::{Smart, TENANT, text};
use crate::support::tokens::block_on;
use pharos::audit::Record;

#[test]
fn what_is_refused_before_it_is_clear_what_it_asks_for() {
    let smart = Smart::start();
    smart.public("app", "launch patient/*.rs");
    smart.get("/fhir/Nonsense/a-secret-id").expect(404);
    smart.get("/t/nowhere/fhir/Patient").expect(404);
    smart.get("/t/NoWhere/auth/keys").expect(404);
    smart.get("/auth/authorize?client_id=nobody-we-know").expect(400);
    smart.get("/auth/authorize?client_id=app&redirect_uri=https://elsewhere.example/").expect(400);
    smart.get("/auth/userinfo").header("Authorization", "Bearer not.a.token").expect(401);
    let tokens = smart.tokens("app", "patient/Patient.rs");
    let token = format!("Bearer {}", text(&tokens, "access_token"));
    smart.get("/auth/userinfo").header("Authorization", &token).expect(403);
    let launch = smart.post("/auth/launch").header("Authorization", &token);
    launch.body("application/json", "{}").expect(403);

    let all = ["refusal", "authorization", "userinfo,launch"].map(|of| events(&smart.server, &format!("subtype={of}")));
    let [refusals, authorizations, asked] = all;
    assert_eq!(
        refusals,
        [
            "110113 refusal E 4: -, -, -: HTTP 404: R4 has no resource type Nonsense.",
            "110113 refusal E 4: -, -, nowhere: HTTP 404: There is no such tenant.",
            "110113 refusal E 4: -, -, -: HTTP 404: There is no such tenant.",
        ]
    );
    let not_registered = "The address (redirect_uri) to which the app wants the answer is not registered for it.";
    assert_eq!(
        authorizations,
        [
            "110113 authorization E 4: -, -, -: HTTP 400: invalid_request: The app (client_id) is not known here."
                .to_owned(),
            format!("110113 authorization E 4: -, -, -: HTTP 400: invalid_request: {not_registered}"),
        ]
    );
    assert_eq!(
        asked,
        [
            "110114 userinfo R 4: -, -, -: HTTP 401: invalid_token: The access token is not good.",
            "110114 userinfo R 4: eve, app, -: HTTP 403: insufficient_scope: The token does not have openid.",
            "110114 launch C 4: eve, app, -: HTTP 403: insufficient_scope: The token does not have make_launch.",
        ]
    );
    hides(&smart.server, &["a-secret-id", "nobody-we-know", "elsewhere", "not.a.token", "NoWhere"]);
}

#[test]
fn of_what_is_too_much_one_is_recorded() {
    let smart = Smart::with(|config| config.limits.client_requests_per_s = 2);
    let refused = (0..60).filter(|_| smart.get("/fhir/Patient").send().status() == 429).count();
    let refused = refused + (0..60).filter(|_| smart.get("/auth/keys").send().status() == 429).count();
    assert!(refused > 20, "{refused}");
    block_on(smart.server.app().store().settled()).unwrap();
    let mut recorded = 0;
    for block in smart.server.app().store().ledger(TENANT, 0, true).unwrap() {
        let entries = block.unwrap().entries.unwrap();
        recorded += entries.iter().filter(|entry| Record::read(entry).unwrap().shape.status == 429).count();
    }
    assert!((1..=3).contains(&recorded), "of {refused} in a few seconds {recorded} are recorded");
}
