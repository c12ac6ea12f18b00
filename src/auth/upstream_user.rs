//! The account of somebody who signs in at a provider: made at the first sign-in, and as the provider says at each.

use super::keeper::Expect;
use super::records::{self, Upstream, User};
use super::secret::hash;
use super::server::Server;
use super::upstream::UpstreamError;
use super::user::{NewUser, is_text};
use crate::config::Provider;
use crate::error::Category;
use crate::tenant::TenantId;
use serde_json::{Map, Value};

/// The longest `sub`, in bytes: OpenID Connect Core section 2.
const LONGEST_SUBJECT: usize = 255;

impl Server {
    /// The user whom these claims of an ID token are about. Name and roles are what the provider says now, and so is the
    /// person's resource where it names one.
    ///
    /// # Errors
    /// Where the account is switched off, or can't be made or changed.
    pub(super) async fn upstream_user(
        &self,
        tenant: TenantId,
        provider: &Provider,
        claims: &Map<String, Value>,
    ) -> Result<User, UpstreamError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let subject = text("sub").filter(|subject| subject.len() <= LONGEST_SUBJECT);
        let subject = subject.ok_or_else(|| UpstreamError::Refused("the ID token has no sub".to_owned()))?;
        let person = self.described(tenant, &provider.claims, &provider.roles, claims)?;
        let name = ["name", "preferred_username"].into_iter().find_map(text).filter(|name| is_text(name));
        let id = hash(&format!("{}\n{subject}", provider.issuer));
        if let Some(user) = self.user_of(tenant, &id)? {
            return self.refreshed(tenant, user, name, &person.roles, person.fhir_user.as_deref()).await;
        }
        let new = NewUser {
            username: username(provider, subject),
            name: name.unwrap_or_default().to_owned(),
            fhir_user: person.fhir_user,
            roles: person.roles,
            ..NewUser::default()
        };
        let linked = |_: &Self, user: &User| {
            Ok(vec![records::put(&id, &Upstream { user: user.id.clone() }, Expect::Any, None)?])
        };
        match self.add_user_with(tenant, new, linked).await {
            Ok(user) => Ok(user),
            // Another sign-in of the same person was faster.
            Err(error) if error.category == Category::Conflict => {
                self.user_of(tenant, &id)?.filter(|user| !user.disabled).ok_or(UpstreamError::Failed(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn user_of(&self, tenant: TenantId, id: &str) -> Result<Option<User>, UpstreamError> {
        let Some((upstream, _)) = records::get::<Upstream>(&*self.keeper, tenant, id)? else { return Ok(None) };
        Ok(self.user(tenant, &upstream.user)?.map(|(user, _)| user))
    }

    async fn refreshed(
        &self,
        tenant: TenantId,
        user: User,
        name: Option<&str>,
        roles: &[String],
        fhir_user: Option<&str>,
    ) -> Result<User, UpstreamError> {
        if user.disabled {
            return Err(UpstreamError::Refused("the account is switched off".to_owned()));
        }
        let refresh = |user: &mut User| {
            if let Some(name) = name {
                name.clone_into(&mut user.name);
            }
            roles.clone_into(&mut user.roles);
            if let Some(reference) = fhir_user {
                user.fhir_user = Some(reference.to_owned());
            }
        };
        let mut after = user.clone();
        refresh(&mut after);
        if after == user {
            return Ok(user);
        }
        let user = self.change_user(tenant, &user.id, None, refresh).await?;
        if user.disabled {
            return Err(UpstreamError::Refused("the account is switched off".to_owned()));
        }
        Ok(user)
    }
}

/// A name that no other provider's people have, and that tells where its bearer comes from.
fn username(provider: &Provider, subject: &str) -> String {
    let plain = format!("{}:{subject}", provider.name);
    if is_text(&plain) { plain } else { format!("{}:{}", provider.name, hash(subject)) }
}
