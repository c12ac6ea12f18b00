//! What of the requests under `/auth` goes into the audit ledger, before they are answered: what can't be recorded is not answered.
//!
//! Nothing secret is said: no token, no password, and of what was typed as a name only what is one.

use super::{Shared, address, tenant};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::error::OAuthError;
use crate::auth::registration::Registered;
use crate::auth::token::{TokenAnswer, Told};
use crate::error::{Error, Result};
use actix_web::HttpRequest;
use std::borrow::Cow;

/// Where an endpoint of OAuth created something.
const CREATED: u16 = 201;

impl Shared {
    /// Records an event, with the address that the request comes from.
    ///
    /// # Errors
    /// 503 where the ledger can't take it.
    pub(super) async fn record(&self, request: &HttpRequest, mut record: Record<'_>) -> Result<()> {
        record.shape.from = Some(address::of(request, &self.app.config.trusted_proxies));
        self.app.ledger.note(tenant::of(request)?, record).await
    }

    /// Records that a token was given or refused.
    pub(super) async fn token_asked(
        &self,
        request: &HttpRequest,
        told: Told,
        result: Result<TokenAnswer, OAuthError>,
    ) -> Result<TokenAnswer, OAuthError> {
        let Told { mut agent, grant_type, is_reuse } = told;
        let grant_type = grant_type.unwrap_or("no grant_type");
        let note = match &result {
            Ok(answer) => {
                agent.token = Some(answer.jti.as_str().into());
                format!("{grant_type}: {}", answer.scope)
            }
            Err(error) => format!("{grant_type}: {}", words(error)),
        };
        let event = if is_reuse { Event::Reuse } else { Event::Token };
        self.concluded(request, event, agent, note, result).await
    }

    /// Records that a client asked to have a token revoked.
    pub(super) async fn revocation_asked(
        &self,
        request: &HttpRequest,
        told: Told,
        result: Result<(), OAuthError>,
    ) -> Result<(), OAuthError> {
        let is_known = told.agent.token.is_some() || told.agent.authorization.is_some();
        let note = match &result {
            Ok(()) if told.agent.token.is_some() => "an access token".to_owned(),
            Ok(()) if is_known => "all that was granted".to_owned(),
            Ok(()) => "a token that is not known".to_owned(),
            Err(error) => words(error),
        };
        self.concluded(request, Event::Revocation, told.agent, note, result).await
    }

    /// Records what somebody asked for with a token.
    pub(super) async fn asked<T>(
        &self,
        request: &HttpRequest,
        event: Event,
        agent: Agent,
        result: Result<T, OAuthError>,
    ) -> Result<T, OAuthError> {
        let note = result.as_ref().err().map_or_else(String::new, words);
        self.concluded(request, event, agent, note, result).await
    }

    /// Records a request that was refused before it was clear what it asks for, in the ledger of the tenant that it names, or where
    /// there is none in that of the default tenant. Answers why it was refused; a 503 where the ledger can't take it.
    pub(super) async fn refused(&self, request: &HttpRequest, error: Error) -> Error {
        let (tenant, name) = self.whose(request.path());
        let agent = Agent::default();
        let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
        let mut record = Record::of(Event::Refusal, Cow::Borrowed(&agent)).ended(error.category.status()).saying(text);
        record.shape.name = name.map(Cow::Owned);
        record.shape.from = Some(address::of(request, &self.app.config.trusted_proxies));
        self.app.ledger.note(tenant, record).await.err().unwrap_or(error)
    }

    /// Records that somebody asked about a token who may not.
    pub(super) async fn introspection_asked<T>(
        &self,
        request: &HttpRequest,
        agent: Agent,
        result: Result<T, OAuthError>,
    ) -> Result<T, OAuthError> {
        match &result {
            Err(error) if matches!(error.status(), 401 | 403 | 429) => {
                let note = words(error);
                self.concluded(request, Event::Introspection, agent, note, result).await
            }
            _ => result,
        }
    }

    /// Records that somebody registered a client.
    pub(super) async fn registration_asked(
        &self,
        request: &HttpRequest,
        agent: &Agent,
        result: Result<Registered, OAuthError>,
    ) -> Result<Registered, OAuthError> {
        let record = Record::of(Event::Administration("client".into()), Cow::Borrowed(agent));
        let record = match &result {
            Ok(Registered { client, .. }) => {
                let note = format!("registered: {}: {}", client.grant_types.join(" "), client.scopes);
                record.ended(CREATED).named(client.client_id.clone()).saying(note)
            }
            Err(error) => record.ended(error.status()).saying(words(error)),
        };
        self.record(request, record).await?;
        result
    }

    async fn concluded<T>(
        &self,
        request: &HttpRequest,
        event: Event,
        agent: Agent,
        note: String,
        result: Result<T, OAuthError>,
    ) -> Result<T, OAuthError> {
        let status = result.as_ref().err().map_or(200, OAuthError::status);
        self.record(request, Record::of(event, Cow::Owned(agent)).ended(status).saying(note)).await?;
        result
    }
}

fn words(error: &OAuthError) -> String {
    format!("{}: {}", error.code, error.description)
}
