//! SMART scopes, version 2 and version 1, and what they cover.
//!
//! <https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// Whose data a scope is about: its first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// `patient/`: of the patient in context.
    Patient,
    /// `user/`: what the user may reach.
    User,
    /// `system/`: what a client may reach for itself.
    System,
}

impl Level {
    /// As a scope spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// Interactions as SMART's letters name them: any of `c r u d s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Letters(u8);

impl Letters {
    /// None.
    pub const NONE: Self = Self(0);
    /// Create, on a type.
    pub const CREATE: Self = Self(1);
    /// read, vread and history of an instance.
    pub const READ: Self = Self(2);
    /// update and patch.
    pub const UPDATE: Self = Self(4);
    /// delete.
    pub const DELETE: Self = Self(8);
    /// Search, and history of a type.
    pub const SEARCH: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);
    /// read and search: what version 1 calls `read`.
    pub const V1_READ: Self = Self(18);
    /// create, update and delete: what version 1 calls `write`.
    pub const V1_WRITE: Self = Self(13);

    const ORDER: [(Self, char); 5] =
        [(Self::CREATE, 'c'), (Self::READ, 'r'), (Self::UPDATE, 'u'), (Self::DELETE, 'd'), (Self::SEARCH, 's')];

    /// Reads letters that stand in their order, each at most once, at least one.
    fn parse(text: &str) -> Option<Self> {
        let mut left = text;
        let mut letters = Self::NONE;
        for (letter, name) in Self::ORDER {
            if let Some(rest) = left.strip_prefix(name) {
                left = rest;
                letters = letters | letter;
            }
        }
        (left.is_empty() && letters != Self::NONE).then_some(letters)
    }

    /// Each of these for itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        Self::ORDER.into_iter().map(|(letter, _)| letter).filter(move |letter| self.contain(*letter))
    }

    /// Whether all the other letters are among these.
    #[must_use]
    pub const fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of the other letters is among these.
    #[must_use]
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Letters {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Letters {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::ORDER.iter().filter(|(letter, _)| self.contain(*letter)).try_for_each(|(_, name)| write!(f, "{name}"))
    }
}

/// A scope for resources: `patient/Observation.rs?category=laboratory`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceScope {
    /// Whose data.
    pub level: Level,
    /// The resource type; `None` for `*`.
    pub type_name: Option<Box<str>>,
    /// The interactions.
    pub letters: Letters,
    /// Search parameters that a resource must meet, as they stand after the `?`; empty without any.
    pub restriction: Box<str>,
    /// Whether it is spelled as in version 1 (`.read`, `.write`, `.*`).
    pub is_v1: bool,
}

impl ResourceScope {
    /// Reads a scope that is for resources; `None` for all others, malformed ones included. The type has to be one of R4.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scope, restriction) = text.split_once('?').unwrap_or((text, ""));
        let (level, rest) = scope.split_once('/')?;
        let level = [Level::Patient, Level::User, Level::System].into_iter().find(|one| one.name() == level)?;
        let (type_name, letters) = rest.rsplit_once('.')?;
        let v1 = match letters {
            "read" => Some(Letters::V1_READ),
            "write" => Some(Letters::V1_WRITE),
            "*" => Some(Letters::ALL),
            _ => None,
        };
        let letters = v1.or_else(|| Letters::parse(letters))?;
        let is_known = type_name == "*" || crate::fhir::definitions::r4().is_resource_type(type_name);
        let is_whole = !text.ends_with('?') && (v1.is_none() || restriction.is_empty());
        (is_known && is_whole).then(|| Self {
            level,
            type_name: (type_name != "*").then(|| type_name.into()),
            letters,
            restriction: restriction.into(),
            is_v1: v1.is_some(),
        })
    }

    /// Whether it is for a type.
    #[must_use]
    pub fn is_for(&self, type_name: &str) -> bool {
        self.type_name.as_deref().is_none_or(|own| own == type_name)
    }

    /// Whether it gives all that the other gives: the same level, at least its types and letters, no restriction or the same.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.level == other.level
            && (self.type_name.is_none() || self.type_name == other.type_name)
            && self.letters.contain(other.letters)
            && (self.restriction.is_empty() || self.restriction == other.restriction)
    }

    /// What both give; `None` where that is nothing. Two different restrictions are joined with `&`: both must be met.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let type_name = match (&self.type_name, &other.type_name) {
            (None, name) | (name, None) => name.clone(),
            (Some(one), Some(two)) if one == two => Some(one.clone()),
            _ => return None,
        };
        let letters = self.letters & other.letters;
        let restriction: Box<str> = match (&*self.restriction, &*other.restriction) {
            (one, "") => one.into(),
            ("", two) => two.into(),
            (one, two) if one == two => one.into(),
            (one, two) => format!("{one}&{two}").into(),
        };
        let is_v1 = self.is_v1
            && restriction.is_empty()
            && [Letters::V1_READ, Letters::V1_WRITE, Letters::ALL].contains(&letters);
        (self.level == other.level && letters != Letters::NONE).then_some(Self {
            level: self.level,
            type_name,
            letters,
            restriction,
            is_v1,
        })
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.", self.level.name(), self.type_name.as_deref().unwrap_or("*"))?;
        match (self.is_v1, self.letters) {
            (true, Letters::V1_READ) => f.write_str("read")?,
            (true, Letters::V1_WRITE) => f.write_str("write")?,
            (true, Letters::ALL) => f.write_str("*")?,
            (_, letters) => write!(f, "{letters}")?,
        }
        if self.restriction.is_empty() { Ok(()) } else { write!(f, "?{}", self.restriction) }
    }
}

