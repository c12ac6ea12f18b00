//! Users: adding, changing, removing them, with the rules that hold between accounts and roles.
//!
//! All changes of accounts and roles in a tenant happen one after another: each expects a guard record to be as it was when the
//! rules were looked at. So two changes at once can't remove the last two administrators.

use super::keeper::{Expect, Keep, KeeperError};
use super::password;
use super::records::{self, Authorization, Record, User, Username};
use super::role::Roles;
use super::secret;
use super::server::Server;
use super::witness::Done;
use crate::error::{Category, Error, Result};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// The most characters of a user name and of a name.
const MOST_CHARACTERS: usize = 128;

/// Records that are read together.
const TOGETHER: usize = 500;

/// How often a change is tried that others get in the way of.
const ROUNDS: usize = 16;

/// The types of the resources that a user can be.
const PERSONS: [&str; 5] = ["Patient", "Person", "Practitioner", "PractitionerRole", "RelatedPerson"];

/// The guard of accounts and roles. It holds nothing: its version counts.
#[derive(Debug, Serialize, Deserialize)]
struct Guard {}

impl Record for Guard {
    const KIND: &'static str = "guard";
}

const GUARD: &str = "accounts";

/// A user to be added.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// The name to sign in with.
    pub username: String,
    /// The name for people.
    pub name: String,
    /// The person's resource: `Practitioner/123`.
    pub fhir_user: Option<String>,
    /// The names of roles.
    pub roles: Vec<String>,
    /// The password; none for one who signs in elsewhere, or gets one later.
    pub password: Option<String>,
    /// Whether it has to be changed at the first sign-in.
    pub must_change_password: bool,
}

