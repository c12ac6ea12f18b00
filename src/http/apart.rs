//! Requests to the authorization server and the pages, where the store is across a network.
//!
//! They look up what they need where they run, and wait for it there. A worker that did so would hold up all else that it serves. So a
//! worker only reads such a request and sends its answer; what is between is done in other threads, of which each serves one request at a time. A request and
//! an answer of actix belong to one thread, so what goes from one thread to another are their parts, and each thread has services of its own.
//!
//! What apps and resource servers ask for all the time and is soon answered has threads of its own: passwords that are hashed, identity
//! providers that are slow, and files that somebody reads slowly don't hold up the tokens of all tenants.

use super::guard::{Counted, late, refused};
use super::tenant::split;
use super::{Shared, address, admin, body, cors, routes};
use crate::config::Limits;
use crate::error::{Category, Error, Result};
use actix_http::Request;
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{AppConfig, Payload, Service, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, Uri, Version};
use actix_web::web::{self, Bytes};
use actix_web::{App as Actix, HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use futures_util::{FutureExt, Stream};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

/// Parts of an answer that may wait until those before are sent.
const PARTS_AHEAD: usize = 2;
/// Who takes no part of an answer for so long gets no more of it, and hears that it is not whole.
const STALLED: Duration = Duration::from_secs(30);

/// The requests that are served at a time; more wait for their turn. They wait for the store for most of their time.
const THREADS: usize = 32;
/// Those of [`SHORT`].
const SHORT_THREADS: usize = 16;
/// What has threads of its own, as it follows the tenant.
const SHORT: [&str; 4] = ["/auth/token", "/auth/introspect", "/auth/revoke", "/auth/keys"];
/// The requests that may wait for a thread; more are refused, since they would wait for too long.
const WAITING: usize = 512;
/// When one that is refused is worth another try.
const RETRY_AFTER_S: u32 = 5;

/// The ways to the threads, which end when nobody has them any more.
#[derive(Clone)]
pub struct Apart {
    short: Way,
    long: Way,
}

/// The way to some threads.
type Way = SyncSender<Waiting>;

/// A request, and who waits for its answer.
struct Waiting {
    asked: Asked,
    sender: oneshot::Sender<Told>,
}

impl Apart {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new(shared: &Shared) -> std::io::Result<Self> {
        Ok(Self { short: start(shared, SHORT_THREADS)?, long: start(shared, THREADS)? })
    }

    fn way(&self, path: &str) -> &Way {
        if SHORT.contains(&split(path).1) { &self.short } else { &self.long }
    }
}

fn start(shared: &Shared, threads: usize) -> std::io::Result<Way> {
    let (way, waiting) = sync_channel(WAITING);
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..threads {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (shared, waiting) = (shared.clone(), Arc::clone(&waiting));
        let serving = move || runtime.block_on(serve(shared, &waiting));
        std::thread::Builder::new().name("pharos-auth".into()).spawn(serving)?;
    }
    Ok(way)
}

/// Queues a request.
///
/// # Errors
/// 503 where as many wait as may.
fn queue(way: &Way, waiting: Waiting) -> Result<()> {
    way.try_send(waiting).map_err(|error| match error {
        TrySendError::Full(_) => {
            let text = "Too many requests to the authorization server are waiting.";
            let mut error = Error::new(Category::Unavailable, "throttled", text);
            error.retry_after_s = Some(RETRY_AFTER_S);
            error
        }
        TrySendError::Disconnected(_) => Error::internal("the threads of the authorization server have ended"),
    })
}

/// A request, whole.
struct Asked {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    body: Vec<u8>,
}

/// An answer.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Parts,
}

enum Parts {
    All(Bytes),
    /// One after the other, as they are made.
    More(mpsc::Receiver<Part>),
}

enum Part {
    Some(Bytes),
    /// That was all. Where this does not come, whatever the reason, the answer is not whole.
    End,
}

/// Has a request under `/auth` served.
pub async fn apart(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    threads: web::Data<Apart>,
) -> HttpResponse {
    // Before it takes anybody's place.
    if let Err(error) = shared.app.count_address(address::of(&request, &shared.app.config.trusted_proxies)) {
        return refused(&shared.refused(&request, error).await);
    }
    match told(&request, payload, &shared, threads.way(request.path())).await {
        Ok(told) => told.into_response(),
        Err(error) => {
            let refusing = async { refused(&shared.refused(&request, error).await) };
            cors::around(&request, &shared, refusing).await
        }
    }
}

/// What a thread answers to a request.
async fn told(request: &HttpRequest, payload: web::Payload, shared: &Shared, way: &Way) -> Result<Told> {
    let limits = Limits { body_bytes: admin::BODY_BYTES, ..shared.app.config.limits.clone() };
    let body = body::raw(request.headers(), payload, &limits).await?;
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().clone(),
        version: request.version(),
        headers: request.headers().clone(),
        peer: request.peer_addr(),
        body,
    };
    let (sender, receiver) = oneshot::channel();
    queue(way, Waiting { asked, sender })?;
    // In the thread, `guard` sees to the time; this is for a request that no thread has taken up.
    match tokio::time::timeout(Duration::from_millis(limits.request_timeout_ms), receiver).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(_)) => Err(Error::internal("a request to the authorization server had no answer")),
        Err(_) => Err(late()),
    }
}

