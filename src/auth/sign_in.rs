//! Signing in with a password, step by step.
//!
//! A step that is not the last ends with a ticket: a secret for the next form, good for that step only. Nothing tells whether a
//! name is known: the answer is the same and takes as long, and an account that waits refuses the right password as it does a wrong one.

use super::keeper::{Expect, KeeperError};
use super::lockout::Outcome;
use super::password::{self, Weakness};
use super::records::{self, Record, Session, User};
use super::secret;
use super::server::Server;
use super::session::stamp;
use super::totp::{self, Enrolment};
use super::witness::Deed;
use crate::clock::Micros;
use crate::error::Error;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How long a ticket is good, in seconds.
const TICKET_S: i64 = 600;

/// What comes next for somebody who signs in. A ticket is what the next form carries.
#[derive(Debug, Clone)]
pub enum Step {
    /// Nothing: the session is there.
    SignedIn(Box<SignedIn>),
    /// The code of the authenticator app: [`Server::second_factor`].
    SecondFactor {
        /// For the next step.
        ticket: String,
    },
    /// An authenticator app has to be set up first, and a code of it given: [`Server::second_factor`].
    EnrolSecondFactor {
        /// For the next step.
        ticket: String,
        /// What the app has to know.
        enrolment: Enrolment,
    },
    /// A new password: [`Server::choose_password`].
    ChangePassword {
        /// For the next step.
        ticket: String,
    },
}

/// A session that has just started.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The secret of the cookie: see [`Server::set_cookie`].
    pub cookie: String,
    /// Who signed in.
    pub user: User,
    /// The session.
    pub session: Session,
}

/// Why somebody is not signed in.
#[derive(Debug)]
pub enum Refusal {
    /// Name, password or code is not right, or the account is switched off: one sentence for all of them.
    Wrong,
    /// There were too many failures, for a name that is known or not.
    Wait {
        /// How long, in seconds.
        retry_after_s: u32,
    },
    /// The ticket or the code of the first start is not known, or its time is over.
    Expired,
    /// The new password can't be taken.
    Password(Weakness),
    /// Anything else: what [`Server::add_user`] refuses, or a fault.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<KeeperError> for Refusal {
    fn from(error: KeeperError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Weakness> for Refusal {
    fn from(weakness: Weakness) -> Self {
        Self::Password(weakness)
    }
}

/// What a ticket is kept as. Its id is the hash of the ticket.
#[derive(Debug, Serialize, Deserialize)]
struct Ticket {
    user: String,
    /// The account when the ticket was given: a change makes it void.
    stamp: String,
    stage: Stage,
}

/// The step that a ticket is for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Code,
    Enrol { secret: String },
    Password { second_factor: bool },
}

impl Record for Ticket {
    const KIND: &'static str = "ticket";
}

/// The second factor that a user who is signed in sets up. Its id is the user's.
#[derive(Debug, Serialize, Deserialize)]
struct Enrolling {
    secret: String,
}

impl Record for Enrolling {
    const KIND: &'static str = "enrolling";
}

impl Server {
    /// The first step: name and password.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], [`Refusal::Wait`], or a fault.
    pub async fn sign_in(
        &self,
        tenant: TenantId,
        username: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Step, Refusal> {
        let turn = password::turn().await?;
        self.count_attempt(tenant, username, from).await?;
        let user = self.user_by_name(tenant, username)?.filter(|user| !user.disabled);
        let is_right = turn.verify(user.as_ref().and_then(|user| user.password.clone()), password).await?;
        match user {
            Some(user) if is_right => self.next_step(tenant, &user, false, from).await,
            _ => Err(Refusal::Wrong),
        }
    }

    /// The code of the authenticator app, after [`Step::SecondFactor`] or [`Step::EnrolSecondFactor`]. A wrong one can be tried
    /// again with the same ticket; each code is taken once.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], [`Refusal::Wait`], [`Refusal::Expired`], or a fault.
    pub async fn second_factor(
        &self,
        tenant: TenantId,
        ticket: &str,
        code: &str,
        from: IpAddr,
    ) -> Result<Step, Refusal> {
        let (user, stage) = self.ticket(tenant, ticket)?;
        let secret = match stage {
            Stage::Code => user.totp.clone(),
            Stage::Enrol { secret } => Some(secret),
            Stage::Password { .. } => None,
        };
        let secret = secret.ok_or(Refusal::Expired)?;
        self.count_attempt(tenant, &user.username, from).await?;
        let user = self.take_code(tenant, &user.id, &secret, code).await?;
        self.forget_ticket(tenant, ticket).await?;
        self.next_step(tenant, &user, true, from).await
    }

    /// A new password, after [`Step::ChangePassword`].
    ///
    /// # Errors
    /// [`Refusal::Password`]: then with the same ticket again; [`Refusal::Expired`], or a fault.
    pub async fn choose_password(&self, tenant: TenantId, ticket: &str, new: &str) -> Result<Step, Refusal> {
        let (user, Stage::Password { second_factor }) = self.ticket(tenant, ticket)? else {
            return Err(Refusal::Expired);
        };
        let user = self.replace_password(tenant, &user, new).await?;
        self.forget_ticket(tenant, ticket).await?;
        Ok(Step::SignedIn(Box::new(self.start_session(tenant, &user, second_factor).await?)))
    }

    /// Another password for a user who is signed in and gives the old one. All other sessions end.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for the old one, [`Refusal::Password`] for the new one, [`Refusal::Wait`], or a fault.
    pub async fn change_password(
        &self,
        tenant: TenantId,
        session: &Session,
        old: &str,
        new: &str,
        from: IpAddr,
    ) -> Result<SignedIn, Refusal> {
        let user = self.user(tenant, &session.user)?.ok_or(Refusal::Expired)?.0;
        let turn = password::turn().await?;
        self.count_attempt(tenant, &user.username, from).await?;
        if !turn.verify(user.password.clone(), old).await? {
            return Err(Refusal::Wrong);
        }
        self.take_back(tenant, &user.username, from, Outcome::SignedIn).await?;
        let user = self.replace_password(tenant, &user, new).await?;
        Ok(self.start_session(tenant, &user, session.second_factor).await?)
    }

    /// Begins to set up a second factor, or another one, for a user who is signed in. It counts once a code of it was given.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn enrol_totp(&self, tenant: TenantId, user: &User) -> Result<Enrolment, Error> {
        let enrolment = self.new_totp(&user.username)?;
        let keep = Enrolling { secret: enrolment.secret.clone() };
        self.keeper.keep(tenant, vec![records::put(&user.id, &keep, Expect::Any, Some(self.in_a_while()))?]).await?;
        Ok(enrolment)
    }

