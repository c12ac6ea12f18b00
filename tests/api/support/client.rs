//! Requests.

use super::answer::Answer;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use ureq::http;

/// How long an answer may take before a test gives up. Far above what any takes.
const PATIENCE: Duration = Duration::from_mins(2);

const FHIR_JSON: &str = "application/fhir+json";

/// Sends requests to one base URL. It follows no redirect, keeps connections, and asks for no compression by itself.
#[derive(Clone)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
    token: Option<String>,
}

impl Client {
    /// `base` is a URL without a slash at the end: `http://127.0.0.1:8080/fhir`.
    pub fn new(base: impl Into<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("")
            .timeout_global(Some(PATIENCE))
            .build();
        Self { base: base.into(), agent: config.into(), token: None }
    }

    /// The same, sending an access token with each request.
    pub fn bearing(base: impl Into<String>, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::new(base) }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub fn head(&self, path: &str) -> Request<'_> {
        self.request("HEAD", path)
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    pub fn patch(&self, path: &str) -> Request<'_> {
        self.request("PATCH", path)
    }

    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request("DELETE", path)
    }

    /// `path` follows the base, with its query: `/Patient?name=Eve`. A whole URL (a link of a Bundle) is taken as it is.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        let url = if path.starts_with("http://") { path.to_owned() } else { format!("{}{path}", self.base) };
        let authorization = self.token.iter().map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        Request { client: self, method: method.to_owned(), url, headers: authorization.collect(), body: None }
    }

    /// Sends exactly these bytes on a connection of its own, ends the sending side, and gives all that comes back.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut connection = self.connect();
        connection.write_all(bytes).unwrap();
        // The server may have closed already.
        let _ended = connection.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        // The server may close before it has read all; what it said until then counts.
        let _closed = connection.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A bare connection to the server.
    pub fn connect(&self) -> TcpStream {
        let address = self.base.trim_start_matches("http://").split('/').next().unwrap();
        let connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }
}

/// A request that is being put together.
#[must_use]
pub struct Request<'c> {
    client: &'c Client,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body of `application/fhir+json`.
    pub fn json(self, body: impl serde::Serialize) -> Self {
        self.body(FHIR_JSON, serde_json::to_vec(&body).unwrap())
    }

    /// A body of any kind.
    pub fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self.header("Content-Type", content_type)
    }

    /// The fields of a form, percent-encoded already: `name=Eve&_count=2`.
    pub fn form(self, fields: &str) -> Self {
        self.body("application/x-www-form-urlencoded", fields)
    }

    /// Sends, and fails where no HTTP answer comes.
    pub fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends; the error says why no whole answer came.
    pub fn try_send(self) -> Result<Answer, String> {
        let sent = format!("{} {}", self.method, self.url);
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let agent = &self.client.agent;
        let answer = match self.body {
            Some(bytes) => agent.run(request.body(bytes).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let (head, body) = answer.map_err(|error| format!("{sent}: {error}"))?.into_parts();
        let bytes = body.into_with_config().limit(u64::MAX).read_to_vec();
        let bytes = bytes.map_err(|error| format!("{sent}: the body did not arrive: {error}"))?;
        Ok(Answer::new(sent, head.status.as_u16(), head.headers, bytes))
    }

    /// Sends, and fails where the status is another.
    pub fn expect(self, status: u16) -> Answer {
        self.send().status_is(status)
    }
}
