//! Bodies, checked against their JSON Schema before anything is done with them.

use crate::error::{Error, Result};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A schema, ready for use; `None` where it is none, which the tests would see.
pub type Schema = LazyLock<Option<Validator>>;

pub static NEW_USER: Schema = LazyLock::new(|| {
    let mut schema = user();
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        properties.insert("password".into(), password());
    }
    jsonschema::validator_for(&schema).ok()
});

pub static USER: Schema = LazyLock::new(|| jsonschema::validator_for(&user()).ok());

pub static PASSWORD: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": { "password": password() },
        "required": ["password"],
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

pub static ROLE: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "scopes": { "type": "string", "maxLength": 20_000 },
            "own_patients": { "type": "boolean" },
            "break_glass": { "type": "boolean" },
            "is_admin": { "type": "boolean" },
            "purpose_of_use": {
                "type": "array",
                "items": { "type": "string", "pattern": "^[A-Za-z_]{1,40}$" },
                "maxItems": 20,
            },
        },
        "required": ["scopes"],
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

pub static ROTATION: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": {
            "what": { "enum": ["signing", "data", "ledger", "master"] },
            "drop_old": { "type": "boolean" },
        },
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

pub static RESEAL: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": { "drop_old": { "type": "boolean" } },
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

pub static HOLD: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": { "reason": { "type": "string", "minLength": 1, "maxLength": 1_000 } },
        "required": ["reason"],
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

pub static RETENTION: Schema = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": { "dry_run": { "type": "boolean" } },
        "additionalProperties": false,
    });
    jsonschema::validator_for(&schema).ok()
});

fn password() -> Value {
    json!({ "type": "string", "maxLength": 1_000 })
}

fn user() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "minLength": 1, "maxLength": 128 },
            "name": { "type": "string", "maxLength": 128 },
            "fhir_user": { "type": ["string", "null"] },
            "roles": { "type": "array", "items": { "type": "string" }, "maxItems": 50, "uniqueItems": true },
            "disabled": { "type": "boolean" },
            "must_change_password": { "type": "boolean" },
        },
        "required": ["username", "roles"],
        "additionalProperties": false,
    })
}

/// Reads a body whose schema is checked elsewhere.
///
/// # Errors
/// 400 where it is not JSON.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| Error::invalid("The body is not JSON."))
}

/// Reads a body.
///
/// # Errors
/// 400 names the member that does not fit; never its value, which may be a password.
pub fn read<T: DeserializeOwned>(schema: &Schema, body: &[u8]) -> Result<T> {
    let value = json::<Value>(body)?;
    let schema = schema.as_ref().ok_or_else(|| Error::internal("a schema is none"))?;
    if let Err(error) = schema.validate(&value) {
        let text = format!("The body does not fit its schema: {}.", error.kind().keyword());
        return Err(Error::invalid(text).at(error.instance_path().to_string()));
    }
    serde_json::from_value(value).map_err(|_| Error::invalid("The body has a member twice, or of another kind."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named_without_its_value() {
        let cases = [
            (&NEW_USER, r#"{"username": "eve", "roles": [], "password": 7531}"#, "/password", "type"),
            (&NEW_USER, r#"{"username": "eve"}"#, "", "required"),
            (&USER, r#"{"username": "eve", "roles": [], "password": "x7531"}"#, "", "additionalProperties"),
            (&USER, r#"{"username": "", "roles": []}"#, "/username", "minLength"),
            (&PASSWORD, r#"{"password": null}"#, "/password", "type"),
            (&ROLE, r#"{"scopes": ["user/*.rs"]}"#, "/scopes", "type"),
        ];
        for (schema, body, member, keyword) in cases {
            let error = read::<Value>(schema, body.as_bytes()).unwrap_err();
            let issue = &error.issues[0];
            assert_eq!(issue.expression.as_deref(), Some(member), "{body}");
            assert!(issue.diagnostics.contains(keyword) && !issue.diagnostics.contains("7531"), "{issue:?}");
        }
        assert!(read::<Value>(&USER, b"{").is_err());
        assert!(read::<Value>(&USER, br#"{"username": "eve", "roles": ["Provider"], "fhir_user": null}"#).is_ok());
    }
}
