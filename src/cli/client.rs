//! `pharos client`: the apps and services that may ask for tokens.

use super::user::said;
use super::{Failure, OfTenant, serve};
use crate::app::App;
use crate::auth::error::OAuthError;
use crate::auth::registration::{Registrant, metadata};
use crate::auth::server::Server;
use crate::auth::witness::Deed;
use crate::tenant::TenantId;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Clients that are read at a time.
const PAGE: usize = 500;

/// Manages the clients in a store that no server has open.
#[derive(Debug, Args)]
pub struct Client {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a client, or replace what is known of it, and print it. Its secret is printed this once.
    Add(Box<Add>),
    /// Print the ids and names of all clients.
    List,
    /// Print a client.
    Show(Named),
    /// Remove a client with all that was granted to it.
    Remove(Named),
    /// Switch a client off: it gets no tokens, and those that it has are not taken.
    Disable(Named),
    /// Switch a client on again.
    Enable(Named),
    /// Give a client another secret and print it. The old one is good no more.
    RotateSecret(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The client's id.
    #[arg(value_name = "CLIENT_ID")]
    id: String,
}

#[derive(Debug, Args)]
struct Add {
    /// The client's id; a random one if not given.
    #[arg(long, value_name = "CLIENT_ID")]
    id: Option<String>,
    /// What people see.
    #[arg(long)]
    name: String,
    /// Where codes may be sent. Can be repeated.
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,
    /// The most that it can be granted, separated by spaces.
    #[arg(long)]
    scope: Option<String>,
    /// How it proves who it is: none, client_secret_basic, client_secret_post or private_key_jwt.
    #[arg(long, value_name = "METHOD", default_value = "none")]
    auth_method: String,
    /// What it may use to get tokens: authorization_code, refresh_token, client_credentials. Can be repeated.
    #[arg(long, value_name = "TYPE")]
    grant_type: Vec<String>,
    /// A file with its public keys, a JWK Set.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Where its public keys are fetched; the host must be one of auth.fetch_hosts.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Where an EHR launch starts it.
    #[arg(long, value_name = "URL")]
    launch_url: Option<String>,
    /// A web origin that may call, beside those of its redirect URIs. Can be repeated.
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// What it sees records for when it acts for itself, a code of v3-ActReason such as TREAT. Can be repeated.
    #[arg(long, value_name = "CODE")]
    purpose_of_use: Vec<String>,
    /// Who it is to patients' consents when it acts for itself: Organization/1.
    #[arg(long, value_name = "TYPE/ID")]
    recipient: Option<String>,
}

impl Add {
    /// The metadata of RFC 7591 that the flags stand for.
    fn metadata(&self) -> Result<Value, Failure> {
        let mut given = Map::new();
        let mut add = |name: &str, value: Value| drop(given.insert(name.to_owned(), value));
        add("client_name", json!(self.name));
        add("token_endpoint_auth_method", json!(self.auth_method));
        for (name, values) in [
            ("redirect_uris", &self.redirect_uri),
            ("grant_types", &self.grant_type),
            ("origins", &self.origin),
            ("purpose_of_use", &self.purpose_of_use),
        ] {
            if !values.is_empty() {
                add(name, json!(values));
            }
        }
        for (name, value) in [
            ("scope", &self.scope),
            ("jwks_uri", &self.jwks_uri),
            ("launch_url", &self.launch_url),
            ("recipient", &self.recipient),
        ] {
            if let Some(value) = value {
                add(name, json!(value));
            }
        }
        if let Some(file) = &self.jwks {
            let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            add("jwks", serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?);
        }
        Ok(Value::Object(given))
    }
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, there is no such client, or what is said of a new one is refused.
pub fn run(command: Client) -> Result<(), Failure> {
    command.of.with(async |app, tenant| act(app, tenant, command.action).await)
}

#[allow(clippy::print_stdout)]
async fn act(app: &App, tenant: TenantId, action: Action) -> Result<(), Failure> {
    let recording = |name: &str, done: &'static str| {
        let name = name.to_owned();
        app.auth.recording(&serve::witness(app, tenant, "client", move |deed| {
            let scope =
                if let Deed::Client(client) = deed { format!("; scope: {}", client.scopes) } else { String::new() };
            Some((name.clone(), format!("pharos client {done}{scope}")))
        }))
    };
    match action {
        Action::Add(add) => {
            let id = add.id.clone().unwrap_or_else(|| app.auth.clock.new_id());
            let auth = recording(&id, "add");
            let registered = auth.put_client(tenant, &id, &add.metadata()?, Registrant::Admin).await.map_err(words)?;
            println!("{:#}", registered.to_json());
            Ok(())
        }
        Action::List => list(&app.auth, tenant),
        Action::Show(named) => {
            let (client, _) = app.auth.client_by_id(tenant, &named.id)?.ok_or("there is no such client")?;
            println!("{:#}", metadata(&client));
            Ok(())
        }
        Action::Remove(named) => {
            recording(&named.id, "remove").remove_client(tenant, &named.id, None).await.map_err(said)
        }
        Action::Disable(named) => {
            recording(&named.id, "disable").disable_client(tenant, &named.id, None, true).await.map_err(said)
        }
        Action::Enable(named) => {
            recording(&named.id, "enable").disable_client(tenant, &named.id, None, false).await.map_err(said)
        }
        Action::RotateSecret(named) => {
            let auth = recording(&named.id, "rotate-secret");
            let secret = auth.rotate_secret(tenant, &named.id, None).await.map_err(said)?;
            println!("{secret}");
            Ok(())
        }
    }
}

#[allow(clippy::print_stdout)]
fn list(auth: &Server, tenant: TenantId) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = auth.clients(tenant, after.as_deref(), PAGE).map_err(said)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.client_id.clone());
        for client in &page {
            println!("{}\t{}{}", client.client_id, client.name, if client.disabled { "\t(disabled)" } else { "" });
        }
    }
}

/// What the person at the terminal hears.
pub(super) fn words(error: OAuthError) -> Failure {
    match error.log {
        Some(log) => format!("{}: {} [{log}]", error.code, error.description).into(),
        None => format!("{}: {}", error.code, error.description).into(),
    }
}