    /// The first code of a second factor that is being set up. All other sessions end.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], [`Refusal::Wait`], [`Refusal::Expired`] where none is being set up, or a fault.
    pub async fn confirm_totp(
        &self,
        tenant: TenantId,
        user: &User,
        code: &str,
        from: IpAddr,
    ) -> Result<SignedIn, Refusal> {
        let (enrolling, _) = records::get::<Enrolling>(&*self.keeper, tenant, &user.id)?.ok_or(Refusal::Expired)?;
        self.count_attempt(tenant, &user.username, from).await?;
        let user = self.take_code(tenant, &user.id, &enrolling.secret, code).await?;
        self.take_back(tenant, &user.username, from, Outcome::SignedIn).await?;
        let done = records::remove::<Enrolling>(&user.id, Expect::Any);
        self.keeper.keep(tenant, vec![done]).await?;
        Ok(self.start_session(tenant, &user, true).await?)
    }

    /// What comes after what was proven so far.
    async fn next_step(
        &self,
        tenant: TenantId,
        user: &User,
        second_factor: bool,
        from: IpAddr,
    ) -> Result<Step, Refusal> {
        if !second_factor && user.totp.is_some() {
            self.take_back(tenant, &user.username, from, Outcome::Right).await?;
            return Ok(Step::SecondFactor { ticket: self.new_ticket(tenant, user, Stage::Code).await? });
        }
        if !second_factor && self.config.second_factor {
            self.take_back(tenant, &user.username, from, Outcome::Right).await?;
            let enrolment = self.new_totp(&user.username)?;
            let stage = Stage::Enrol { secret: enrolment.secret.clone() };
            return Ok(Step::EnrolSecondFactor { ticket: self.new_ticket(tenant, user, stage).await?, enrolment });
        }
        self.take_back(tenant, &user.username, from, Outcome::SignedIn).await?;
        if user.must_change_password {
            let stage = Stage::Password { second_factor };
            return Ok(Step::ChangePassword { ticket: self.new_ticket(tenant, user, stage).await? });
        }
        Ok(Step::SignedIn(Box::new(self.start_session(tenant, user, second_factor).await?)))
    }

