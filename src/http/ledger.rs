//! What of the requests under `/auth` goes into the audit ledger, before they are answered: what can't be recorded is not answered.
//!
//! Nothing secret is said: no token, no password, and of what was typed as a name only what is one.

use super::{Shared, address, tenant};
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::auth::error::OAuthError;
use crate::auth::records::Client;
use crate::auth::registration::Registered;
use crate::auth::token::{TokenAnswer, Told};
use crate::auth::witness::{Deed, Witness};
use crate::error::{Error, Result};
use crate::tenant::TenantId;
use actix_web::HttpRequest;
use std::borrow::Cow;
use std::sync::Arc;

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

    /// Who records what a request changes, with the change: `record` is what there is to say of a deed.
    pub(super) fn witness(
        &self,
        request: &HttpRequest,
        tenant: TenantId,
        record: impl Fn(&Deed<'_>) -> Option<Record<'static>> + Send + Sync + 'static,
    ) -> Arc<Witness> {
        let from = Some(address::of(request, &self.app.config.trusted_proxies));
        self.app.ledger.witness(tenant, move |deed| {
            let mut record = record(deed)?;
            record.shape.from = from;
            Some(record)
        })
    }

    /// Records that a token was given or refused, if that was not recorded with what it changed.
    pub(super) async fn token_asked(
        &self,
        request: &HttpRequest,
        told: &Told,
        witness: &Witness,
        result: Result<TokenAnswer, OAuthError>,
    ) -> Result<TokenAnswer, OAuthError> {
        if !witness.has_told() {
            self.record(request, of_token(told, result.as_ref())).await?;
        }
        result
    }

    /// Records that a client asked to have a token revoked, if that was not recorded with what it changed.
    pub(super) async fn revocation_asked(
        &self,
        request: &HttpRequest,
        told: &Told,
        witness: &Witness,
        result: Result<(), OAuthError>,
    ) -> Result<(), OAuthError> {
        if !(result.is_ok() && witness.has_told()) {
            self.record(request, of_revocation(told, result.as_ref().err())).await?;
        }
        result
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
        self.look_up_tenants().await;
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

    /// Records that a client was not registered.
    pub(super) async fn registration_asked(
        &self,
        request: &HttpRequest,
        agent: &Agent,
        result: Result<Registered, OAuthError>,
    ) -> Result<Registered, OAuthError> {
        if let Err(error) = &result {
            let record = Record::of(Event::Administration("client".into()), Cow::Borrowed(agent));
            self.record(request, record.ended(error.status()).saying(words(error))).await?;
        }
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

/// The record of a request for a token. What it was answered with says the rest.
pub(super) fn of_token(told: &Told, answer: Result<&TokenAnswer, &OAuthError>) -> Record<'static> {
    let mut agent = told.agent.clone();
    let grant_type = told.grant_type.unwrap_or("no grant_type");
    let (status, note) = match answer {
        Ok(answer) => {
            agent.token = Some(answer.jti.as_str().into());
            (200, format!("{grant_type}: {}", answer.scope))
        }
        Err(error) => (error.status(), format!("{grant_type}: {}", words(error))),
    };
    let event = if told.is_reuse { Event::Reuse } else { Event::Token };
    Record::of(event, Cow::Owned(agent)).ended(status).saying(note)
}

/// The record of a request to take a token back.
pub(super) fn of_revocation(told: &Told, error: Option<&OAuthError>) -> Record<'static> {
    let Agent { token, authorization, .. } = &told.agent;
    let note = match error {
        Some(error) => words(error),
        None if token.is_some() => "an access token".to_owned(),
        None if authorization.is_some() => "all that was granted".to_owned(),
        None => "a token that is not known".to_owned(),
    };
    let status = error.map_or(200, OAuthError::status);
    Record::of(Event::Revocation, Cow::Owned(told.agent.clone())).ended(status).saying(note)
}

/// The record of a client that was registered.
pub(super) fn of_registration(client: &Client, agent: Agent) -> Record<'static> {
    let note = format!("registered: {}: {}", client.grant_types.join(" "), client.scopes);
    let record = Record::of(Event::Administration("client".into()), Cow::Owned(agent));
    record.ended(CREATED).named(client.client_id.clone()).saying(note)
}

fn words(error: &OAuthError) -> String {
    format!("{}: {}", error.code, error.description)
}
