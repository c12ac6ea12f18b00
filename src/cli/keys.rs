//! `pharos keys`: the keys that sign tokens, the data keys of the tenants, and the master key.

use super::client::words;
use super::user::said;
use super::{Failure, OfTenant, serve};
use crate::app::App;
use crate::auth::agent::Agent;
use crate::auth::witness::Witness;
use crate::jobs::reseal::{Parameters, Report};
use crate::jobs::{Job, State};
use crate::store::keys::KeyFacts;
use crate::store::seal::STORE;
use crate::tenant::TenantId;
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Manages the keys of a store that no server has open.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace keys. What the old ones signed or sealed stays good.
    Rotate(Rotate),
    /// Seal under the newest data key of a tenant what is under older ones.
    Reseal(DropOld),
    /// List the data keys of a tenant, and those of the ledgers.
    List,
    /// Write the master key to a file that only the holder of a private RSA key can read.
    Escrow(Escrow),
}

/// What is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The keys that sign a tenant's tokens.
    Signing,
    /// The data key of a tenant; what is sealed under the old one is sealed anew.
    Data,
    /// The key of the ledgers: entries from now on are sealed under a new one.
    Ledger,
    /// The master key: all data keys are wrapped anew.
    Master,
}

#[derive(Debug, Args)]
struct Rotate {
    #[arg(value_enum, default_value = "signing")]
    what: What,
    #[command(flatten)]
    drop_old: DropOld,
}

#[derive(Debug, Args)]
struct DropOld {
    /// Remove the old keys, as after a key became known: no token that they signed is good any more. Those that sealed files of exports go when the
    /// files do.
    #[arg(long)]
    drop_old: bool,
}

#[derive(Debug, Args)]
struct Escrow {
    /// The public key, in PEM: RSA of 3072 bits or more.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, or fails.
pub fn run(command: Keys) -> Result<(), Failure> {
    let told = command.of.with(async |app, tenant| perform(app, tenant, command.action).await)?;
    std::io::stdout().lock().write_all(told.as_bytes())?;
    Ok(())
}

/// Does what is asked; gives what is printed.
async fn perform(app: &App, tenant: TenantId, action: Action) -> Result<String, Failure> {
    let note = async |what: &str| serve::note(app, tenant, "keys", what, format!("pharos keys {action:?}")).await;
    match &action {
        Action::Rotate(Rotate { what, drop_old: DropOld { drop_old } }) => {
            let rotation = Rotation { app, tenant, what: *what, drop_old: *drop_old };
            rotation.perform().await
        }
        Action::Reseal(DropOld { drop_old }) => {
            let parameters = Parameters { drop_old: *drop_old };
            let told = format!("pharos keys {action:?}");
            let told = serve::witness(app, tenant, "keys", move |_| Some(("data key".to_owned(), told.clone())));
            let job = app.reseal(tenant, Agent::operator(), parameters, &told).await.map_err(said)?;
            resealed(app, tenant, &job.id).await
        }
        Action::List => Ok(list(app, tenant)),
        Action::Escrow(Escrow { public_key, to }) => {
            let pem = std::fs::read(public_key).map_err(|error| format!("{}: {error}", public_key.display()))?;
            let keyring = app.store().keyring().ok_or("this store has no keys")?;
            let sealed = keyring.escrow(&pem)?;
            note("master key").await?;
            std::fs::write(to, sealed).map_err(|error| format!("{}: {error}", to.display()))?;
            Ok(format!("The master key is in {} for the holder of the private key.\n", to.display()))
        }
    }
}

/// Other keys, with what the ledger has of it.
struct Rotation<'a> {
    app: &'a App,
    tenant: TenantId,
    what: What,
    drop_old: bool,
}

impl Rotation<'_> {
    async fn perform(&self) -> Result<String, Failure> {
        if self.what != What::Signing {
            self.begins().await?;
        }
        let witness = self.witness();
        let done = self.rotate(&witness).await;
        if !witness.has_told() {
            self.ended(done.as_ref().err()).await?;
        }
        done
    }

    async fn rotate(&self, witness: &Arc<Witness>) -> Result<String, Failure> {
        let &Self { app, tenant, what, drop_old } = self;
        match what {
            What::Signing => {
                app.auth.recording(witness).rotate_keys(tenant, drop_old).await.map_err(words)?;
                Ok(String::new())
            }
            What::Data => {
                let (operator, parameters) = (Agent::operator(), Parameters { drop_old });
                let job = app.rotate_data_key(tenant, operator, parameters, witness).await.map_err(said)?;
                resealed(app, tenant, &job.id).await
            }
            What::Ledger => {
                app.rotate_ledger_key().await.map_err(said)?;
                Ok("Entries of the ledgers are sealed under a new key from now on.\n".to_owned())
            }
            What::Master => {
                let count = app.rotate_master_key(&Agent::operator()).await.map_err(said)?;
                Ok(format!("{count} keys are wrapped anew.\n"))
            }
        }
    }

    const fn name(&self) -> &'static str {
        match self.what {
            What::Signing => "signing keys",
            What::Data => "data key",
            What::Ledger => "ledger key",
            What::Master => "master key",
        }
    }

    fn note(&self) -> String {
        let what = match self.what {
            What::Signing => String::new(),
            what => format!(" {what:?}").to_lowercase(),
        };
        format!("pharos keys rotate{what}; drop_old: {}", self.drop_old)
    }

    fn witness(&self) -> Arc<Witness> {
        let (name, note) = (self.name(), self.note());
        serve::witness(self.app, self.tenant, "keys", move |_| Some((name.to_owned(), note.clone())))
    }

    /// A provider changes keys, not the store: what is about to happen is recorded before, and that it has happened afterwards.
    async fn begins(&self) -> Result<(), Failure> {
        serve::note(self.app, self.tenant, "keys", self.name(), format!("{}; begins", self.note())).await
    }

    async fn ended(&self, failure: Option<&Failure>) -> Result<(), Failure> {
        let failure = failure.map(|failure| format!("; failed: {failure}")).unwrap_or_default();
        serve::note(self.app, self.tenant, "keys", self.name(), self.note() + &failure).await
    }
}

/// Runs the job that seals anew to its end.
async fn resealed(app: &App, tenant: TenantId, id: &str) -> Result<String, Failure> {
    let job = app.jobs.run_to_end(tenant, id).await.map_err(said)?.ok_or("the job is gone")?;
    let Job { state: State::Done, report, .. } = job else {
        return Err(job.failure.unwrap_or_else(|| "the job did not end".into()).into());
    };
    let Report { rows, files, dropped } = serde_json::from_value(report)?;
    let files = if files == 0 { String::new() } else { format!(" and {files} files") };
    Ok(format!("{rows} rows{files} are sealed under the newest key; {dropped} old keys were dropped.\n"))
}

fn list(app: &App, tenant: TenantId) -> String {
    let Some(keyring) = app.store().keyring() else { return String::new() };
    let line = |whose: &str, fact: KeyFacts| {
        let KeyFacts { generation, state, id, created, master, version } = fact;
        let state = format!("{state:?}").to_lowercase();
        format!("{whose}\t{generation}\t{id}\t{state}\t{}\t{master}\t{version}\n", created.to_instant())
    };
    let own = keyring.facts(tenant).into_iter().map(|fact| line("data", fact));
    own.chain(keyring.facts(STORE).into_iter().map(|fact| line("ledger", fact))).collect()
}