    /// Takes a code of a secret, which becomes the user's second factor where it is not yet.
    async fn take_code(&self, tenant: TenantId, id: &str, secret: &str, code: &str) -> Result<User, Refusal> {
        loop {
            let (mut user, version) = self.user(tenant, id)?.ok_or(Refusal::Expired)?;
            let is_own = user.totp.as_deref() == Some(secret);
            let last = if is_own { user.totp_step } else { 0 };
            user.totp_step = totp::step(secret, code, self.now_s(), last).ok_or(Refusal::Wrong)?;
            user.totp = Some(secret.to_owned());
            let keeps = vec![records::put(id, &user, Expect::Version(version), None)?];
            let kept = if is_own {
                self.keeper.keep(tenant, keeps).await
            } else {
                self.keep(tenant, keeps, Deed::SecondFactor(&user)).await
            };
            match kept {
                // Another request may have taken this very code.
                Err(KeeperError::Stale(_)) => {}
                outcome => return Ok(outcome.map(|()| user)?),
            }
        }
    }

    async fn replace_password(&self, tenant: TenantId, user: &User, new: &str) -> Result<User, Refusal> {
        self.check_password(new, &user.username, &user.name)?;
        if password::turn().await?.verify(user.password.clone(), new).await? {
            return Err(Weakness::Same.into());
        }
        let hash = password::turn().await?.hash(new).await?;
        let was = stamp(user);
        loop {
            let (mut user, version) = self.user(tenant, &user.id)?.ok_or(Refusal::Expired)?;
            if stamp(&user) != was {
                return Err(Refusal::Expired);
            }
            user.password = Some(hash.clone());
            user.must_change_password = false;
            let keep = records::put(&user.id, &user, Expect::Version(version), None)?;
            match self.keep(tenant, vec![keep], Deed::Password(&user)).await {
                Err(KeeperError::Stale(_)) => {}
                outcome => return Ok(outcome.map(|()| user)?),
            }
        }
    }

    async fn new_ticket(&self, tenant: TenantId, user: &User, stage: Stage) -> Result<String, Error> {
        let ticket = secret::new_secret()?;
        let kept = Ticket { user: user.id.clone(), stamp: stamp(user), stage };
        let keep = records::put(&secret::hash(&ticket), &kept, Expect::Absent, Some(self.in_a_while()))?;
        self.keeper.keep(tenant, vec![keep]).await?;
        Ok(ticket)
    }

    /// The account that a ticket is for, where it is still good.
    ///
    /// # Errors
    /// When the store fails.
    pub fn user_of_ticket(&self, tenant: TenantId, ticket: &str) -> Result<Option<User>, Error> {
        match self.ticket(tenant, ticket) {
            Ok((user, _)) => Ok(Some(user)),
            Err(Refusal::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn ticket(&self, tenant: TenantId, ticket: &str) -> Result<(User, Stage), Refusal> {
        let kept = records::get::<Ticket>(&*self.keeper, tenant, &secret::hash(ticket))?;
        let (ticket, _) = kept.ok_or(Refusal::Expired)?;
        let user = self.user(tenant, &ticket.user)?.map(|(user, _)| user);
        let user = user.filter(|user| !user.disabled && stamp(user) == ticket.stamp);
        Ok((user.ok_or(Refusal::Expired)?, ticket.stage))
    }

    async fn forget_ticket(&self, tenant: TenantId, ticket: &str) -> Result<(), KeeperError> {
        let forget = records::remove::<Ticket>(&secret::hash(ticket), Expect::Any);
        self.keeper.keep(tenant, vec![forget]).await
    }

    fn in_a_while(&self) -> Micros {
        Micros((self.now_s() + TICKET_S).saturating_mul(1_000_000))
    }
}
