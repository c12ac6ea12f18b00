//! Failed sign-ins in a row make an account wait, and many from one address make that address wait.
//!
//! An attempt is counted before it is looked at and taken back when it was right: so parallel guesses count too. What is counted is
//! kept, and holds after a restart and in other processes. Names that nobody has are counted like all others, so that waiting
//! tells nothing of who has an account.

use super::keeper::{Expect, Keep, KeeperError};
use super::records::{self, Record};
use super::secret;
use super::server::Server;
use super::sign_in::Refusal;
use super::user::folded;
use super::witness::Deed;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How long failures of an account are remembered after the last, in seconds.
const REMEMBERED_S: i64 = 86_400;

/// How often a change is tried that others get in the way of.
const ROUNDS: usize = 32;

/// Failed attempts of an account or of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Attempts {
    failures: u32,
    /// Of an account when the last was, of an address when the first was.
    at: i64,
}

impl Record for Attempts {
    const KIND: &'static str = "attempt";
}

/// What happened to an attempt that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was right, but the sign-in is not at its end: the failures before it still count.
    Right,
    /// The user is signed in: the account starts anew.
    SignedIn,
}

impl Server {
    /// Counts an attempt to sign in as a failed one.
    ///
    /// # Errors
    /// [`Refusal::Wait`] where the account or the address has to wait: then nothing may be looked at.
    pub(super) async fn count_attempt(&self, tenant: TenantId, username: &str, from: IpAddr) -> Result<(), Refusal> {
        for _ in 0..ROUNDS {
            let now = self.now_s();
            let (account, address) = (account_id(username), address_id(from));
            let (mut of_account, account_version) = self.attempts(tenant, &account)?;
            let (mut of_address, address_version) = self.attempts(tenant, &address)?;
            if of_address.at + self.lockout_s() <= now {
                of_address = Attempts { failures: 0, at: now };
            }
            let most = [self.config.lockout_failures, self.config.lockout_address_failures];
            let waits = [of_account, of_address].into_iter().zip(most).filter_map(|(attempts, most)| {
                let left = attempts.at + self.lockout_s() - now;
                (most > 0 && attempts.failures >= most && left > 0).then_some(left)
            });
            if let Some(left) = waits.max() {
                return Err(Refusal::Wait { retry_after_s: u32::try_from(left).unwrap_or(u32::MAX) });
            }
            of_account = Attempts { failures: of_account.failures.saturating_add(1), at: now };
            of_address.failures = of_address.failures.saturating_add(1);
            let changes = vec![
                put(&account, of_account, account_version, now + REMEMBERED_S)?,
                put(&address, of_address, address_version, of_address.at + self.lockout_s())?,
            ];
            match self.keeper.keep(tenant, changes).await {
                Err(KeeperError::Stale(_)) => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(busy().into())
    }

    /// Takes back what [`Self::count_attempt`] counted, of an attempt that was right.
    pub(super) async fn take_back(
        &self,
        tenant: TenantId,
        username: &str,
        from: IpAddr,
        outcome: Outcome,
    ) -> Result<()> {
        for _ in 0..ROUNDS {
            let (account, address) = (account_id(username), address_id(from));
            let (of_account, account_version) = self.attempts(tenant, &account)?;
            let (of_address, address_version) = self.attempts(tenant, &address)?;
            let mut changes = Vec::with_capacity(2);
            if outcome == Outcome::SignedIn || of_account.failures <= 1 {
                changes.push(records::remove::<Attempts>(&account, account_version));
            } else {
                let fewer = Attempts { failures: of_account.failures - 1, at: of_account.at };
                changes.push(put(&account, fewer, account_version, fewer.at + REMEMBERED_S)?);
            }
            // Its time may have run out meanwhile.
            if of_address.failures > 0 {
                let fewer = Attempts { failures: of_address.failures - 1, at: of_address.at };
                changes.push(put(&address, fewer, address_version, fewer.at + self.lockout_s())?);
            }
            match self.keeper.keep(tenant, changes).await {
                Err(KeeperError::Stale(_)) => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(busy())
    }

    /// Lets an account that waits sign in again at once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unlock(&self, tenant: TenantId, username: &str) -> Result<()> {
        Ok(self.keep(tenant, vec![forgotten(username)], Deed::Asked).await?)
    }

    /// The same with a change that says so itself.
    pub(super) async fn forget_failures(&self, tenant: TenantId, username: &str) -> Result<()> {
        Ok(self.keeper.keep(tenant, vec![forgotten(username)]).await?)
    }

    fn attempts(&self, tenant: TenantId, id: &str) -> Result<(Attempts, Expect)> {
        let kept = records::get::<Attempts>(&*self.keeper, tenant, id)?;
        Ok(kept.map_or((Attempts::default(), Expect::Absent), |(kept, version)| (kept, Expect::Version(version))))
    }

    fn lockout_s(&self) -> i64 {
        i64::try_from(self.config.lockout_s).unwrap_or(i64::MAX / 2_000_000)
    }
}

fn busy() -> Error {
    Error::unavailable("Too many people sign in at once.", "attempts to sign in get in each other's way")
}

fn put(id: &str, attempts: Attempts, expect: Expect, until_s: i64) -> Result<Keep, KeeperError> {
    records::put(id, &attempts, expect, Some(Micros(until_s.saturating_mul(1_000_000))))
}

/// The change that forgets the failures of an account.
fn forgotten(username: &str) -> Keep {
    records::remove::<Attempts>(&account_id(username), Expect::Any)
}

fn account_id(username: &str) -> String {
    format!("account~{}", secret::hash(&folded(username)))
}

/// Of IPv6 the network of 64 bits, which is what one customer has at least.
fn address_id(from: IpAddr) -> String {
    let network = match from.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x}", address.to_bits() >> 64),
    };
    format!("address~{network}")
}