/// Serves requests in this thread, one after the other, as long as there may be any.
async fn serve(shared: Shared, waiting: &Mutex<Receiver<Waiting>>) {
    let app = Actix::new().app_data(web::Data::new(shared)).app_data(Counted);
    let factory = app.configure(routes::authorization).into_factory();
    let Ok(services) = factory.new_service(AppConfig::default()).await else { return };
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Waiting { asked, sender }) = next() {
        if sender.is_closed() {
            // It had to wait for too long, or who asked has gone.
            continue;
        }
        let answering = async { answer(services.call(asked.into_request()).await, sender).await };
        if AssertUnwindSafe(answering).catch_unwind().await.is_err() {
            tracing::error!("an answer of the authorization server panicked");
        }
    }
}

/// Passes an answer on.
async fn answer(answer: std::result::Result<ServiceResponse, actix_web::Error>, sender: oneshot::Sender<Told>) {
    let answer = match answer {
        Ok(response) => response.into_parts().1,
        Err(error) => error.error_response(),
    };
    let (head, body) = answer.into_parts();
    let (status, headers) = (head.status(), head.headers().clone());
    if !matches!(body.size(), BodySize::Stream) {
        // Who asked may have gone.
        if let Ok(bytes) = to_bytes(body).await {
            drop(sender.send(Told { status, headers, body: Parts::All(bytes) }));
        }
        return;
    }
    let (parts, more) = mpsc::channel(PARTS_AHEAD);
    if sender.send(Told { status, headers, body: Parts::More(more) }).is_ok() {
        pass_on(body, parts, STALLED).await;
    }
}

/// Passes on what a body consists of, as long as somebody takes it.
async fn pass_on(body: BoxBody, parts: mpsc::Sender<Part>, patience: Duration) {
    let mut body = pin!(body);
    loop {
        let part = match poll_fn(|context| body.as_mut().poll_next(context)).await {
            Some(Ok(bytes)) => Part::Some(bytes),
            None => Part::End,
            Some(Err(error)) => return tracing::error!(%error, "an answer of the authorization server broke off"),
        };
        let is_end = matches!(part, Part::End);
        if parts.send_timeout(part, patience).await.is_err() || is_end {
            return;
        }
    }
}

/// What is passed on, as a body. One that breaks off ends with an error, so that the connection does: its reader must not take it for whole.
fn passed_on(parts: mpsc::Receiver<Part>) -> impl Stream<Item = Result<Bytes>> {
    unfold(Some(parts), async |parts| {
        let mut parts = parts?;
        match parts.recv().await {
            Some(Part::Some(bytes)) => Some((Ok(bytes), Some(parts))),
            Some(Part::End) => None,
            None => Some((Err(Error::internal("an answer of the authorization server broke off")), None)),
        }
    })
}

impl Asked {
    fn into_request(self) -> Request {
        let mut request = Request::with_payload(Payload::from(self.body));
        let head = request.head_mut();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = self.headers;
        head.peer_addr = self.peer;
        request
    }
}

impl Told {
    fn into_response(self) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status);
        let mut response = match self.body {
            Parts::All(bytes) => builder.body(bytes),
            Parts::More(parts) => builder.streaming(passed_on(parts)),
        };
        *response.headers_mut() = self.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    const PATIENCE: Duration = Duration::from_secs(1);

    const fn part(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// What a reader gets of a body that consists of these parts, who takes none before so long: the text, and whether it is whole.
    async fn read(made: Vec<Result<Bytes>>, after: Duration) -> (String, bool) {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let body = HttpResponse::Ok().streaming(stream::iter(made)).into_body();
        let reading = async {
            tokio::time::sleep(after).await;
            passed_on(parts).collect::<Vec<_>>().await
        };
        let ((), taken) = tokio::join!(pass_on(body, sender, PATIENCE), reading);
        let is_whole = taken.iter().all(Result::is_ok);
        (taken.iter().flatten().map(|bytes| str::from_utf8(bytes).unwrap()).collect(), is_whole)
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_does_not_look_whole() {
        let all = || ["a", "b", "c", "d"].map(part).map(Ok).into();
        assert_eq!(read(all(), Duration::ZERO).await, ("abcd".into(), true));
        assert_eq!(read(all(), PATIENCE / 5).await, ("abcd".into(), true));
        assert_eq!(read(all(), PATIENCE * 2).await, ("ab".into(), false), "its reader was too slow");
        let broken = vec![Ok(part("a")), Err(Error::internal("x")), Ok(part("b"))];
        assert_eq!(read(broken, Duration::ZERO).await, ("a".into(), false));
    }

    #[test]
    fn what_would_wait_for_too_long_is_refused() {
        let (way, _taken_by_nobody) = sync_channel(1);
        let waiting = || {
            let request = actix_web::test::TestRequest::default().to_http_request();
            let (method, uri, headers) = (request.method().clone(), request.uri().clone(), HeaderMap::new());
            let asked = Asked { method, uri, version: request.version(), headers, peer: None, body: Vec::new() };
            Waiting { asked, sender: oneshot::channel().0 }
        };
        assert!(queue(&way, waiting()).is_ok());
        let error = queue(&way, waiting()).unwrap_err();
        assert_eq!((error.category.status(), error.retry_after_s), (503, Some(RETRY_AFTER_S)));
    }

    #[tokio::test]
    async fn an_answer_whose_thread_ends_does_not_look_whole() {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        sender.try_send(Part::Some(Bytes::from_static(b"a"))).unwrap();
        drop(sender);
        assert!(passed_on(parts).collect::<Vec<_>>().await.last().is_some_and(Result::is_err));
    }
}
