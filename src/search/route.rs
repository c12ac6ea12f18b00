//! Routes: orders of their own in which the matches of an unsorted search can be met.
//!
//! Without `_sort` any order will do, as long as it stays the same from page to page. To read postings along a range, or what
//! refers to the targets of a chain one target after the other, costs the page; to bring all of that into the order of the
//! numbers costs all of it. A place on a route is a key by which places compare: the number of the leg, then the search key
//! in its range, or the place of the chain's target on a route through those. A resource that could be met several times
//! stands at its first place.

use super::engine::{Run, failed, references};
use crate::error::Result;
use crate::key::bytes::END;
use crate::key::range::after_prefix;
use crate::key::{Expr, KeyList, KeyRange, id_in};
use crate::store::Rid;

/// What follows an [`END`] that belongs to a place, and not behind it.
const WITHIN: u8 = 0xFF;

/// A route through the resources in a set.
pub struct Route<'r> {
    /// They are in any of the legs,
    pub legs: Vec<Leg<'r>>,
    /// and in all of these sets.
    pub rest: Vec<&'r Expr>,
}

/// A part of a route.
pub enum Leg<'r> {
    /// Along the keys in a range.
    Range(&'r KeyRange),
    /// From target to target of a chain.
    Chain(Chain<'r>),
    /// From resource to resource of those that refer.
    Has(Has<'r>),
    /// By number.
    Numbers(&'r Expr),
}

/// What refers to the resources on another route.
pub struct Chain<'r> {
    pub code: &'r str,
    pub target: &'r str,
    pub expr: &'r Expr,
    pub route: Route<'r>,
}

/// What the resources of a set refer to, by their numbers.
#[derive(Clone, Copy)]
pub struct Has<'r> {
    pub source: &'r str,
    pub code: &'r str,
    pub expr: &'r Expr,
}

impl<'r> Route<'r> {
    /// A route through a set, where there is one and it could be quicker than the order of the numbers: which is the quicker one
    /// where one of several parts is of few keys.
    pub fn where_quicker(expr: &'r Expr) -> Option<Self> {
        let is_detour = match expr {
            Expr::And(parts) => parts.iter().any(is_of_few_keys),
            _ => false,
        };
        if is_detour { None } else { Self::of(expr) }
    }

    /// A route through a set, where there is one.
    pub fn of(expr: &'r Expr) -> Option<Self> {
        let (at, parts) = match expr {
            Expr::And(parts) => (parts.iter().position(is_walkable)?, parts.as_slice()),
            single => (Some(0).filter(|_| is_walkable(single))?, std::slice::from_ref(single)),
        };
        let legs: Vec<_> = match parts.get(at)? {
            Expr::Or(any) => any.iter().map(Leg::of).collect(),
            single => vec![Leg::of(single)],
        };
        let rest = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| part).collect();
        u8::try_from(legs.len()).is_ok().then_some(Self { legs, rest })
    }

    /// The place of a resource that is in the set; `None` for one that is in no leg.
    pub fn place(&self, run: &Run<'_>, type_name: &str, keys: &KeyList) -> Result<Option<Vec<u8>>> {
        for (number, leg) in (0..=u8::MAX).zip(&self.legs) {
            if let Some(spot) = leg.spot(run, type_name, keys)? {
                return Ok(Some([&[number], &*spot].concat()));
            }
        }
        Ok(None)
    }

    /// Whether this can be a place on the route. One on another route may not be, as where the index has changed its form.
    pub fn admits(&self, place: &[u8]) -> bool {
        let Some((number, spot)) = place.split_first() else { return false };
        match self.legs.get(usize::from(*number)) {
            // By its parameter: a range that depends on the time may have moved on.
            Some(Leg::Range(range)) => {
                let code = range.from.split_inclusive(|byte| *byte == END).next().unwrap_or_default();
                spot.starts_with(code)
            }
            Some(Leg::Chain(chain)) => target_of(spot).is_some_and(|(place, _)| chain.route.admits(&place)),
            Some(Leg::Has(_)) => spot.len() == size_of::<u64>(),
            Some(Leg::Numbers(_)) => spot.is_empty(),
            None => false,
        }
    }

    /// Whether a resource that was met somewhere stands there.
    pub fn is_its_place(&self, run: &Run<'_>, type_name: &str, keys: &KeyList, place: &[u8]) -> Result<bool> {
        if let ([Leg::Chain(chain)], [0, ..]) = (self.legs.as_slice(), place)
            && references(keys, chain.code).filter(|(target, _)| *target == chain.target).count() == 1
        {
            return Ok(true);
        }
        Ok(self.place(run, type_name, keys)?.as_deref() == Some(place))
    }
}