/// A user name as names are compared: in normal form and lower case, without spaces around.
pub(super) fn folded(username: &str) -> String {
    username.trim().nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

impl Server {
    /// A user by id, with the version of the account.
    ///
    /// # Errors
    /// When the store fails.
    pub fn user(&self, tenant: TenantId, id: &str) -> Result<Option<(User, u64)>, KeeperError> {
        // What can't be an id is the id of nobody.
        if id.is_empty() || id.len() > 255 {
            return Ok(None);
        }
        records::get(&*self.keeper, tenant, id)
    }

    /// A user by the name to sign in with.
    ///
    /// # Errors
    /// When the store fails.
    pub fn user_by_name(&self, tenant: TenantId, username: &str) -> Result<Option<User>, KeeperError> {
        let Some((name, _)) = records::get::<Username>(&*self.keeper, tenant, &name_id(username))? else {
            return Ok(None);
        };
        Ok(self.user(tenant, &name.user)?.map(|(user, _)| user))
    }

    /// Users with the versions of their accounts, in the order of their ids, from after one on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn users(&self, tenant: TenantId, after: Option<&str>, count: usize) -> Result<Vec<(User, u64)>, KeeperError> {
        let kept = self.keeper.list(tenant, User::KIND, "", after, count)?;
        kept.into_iter().map(|kept| Ok((records::read(&kept.bytes)?, kept.version))).collect()
    }

    /// Whether any user is as asked.
    pub(super) fn any_user(&self, tenant: TenantId, is_one: impl Fn(&User) -> bool) -> Result<bool, KeeperError> {
        let mut after: Option<String> = None;
        loop {
            let users = self.users(tenant, after.as_deref(), TOGETHER)?;
            if users.iter().any(|(user, _)| is_one(user)) {
                return Ok(true);
            }
            let Some((last, _)) = users.last() else { return Ok(false) };
            after = Some(last.id.clone());
        }
    }

    /// Whether there is an administrator who may sign in.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_admin(&self, tenant: TenantId) -> Result<bool, KeeperError> {
        let roles = self.roles(tenant)?;
        self.any_user(tenant, |user| roles.make_admin(user))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// 422 for a name, a resource, a role or a password that can't be; 409 for a user name that is taken.
    pub async fn add_user(&self, tenant: TenantId, new: NewUser) -> Result<User> {
        self.add_user_with(tenant, new, |_, _| Ok(Vec::new())).await
    }

    /// The same, with further changes that happen if the user is added, and only then.
    pub(super) async fn add_user_with(
        &self,
        tenant: TenantId,
        new: NewUser,
        further: impl Fn(&Self, &User) -> Result<Vec<Keep>>,
    ) -> Result<User> {
        let password = match &new.password {
            Some(password) => {
                self.check_password(password, &new.username, &new.name)?;
                Some(password::turn().await?.hash(password).await?)
            }
            None => None,
        };
        let user = User {
            id: self.clock.new_id(),
            username: new.username.trim().nfkc().collect(),
            name: new.name.trim().to_owned(),
            fhir_user: new.fhir_user,
            password,
            totp: None,
            totp_step: 0,
            roles: new.roles,
            disabled: false,
            must_change_password: new.must_change_password,
        };
        self.guarded(tenant, || {
            check(&user, &self.roles(tenant)?)?;
            let mut changes = further(self, &user)?;
            changes.push(self.take_name(tenant, &user)?);
            changes.push(records::put(&user.id, &user, Expect::Absent, None)?);
            Ok((changes, user.clone()))
        })
        .await
    }

    /// Changes a user, who has this version if one is given. Where the account is switched off or gets another password, what the
    /// user granted to apps is revoked; sessions end with any change that matters to them.
    ///
    /// # Errors
    /// 404 for an unknown one; 412 for another version; 422 for a name, a resource or a role that can't be; 409 for a user name that
    /// is taken, and where no administrator would be left.
    pub async fn change_user(
        &self,
        tenant: TenantId,
        id: &str,
        version: Option<u64>,
        change: impl Fn(&mut User),
    ) -> Result<User> {
        self.guarded(tenant, || {
            let (before, mut user, current) = self.user_to_change(tenant, id, version)?;
            change(&mut user);
            let roles = self.roles(tenant)?;
            check(&user, &roles)?;
            self.leave_an_admin(tenant, &roles, &before, Some(&user))?;
            let mut changes = vec![records::put(id, &user, Expect::Version(current), None)?];
            if folded(&before.username) != folded(&user.username) {
                changes.push(records::remove::<Username>(&name_id(&before.username), Expect::Any));
                changes.push(self.take_name(tenant, &user)?);
            }
            if user.disabled || before.password != user.password {
                changes.extend(self.revocations(tenant, id)?);
            }
            Ok((changes, user))
        })
        .await
    }

    /// Gives a user another password, and lets the account sign in at once. `one_time` makes the user choose another at the
    /// next sign-in.
    ///
    /// # Errors
    /// 404 for an unknown user, 412 for another version, 422 for a password that can't be taken.
    pub async fn set_password(
        &self,
        tenant: TenantId,
        id: &str,
        version: Option<u64>,
        password: &str,
        one_time: bool,
    ) -> Result<User> {
        let (_, user, _) = self.user_to_change(tenant, id, version)?;
        self.check_password(password, &user.username, &user.name)?;
        let hash = password::turn().await?.hash(password).await?;
        let user = self.change_user(tenant, id, version, |user| {
            user.password = Some(hash.clone());
            user.must_change_password = one_time;
        });
        let user = user.await?;
        self.forget_failures(tenant, &user.username).await?;
        Ok(user)
    }

    /// Removes a user, with all that was granted to apps.
    ///
    /// # Errors
    /// 404 for an unknown one, 412 for another version, 409 for the last administrator.
    pub async fn remove_user(&self, tenant: TenantId, id: &str, version: Option<u64>) -> Result<()> {
        self.guarded(tenant, || {
            let (user, _, current) = self.user_to_change(tenant, id, version)?;
            self.leave_an_admin(tenant, &self.roles(tenant)?, &user, None)?;
            let mut changes = self.revocations(tenant, id)?;
            changes.push(records::remove::<Username>(&name_id(&user.username), Expect::Any));
            changes.push(records::remove::<User>(id, Expect::Version(current)));
            Ok((changes, ()))
        })
        .await
    }

    /// Makes changes that rules between accounts and roles allow. `decide` looks at the rules and says what changes; it is asked
    /// again where another change came between.
    pub(super) async fn guarded<T: Done>(
        &self,
        tenant: TenantId,
        decide: impl Fn() -> Result<(Vec<Keep>, T)>,
    ) -> Result<T> {
        for _ in 0..ROUNDS {
            let guard = records::get::<Guard>(&*self.keeper, tenant, GUARD)?;
            let expect = guard.map_or(Expect::Absent, |(_, version)| Expect::Version(version));
            let (mut changes, result) = decide()?;
            changes.push(records::put(GUARD, &Guard {}, expect, None)?);
            match self.keep(tenant, changes, result.deed()).await {
                Err(KeeperError::Stale(_)) => {}
                outcome => return Ok(outcome.map(|()| result)?),
            }
        }
        Err(Error::unavailable("Too many accounts are changed at once.", "changes of accounts get in each other's way"))
    }

    /// The user twice, the second to be changed, and the version.
    fn user_to_change(&self, tenant: TenantId, id: &str, version: Option<u64>) -> Result<(User, User, u64)> {
        let nobody = || Error::new(Category::NotFound, "not-found", "There is no such user.");
        let (user, current) = self.user(tenant, id)?.ok_or_else(nobody)?;
        is_version(version, current)?;
        Ok((user.clone(), user, current))
    }

    /// The change that takes a user's name. It fails as stale where another took it just now: then the rules are looked at again.
    fn take_name(&self, tenant: TenantId, user: &User) -> Result<Keep> {
        let id = name_id(&user.username);
        if records::get::<Username>(&*self.keeper, tenant, &id)?.is_some() {
            return Err(conflict("Another user has this user name.").at("username"));
        }
        Ok(records::put(&id, &Username { user: user.id.clone() }, Expect::Absent, None)?)
    }

    fn leave_an_admin(&self, tenant: TenantId, roles: &Roles, before: &User, after: Option<&User>) -> Result<()> {
        let was = roles.make_admin(before);
        let is = after.is_some_and(|user| roles.make_admin(user));
        if was && !is && !self.any_user(tenant, |user| user.id != before.id && roles.make_admin(user))? {
            return Err(no_admin_left());
        }
        Ok(())
    }

    /// The changes that revoke all that a user granted.
    fn revocations(&self, tenant: TenantId, id: &str) -> Result<Vec<Keep>> {
        let (prefix, mut changes) = (format!("{id}~"), Vec::new());
        loop {
            let after = changes.last().map(|last: &Keep| last.id.clone());
            let kept = self.keeper.list(tenant, Authorization::KIND, &prefix, after.as_deref(), TOGETHER)?;
            if kept.is_empty() {
                return Ok(changes);
            }
            changes.extend(kept.iter().map(|kept| records::remove::<Authorization>(&kept.id, Expect::Any)));
        }
    }
}