/// One scope of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// For resources.
    Resource(ResourceScope),
    /// Any other that this server knows: `openid`, `launch/patient`, `offline_access`.
    Named(&'static str),
}

/// This server's own: the administration of users, roles and clients, for a user who is an administrator.
pub const ADMIN: &str = "admin";

/// This server's own: who holds it may make launch contexts (`POST /auth/launch`).
pub const MAKE_LAUNCH: &str = "make_launch";

/// This server's own: a client that is registered with it may introspect every token of this server, not only its own. It
/// says nothing in a token.
pub const INTROSPECT: &str = "introspect";

/// The scopes that are not for resources, and that this server knows.
pub const NAMED: [&str; 11] = [
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
    ADMIN,
    MAKE_LAUNCH,
    INTROSPECT,
];

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(scope) => scope.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The scopes of a request, a client or a token: in their order, each once. What is not understood is left out, as RFC 6749
/// section 3.3 allows; the answer says which were granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Reads scopes that are separated by spaces.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace()
            .filter_map(|word| {
                let named = NAMED.into_iter().find(|name| *name == word).map(Scope::Named);
                named.or_else(|| ResourceScope::parse(word).map(Scope::Resource))
            })
            .collect()
    }

    /// Reads scopes that are separated by spaces, every one of which has to be understood; `None` where one is not.
    #[must_use]
    pub fn parse_all(text: &str) -> Option<Self> {
        text.split_ascii_whitespace().map(|word| Self::parse(word).0.pop()).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Those for resources.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceScope> {
        self.0.iter().filter_map(|scope| if let Scope::Resource(scope) = scope { Some(scope) } else { None })
    }

    /// Whether there is this one that is not for resources.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|scope| matches!(scope, Scope::Named(own) if *own == name))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of what is asked here, what `allowed` gives: named scopes that it has, and of each scope for resources all that it
    /// shares with one of `allowed`'s. A scope that is covered whole stays as it was spelled.
    #[must_use]
    pub fn within(&self, allowed: &Self) -> Self {
        let mut granted = Self::default();
        for scope in &self.0 {
            match scope {
                Scope::Named(name) if allowed.has(name) => granted.push(scope.clone()),
                Scope::Named(_) => {}
                Scope::Resource(asked) if allowed.resources().any(|own| own.covers(asked)) => {
                    granted.push(scope.clone());
                }
                Scope::Resource(asked) => {
                    let shared = allowed.resources().filter_map(|own| asked.meet(own));
                    shared.for_each(|shared| granted.push(Scope::Resource(shared)));
                }
            }
        }
        granted
    }

    /// Whether every scope is given by one of `allowed`'s: so a refresh asks for no more than was granted.
    #[must_use]
    pub fn are_within(&self, allowed: &Self) -> bool {
        self.0.iter().all(|scope| match scope {
            Scope::Named(name) => allowed.has(name),
            Scope::Resource(asked) => allowed.resources().any(|own| own.covers(asked)),
        })
    }

    fn push(&mut self, scope: Scope) {
        if !self.0.contains(&scope) {
            self.0.push(scope);
        }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut all = Self::default();
        scopes.into_iter().for_each(|scope| all.push(scope));
        all
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl serde::Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Scopes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Ok(Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_written_back() {
        for text in [
            "patient/Observation.rs",
            "user/*.cruds",
            "system/Patient.r",
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
            "patient/*.read",
            "user/Condition.write",
            "system/*.*",
        ] {
            assert_eq!(Scopes::parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_scope_is_left_out() {
        for text in [
            "patient/Observation.sr",
            "patient/Observation.",
            "patient/Observation.rr",
            "patient/Elephant.rs",
            "Patient/Observation.rs",
            "patient/Observation.read?category=x",
            "patient/Observation.rs?",
            "patient/Observation",
            "root",
        ] {
            assert!(Scopes::parse(text).is_empty(), "{text}");
        }
        assert_eq!(Scopes::parse(" openid  launch/patient openid x ").to_string(), "openid launch/patient");
    }

    #[test]
    fn what_is_granted_is_what_both_give() {
        let within = |asked: &str, allowed: &str| Scopes::parse(asked).within(&Scopes::parse(allowed)).to_string();
        assert_eq!(within("patient/*.read", "patient/*.rs"), "patient/*.read");
        assert_eq!(
            within("patient/*.cruds", "patient/Observation.rs patient/Condition.r"),
            "patient/Observation.rs patient/Condition.r"
        );
        assert_eq!(
            within("patient/Observation.rs", "patient/Observation.rs?category=a"),
            "patient/Observation.rs?category=a"
        );
        assert_eq!(
            within("patient/Observation.rs?code=b", "patient/Observation.r?category=a"),
            "patient/Observation.r?code=b&category=a"
        );
        assert_eq!(within("user/*.rs openid", "patient/*.rs"), "");
        assert!(Scopes::parse("patient/Observation.r").are_within(&Scopes::parse("patient/*.rs")));
        assert!(!Scopes::parse("patient/Observation.rs").are_within(&Scopes::parse("patient/*.rs?category=a")));
    }
}