impl<'r> Leg<'r> {
    fn of(of: &'r Expr) -> Self {
        match of {
            Expr::Keys(range) => Self::Range(range),
            Expr::Refers { code, target, expr } => {
                let route = Route::where_quicker(expr);
                let route = route.unwrap_or_else(|| Route { legs: vec![Leg::Numbers(expr)], rest: Vec::new() });
                Self::Chain(Chain { code, target, expr, route })
            }
            Expr::ReferredBy { source, code, expr } if is_walkable(of) => Self::Has(Has { source, code, expr }),
            other => Self::Numbers(other),
        }
    }

    /// Where on this leg a resource stands.
    fn spot(&self, run: &Run<'_>, type_name: &str, keys: &KeyList) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Range(range) => Ok(keys.in_range(range).next().map(<[u8]>::to_vec)),
            Self::Numbers(expr) => Ok(run.holds(type_name, keys, expr)?.then(Vec::new)),
            Self::Chain(chain) => chain.spot(run, keys),
            Self::Has(Has { source, code, expr }) => {
                let Some(id) = id_in(keys) else { return Ok(None) };
                let first = run.first_referrer((type_name, id), source, code, expr)?;
                Ok(first.map(|first| first.0.to_be_bytes().to_vec()))
            }
        }
    }
}

impl Chain<'_> {
    fn spot(&self, run: &Run<'_>, keys: &KeyList) -> Result<Option<Vec<u8>>> {
        let mut first = None;
        for (_, id) in references(keys, self.code).filter(|(target, _)| *target == self.target) {
            let Some(rid) = run.view.find(self.target, id).map_err(failed)? else { continue };
            if let Some(keys) = run.keys(rid)?
                && run.holds(self.target, &keys, self.expr)?
                && let Some(place) = self.route.place(run, self.target, &keys)?
            {
                let spot = at_target(&place, rid);
                first = Some(first.map_or_else(|| spot.clone(), |first| spot.clone().min(first)));
            }
        }
        Ok(first)
    }
}

/// The spot of what refers to a target: by the target's place, then by its number.
pub fn at_target(place: &[u8], rid: Rid) -> Vec<u8> {
    let mut spot = Vec::with_capacity(place.len() + 12);
    for byte in place {
        spot.push(*byte);
        if *byte == END {
            spot.push(WITHIN);
        }
    }
    spot.extend_from_slice(&[END, END]);
    spot.extend_from_slice(&rid.0.to_be_bytes());
    spot
}

/// The target of a spot: its place and its number.
pub fn target_of(spot: &[u8]) -> Option<(Vec<u8>, Rid)> {
    let (escaped, rid) = spot.split_last_chunk::<8>()?;
    let escaped = escaped.strip_suffix(&[END, END])?;
    let mut place = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        place.push(*byte);
        if *byte == END && bytes.next() != Some(&WITHIN) {
            return None;
        }
    }
    Some((place, Rid(u64::from_be_bytes(*rid))))
}

/// Whether a set is that of one key, or of the keys with a prefix, as those of a code are.
fn is_of_few_keys(expr: &Expr) -> bool {
    match expr {
        Expr::Keys(range) => is_exact(expr) || (range.tail.is_none() && *after_prefix(&range.from) == *range.to),
        Expr::Covered(..) => true,
        Expr::Or(parts) => parts.iter().all(is_of_few_keys),
        _ => false,
    }
}

fn is_exact(expr: &Expr) -> bool {
    matches!(expr, Expr::Keys(range) if range.tail.is_none() && range.only_key().is_some())
}

fn is_walkable(expr: &Expr) -> bool {
    match expr {
        Expr::Keys(_) => !is_exact(expr),
        Expr::Refers { .. } => true,
        // Where a resource stands among those that are referred to has to be found without a look at all that refer to it.
        Expr::ReferredBy { expr, .. } => is_of_few_keys(expr),
        Expr::Or(parts) => parts.iter().any(|part| !matches!(part, Expr::Or(_)) && is_walkable(part)),
        // A blind index has no order of keys.
        Expr::All | Expr::Covered(..) | Expr::And(_) | Expr::Not(_) | Expr::InPatients(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_come_back_and_sort_as_the_places_of_their_targets() {
        let places: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\0a", b"a", b"a\0b"];
        let spots: Vec<_> = places.iter().flat_map(|place| [9, 10].map(|rid| at_target(place, Rid(rid)))).collect();
        assert!(spots.is_sorted_by(|a, b| a < b), "{spots:?}");
        let back: Vec<_> = spots.iter().step_by(2).map(|spot| target_of(spot).unwrap()).collect();
        assert!(back.iter().map(|(place, _)| &**place).eq(places) && back.iter().all(|(_, rid)| *rid == Rid(9)));
        assert_eq!(target_of(b"short"), None);
    }
}