fn name_id(username: &str) -> String {
    secret::hash(&folded(username))
}

/// 412 where a version is expected and there is another.
pub(super) fn is_version(expected: Option<u64>, current: u64) -> Result<()> {
    if expected.is_none_or(|expected| expected == current) {
        return Ok(());
    }
    Err(changed())
}

/// 412.
pub(super) fn changed() -> Error {
    Error::new(Category::PreconditionFailed, "conflict", "It was changed meanwhile: read it again.")
}

pub(super) fn conflict(text: &'static str) -> Error {
    Error::new(Category::Conflict, "conflict", text)
}

pub(super) fn no_admin_left() -> Error {
    conflict("No administrator would be left who can sign in.")
}

pub(super) fn unfit(field: &'static str, text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Category::Unprocessable, "business-rule", text).at(field)
}

/// Whether a text can be a name.
pub(super) fn is_text(text: &str) -> bool {
    text.chars().count() <= MOST_CHARACTERS && !text.chars().any(char::is_control)
}

/// Whether an account can be as it is.
fn check(user: &User, roles: &Roles) -> Result<()> {
    if user.username.is_empty() || !is_text(&user.username) {
        return Err(unfit("username", "A user name has 1 to 128 characters, none of them a control character."));
    }
    if !is_text(&user.name) {
        return Err(unfit("name", "A name has at most 128 characters, none of them a control character."));
    }
    if user.fhir_user.as_deref().is_some_and(|person| !is_person(person)) {
        return Err(unfit("fhir_user", format!("A user's resource is TYPE/ID, of type {}.", PERSONS.join(", "))));
    }
    if let Some(unknown) = user.roles.iter().find(|name| roles.get(name).is_none()) {
        return Err(unfit("roles", format!("There is no role of the name {unknown:?}.")));
    }
    Ok(())
}

/// Whether a text is a reference to a resource that a user can be.
pub(super) fn is_person(reference: &str) -> bool {
    let is_id = |id: &str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    reference.split_once('/').is_some_and(|(type_name, id)| PERSONS.contains(&type_name) && is_id(id))
}
