def sub(path, old, new, count=1):
    s=open(path).read()
    assert old in s, (path, old)
    s=s.replace(old,new,count)
    open(path,'w').write(s)
p='src/cli/serve.rs'
sub(p,'''    let result = http::run(async {
        let server = http::server(Arc::clone(app), listener, metrics, true)?;
        announce(address);
        server.await
    });
    app.stop();
    tracing::info!("stopping: finishing commits");
    app.store().close()?;
    Ok(result?)
}
''','''    // The agent of which nothing is said is the server itself.
    let of_server = |event| app.ledger.note(TenantId::DEFAULT, Record::of(event, Cow::Owned(Agent::default())));
    let (result, told) = http::run(async {
        of_server(Event::Start).await.map_err(said)?;
        let result = match http::server(Arc::clone(app), listener, metrics, true) {
            Ok(server) => {
                announce(address);
                server.await
            }
            Err(error) => Err(error),
        };
        Ok::<_, Failure>((result, of_server(Event::Stop).await))
    })?;
    app.stop();
    tracing::info!("stopping: finishing commits");
    app.store().close()?;
    told.map_err(said)?;
    Ok(result?)
}

/// Records what somebody changed at the command line: of what kind it is, and which.
pub(super) async fn note(app: &App, tenant: TenantId, what: &'static str, name: &str, note: String) -> Result<(), Failure> {
    let record = Record::of(Event::Administration(what.into()), Cow::Owned(Agent::operator()));
    app.ledger.note(tenant, record.named(name).saying(note)).await.map_err(said)
}
''')
sub(p,'''use super::{Failure, Settings};
use crate::app::{App, Secrets};
use crate::audit::Trail;
''','''use super::user::said;
use super::{Failure, Settings};
use crate::app::{App, Secrets};
use crate::audit::{Event, Record, Trail};
''')
sub(p,'''use std::net::{SocketAddr''','''use std::borrow::Cow;
use std::net::{SocketAddr''')
p='src/cli/user.rs'
sub(p,'''            let set = app.auth.set_password(tenant, &user.id, None, &secret, is_made).await.map_err(said)?;
            Ok(told(''','''            let set = app.auth.set_password(tenant, &user.id, None, &secret, is_made).await.map_err(said)?;
            note(app, tenant, "set-password", &set).await?;
            Ok(told(''')
sub(p,'''change(app, tenant, &named, |user| user.totp = None).await,
        Action::Disable(named) => change(app, tenant, &named, |user| user.disabled = true).await,''','''change(app, tenant, "reset-totp", &named, |user| user.totp = None).await,
        Action::Disable(named) => change(app, tenant, "disable", &named, |user| user.disabled = true).await,''')
sub(p,'''            change(app, tenant, &named, |user| user.disabled = false).await''','''            change(app, tenant, "enable", &named, |user| user.disabled = false).await''')
sub(p,'''            change(app, tenant, &user, |user| {''','''            change(app, tenant, "role", &user, |user| {''')
sub(p,'''    let user = app.auth.add_user(tenant, new).await.map_err(said)?;
    Ok(told''','''    let user = app.auth.add_user(tenant, new).await.map_err(said)?;
    note(app, tenant, "add", &user).await?;
    Ok(told''')
sub(p,'''async fn change(app: &App, tenant: TenantId, named: &Named, change: impl Fn(&mut User)) -> Result<String, Failure> {
    let user = find(app, tenant, named)?;
    Ok(shown(&app.auth.change_user(tenant, &user.id, None, change).await.map_err(said)?))
}
''','''async fn change(
    app: &App,
    tenant: TenantId,
    action: &str,
    named: &Named,
    change: impl Fn(&mut User),
) -> Result<String, Failure> {
    let user = find(app, tenant, named)?;
    let user = app.auth.change_user(tenant, &user.id, None, change).await.map_err(said)?;
    note(app, tenant, action, &user).await?;
    Ok(shown(&user))
}

/// Records what was done to a user, and how the account is now.
async fn note(app: &App, tenant: TenantId, action: &str, user: &User) -> Result<(), Failure> {
    let (disabled, has_code) = (user.disabled, user.totp.is_some());
    let roles = user.roles.join(", ");
    let text = format!("pharos user {action}; roles: {roles}; disabled: {disabled}; has_second_factor: {has_code}");
    serve::note(app, tenant, "user", &user.id, text).await
}
''')
p='src/cli/client.rs'
sub(p,'''act(&app.auth, tenant, command.action)''','''act(&app, tenant, command.action)''')
sub(p,'''async fn act(auth: &Server, tenant: TenantId, action: Action) -> Result<(), Failure> {
    match action {''','''async fn act(app: &App, tenant: TenantId, action: Action) -> Result<(), Failure> {
    let auth = &app.auth;
    let note = |name: String, done: String| async move { serve::note(app, tenant, "client", &name, done).await };
    match action {''')
