//! `pharos user`: the accounts of a store that no server has open.

use super::load::describe;
use super::{Failure, OfTenant, serve};
use crate::app::App;
use crate::auth::records::User;
use crate::auth::server::Server;
use crate::auth::user::NewUser;
use crate::auth::witness::Deed;
use crate::error::Error;
use crate::tenant::TenantId;
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal};

/// The longest line that is read as a password, in bytes.
const LONGEST_LINE: u64 = 4_096;

/// Manages users in a store that no server has open.
#[derive(Debug, Args)]
pub struct Users {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user.
    Add(Add),
    /// List all users: name, roles, and whether switched off.
    List,
    /// Show a user.
    Show(Named),
    /// Give a user another password, and let the account sign in at once.
    SetPassword(SetPassword),
    /// Take a user's second factor away.
    ResetTotp(Named),
    /// Switch an account off: sessions end, and what was granted to apps is revoked.
    Disable(Named),
    /// Switch an account on, and let it sign in at once.
    Enable(Named),
    /// Give roles to a user and take them away.
    Role(Role),
}

#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    user: Named,
    /// The name for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The person's resource, such as Practitioner/123.
    #[arg(long, value_name = "TYPE/ID")]
    fhir_user: Option<String>,
    /// A role, such as Provider; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    password: Password,
}

#[derive(Debug, Args)]
struct SetPassword {
    #[command(flatten)]
    user: Named,
    #[command(flatten)]
    password: Password,
}

#[derive(Debug, Args)]
struct Role {
    #[command(flatten)]
    user: Named,
    /// A role to give.
    #[arg(long, value_name = "ROLE")]
    add: Vec<String>,
    /// A role to take away.
    #[arg(long, value_name = "ROLE")]
    remove: Vec<String>,
}

#[derive(Debug, Args)]
struct Named {
    /// The name to sign in with.
    #[arg(value_name = "USERNAME")]
    username: String,
}

#[derive(Debug, Args)]
struct Password {
    /// Read the password from the first line of the input. Otherwise one is made and printed, which has to be changed at the first
    /// sign-in.
    #[arg(long)]
    password_stdin: bool,
}

/// Runs the command.
///
/// # Errors
/// When the store can't be opened, there is no such user, or a rule forbids the change.
#[allow(clippy::print_stdout)]
pub fn run(command: Users) -> Result<(), Failure> {
    let done = command.of.with(async |app, tenant| perform(app, tenant, command.action).await)?;
    println!("{done}");
    Ok(())
}

/// Does what is asked; gives what is printed.
async fn perform(app: &App, tenant: TenantId, action: Action) -> Result<String, Failure> {
    match action {
        Action::Add(add) => self::add(app, tenant, add).await,
        Action::List => list(app, tenant),
        Action::Show(named) => Ok(shown(&find(app, tenant, &named)?)),
        Action::SetPassword(SetPassword { user, password }) => {
            let user = find(app, tenant, &user)?;
            let (secret, is_made) = password.get(app)?;
            let auth = recording(app, tenant, "set-password");
            let set = auth.set_password(tenant, &user.id, None, &secret, is_made).await.map_err(said)?;
            Ok(told(&format!("{} has another password.", set.username), &secret, is_made))
        }
        Action::ResetTotp(named) => change(app, tenant, "reset-totp", &named, |user| user.totp = None).await,
        Action::Disable(named) => change(app, tenant, "disable", &named, |user| user.disabled = true).await,
        Action::Enable(named) => {
            // The entry of the change tells of the lock, too.
            let shown = change(app, tenant, "enable", &named, |user| user.disabled = false).await?;
            app.auth.unlock(tenant, &named.username).await.map_err(said)?;
            Ok(shown)
        }
        Action::Role(Role { user, add, remove }) => {
            change(app, tenant, "role", &user, |user| {
                user.roles.retain(|role| !remove.contains(role) && !add.contains(role));
                user.roles.extend(add.iter().cloned());
            })
            .await
        }
    }
}

