//! What the claims of another issuer mean here, by the rules of the settings.

use super::keeper::KeeperError;
use super::server::Server;
use super::user::is_person;
use crate::config::Claims;
use crate::tenant::{Name, TenantId};
use serde_json::{Map, Value};

/// A person as claims describe them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// The person's resource here: `Practitioner/1`.
    pub fhir_user: Option<String>,
    /// The roles here, each once. They exist.
    pub roles: Vec<String>,
    /// Whether a claim about a person is there at all, if only about one who is nobody here.
    pub is_person: bool,
}

/// A claim by its name, or by a JSON Pointer.
fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// The texts of a claim: those of an array, or those of a text between spaces.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether who these claims are about belongs to the tenant of this name.
pub(super) fn belong_to(tenant: &Name, rules: &Claims, claims: &Map<String, Value>) -> bool {
    let Some(name) = &rules.tenant else { return true };
    let named = match claim(claims, name) {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(several) => texts(several),
        None => Vec::new(),
    };
    named.into_iter().any(|there| {
        let here =
            if rules.tenant_names.is_empty() { Some(there) } else { rules.tenant_names.get(there).map(String::as_str) };
        here == Some(tenant.as_str())
    })
}

impl Server {
    /// The person whom claims describe, with the roles that everybody has who comes from there. Roles that don't exist are
    /// dropped, and so are administrators' roles that no setting names.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn described(
        &self,
        tenant: TenantId,
        rules: &Claims,
        everybodys: &[String],
        claims: &Map<String, Value>,
    ) -> Result<Described, KeeperError> {
        let (person, named) = (claim(claims, &rules.fhir_user), claim(claims, &rules.roles));
        let known = self.roles(tenant)?;
        let mut roles: Vec<String> = Vec::new();
        let mut add = |name: &str, by_setting: bool| match known.get(name) {
            Some(role) if by_setting || !role.is_admin => {
                if !roles.iter().any(|own| own == name) {
                    roles.push(name.to_owned());
                }
            }
            Some(_) => {}
            None => tracing::debug!("a role of another issuer is none here"),
        };
        for name in everybodys {
            add(name, true);
        }
        for there in named.map(texts).unwrap_or_default() {
            match rules.role_names.get(there) {
                Some(here) => add(here, true),
                None if rules.role_names.is_empty() => add(there, false),
                None => {}
            }
        }
        let base = format!("{}/", self.base(tenant));
        let fhir_user = person.and_then(Value::as_str).map(|text| text.strip_prefix(&base).unwrap_or(text));
        let fhir_user = fhir_user.filter(|reference| is_person(reference)).map(str::to_owned);
        Ok(Described { fhir_user, roles, is_person: person.is_some() || named.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_claim_is_found_by_name_or_by_pointer() {
        let claims = map(&json!({"a/b": 1, "https://x.example/roles": 2, "realm": {"roles": ["r"]}, "a.b": 3}));
        let found = |name| claim(&claims, name).cloned();
        assert_eq!(found("a.b"), Some(json!(3)));
        assert_eq!(found("https://x.example/roles"), Some(json!(2)));
        assert_eq!((found("/realm/roles/0"), found("/a~1b")), (Some(json!("r")), Some(json!(1))));
        assert_eq!((found("/realm/none"), found("realm/roles"), found("none")), (None, None, None));
    }

    #[test]
    fn who_does_not_name_the_tenant_does_not_belong_to_it() {
        let mut rules = Claims { tenant: Some("organizationId".into()), ..Claims::default() };
        let belongs = |rules: &Claims, claims| belong_to(&Name::default_tenant(), rules, &map(&claims));
        assert!(belongs(&Claims::default(), json!({})));
        assert!(belongs(&rules, json!({"organizationId": "default"})));
        for other in [
            json!({}),
            json!({"organizationId": "other"}),
            json!({"organizationId": 0}),
            json!({"organizationId": "a default"}),
        ] {
            assert!(!belongs(&rules, other.clone()), "{other}");
        }
        rules.tenant_names.insert("org 7".into(), "default".into());
        assert!(belongs(&rules, json!({"organizationId": "org 7"})));
        assert!(belongs(&rules, json!({"organizationId": ["org 6", "org 7"]})));
        assert!(!belongs(&rules, json!({"organizationId": "default"})), "no longer a name there");
        let acme = Name::parse("acme").unwrap();
        assert!(!belong_to(&acme, &rules, &map(&json!({"organizationId": "org 7"}))));
        rules.tenant_names.insert("org 8".into(), "acme".into());
        assert!(belong_to(&acme, &rules, &map(&json!({"organizationId": "org 8"}))));
    }
}
