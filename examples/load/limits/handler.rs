//! The limit of a read: a bare actix handler that answers the same bytes.

use crate::client::Failure;
use crate::import::Known;
use actix_web::dev::ServerHandle;
use actix_web::http::header::{CONTENT_TYPE, ETAG};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hyper::body::Bytes;
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread::JoinHandle;

type Bodies = HashMap<String, (String, Bytes)>;

/// The running handler.
pub struct Handler {
    pub url: String,
    handle: ServerHandle,
    thread: JoinHandle<()>,
}

impl Handler {
    /// Serves these resources at their addresses, on as many threads as the server has.
    pub fn start(known: &[Known], workers: usize) -> Result<Self, Failure> {
        let bodies: Bodies =
            known.iter().map(|one| (format!("/{}", one.address), (one.etag.clone(), one.body.clone()))).collect();
        let bodies = web::Data::new(bodies);
        let (tell, hear) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || App::new().app_data(bodies.clone()).default_service(web::to(answer));
                let started =
                    HttpServer::new(app).workers(workers).disable_signals().bind(("127.0.0.1", 0)).map(|server| {
                        let address = server.addrs().first().copied();
                        (address, server.run())
                    });
                match started {
                    Ok((address, server)) => {
                        drop(tell.send(address.map(|address| (address, server.handle()))));
                        drop(server.await);
                    }
                    Err(_) => drop(tell.send(None)),
                }
            });
        });
        let (address, handle) = hear.recv()?.ok_or("the bare handler does not start")?;
        Ok(Self { url: format!("http://{address}"), handle, thread })
    }

    /// Stops it.
    pub async fn stop(self) {
        self.handle.stop(false).await;
        drop(self.thread.join());
    }
}

async fn answer(request: HttpRequest, bodies: web::Data<Bodies>) -> HttpResponse {
    match bodies.get(request.path()) {
        Some((etag, body)) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/fhir+json"))
            .insert_header((ETAG, etag.as_str()))
            .body(body.clone()),
        None => HttpResponse::NotFound().finish(),
    }
}
