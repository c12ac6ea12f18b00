//! The algebra: which resources of a type are meant, in terms of ranges over their search keys and nothing else.

use super::blind::Cover;
use super::by_patient::ByPatient;
use super::inner::Inner;
use super::range::KeyRange;

/// A set of resources of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of them.
    All,
    /// Those with a key in the range.
    Keys(KeyRange),
    /// Those with a key in the range, by the postings of a blind index: see [`super::blind`].
    Covered(KeyRange, Cover),
    /// Those in every one of the sets.
    And(Vec<Expr>),
    /// Those in any of the sets; none where there is no set.
    Or(Vec<Expr>),
    /// Those not in the set.
    Not(Box<Expr>),
    /// Those whose reference parameter `code` points to a resource of type `target` in the set (a chain).
    Refers {
        /// The parameter of the type that refers.
        code: Box<str>,
        /// The type that is referred to.
        target: Box<str>,
        /// The resources of type `target`.
        expr: Box<Expr>,
    },
    /// Those that the reference parameter `code` of a resource of type `source` in the set points to (`_has`).
    ReferredBy {
        /// The type that refers.
        source: Box<str>,
        /// The parameter of the type that refers.
        code: Box<str>,
        /// The resources of type `source`.
        expr: Box<Expr>,
    },
    /// Those that the rules of each patient whom they are about permit.
    InPatients(ByPatient),
}

impl Expr {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self::Or(Vec::new())
    }

    /// What lies in every one of the sets.
    #[must_use]
    pub fn and(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::All => {}
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Self::All,
            1 => flat.pop().unwrap_or(Self::All),
            _ => Self::And(flat),
        }
    }

    /// What lies in any of the sets.
    #[must_use]
    pub fn or(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::All => return Self::All,
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.pop().unwrap_or(Self::All) } else { Self::Or(flat) }
    }

    /// What does not lie in the set.
    #[must_use]
    pub fn negate(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// The resources of type `outer` whose inner resource `inner` lies in the set.
    #[must_use]
    pub fn within(&self, outer: &str, inner: &Inner) -> Self {
        let prefix = inner.prefix();
        let all = |parts: &[Self]| parts.iter().map(|part| part.within(outer, inner)).collect::<Vec<_>>();
        match self {
            // What is inside of a resource is about the patients of that, whose rules are asked there.
            Self::All | Self::InPatients(_) => Self::Keys(KeyRange::prefix(prefix.as_bytes())),
            // The cover is of the inner one's own index. What is asked for here is held against key lists, or covered anew.
            Self::Keys(range) | Self::Covered(range, _) => Self::Keys(range.clone().under(prefix.as_bytes())),
            Self::And(parts) => Self::and(all(parts)),
            Self::Or(parts) => Self::or(all(parts)),
            Self::Not(expr) => {
                let there = Self::Keys(KeyRange::prefix(prefix.as_bytes()));
                Self::and([there, expr.within(outer, inner).negate()])
            }
            Self::Refers { code, target, expr } => {
                Self::Refers { code: (prefix + code).into(), target: target.clone(), expr: expr.clone() }
            }
            // Only the outer resource itself can refer to what is inside of it.
            Self::ReferredBy { source, code, expr } if **source == *outer => {
                Self::and([Self::Keys(inner.referred_by(code)), (**expr).clone()])
            }
            Self::ReferredBy { .. } => Self::none(),
        }
    }

    /// The resources with a key in any of the ranges.
    #[must_use]
    pub fn any(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        Self::or(ranges.into_iter().map(Self::Keys))
    }
}
