//! What is read of a Consent, and how its provisions are joined, without a store.

use super::decide::{Defaults, permitted};
use super::judge::{Action, Asked, Identity, Reading};
use super::read::{Base, Consent, Kind};
use super::{Consents, Policy};
use crate::auth::recipient::Recipient;
use crate::clock::Micros;
use crate::error::Result;
use crate::fhir::parse::parse;
use crate::fhir::tree::Object;
use crate::key::reference::matching_resource;
use crate::key::{Expr, KeyList, Stored, prefix_of};
use crate::tenant::TenantId;
use std::sync::{Arc, OnceLock};

/// Nothing is stored.
struct Nothing;

impl Stored for Nothing {
    fn each(&self, _: &str, _: &[u8], _: &mut dyn FnMut(&str, &Object<'_>)) -> Result<()> {
        Ok(())
    }
    fn keys(&self, _: &str, _: &str) -> Result<Option<KeyList>> {
        Ok(None)
    }
}

fn read(members: &str) -> Option<Consent> {
    let json = format!(r#"{{"resourceType":"Consent","status":"active",{members}}}"#);
    let tree = parse(json.as_bytes(), 64).unwrap();
    Consent::read("c", tree.as_object().unwrap())
}

fn rule(code: &str) -> String {
    format!(
        r#""policyRule":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"{code}"}}]}}"#
    )
}

/// What Consents permit of Observations, for treatment, by somebody of whom nothing is known.
fn of(consents: &[String]) -> Expr {
    let consents: Vec<_> = consents.iter().map(|members| read(members).unwrap()).collect();
    let (who, purposes) = (Identity::default(), ["TREAT".into()]);
    let asked = Asked { who: &who, purposes: &purposes, action: Action::Access, now: Micros(0) };
    let defaults = Defaults { base: Kind::Deny, without: Kind::Permit };
    let reading = Reading { stored: &Nothing, base: "http://localhost/fhir" };
    permitted(&consents, "Observation", &asked, defaults, &reading).unwrap()
}

fn with(code: &str, provisions: &str) -> String {
    format!(r#"{},"provision":{{"provision":[{provisions}]}}"#, rule(code))
}

const FOR_TREATMENT: &str =
    r#""purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT"}]"#;
const OF_CONDITIONS: &str = r#""class":[{"system":"http://hl7.org/fhir/resource-types","code":"Condition"}]"#;
const TO_SOMEBODY: &str = r#""actor":[{"role":{"coding":[{"code":"x"}]},"reference":{"reference":"Practitioner/p"}}]"#;

#[test]
fn the_base_rule_holds_where_no_exception_does() {
    assert_eq!(of(&[]), Expr::All);
    assert_eq!(of(&[rule("OPTIN")]), Expr::All);
    assert_eq!(of(&[rule("OPTOUT")]), Expr::none());
    assert_eq!(of(&[rule("EMRGONLY")]), Expr::none());
    assert_eq!(of(&[rule("IMPLIED")]), Expr::none(), "the setting");
    assert_eq!(of(&[with("OPTOUT", &format!(r#"{{"type":"permit",{OF_CONDITIONS}}}"#))]), Expr::none());
    assert_eq!(of(&[with("OPTOUT", &format!(r#"{{"type":"permit",{FOR_TREATMENT}}}"#))]), Expr::All);
}

#[test]
fn what_is_not_known_is_met_by_what_denies_and_not_by_what_permits() {
    assert_eq!(of(&[with("OPTIN", &format!(r#"{{"type":"deny",{TO_SOMEBODY}}}"#))]), Expr::none());
    assert_eq!(of(&[with("OPTOUT", &format!(r#"{{"type":"permit",{TO_SOMEBODY}}}"#))]), Expr::none());
    // What is denied within what permits is denied, also where it can't be told whether that is met.
    let inner = format!(r#"{{"type":"permit",{TO_SOMEBODY},"provision":[{{"type":"deny"}}]}}"#);
    assert_eq!(of(&[with("OPTIN", &inner)]), Expr::none());
}

#[test]
fn exceptions_have_exceptions_and_one_that_denies_wins() {
    let inner = |kind: &str| format!(r#"{{"type":"{kind}",{FOR_TREATMENT}}}"#);
    let outer = |kind: &str, inside: &str| format!(r#"{{"type":"{kind}","provision":[{inside}]}}"#);
    assert_eq!(of(&[with("OPTIN", &outer("deny", &inner("permit")))]), Expr::All);
    assert_eq!(of(&[with("OPTOUT", &outer("permit", &inner("deny")))]), Expr::none());
    assert_eq!(of(&[with("OPTOUT", &format!("{},{}", inner("permit"), inner("deny")))]), Expr::none());
    assert_eq!(of(&[rule("OPTIN"), rule("OPTOUT")]), Expr::none(), "the most restrictive Consent wins");
}

#[test]
fn what_is_not_as_it_should_be_permits_nothing() {
    for members in [
        with("OPTIN", r#"{"purpose":[{"code":"TREAT"}]}"#),
        with("OPTIN", r#"{"type":"maybe"}"#),
        with("OPTIN", r#"{"type":"permit","period":{}}"#),
        with("OPTIN", r#"{"type":"permit","period":{"start":"soon"}}"#),
        with("OPTIN", r#"{"type":"permit","actor":"me"}"#),
        with("OPTIN", r#"{"type":"permit","data":[{"meaning":"instance"}]}"#),
        format!(r#"{},"provision":"x""#, rule("OPTIN")),
        format!(r#"{},"provision":{{"type":"permit"}}"#, rule("OPTOUT")),
        format!(r#"{},"provision":{{{FOR_TREATMENT}}}"#, rule("OPTIN")),
        r#""policyRule":"OPTIN""#.to_owned(),
    ] {
        assert!(read(&members).unwrap().fault.is_some(), "{members}");
        assert_eq!(of(&[members]), Expr::none());
    }
}

#[test]
fn what_is_not_in_force_matters_to_nobody_even_where_it_is_not_understood() {
    let ended = r#""modifierExtension":[{"url":"urn:x"}],"provision":{"period":{"end":"1969"}}"#;
    assert_eq!(of(&[format!("{},{ended}", rule("OPTOUT"))]), Expr::All);
    assert_eq!(of(&[format!("{},{}", rule("OPTOUT"), ended.replace("end", "start"))]), Expr::none());
}

#[test]
fn only_active_consents_are_read() {
    let json = br#"{"resourceType":"Consent","status":"inactive"}"#;
    assert_eq!(Consent::read("c", parse(json, 64).unwrap().as_object().unwrap()), None);
    let consent = read(&rule("OPTINR")).unwrap();
    assert_eq!((consent.base, consent.fault), (Base::Permit, None));
}

/// One Consent is stored, and perhaps a Group with one member.
struct OneConsent {
    members: String,
    member: Option<&'static str>,
}

impl Stored for OneConsent {
    fn each(&self, type_name: &str, _: &[u8], found: &mut dyn FnMut(&str, &Object<'_>)) -> Result<()> {
        if type_name == "Consent" {
            let json = format!(r#"{{"resourceType":"Consent","status":"active",{}}}"#, self.members);
            found("c", parse(json.as_bytes(), 64).unwrap().as_object().unwrap());
        }
        Ok(())
    }
    fn keys(&self, type_name: &str, _: &str) -> Result<Option<KeyList>> {
        let member = self.member.filter(|_| type_name == "Group");
        Ok(member.map(|id| KeyList::new(vec![matching_resource("Practitioner", id).under(&prefix_of("member")).from])))
    }
}

/// What is permitted of the Observations of a patient, to Practitioner/p.
fn decided(consents: &Arc<Consents>, stored: &OneConsent, now: Micros) -> Expr {
    let recipient = Recipient { reference: Some("Practitioner/p".into()), ..Recipient::default() };
    let policy = Policy {
        tenant: TenantId::DEFAULT,
        consents: Arc::clone(consents),
        at: consents.quiet(TenantId::DEFAULT),
        defaults: Defaults { base: Kind::Deny, without: Kind::Permit },
        recipient: Arc::new(recipient),
        now,
        base: "http://localhost/fhir".into(),
        identity: OnceLock::new(),
        asker: OnceLock::new(),
    };
    (*policy.consented().access.of("patient", "Observation", stored).unwrap()).clone()
}

#[test]
fn what_was_decided_holds_until_a_consent_changes_or_a_period_begins_or_ends() {
    let consents = Arc::new(Consents::default());
    let second = |second: i64| Micros(second * 1_000_000);
    let period = r#""provision":{"period":{"start":"1970-01-01T00:00:10Z","end":"1970-01-01T00:00:19Z"}}"#;
    let stored = OneConsent { members: format!("{},{period}", rule("OPTOUT")), member: None };
    for (now, expected) in [(5, Expr::All), (9, Expr::All), (10, Expr::none()), (19, Expr::none()), (20, Expr::All)] {
        assert_eq!(decided(&consents, &stored, second(now)), expected, "{now}");
        assert_eq!(decided(&consents, &stored, second(now)), expected, "{now}, again");
    }
    let open = OneConsent { members: rule("OPTIN"), member: None };
    assert_eq!(decided(&consents, &open, second(10)), Expr::none(), "nothing is told to have changed");
    consents.change(TenantId::DEFAULT).end();
    assert_eq!(decided(&consents, &open, second(10)), Expr::All);
}

#[test]
fn what_rests_on_a_group_is_decided_anew() {
    let consents = Arc::new(Consents::default());
    let actor = r#""actor":[{"role":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationType","code":"IRCP"}]},"reference":{"reference":"Group/g"}}]"#;
    let members = with("OPTIN", &format!(r#"{{"type":"deny",{actor}}}"#));
    for (member, expected) in [("other", Expr::All), ("p", Expr::none()), ("other", Expr::All)] {
        let stored = OneConsent { members: members.clone(), member: Some(member) };
        assert_eq!(decided(&consents, &stored, Micros(0)), expected, "{member}");
    }
}
