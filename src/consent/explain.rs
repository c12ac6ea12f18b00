//! Which provision decides, and why the others do not: the same rules as in `decide`, for one recipient and one resource, told
//! step by step.

use super::decide::Defaults;
use super::judge::{Asked, Met, Reading};
use super::read::{Base, Consent, Kind, Provision};
use crate::error::Result;
use crate::key::Expr;

/// What is asked for.
pub enum Of<'a> {
    /// One resource: its type, and whether it is in a set.
    Resource(&'a str, &'a dyn Fn(&Expr) -> Result<bool>),
    /// Nothing of which anything is known: each condition on data is met as it favours access.
    Best,
    /// The same, but each condition on data is met as it hinders access.
    Worst,
}

/// What a Consent comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The Consent; none where a setting decides.
    pub consent: Option<Box<str>>,
    /// What becomes of the request.
    pub kind: Kind,
    /// The element that decides; a setting, where it has a name of one.
    pub by: String,
    /// Why, in words that tell nothing of the patient.
    pub why: &'static str,
}

/// How a provision meets the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The provision.
    pub path: String,
    /// What it does.
    pub kind: Option<Kind>,
    /// Whether it is met.
    pub met: Met,
    /// The elements that are not met, or of which that can't be told.
    pub unmet: Vec<&'static str>,
}

/// What a patient's Consents come to: what decides, and for each of them what it says and how each of its provisions is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What decides.
    pub verdict: Verdict,
    /// Of each Consent; no verdict where it does not count.
    pub consents: Vec<(Box<str>, Option<Verdict>, Vec<Line>)>,
}

/// Explains what these Consents of one patient permit.
///
/// # Errors
/// When what they rest on can't be read.
pub fn explain(
    consents: &[Consent],
    asked: &Asked<'_>,
    defaults: Defaults,
    reading: &Reading<'_>,
    of: &Of<'_>,
) -> Result<Explanation> {
    let walk = Walk { asked, defaults, reading, of };
    let mut all = Vec::new();
    for consent in consents {
        let verdict = if consent.counts(asked) { Some(walk.verdict(consent)?) } else { None };
        let mut lines = Vec::new();
        walk.lines(&consent.root, &mut lines)?;
        all.push((consent.id.clone(), verdict, lines));
    }
    let verdicts = || all.iter().filter_map(|(_, verdict, _)| verdict.as_ref());
    let deciding = verdicts().find(|verdict| verdict.kind == Kind::Deny).or_else(|| verdicts().next());
    let verdict = deciding.cloned().unwrap_or_else(|| Verdict {
        consent: None,
        kind: defaults.without,
        by: "consent.without".into(),
        why: "No Consent of the patient is in force and counts for this request: the setting decides.",
    });
    Ok(Explanation { verdict, consents: all })
}

struct Walk<'a> {
    asked: &'a Asked<'a>,
    defaults: Defaults,
    reading: &'a Reading<'a>,
    of: &'a Of<'a>,
}

impl Walk<'_> {
    fn verdict(&self, consent: &Consent) -> Result<Verdict> {
        let verdict = |kind, by: &str, why| Verdict { consent: Some(consent.id.clone()), kind, by: by.into(), why };
        if let Some(fault) = consent.fault {
            return Ok(verdict(Kind::Deny, "Consent", fault));
        }
        let (base, root) = (consent.base_for(self.asked, self.defaults), &consent.root);
        let by = if consent.base == Base::Unknown { "consent.base" } else { "Consent.policyRule" };
        let exceptions = if root.kind.is_some() { std::slice::from_ref(root) } else { &root.provisions };
        if root.kind.is_none() && self.met(root)?.0 < Met::Yes {
            return Ok(verdict(Kind::Deny, &root.path, "The request is outside of what the root provision is about."));
        }
        let (kind, path) = self.decide(base, by, exceptions)?;
        let why = match (path == by, consent.base) {
            (false, _) => "This provision is met, and no exception to it.",
            (true, Base::Unknown) => {
                "policyRule names no base rule that is known, and no provision is met: the setting decides."
            }
            (true, _) => "No provision is met: the base rule decides.",
        };
        Ok(verdict(kind, path, why))
    }

    /// What holds where something of a kind, with exceptions, is met, and which of them makes it so.
    fn decide<'p>(&self, kind: Kind, own: &'p str, exceptions: &'p [Provision]) -> Result<(Kind, &'p str)> {
        let mut permits = None;
        let mut denies = None;
        for exception in exceptions {
            let (met, _) = self.met(exception)?;
            if met == Met::No {
                continue;
            }
            let inside = exception.kind.unwrap_or(Kind::Deny);
            match self.decide(inside, &exception.path, &exception.provisions)? {
                (Kind::Deny, path) => denies = denies.or(Some(path)),
                (Kind::Permit, path) if met == Met::Yes => permits = permits.or(Some(path)),
                _ => {}
            }
        }
        Ok(match (denies, kind, permits) {
            (Some(path), ..) => (Kind::Deny, path),
            (None, Kind::Permit, _) => (Kind::Permit, own),
            (None, Kind::Deny, Some(path)) => (Kind::Permit, path),
            (None, Kind::Deny, None) => (Kind::Deny, own),
        })
    }

    /// Whether a provision is met, and the conditions that are not surely met.
    fn met(&self, provision: &Provision) -> Result<(Met, Vec<&'static str>)> {
        let mut conditions = self.reading.of_request(provision, self.asked)?;
        let is_permit = provision.kind != Some(Kind::Deny);
        let guess = |favours: bool| if favours == is_permit { Met::Yes } else { Met::No };
        match self.of {
            Of::Resource(type_name, holds) => {
                for (name, bounds) in self.reading.of_content(provision, type_name, self.asked.now)? {
                    let met = match () {
                        () if holds(&bounds.low)? => Met::Yes,
                        () if holds(&bounds.high)? => Met::Unclear,
                        () => Met::No,
                    };
                    conditions.push((name, met));
                }
            }
            Of::Best => conditions.extend(elements(provision).map(|name| (name, guess(true)))),
            Of::Worst => conditions.extend(elements(provision).map(|name| (name, guess(false)))),
        }
        let met = conditions.iter().map(|(_, met)| *met).min().unwrap_or(Met::Yes);
        Ok((met, conditions.into_iter().filter(|(_, met)| *met < Met::Yes).map(|(name, _)| name).collect()))
    }

    fn lines(&self, provision: &Provision, lines: &mut Vec<Line>) -> Result<()> {
        let (met, unmet) = self.met(provision)?;
        lines.push(Line { path: provision.path.clone(), kind: provision.kind, met, unmet });
        provision.provisions.iter().try_for_each(|child| self.lines(child, lines))
    }
}

/// The conditions on data that a provision has.
fn elements(provision: &Provision) -> impl Iterator<Item = &'static str> + use<> {
    let has = [
        ("securityLabel", provision.labels.is_some()),
        ("class", provision.classes.is_some()),
        ("code", provision.codes.is_some()),
        ("dataPeriod", provision.data_period.is_some()),
        ("data", provision.data.is_some()),
    ];
    has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
}
