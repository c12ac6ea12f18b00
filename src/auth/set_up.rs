//! The first administrator: whoever has the one-time code that the server told its operator when it started.

use super::keeper::{Expect, KeeperError};
use super::password::grouped;
use super::records::{self, Record, User};
use super::role::ADMIN;
use super::secret;
use super::server::Server;
use super::sign_in::{Refusal, SignedIn};
use super::totp::new_base32;
use super::user::NewUser;
use super::witness::Deed;
use crate::clock::Micros;
use crate::error::{Category, Error, Result};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// How long the code is good, in seconds.
pub const CODE_S: i64 = 3_600;

/// What the code is kept as.
#[derive(Debug, Serialize, Deserialize)]
struct SetUp {
    sha256: String,
}

impl Record for SetUp {
    const KIND: &'static str = "setup";
}

const ID: &str = "code";

impl Server {
    /// A new code for the first administrator, in place of any before; `None` where there is an administrator.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new_set_up_code(&self, tenant: TenantId) -> Result<Option<String>> {
        if self.has_admin(tenant)? {
            return Ok(None);
        }
        // 125 bits, in groups that can be typed.
        let code = grouped(&new_base32::<16>()?);
        let expires = Micros((self.now_s() + CODE_S).saturating_mul(1_000_000));
        let kept = SetUp { sha256: secret::hash(&plain(&code)) };
        self.keep(tenant, vec![records::put(ID, &kept, Expect::Any, Some(expires))?], Deed::Asked).await?;
        Ok(Some(code))
    }

    /// Whether a code waits to be used: then the page for it makes sense.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_to_be_set_up(&self, tenant: TenantId) -> Result<bool, KeeperError> {
        Ok(records::get::<SetUp>(&*self.keeper, tenant, ID)?.is_some() && !self.has_admin(tenant)?)
    }

    /// Makes the first administrator and signs them in. The code is used up by it.
    ///
    /// # Errors
    /// [`Refusal::Expired`] for a code that is not the one, or no longer; [`Refusal::Password`]; [`Refusal::Failed`] for a
    /// user name that can't be.
    pub async fn set_up(
        &self,
        tenant: TenantId,
        code: &str,
        username: &str,
        password: &str,
    ) -> Result<SignedIn, Refusal> {
        let sha256 = secret::hash(&plain(code));
        let is_code = |kept: &SetUp| secret::are_equal(&kept.sha256, &sha256);
        let kept = records::get::<SetUp>(&*self.keeper, tenant, ID)?;
        if !kept.is_some_and(|(kept, _)| is_code(&kept)) {
            return Err(Refusal::Expired);
        }
        self.check_password(password, username, "")?;
        let new = NewUser {
            username: username.to_owned(),
            name: username.trim().to_owned(),
            roles: vec![ADMIN.to_owned()],
            password: Some(password.to_owned()),
            ..NewUser::default()
        };
        let used_up = |server: &Self, _: &User| {
            let kept = records::get::<SetUp>(&*server.keeper, tenant, ID)?.filter(|(kept, _)| is_code(kept));
            match kept {
                Some((_, version)) if !server.has_admin(tenant)? => {
                    Ok(vec![records::remove::<SetUp>(ID, Expect::Version(version))])
                }
                _ => Err(Error::new(Category::Forbidden, "expired", "The code is no longer good.")),
            }
        };
        let user = self.add_user_with(tenant, new, used_up).await?;
        Ok(self.start_session(tenant, &user, false).await?)
    }
}

/// A code however it was typed.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}
