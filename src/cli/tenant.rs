//! `pharos tenant`: the tenants of a store that no server has open. With a running server, ask `/auth/admin/tenants`.

use super::serve::{self, open};
use super::user::said;
use super::{Failure, Settings};
use crate::app::App;
use crate::auth::server::Server;
use crate::auth::set_up;
use crate::auth::tenants::shown;
use crate::auth::witness::Witness;
use crate::jobs::State as JobState;
use crate::retention::{compaction, tenant as erasure};
use crate::tenant::{State, TenantId};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// Manages the tenants of a store that no server has open.
#[derive(Debug, Args)]
pub struct Tenants {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a tenant, and print it with a code for its first administrator, which is good for an hour.
    Create(Said),
    /// Print names, numbers and states of all tenants.
    List,
    /// Print a tenant.
    Show(Named),
    /// Change what is said of a tenant; what is not named stays.
    Set(Said),
    /// Suspend a tenant: nobody is answered until it is resumed.
    Suspend(Named),
    /// Resume a tenant.
    Resume(Named),
    /// Print another code for a tenant's first administrator, where it has none.
    SetUpCode(Named),
    /// Delete a tenant and erase all that is stored of it but the audit ledger. There is no way back.
    Delete(Delete),
}

#[derive(Debug, Args)]
struct Named {
    /// What the tenant is called in addresses.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    tenant: Named,
    /// The name once more.
    #[arg(long, value_name = "NAME")]
    really: String,
}

#[derive(Debug, Args)]
struct Said {
    #[command(flatten)]
    tenant: Named,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Where its data shall be: a tag.
    #[arg(long, value_name = "TAG")]
    region: Option<String>,
    /// The requests of all its clients in a second; 0 for what the settings say.
    #[arg(long, value_name = "N")]
    requests_per_s: Option<u32>,
    /// The bytes that it may store; 0 for what the settings say.
    #[arg(long, value_name = "N")]
    storage_bytes: Option<u64>,
    /// Its jobs that wait or are at work; 0 for what the settings say.
    #[arg(long, value_name = "N")]
    jobs: Option<u64>,
    /// One of auth.providers by which its users may sign in. Can be repeated.
    #[arg(long, value_name = "NAME")]
    identity_provider: Vec<String>,
    /// One of auth.trusted_issuers that is trusted there. Can be repeated.
    #[arg(long, value_name = "URL")]
    trusted_issuer: Vec<String>,
    /// Whether its index hides the search keys of what identifies persons: `plain` or `blind`.
    #[arg(long, value_name = "MODE")]
    index: Option<String>,
}

