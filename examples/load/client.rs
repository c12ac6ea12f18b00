//! One client: a keep-alive HTTP/1.1 connection, and the tally of what it asked.

use crate::tally::Tally;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderMap, LOCATION};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::time::Instant;
use tokio::net::TcpStream;

pub type Failure = Box<dyn std::error::Error>;

/// Where the server is.
#[derive(Debug, Clone)]
pub struct Base {
    authority: String,
    path: String,
    token: Option<String>,
}

impl Base {
    /// From a FHIR base URL (`http` only: the tool shares the machine with the server).
    pub fn new(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let uri: Uri = url.parse()?;
        if uri.scheme_str() != Some("http") {
            return Err("the base URL must begin with http://".into());
        }
        let host = uri.host().ok_or("the base URL names no host")?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Self { authority, path: uri.path().trim_end_matches('/').to_owned(), token })
    }
}

impl Base {
    /// The path of a request; the base itself for an empty one.
    fn join(&self, path: &str) -> String {
        if path.is_empty() { self.path.clone() } else { format!("{}/{path}", self.path) }
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The `ETag`.
    pub fn etag(&self) -> Option<&str> {
        self.headers.get(ETAG)?.to_str().ok()
    }

    /// `Type/id` of the `Location`.
    pub fn location(&self) -> Option<String> {
        type_and_id(self.headers.get(LOCATION)?.to_str().ok()?)
    }
}

/// `Type/id` of a URL that may have a base before it and a version behind it.
pub fn type_and_id(url: &str) -> Option<String> {
    let url = url.split_once("/_history/").map_or(url, |(before, _)| before);
    let (before, id) = url.rsplit_once('/')?;
    let type_name = before.rsplit('/').next()?;
    (!id.is_empty() && type_name.starts_with(|first: char| first.is_ascii_uppercase()))
        .then(|| format!("{type_name}/{id}"))
}

/// One client.
pub struct Client {
    base: Base,
    connection: Option<SendRequest<Full<Bytes>>>,
    pub tally: Tally,
}

impl Client {
    /// A client that connects with its first request.
    pub fn new(base: &Base) -> Self {
        Self { base: base.clone(), connection: None, tally: Tally::default() }
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.base.join(path))
            .header(HOST, &self.base.authority)
            .header(ACCEPT, "application/fhir+json");
        if let Some(token) = &self.base.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/fhir+json").header("prefer", "return=minimal");
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let connection = self.connection().await?;
        let answer = connection.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// The open connection, or a new one.
    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(&self.base.authority).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            self.connection = Some(sender);
        }
        self.connection.as_mut().ok_or_else(|| "no connection".into())
    }

    /// Sends a request, checks the answer, and counts both under `operation`. `None` where any of it failed.
    pub async fn ask(
        &mut self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        check: impl FnOnce(&Answer) -> Result<(), String>,
    ) -> Option<Answer> {
        let begin = Instant::now();
        let outcome = self.send(method, path, body).await;
        let took = begin.elapsed();
        let checked = match outcome {
            Ok(answer) => check(&answer).map(|()| answer),
            Err(error) => Err(format!("no answer: {error}")),
        };
        match checked {
            Ok(answer) => {
                self.tally.add(operation, took);
                Some(answer)
            }
            Err(error) => {
                self.tally.fail(operation, error);
                None
            }
        }
    }
}
