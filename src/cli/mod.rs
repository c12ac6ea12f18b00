//! The command line: one file per subcommand.

mod audit;
mod backup;
mod check;
mod client;
mod copy;
pub mod demo;
mod keys;
pub mod load;
mod package;
mod restore;
mod retention;

mod serve;
mod tenant;
mod user;

use crate::app::App;
use crate::auth::agent::Agent;
use crate::config::{Config, ConfigError};
use crate::tenant::TenantId;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// A FHIR R4 server.
#[derive(Debug, Parser)]
#[command(name = "pharos", version, long_version = crate::store::schema::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve FHIR.
    Serve(Settings),
    /// Serve a sample population on a store of its own, open to everybody on this machine, and print what to try.
    Demo(demo::Demo),
    /// Load Bundles and NDJSON from files and folders.
    Load(load::Load),
    /// Install FHIR NPM packages.
    Package(package::Package),
    /// Manage the apps and services that may ask for tokens.
    Client(client::Client),
    /// Make, configure, suspend and delete tenants.
    Tenant(tenant::Tenants),
    /// Manage users.
    User(user::Users),
    /// Replace the keys that sign and seal, and write the master key for escrow.
    Keys(keys::Keys),
    /// Verify the audit ledger of a store that no server has open.
    Audit(audit::Audit),
    /// Apply the rules of retention, and manage legal holds.
    Retention(retention::Retention),
    /// Verify a store that no server has open.
    Check(check::Check),
    /// Write a backup, served or not: what is new since the last one in the folder.
    Backup(backup::Backup),
    /// Make a store of a backup, as of its moment or of one before.
    Restore(restore::Restore),
    /// Copy a store into another one, of either kind, served or not.
    Copy(copy::Copy),
}

/// The settings that have a flag. Flags win over variables, and those over the file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Settings {
    /// A TOML file with settings.
    #[arg(long, global = true, value_name = "FILE", env = "PHAROS_CONFIG")]
    config: Option<PathBuf>,
    /// The address and port to listen on.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the data is: file:PATH or mongodb://HOSTS/DATABASE.
    #[arg(long, global = true, value_name = "STORE")]
    store: Option<String>,
    /// The file with the master key.
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The address by which clients reach the server.
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// Answer everybody; on loopback addresses only.
    #[arg(long, global = true)]
    insecure_open: bool,
}

impl Settings {
    /// All settings, checked.
    fn load(self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        config.listen = self.listen.unwrap_or(config.listen);
        config.store = self.store.unwrap_or(config.store);
        config.key_file = self.key_file.or(config.key_file);
        config.public_url = self.public_url.or(config.public_url);
        config.insecure_open |= self.insecure_open;
        config.check()?;
        Ok(config)
    }
}

/// A tenant of a store that no server has open.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// The name of the tenant; the default tenant if not given.
    #[arg(long, value_name = "NAME", global = true)]
    tenant: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl OfTenant {
    /// Opens the store, does the work, and closes the store whatever came of it. A tenant that was deleted has no work.
    fn with<T>(self, work: impl AsyncFnOnce(&App, TenantId) -> Result<T, Failure>) -> Result<T, Failure> {
        self.with_any(async |app, tenant| {
            app.tenants().of(tenant).check_not_deleted().map_err(user::said)?;
            work(app, tenant).await
        })
    }

    /// The same where the tenant may have been deleted: its ledger stays.
    fn with_any<T>(self, work: impl AsyncFnOnce(&App, TenantId) -> Result<T, Failure>) -> Result<T, Failure> {
        let config = self.settings.load()?;
        serve::log_to_stderr(config.log_format);
        let app = serve::open(config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            let tenant = tenant_named(&app, self.tenant.as_deref())?;
            app.tell_unwrapped(&Agent::operator()).await.map_err(user::said)?;
            work(&app, tenant).await
        });
        app.stop();
        app.store().close()?;
        result
    }
}

/// The tenant of this name, whatever its state; the default tenant if there is no name.
fn tenant_named(app: &App, name: Option<&str>) -> Result<TenantId, Failure> {
    let Some(name) = name else { return Ok(TenantId::DEFAULT) };
    Ok(app.tenants().named(name).map_err(user::said)?.id())
}

/// Why a command ended badly: a sentence for the person at the terminal.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(settings) => serve::run(settings),
        Command::Demo(command) => demo::run(&command),
        Command::Load(command) => return load::run(command),
        Command::Package(command) => package::run(command),
        Command::Client(command) => client::run(command),
        Command::Tenant(command) => tenant::run(command),
        Command::User(command) => user::run(command),
        Command::Keys(command) => keys::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Retention(command) => retention::run(command),
        Command::Check(command) => check::run(command),
        Command::Backup(command) => backup::run(command),
        Command::Restore(command) => restore::run(command),
        Command::Copy(command) => copy::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pharos: {failure}");
            ExitCode::FAILURE
        }
    }
}