impl Said {
    /// The members that are named, over those that there were.
    fn over(self, mut members: Map<String, Value>) -> Value {
        let mut limits = members.remove("limits").unwrap_or_else(|| json!({}));
        for (name, limit) in [
            ("requests_per_s", self.requests_per_s.map(u64::from)),
            ("storage_bytes", self.storage_bytes),
            ("jobs", self.jobs),
        ] {
            if let (Some(limits), Some(limit)) = (limits.as_object_mut(), limit) {
                limits.insert(name.to_owned(), if limit == 0 { Value::Null } else { limit.into() });
            }
        }
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        set("limits", Some(limits));
        set("display_name", self.display_name.map(Value::from));
        set("region", self.region.map(Value::from));
        let list = |names: Vec<String>| (!names.is_empty()).then(|| Value::from(names));
        set("identity_providers", list(self.identity_provider));
        set("trusted_issuers", list(self.trusted_issuer));
        set("index", self.index.map(Value::from));
        members.into()
    }
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, there is no such tenant, or what is said of it is refused.
#[allow(clippy::print_stdout)]
pub fn run(command: Tenants) -> Result<(), Failure> {
    let config = command.settings.load()?;
    serve::log_to_stderr(config.log_format);
    let app = open(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(perform(&app, command.action));
    app.stop();
    app.store().close()?;
    println!("{}", result?);
    Ok(())
}

/// Does what is asked; gives what is printed.
async fn perform(app: &App, action: Action) -> Result<String, Failure> {
    match action {
        Action::Create(given) => {
            let name = given.tenant.name.clone();
            let mut members = Map::new();
            members.insert("name".to_owned(), name.clone().into());
            let by = witness(app, &name, "create");
            let tenant = app.create_tenant(&given.over(members), Some(&by)).await.map_err(said)?;
            Ok(format!("{:#}\n{}", told(app, &name)?, code(&app.auth, tenant.id()).await?))
        }
        Action::List => list(app),
        Action::Show(named) => Ok(format!("{:#}", told(app, &named.name)?)),
        Action::Set(given) => {
            let name = given.tenant.name.clone();
            let before = told(app, &name)?;
            let kept =
                ["display_name", "region", "limits", "identity_providers", "trusted_issuers", "retention", "index"];
            let kept = kept.iter().filter_map(|member| Some(((*member).to_owned(), before.get(*member)?.clone())));
            let (given, by) = (given.over(kept.collect()), witness(app, &name, "set"));
            app.configure_tenant(&name, None, &given, Some(&by)).await.map_err(said)?;
            Ok(format!("{:#}", told(app, &name)?))
        }
        Action::Suspend(named) => set_state(app, &named.name, State::Suspended, "suspend").await,
        Action::Resume(named) => set_state(app, &named.name, State::Active, "resume").await,
        Action::SetUpCode(named) => {
            let registered = app.tenants().named(&named.name).map_err(said)?;
            registered.check_not_deleted().map_err(said)?;
            code(&app.auth.recording(&witness(app, &named.name, "set-up-code")), registered.id()).await
        }
        Action::Delete(given) => delete(app, given).await,
    }
}

async fn set_state(app: &App, name: &str, state: State, action: &'static str) -> Result<String, Failure> {
    app.tenants().set_state(name, None, state, Some(&witness(app, name, action))).await.map_err(said)?;
    Ok(format!("{:#}", told(app, name)?))
}

/// Deletes, erases and compacts, all before it answers.
async fn delete(app: &App, given: Delete) -> Result<String, Failure> {
    let name = given.tenant.name;
    if given.really != name {
        return Err("--really names another tenant: nothing is deleted".into());
    }
    let by = witness(app, &name, "delete");
    let tenant = app.delete_tenant(&name, None, Some(&by)).await.map_err(said)?;
    if let Some(job) = app.jobs.run_to_end(tenant.id(), erasure::KIND).await.map_err(said)?
        && job.state != JobState::Done
    {
        let why = job.failure.unwrap_or_else(|| "the job did not end".to_owned());
        return Err(format!("the tenant is deleted; not all of it is erased: {why}").into());
    }
    app.destroy_tenant(&tenant).await.map_err(said)?;
    app.jobs.run_to_end(TenantId::DEFAULT, compaction::KIND).await.map_err(said)?;
    Ok(format!("{name} is deleted, its keys are destroyed, and it is erased but for its audit ledger."))
}

fn told(app: &App, name: &str) -> Result<Value, Failure> {
    Ok(shown(&*app.tenants().named(name).map_err(said)?).into())
}

fn list(app: &App) -> Result<String, Failure> {
    let mut lines = String::new();
    for registered in app.tenants().all().map_err(said)? {
        let tenant = &registered.tenant;
        let state = serde_json::to_value(tenant.state)?;
        let state = state.as_str().unwrap_or_default();
        writeln!(lines, "{}\t{}\t{state}\t{}", tenant.name, tenant.number, tenant.display_name)?;
    }
    Ok(lines.trim_end().to_owned())
}

async fn code(auth: &Server, tenant: TenantId) -> Result<String, Failure> {
    let Some(code) = auth.new_set_up_code(tenant).await.map_err(said)? else {
        return Ok("There is an administrator already.".to_owned());
    };
    let (page, minutes) = (auth.endpoint(tenant, "setup"), set_up::CODE_S / 60);
    Ok(format!("For the first administrator: within {minutes} minutes, enter the code {code} at {page}"))
}

/// Who records what is done in the ledger of the default tenant.
fn witness(app: &App, name: &str, action: &'static str) -> Arc<Witness> {
    let name = name.to_owned();
    serve::witness(app, TenantId::DEFAULT, "tenant", move |_| Some((name.clone(), format!("pharos tenant {action}"))))
}