async fn add(app: &App, tenant: TenantId, add: Add) -> Result<String, Failure> {
    let (secret, is_made) = add.password.get(app)?;
    let new = NewUser {
        name: add.name.unwrap_or_else(|| add.user.username.clone()),
        username: add.user.username,
        fhir_user: add.fhir_user,
        roles: add.roles,
        password: Some(secret.clone()),
        must_change_password: is_made,
    };
    let user = recording(app, tenant, "add").add_user(tenant, new).await.map_err(said)?;
    Ok(told(&format!("{} is added.", user.username), &secret, is_made))
}

fn list(app: &App, tenant: TenantId) -> Result<String, Failure> {
    let mut lines = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let users = app.auth.users(tenant, after.as_deref(), 500)?;
        let Some((last, _)) = users.last() else { break };
        after = Some(last.id.clone());
        lines.extend(users.iter().map(|(user, _)| {
            let off = if user.disabled { "\tdisabled" } else { "" };
            format!("{}\t{}{off}", user.username, user.roles.join(", "))
        }));
    }
    lines.sort();
    Ok(lines.join("\n"))
}

async fn change(
    app: &App,
    tenant: TenantId,
    action: &'static str,
    named: &Named,
    change: impl Fn(&mut User),
) -> Result<String, Failure> {
    let user = find(app, tenant, named)?;
    let auth = recording(app, tenant, action);
    let user = auth.change_user(tenant, &user.id, None, change).await.map_err(said)?;
    Ok(shown(&user))
}

/// The authorization server that records what is done to a user, and how the account is then.
fn recording(app: &App, tenant: TenantId, action: &'static str) -> Server {
    app.auth.recording(&serve::witness(app, tenant, "user", move |deed| {
        let Deed::User(user) = deed else { return None };
        let (disabled, has_code) = (user.disabled, user.totp.is_some());
        let roles = user.roles.join(", ");
        let text = format!("pharos user {action}; roles: {roles}; disabled: {disabled}; has_second_factor: {has_code}");
        Some((user.id.clone(), text))
    }))
}

fn find(app: &App, tenant: TenantId, named: &Named) -> Result<User, Failure> {
    let found = app.auth.user_by_name(tenant, &named.username)?;
    found.ok_or_else(|| format!("there is no user {}", named.username).into())
}

impl Password {
    /// The password, and whether it was made here.
    fn get(&self, app: &App) -> Result<(String, bool), Failure> {
        if !self.password_stdin {
            return Ok((app.auth.new_password()?, true));
        }
        let input = std::io::stdin();
        if input.is_terminal() {
            return Err("a password typed here would be seen: pipe it in, or leave --password-stdin out".into());
        }
        let mut line = String::new();
        std::io::Read::take(input.lock(), LONGEST_LINE).read_line(&mut line)?;
        Ok((line.trim_end_matches(['\r', '\n']).to_owned(), false))
    }
}

fn told(what: &str, password: &str, is_made: bool) -> String {
    if is_made {
        format!("{what} The password, to be changed at the next sign-in, is shown only here: {password}")
    } else {
        what.to_owned()
    }
}

fn shown(user: &User) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" };
    format!(
        "username: {}\nname: {}\nid: {}\nresource: {}\nroles: {}\npassword: {}\nto be changed: {}\nsecond factor: {}\ndisabled: {}",
        user.username,
        user.name,
        user.id,
        user.fhir_user.as_deref().unwrap_or("none"),
        user.roles.join(", "),
        yes(user.password.is_some()),
        yes(user.must_change_password),
        yes(user.totp.is_some()),
        yes(user.disabled),
    )
}

/// What the person at the terminal hears.
pub(super) fn said(error: Error) -> Failure {
    if let Some(log) = error.log {
        return log.into();
    }
    error.issues.iter().map(describe).collect::<Vec<_>>().join("; ").into()
}
