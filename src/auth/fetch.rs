//! The one way in which the server asks others: for key sets, for discovery documents, and at the token endpoints of providers.
//!
//! Who may register a client may name an address, and the server would ask it from inside the operator's network. So only the
//! hosts of `auth.fetch_hosts` are asked, by `https`, and none that has an address which is not public. That is checked on the addresses
//! that the connection is made to, after the name was resolved, so a name that changes its address can't get around it.

use crate::config::Auth;
use serde_json::Value;
use std::io::{Error as IoError, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::config::Config;
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use url::{Host, Url};

/// Why a document was not fetched: for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not the kind of address that is fetched.
    #[error("not an https address without a user name and a fragment")]
    Address,
    /// The host is not one of `auth.fetch_hosts`.
    #[error("the host {0} is not one of auth.fetch_hosts")]
    Host(String),
    /// Larger than allowed: than `auth.fetch_bytes`, but for imports.
    #[error("the document is too large")]
    TooLarge,
    /// Another status than 200. Redirects are not followed.
    #[error("the host answered with status {0}")]
    Status(u16),
    /// The document is not JSON.
    #[error("the document is not JSON")]
    NotJson,
    /// The connection failed, took longer than `auth.fetch_timeout_ms`, or the host has an address that is not public.
    #[error("{0}")]
    Failed(String),
}

/// Fetches documents within the settings.
#[derive(Clone)]
pub struct Fetcher {
    hosts: Vec<String>,
    private: bool,
    bytes: usize,
    timeout: Duration,
    /// How long an answer may stand still, where that is not as long as it may take.
    stall: Option<Duration>,
    agent: Arc<OnceLock<Agent>>,
}

impl Fetcher {
    /// What the settings allow.
    #[must_use]
    pub fn new(config: &Auth) -> Self {
        Self {
            hosts: config.fetch_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            private: config.fetch_private,
            bytes: config.fetch_bytes,
            timeout: Duration::from_millis(config.fetch_timeout_ms),
            stall: None,
            agent: Arc::default(),
        }
    }

    /// The same, but an answer that stands still for so long has failed.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall: Some(stall), ..self }
    }

    /// Whether an address may be fetched, as far as its text tells.
    ///
    /// # Errors
    /// [`FetchError::Address`], [`FetchError::Host`].
    pub fn check(&self, address: &str) -> Result<Url, FetchError> {
        let url = Url::parse(address).map_err(|_| FetchError::Address)?;
        let is_fetched = url.scheme() == "https" || (self.private && url.scheme() == "http");
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host().ok_or(FetchError::Address)?;
        if !is_fetched || !is_plain {
            return Err(FetchError::Address);
        }
        let name = host.to_string();
        let is_allowed = |allowed: &String| match allowed.strip_prefix('*') {
            Some(domain) => {
                matches!(host, Host::Domain(_))
                    && domain.starts_with('.')
                    && name.len() > domain.len()
                    && name.ends_with(domain)
            }
            None => *allowed == name,
        };
        if !self.hosts.iter().any(is_allowed) {
            return Err(FetchError::Host(name));
        }
        Ok(url)
    }

    /// Fetches a JSON document.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(&self, address: &str) -> Result<Value, FetchError> {
        let request = Request::get(self.check(address)?.as_str()).body(Vec::new());
        let response = self.send(request.map_err(|_| FetchError::Address)?).await?;
        if response.status() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        serde_json::from_slice(response.body()).map_err(|_| FetchError::NotJson)
    }

    /// Sends a request by the same rules, whatever the status of the answer is.
    ///
    /// # Errors
    /// Why there is no whole answer.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let fetcher = self.clone();
        let sent = tokio::task::spawn_blocking(move || fetcher.send_and_wait(request));
        sent.await.map_err(|error| FetchError::Failed(error.to_string()))?
    }

    /// The same, but it blocks.
    ///
    /// # Errors
    /// As [`Fetcher::send`].
    pub fn send_and_wait(&self, mut request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let url = self.check(&request.uri().to_string())?;
        *request.uri_mut() = url.as_str().parse().map_err(|_| FetchError::Address)?;
        run(self.agent(), request, self.bytes)
    }

    /// Asks for what is read bit by bit, by the same rules but for the size, whatever the status of the answer is; with an access token
    /// where there is one. It blocks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn open(&self, address: &str, accept: &str, token: Option<&str>) -> Result<Response<Body>, FetchError> {
        let mut request = Request::get(self.check(address)?.as_str()).header("Accept", accept);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = self.agent().run(request.body(()).map_err(|_| FetchError::Address)?);
        response.map_err(|error| FetchError::Failed(error.to_string()))
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| agent_of(self.private, self.timeout, self.stall))
    }
}

/// The client. Made when it is first needed, because reading the certificates of the system takes a while.
fn agent_of(private: bool, timeout: Duration, stall: Option<Duration>) -> Agent {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(!private)
        // Not from the environment: a proxy would resolve the name itself, and reach what this server must not.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(timeout))
        .timeout_per_read(stall)
        .user_agent("pharos")
        .accept("application/json")
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Addresses { private, names: DefaultResolver::default() })
}

fn run(agent: &Agent, request: Request<Vec<u8>>, bytes: usize) -> Result<Response<Vec<u8>>, FetchError> {
    let failed = |error: &dyn std::fmt::Display| FetchError::Failed(error.to_string());
    let response = if request.method() == Method::GET { agent.run(request.map(|_| ())) } else { agent.run(request) };
    let (head, mut body) = response.map_err(|error| failed(&error))?.into_parts();
    let mut document = Vec::new();
    // Counted after decompression.
    let most = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(1);
    body.as_reader().take(most).read_to_end(&mut document).map_err(|error| failed(&error))?;
    if document.len() > bytes {
        return Err(FetchError::TooLarge);
    }
    Ok(Response::from_parts(head, document))
}

/// Resolves names, and refuses one of whose addresses any is not public.
#[derive(Debug)]
struct Addresses {
    private: bool,
    names: DefaultResolver,
}

impl Resolver for Addresses {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        if self.private || found.iter().all(|address| is_public(address.ip())) {
            return Ok(found);
        }
        Err(IoError::new(ErrorKind::PermissionDenied, "the host has an address that is not public").into())
    }
}

/// Whether an address belongs to the public internet, by IANA's registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b) {
        // This network, private, loopback; multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, _)
        // Carriers' networks (CGNAT); link-local, where clouds keep their metadata; private; benchmarks.
        | (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 168) | (198, 18..=19) => true,
        // Protocols and documentation; relays of 6to4; documentation twice more.
        (192, 0) => c == 0 || c == 2,
        (192, 88) => c == 99,
        (198, 51) => c == 100,
        (203, 0) => c == 113,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, middle @ .., high, low] = address.segments();
    let embedded = || is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (first, second) {
        // An IPv4 address in the clothes of IPv6, and one behind NAT64.
        (0, 0) => middle == [0, 0, 0, 0xffff] && embedded(),
        (0x64, 0xff9b) => middle == [0, 0, 0, 0] && embedded(),
        // Tunnels (Teredo, 6to4) lead anywhere; the rest is for protocols and documentation.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff) => false,
        // Only these are handed out; outside are loopback, link-local, unique local, multicast and what is not assigned.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
