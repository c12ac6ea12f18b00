//! Sessions at a browser: a cookie that is a secret, kept as its hash.
//!
//! Each sign-in starts a new one, so that nobody can prepare it. It ends after a time without use, at its absolute end, at
//! sign-out, and when the account changes: then its stamp is no longer that of the user.

use super::keeper::{Expect, KeeperError};
use super::records::{self, Session, User};
use super::secret;
use super::server::Server;
use super::sign_in::SignedIn;
use super::witness::Deed;
use crate::clock::Micros;
use crate::error::Result;
use crate::tenant::TenantId;

/// How often at most the time of the last use is kept, in seconds.
const NOTED_EVERY_S: i64 = 60;

impl Server {
    /// Starts a session of a user who has proven to be one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn start_session(&self, tenant: TenantId, user: &User, second_factor: bool) -> Result<SignedIn> {
        let cookie = secret::new_secret()?;
        let now = self.now_s();
        let session = Session {
            user: user.id.clone(),
            created: now,
            last_used: now,
            second_factor,
            csrf: secret::new_secret()?,
            stamp: stamp(user),
        };
        let expires = Some(self.session_end(&session));
        let keep = records::put(&secret::hash(&cookie), &session, Expect::Absent, expires)?;
        self.keep(tenant, vec![keep], Deed::SignIn(user)).await?;
        Ok(SignedIn { cookie, user: user.clone(), session })
    }

    /// The session that a cookie stands for, and its user; `None` where it has ended. Notes that it was used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, tenant: TenantId, cookie: &str) -> Result<Option<(User, Session)>> {
        let id = secret::hash(cookie);
        let Some((user, mut session, version)) = self.live_session(tenant, &id)? else { return Ok(None) };
        let now = self.now_s();
        if now - session.last_used >= NOTED_EVERY_S {
            session.last_used = now;
            let expires = Some(self.session_end(&session));
            let keep = records::put(&id, &session, Expect::Version(version), expires)?;
            match self.keeper.keep(tenant, vec![keep]).await {
                // Another request noted it, or it ended just now.
                Ok(()) | Err(KeeperError::Stale(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some((user, session)))
    }

    /// The same by its id, the hash of the cookie, and without noting its use: what depends on a session asks so.
    ///
    /// # Errors
    /// When the store fails.
    pub fn session_by_id(&self, tenant: TenantId, id: &str) -> Result<Option<(User, Session)>, KeeperError> {
        Ok(self.live_session(tenant, id)?.map(|(user, session, _)| (user, session)))
    }

    /// Ends the session of a cookie.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, tenant: TenantId, cookie: &str) -> Result<()> {
        let end = records::remove::<Session>(&secret::hash(cookie), Expect::Any);
        Ok(self.keep(tenant, vec![end], Deed::Asked).await?)
    }

    /// The name of the cookie.
    #[must_use]
    pub fn cookie_name(&self, tenant: TenantId) -> String {
        self.cookie_named("pharos", tenant)
    }

    /// The name of a cookie. With `__Host-` a browser takes it from this host alone, over TLS alone, and so for all paths: the tenant
    /// is told by the name, and somebody can be signed in at several at once.
    #[must_use]
    pub fn cookie_named(&self, name: &str, tenant: TenantId) -> String {
        let host = if self.is_https() { "__Host-" } else { "" };
        if tenant == TenantId::DEFAULT {
            return format!("{host}{name}");
        }
        format!("{host}{name}.{}", self.tenants.of(tenant).tenant.name)
    }

    /// `Set-Cookie` for a session.
    #[must_use]
    pub fn set_cookie(&self, tenant: TenantId, cookie: &str) -> String {
        let secure = if self.is_https() { "; Secure" } else { "" };
        format!("{}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}", self.cookie_name(tenant))
    }

    /// `Set-Cookie` that takes the cookie away.
    #[must_use]
    pub fn clear_cookie(&self, tenant: TenantId) -> String {
        format!("{}; Max-Age=0", self.set_cookie(tenant, ""))
    }

    fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    fn live_session(&self, tenant: TenantId, id: &str) -> Result<Option<(User, Session, u64)>, KeeperError> {
        let Some((session, version)) = records::get::<Session>(&*self.keeper, tenant, id)? else { return Ok(None) };
        let Some((user, _)) = records::get::<User>(&*self.keeper, tenant, &session.user)? else { return Ok(None) };
        let is_live = self.clock.now() < self.session_end(&session) && !user.disabled && session.stamp == stamp(&user);
        Ok(is_live.then_some((user, session, version)))
    }

    /// When a session ends if it is not used again.
    fn session_end(&self, session: &Session) -> Micros {
        let after = |start: i64, seconds: u64| start.saturating_add_unsigned(seconds);
        let end = after(session.last_used, self.config.session_inactivity_s)
            .min(after(session.created, self.config.session_lifetime_s));
        Micros(end.saturating_mul(1_000_000))
    }
}

/// What sessions of a user depend on.
pub(super) fn stamp(user: &User) -> String {
    secret::hash(&format!("{:?}", (&user.password, &user.totp, &user.roles, &user.fhir_user, user.disabled)))
}
