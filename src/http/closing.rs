//! While the server is about to stop, each answer ends its connection (RFC 9112 section 9.6): the next request of that client goes to another
//! process. (HTTP/2 has no such header; there connections end with the server.)

use super::Shared;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web;

/// Answers a request, and closes its connection once the server is told to stop.
pub async fn closing<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let shared = request.app_data::<web::Data<Shared>>().cloned();
    let mut answer = next.call(request).await?;
    if shared.is_some_and(|shared| shared.app.is_stopping()) {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}
