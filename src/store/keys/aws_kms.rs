//! AWS KMS: `Encrypt` and `Decrypt` under a key that never leaves it.
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html>

use super::remote::Remote;
use super::sigv4::{Credentials, Scope, Unsigned, amz_date, authorization};
use super::vault::secret_of;
use super::{About, Master, MasterError, Secret, Wrapped};
use crate::clock::{Clock, SystemClock};
use crate::config::AwsKmsKey;
use crate::store::{StoreError, StoreResult};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use ureq::http::Request;
use zeroize::Zeroizing;

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// A key of KMS.
pub(super) struct AwsKms {
    key: String,
    region: String,
    url: String,
    host: String,
    remote: Remote,
    credentials: Ask,
}

/// Who asks now: credentials may be renewed.
type Ask = Box<dyn Fn() -> Result<Credentials, MasterError> + Send + Sync>;

/// The credentials of the environment.
fn of_environment() -> Result<Credentials, MasterError> {
    let variable =
        |name: &str| std::env::var(name).map_err(|_| MasterError::Refused(format!("the variable {name} is not set")));
    Ok(Credentials {
        access_key: variable("AWS_ACCESS_KEY_ID")?,
        secret_key: Zeroizing::new(variable("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN").ok().map(Zeroizing::new),
    })
}

impl AwsKms {
    pub(super) fn new(settings: &AwsKmsKey, timeout: Duration) -> StoreResult<Self> {
        Self::with(settings, timeout, Box::new(of_environment))
    }

    pub(super) fn with(settings: &AwsKmsKey, timeout: Duration, credentials: Ask) -> StoreResult<Self> {
        let AwsKmsKey { region, key, endpoint } = settings.clone();
        let url = endpoint.unwrap_or_else(|| format!("https://kms.{region}.amazonaws.com"));
        let wrong = || StoreError::Closed("keys.aws_kms.endpoint: must be an address without a path".into());
        let parsed = url::Url::parse(&url).ok().filter(|url| url.path() == "/").ok_or_else(wrong)?;
        let host = parsed.host_str().ok_or_else(wrong)?;
        let host = parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { key, region, url: parsed.to_string(), host, remote: Remote::new(timeout), credentials })
    }

    /// Calls an action. The context is what the wrapped key is bound to; KMS writes it into CloudTrail.
    fn call(&self, action: &str, about: About, (name, value): (&str, &str)) -> Result<Value, MasterError> {
        let body = json!({ name: value, "KeyId": self.key, "EncryptionContext": { "pharos": about.text() } });
        let body = Zeroizing::new(body.to_string());
        let target = format!("TrentService.{action}");
        self.remote.ask(|| {
            let by = (self.credentials)()?;
            let date = amz_date(SystemClock.now());
            let mut headers = vec![("content-type", CONTENT_TYPE), ("host", &*self.host), ("x-amz-date", &*date)];
            headers.extend(by.session_token.as_ref().map(|token| ("x-amz-security-token", token.as_str())));
            headers.push(("x-amz-target", &target));
            let scope = Scope { region: &self.region, service: "kms" };
            let unsigned = Unsigned { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
            let signed = authorization(&by, &scope, &date, &unsigned);
            let request =
                headers.iter().fold(Request::post(&self.url), |request, (name, value)| request.header(*name, *value));
            let request = request.header("authorization", signed).body(body.as_bytes().to_vec());
            request.map_err(|_| MasterError::Refused("keys.aws_kms or the credentials can't stand in a request".into()))
        })
    }
}

impl Master for AwsKms {
    fn id(&self) -> String {
        format!("aws-kms:{}", self.key)
    }

    fn wrap(&self, about: About, key: &Secret) -> Result<Wrapped, MasterError> {
        let answer = self.call("Encrypt", about, ("Plaintext", &Zeroizing::new(STANDARD.encode(**key))))?;
        let bytes = answer.get("CiphertextBlob").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| MasterError::Damaged("its answer has no CiphertextBlob".into()))?;
        Ok(Wrapped { version: 1, bytes })
    }

    fn unwrap(&self, about: About, wrapped: &Wrapped) -> Result<Secret, MasterError> {
        let mut answer = self.call("Decrypt", about, ("CiphertextBlob", &STANDARD.encode(&wrapped.bytes)))?;
        let Some(Value::String(plain)) = answer.get_mut("Plaintext").map(Value::take) else {
            return Err(MasterError::Damaged("its answer has no Plaintext".into()));
        };
        secret_of(&Zeroizing::new(plain))
    }

    fn is_remote(&self) -> bool {
        true
    }
}