sub(p,'''.map_err(words)?;
            println!("{:#}", registered.to_json());
            Ok(())''','''.map_err(words)?;
            note(id, format!("pharos client add; scope: {}", registered.client.scopes)).await?;
            println!("{:#}", registered.to_json());
            Ok(())''')
sub(p,'''        Action::Remove(named) => auth.remove_client(tenant, &named.id, None).await.map_err(said),
        Action::Disable(named) => auth.disable_client(tenant, &named.id, None, true).await.map_err(said),
        Action::Enable(named) => auth.disable_client(tenant, &named.id, None, false).await.map_err(said),
        Action::RotateSecret(named) => {
            println!("{}", auth.rotate_secret(tenant, &named.id, None).await.map_err(said)?);
            Ok(())
        }''','''        Action::Remove(named) => {
            auth.remove_client(tenant, &named.id, None).await.map_err(said)?;
            note(named.id, "pharos client remove".to_owned()).await
        }
        Action::Disable(named) => {
            auth.disable_client(tenant, &named.id, None, true).await.map_err(said)?;
            note(named.id, "pharos client disable".to_owned()).await
        }
        Action::Enable(named) => {
            auth.disable_client(tenant, &named.id, None, false).await.map_err(said)?;
            note(named.id, "pharos client enable".to_owned()).await
        }
        Action::RotateSecret(named) => {
            let secret = auth.rotate_secret(tenant, &named.id, None).await.map_err(said)?;
            note(named.id, "pharos client rotate-secret".to_owned()).await?;
            println!("{secret}");
            Ok(())
        }''')
sub(p,'''use crate::auth::error::OAuthError;
''','''use crate::app::App;
use crate::auth::error::OAuthError;
''')
p='src/cli/keys.rs'
sub(p,'''    let result = runtime.block_on(app.auth.rotate_keys(tenant, rotate.drop_old)).map_err(words);
''','''    let result = runtime.block_on(async {
        app.auth.rotate_keys(tenant, rotate.drop_old).await.map_err(words)?;
        let note = format!("pharos keys rotate; drop_old: {}", rotate.drop_old);
        serve::note(&app, tenant, "keys", "signing keys", note).await
    });
''')
p='src/cli/load/inside.rs'
sub(p,'''impl Target for Inside {''','''impl Inside {
    /// Records what was changed as a whole.
    pub(in crate::cli) fn note(&self, what: &'static str, name: &str, note: String) -> Result<(), Failure> {
        self.runtime.block_on(serve::note(&self.app, self.grant.tenant(), what, name, note))
    }
}

impl Target for Inside {''')
p='src/cli/package.rs'
sub(p,'''    let target: Box<dyn Target> = match &install.url {
        Some(url) => Box::new(Remote::new(url, install.token.as_deref())?),
        None => Box::new(Inside::open(install.settings, install.tenant)?),
    };
    let result = write_all(&*target, &resources);
    target.close()?;
    let counts = result?;
''','''    let counts = if let Some(url) = &install.url {
        let target = Remote::new(url, install.token.as_deref())?;
        let result = write_all(&target, &resources);
        target.close()?;
        result?
    } else {
        let target = Inside::open(install.settings, install.tenant)?;
        let result = write_all(&target, &resources).and_then(|counts| {
            let name = install.file.file_name().unwrap_or_default().to_string_lossy();
            let refused = counts.refused.len();
            let note = format!("pharos package install; installed: {}; refused: {refused}", counts.written);
            target.note("package", &name, note)?;
            Ok(counts)
        });
        target.close()?;
        result?
    };
''')
