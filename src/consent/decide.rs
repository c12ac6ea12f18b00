//! What a patient's Consents permit, as one set of resources of a type.
//!
//! A provision permits or denies where all its conditions are met; the provisions in it are exceptions to it. Of several
//! exceptions at one level that are met, one that denies wins; and of several Consents in force the most restrictive wins.

use super::content::Bounds;
use super::judge::{Asked, Met, Reading, is_purpose};
use super::read::{Base, Consent, Kind, Provision, Scope};
use crate::error::Result;
use crate::key::Expr;

/// What the tenant has decided for patients who did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// The base rule of a Consent that has none that is known.
    pub base: Kind,
    /// The rule of patients without a Consent in force.
    pub without: Kind,
}

impl Consent {
    /// Whether it counts for a request: it is in force, and about who may see what.
    #[must_use]
    pub fn counts(&self, asked: &Asked<'_>) -> bool {
        let is_in_force = self.root.period.is_none_or(|span| (span.low..=span.high).contains(&asked.now.0));
        is_in_force
            && match self.scope {
                Scope::Privacy => true,
                Scope::Other => false,
                Scope::Research => {
                    asked.purposes.is_empty() || asked.purposes.iter().any(|purpose| is_purpose(purpose, "HRESCH"))
                }
            }
    }

    /// The base rule for a request.
    #[must_use]
    pub fn base_for(&self, asked: &Asked<'_>, defaults: Defaults) -> Kind {
        match self.base {
            Base::Permit => Kind::Permit,
            Base::Deny => Kind::Deny,
            Base::Unknown => defaults.base,
            Base::Emergency => {
                let is_all = asked.purposes.iter().all(|purpose| is_purpose(purpose, "ETREAT"));
                let is_all = is_all && !asked.purposes.is_empty();
                if is_all { Kind::Permit } else { Kind::Deny }
            }
        }
    }
}

/// The resources of a type that these Consents of one patient permit.
///
/// # Errors
/// When what they rest on can't be read.
pub fn permitted(
    consents: &[Consent],
    type_name: &str,
    asked: &Asked<'_>,
    defaults: Defaults,
    reading: &Reading<'_>,
) -> Result<Expr> {
    let mut counting = consents.iter().filter(|consent| consent.counts(asked)).peekable();
    if counting.peek().is_none() {
        return Ok(all_if(defaults.without));
    }
    counting.try_fold(Expr::All, |all, consent| {
        if consent.fault.is_some() || all == Expr::none() {
            return Ok(Expr::none());
        }
        let base = consent.base_for(asked, defaults);
        let root = &consent.root;
        let deciding = Deciding { type_name, asked, reading };
        let own = if root.kind.is_some() {
            deciding.with_exceptions(base, std::slice::from_ref(root))?
        } else {
            both(deciding.bounds(root)?.low, deciding.with_exceptions(base, &root.provisions)?)
        };
        Ok(both(all, own))
    })
}

struct Deciding<'a> {
    type_name: &'a str,
    asked: &'a Asked<'a>,
    reading: &'a Reading<'a>,
}

impl Deciding<'_> {
    fn with_exceptions(&self, kind: Kind, exceptions: &[Provision]) -> Result<Expr> {
        let (mut permits, mut denies) = (all_if(kind), Expr::none());
        for exception in exceptions {
            let bounds = self.bounds(exception)?;
            if bounds.high == Expr::none() {
                continue;
            }
            // Every exception has a type, else the Consent is at fault.
            let inside = self.with_exceptions(exception.kind.unwrap_or(Kind::Deny), &exception.provisions)?;
            permits = either(permits, both(bounds.low, inside.clone()));
            denies = either(denies, both(bounds.high, not(inside)));
        }
        Ok(both(permits, not(denies)))
    }

    /// What meets all conditions of a provision.
    fn bounds(&self, provision: &Provision) -> Result<Bounds> {
        let mut whole = Bounds { low: Expr::All, high: Expr::All };
        for (_, met) in self.reading.of_request(provision, self.asked)? {
            match met {
                Met::Yes => {}
                Met::Unclear => whole.low = Expr::none(),
                Met::No => return Ok(Bounds { low: Expr::none(), high: Expr::none() }),
            }
        }
        for (_, bounds) in self.reading.of_content(provision, self.type_name, self.asked.now)? {
            whole = Bounds { low: both(whole.low, bounds.low), high: both(whole.high, bounds.high) };
        }
        Ok(whole)
    }
}

/// All, or nothing.
#[must_use]
pub fn all_if(kind: Kind) -> Expr {
    if kind == Kind::Permit { Expr::All } else { Expr::none() }
}

fn both(one: Expr, other: Expr) -> Expr {
    if one == Expr::none() || other == Expr::none() { Expr::none() } else { Expr::and([one, other]) }
}

fn either(one: Expr, other: Expr) -> Expr {
    Expr::or([one, other])
}

fn not(expr: Expr) -> Expr {
    match expr {
        Expr::All => Expr::none(),
        none if none == Expr::none() => Expr::All,
        other => other.negate(),
    }
}
