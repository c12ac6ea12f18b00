//! Asking a provider over HTTP.

use super::MasterError;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Request, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// How often a provider is asked that does not answer, or is not well.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// The longest answer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What asks a service that the settings name: by the certificates of the system, through no proxy and past no redirect, and within a time limit.
#[must_use]
pub fn agent(timeout: Duration) -> Agent {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent("pharos")
        .build();
    config.into()
}

/// Asks one provider.
pub(super) struct Remote(Agent);

impl Remote {
    pub(super) fn new(timeout: Duration) -> Self {
        Self(agent(timeout))
    }

    /// The JSON that a request is answered with. `make` makes the request anew for each attempt.
    pub(super) fn ask(&self, make: impl Fn() -> Result<Request<Vec<u8>>, MasterError>) -> Result<Value, MasterError> {
        let mut last = MasterError::Unreachable("no attempt was made".into());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE * attempt);
            }
            match self.once(make()?) {
                Err(error @ MasterError::Unreachable(_)) => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    fn once(&self, request: Request<Vec<u8>>) -> Result<Value, MasterError> {
        let unreachable = |error: ureq::Error| MasterError::Unreachable(error.to_string());
        let mut response = self.0.run(request).map_err(unreachable)?;
        let status = response.status();
        let body =
            response.body_mut().with_config().limit(LONGEST).read_to_vec().map(Zeroizing::new).map_err(unreachable)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let why = format!("status {}: {}", status.as_u16(), reason(&body));
        let is_passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if is_passing { MasterError::Unreachable(why) } else { MasterError::Refused(why) })
    }
}

/// What an answer says of an error: `errors` of Vault, `__type` and `message` of AWS.
fn reason(body: &Value) -> String {
    let texts = [body.pointer("/errors/0"), body.get("__type"), body.get("message"), body.get("Message")];
    let texts = texts.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    if texts.is_empty() { "no reason given".to_owned() } else { texts.join(": ") }
}
